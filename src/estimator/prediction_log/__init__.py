"""The prediction log: predictions with their inputs, read back by id and by time, joined with labels as they arrive."""

from estimator.prediction_log.databases import open_log
from estimator.prediction_log.log import LabelCounts, PredictionLog
from estimator.prediction_log.records import Label, LogEntry, PredictionRecord, records_of, row_id
from estimator.prediction_log.writer import LogWriter, WriterState

__all__ = [
    "Label",
    "LabelCounts",
    "LogEntry",
    "LogWriter",
    "PredictionLog",
    "PredictionRecord",
    "WriterState",
    "open_log",
    "records_of",
    "row_id",
]
