"""How a specialist is made and measured: labels, splits, fitting, calibration, its card; and training data for language models."""
