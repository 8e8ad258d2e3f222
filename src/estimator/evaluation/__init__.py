"""Predictions and actual values -> scores with intervals, and explanations."""
