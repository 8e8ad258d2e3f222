"""The contract of a prediction log: predictions, labels and shadow predictions, in a database that speaks SQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from estimator.prediction_log.columns import column_names, decoded, encoded, insert_statement
from estimator.prediction_log.records import Label, LabelRecord, PredictionRecord, ShadowRecord

PAGE_SIZE = 5000
LABEL_COLUMNS = column_names(LabelRecord)
SHADOW_COLUMNS = column_names(ShadowRecord)
ALL_COLUMNS = column_names(PredictionRecord)
JOINED_COLUMNS = [name for name in LABEL_COLUMNS if name != "id"]
PREDICTION_COLUMNS = column_names(PredictionRecord, without=JOINED_COLUMNS)

INSERT_PREDICTION = insert_statement("predictions", PREDICTION_COLUMNS)
INSERT_SHADOW = insert_statement("shadows", SHADOW_COLUMNS)
# A label takes the place of one that came before, even if the clock has jumped back since; its time grows, so that
# whatever reads labels in the order of their times reads it again.
INSERT_LABEL = insert_statement(
    "labels",
    LABEL_COLUMNS,
    "(id) DO UPDATE SET label = excluded.label, labeled_at = CASE WHEN excluded.labeled_at > labels.labeled_at "
    "THEN excluded.labeled_at ELSE labels.labeled_at + 0.000001 END",
)
SELECTED = ", ".join(f"{'l' if name in JOINED_COLUMNS else 'p'}.{name}" for name in ALL_COLUMNS)
FROM_PREDICTIONS = f"SELECT {SELECTED} FROM predictions p LEFT JOIN labels l ON l.id = p.id"  # noqa: S608 # fixed names
FROM_LABELS = f"SELECT {SELECTED} FROM labels l JOIN predictions p ON p.id = l.id"  # noqa: S608 # fixed names
# A position in the log: the time and the id of the last row that was read.
Cursor = tuple[float, str]
START: Cursor = (0.0, "")
FOREVER = float("inf")


class LabelCounts(NamedTuple):
    """How many labels belong to a logged prediction, and how many replaced another value that was sent before."""

    matched: int
    replaced: int


class PredictionLog(ABC):
    """Predictions and their labels. Each call is one transaction; not to be shared between threads.

    Times are in seconds since 1970. Every method raises SourceError when the database cannot be used, and
    RecordError when it cannot hold a value.
    """

    name: str

    def write(self, records: Sequence[PredictionRecord]) -> None:
        """Store predictions; an id that exists is left as it is, so writing twice is harmless."""
        self.execute_many(INSERT_PREDICTION, [encoded(record, PREDICTION_COLUMNS) for record in records])

    def write_shadows(self, records: Sequence[PredictionRecord]) -> None:
        """Store what a shadow version predicts for rows that the live version has served."""
        self.execute_many(INSERT_SHADOW, [encoded(record, SHADOW_COLUMNS) for record in records])

    def shadows(self, record_id: str) -> dict[str, Any]:
        """Return the shadow responses to one row: version -> response."""
        columns = SHADOW_COLUMNS
        rows = self.query(
            f"SELECT {', '.join(columns)} FROM shadows WHERE id = ? ORDER BY version",  # noqa: S608 # fixed names
            [record_id],
        )
        records = [decoded(ShadowRecord, columns, row) for row in rows]
        return {record.version: record.response for record in records}

    def as_shadows(self, records: Sequence[PredictionRecord]) -> list[PredictionRecord]:
        """Return what shadow versions predicted for the rows of some records, in their order."""
        statement = f"SELECT {', '.join(SHADOW_COLUMNS)} FROM shadows"  # noqa: S608 # fixed names
        by_id: dict[str, list[ShadowRecord]] = {}
        for row in self._select_by_id(statement, [record.id for record in records]):
            shadow = decoded(ShadowRecord, SHADOW_COLUMNS, row)
            by_id.setdefault(shadow.id, []).append(shadow)
        return [
            replace(record, version=shadow.version, response=shadow.response)
            for record in records
            for shadow in sorted(by_id.get(record.id, ()), key=lambda shadow: shadow.version)
        ]

    def add_labels(self, labels: Sequence[Label], at: float) -> LabelCounts:
        """Store labels; return what became of them. A label may come before its prediction, and the last one wins."""
        before = self._stored_labels([label.id for label in labels])
        records = [LabelRecord(label.id, at, label.label) for label in labels]
        self.execute_many(INSERT_LABEL, [encoded(record, LABEL_COLUMNS) for record in records])
        latest = {label.id: label.label for label in labels}
        return LabelCounts(
            matched=len(self.models_of(list(latest))),
            replaced=sum(name in before and before[name] != label for name, label in latest.items()),
        )

    def models_of(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the model of each prediction that is in the log, by the prediction's id."""
        rows = self._select_by_id("SELECT id, model FROM predictions", ids)
        return {str(name): str(model) for name, model in rows}

    def _stored_labels(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the labels that are stored, by id."""
        rows = self._select_by_id("SELECT id, label FROM labels", ids)
        return {name: msgspec.json.decode(label) for name, label in rows}

    def _select_by_id(self, select: str, ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(ids), PAGE_SIZE):
            page = ids[start : start + PAGE_SIZE]
            yield from self.query(f"{select} WHERE id IN ({', '.join('?' * len(page))})", page)

    def find(self, record_id: str) -> PredictionRecord | None:
        """Return the prediction with an id, or None."""
        rows = self.query(f"{FROM_PREDICTIONS} WHERE p.id = ?", [record_id])
        return _record(rows[0]) if rows else None

    def read(self, model: str, *, since: float = 0.0, until: float = FOREVER) -> Iterator[PredictionRecord]:
        """Yield a model's predictions from `since` up to, but without, `until`, oldest first."""
        cursor: Cursor = (since, "")
        while records := self.after(model, cursor, until=until):
            yield from records
            cursor = (records[-1].at, records[-1].id)

    def after(
        self, model: str, cursor: Cursor, *, until: float = FOREVER, limit: int | None = None
    ) -> list[PredictionRecord]:
        """Return a model's predictions made after a cursor, oldest first."""
        return self._page(FROM_PREDICTIONS, "p.at", model, cursor, until, limit)

    def labeled_after(
        self, model: str, cursor: Cursor, *, until: float = FOREVER, limit: int | None = None
    ) -> list[PredictionRecord]:
        """Return a model's predictions whose label arrived after a cursor, in the order of arrival."""
        return self._page(FROM_LABELS, "l.labeled_at", model, cursor, until, limit)

    def _page(
        self, select: str, time: str, model: str, cursor: Cursor, until: float, limit: int | None
    ) -> list[PredictionRecord]:
        rows = self.query(
            f"{select} WHERE p.model = ? AND {time} < ? AND ({time} > ? OR ({time} = ? AND p.id > ?)) "
            f"ORDER BY {time}, p.id LIMIT {limit or PAGE_SIZE:d}",
            [model, min(until, 1e300), cursor[0], cursor[0], cursor[1]],
        )
        return [_record(row) for row in rows]

    def latest(self, model: str, *, until: float = FOREVER, limit: int | None = None) -> list[PredictionRecord]:
        """Return a model's last predictions before a time, oldest first."""
        statement = (
            f"{FROM_PREDICTIONS} WHERE p.model = ? AND p.at < ? "
            f"ORDER BY p.at DESC, p.id DESC LIMIT {limit or PAGE_SIZE:d}"
        )
        return [_record(row) for row in reversed(self.query(statement, [model, min(until, 1e300)]))]

    def shadow_count(self, model: str, version: str, *, since: float = 0.0) -> int:
        """Return how many of a model's rows a version has predicted as a shadow since a time."""
        statement = (
            "SELECT count(*) FROM shadows s JOIN predictions p ON p.id = s.id "
            "WHERE p.model = ? AND s.version = ? AND s.at >= ?"
        )
        return int(self.query(statement, [model, version, since])[0][0])

    def version_counts(self, model: str, *, since: float, until: float, shadow: bool = False) -> dict[str, int]:
        """Return the number of a model's predictions in a time span by version, or of those made as a shadow."""
        table, join = ("s", "JOIN shadows s ON s.id = p.id ") if shadow else ("p", "")
        statement = (
            f"SELECT {table}.version, count(*) FROM predictions p {join}"  # noqa: S608 # fixed names
            f"WHERE p.model = ? AND p.at >= ? AND p.at < ? GROUP BY {table}.version ORDER BY {table}.version"
        )
        rows = self.query(statement, [model, since, min(until, 1e300)])
        return {str(version): int(n_rows) for version, n_rows in rows}

    def label_count(self, model: str, *, since: float) -> int:
        """Return how many of a model's predictions from a time on have a label."""
        statement = "SELECT count(*) FROM labels l JOIN predictions p ON p.id = l.id WHERE p.model = ? AND p.at >= ?"
        return int(self.query(statement, [model, since])[0][0])

    def start_of_labels(self, model: str, version: str, *, last: int, until: Cursor) -> float | None:
        """Return the time of the first prediction among a version's `last` ones whose label arrived up to a cursor."""
        statement = (
            "SELECT min(at) FROM (SELECT p.at AS at FROM labels l JOIN predictions p ON p.id = l.id "
            "WHERE p.model = ? AND p.version = ? AND (l.labeled_at < ? OR (l.labeled_at = ? AND p.id <= ?)) "
            "ORDER BY l.labeled_at DESC, p.id DESC LIMIT ?) AS last"
        )
        at = self.query(statement, [model, version, until[0], until[0], until[1], last])[0][0]
        return None if at is None else float(at)

    def count(self) -> tuple[int, int]:
        """Return the number of predictions and of labels."""
        n_predictions, n_labels = (
            int(self.query(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 # fixed names
            for table in ("predictions", "labels")
        )
        return n_predictions, n_labels

    def delete_before(self, time: float) -> None:
        """Delete what was made before a time, and labels that arrived before it and belong to no prediction."""
        self.execute_many("DELETE FROM predictions WHERE at < ?", [(time,)])
        self.execute_many("DELETE FROM shadows WHERE at < ?", [(time,)])
        self.execute_many("DELETE FROM request_counts WHERE at < ?", [(time,)])
        self.execute_many(
            "DELETE FROM labels WHERE labeled_at < ? AND id NOT IN (SELECT id FROM predictions)", [(time,)]
        )

    @abstractmethod
    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query with `?` as placeholders."""

    @abstractmethod
    def execute_many(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement once per tuple of values, all in one transaction."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


def _record(row: Sequence[Any]) -> PredictionRecord:
    return decoded(PredictionRecord, ALL_COLUMNS, row)
