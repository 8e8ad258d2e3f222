"""Observability: metrics for Prometheus, log lines, the prediction log and traces."""
