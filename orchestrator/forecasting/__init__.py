"""What a batch will cost, read, write and take, told before it runs. Pure."""

from orchestrator.forecasting.batch import Figures, Forecast, Ground, Usd, forecast
from orchestrator.forecasting.history import MEASURES, PAIRS, Basis, Histories, History, Moments
from orchestrator.forecasting.load import Lane, Load, share_beside
from orchestrator.forecasting.prediction import Bounds
from orchestrator.forecasting.rows import Rows, readings

__all__ = [
    "MEASURES",
    "PAIRS",
    "Basis",
    "Bounds",
    "Figures",
    "Forecast",
    "Ground",
    "Histories",
    "History",
    "Lane",
    "Load",
    "Moments",
    "Rows",
    "Usd",
    "forecast",
    "readings",
    "share_beside",
]
