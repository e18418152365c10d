"""What a batch will cost, read, write and take, told before it runs. Pure."""

from orchestrator.forecasting.batch import Figures, Forecast, Ground, Load, Usd, forecast
from orchestrator.forecasting.history import MEASURES, PAIRS, Basis, Histories, History, Moments
from orchestrator.forecasting.prediction import Bounds
from orchestrator.forecasting.rows import Rows

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
    "Load",
    "Moments",
    "Rows",
    "Usd",
    "forecast",
]
