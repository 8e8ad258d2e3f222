"""Every answer written down with what was asked, read back by id and by time; truth joined by id whenever it comes."""

from estimator.prediction_log.database import Database, open_database
from estimator.prediction_log.records import Entry, Label, Logged, records_of, row_id
from estimator.prediction_log.writer import State, Writer

__all__ = ["Database", "Entry", "Label", "Logged", "State", "Writer", "open_database", "records_of", "row_id"]
