"""Versions on disk: the predictor, the folder of a version, the aliases, batch prediction."""
