"""Cells and names of columns that look like credentials, by the form that services give their keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from estimator.core.credentials import ANCHORS, Credential, find_credentials, redacted
from estimator.data.schema.dtypes import nested_noun
from estimator.data.schema.occurrences import Occurrences, occurrences_at


@dataclass(frozen=True, slots=True)
class CredentialCells:
    """A credential in a column, and where; without rows, it is in the column's name, which no message shows."""

    column: str
    position: int
    credential: Credential
    occurrences: Occurrences | None

    def __str__(self) -> str:
        item = self.credential
        place = f"the name of column {self.position}"
        if self.occurrences is not None:
            name = f"column {self.position}" if list(_credentials(self.column)) else f"column {self.column!r}"
            place = f"{name}: {self.occurrences}"
        return f"{place}: looks like {item.rule}, fingerprint {item.fingerprint}"


def credential_cells(columns: Iterable[pl.Series], allowed: Collection[str] = ()) -> list[CredentialCells]:
    """Return what looks like a credential in a table's texts and names, without the fingerprints that are `allowed`.

    Only what has a form of its own counts: a random text may be an id.
    """
    found: list[CredentialCells] = []
    for position, series in enumerate(columns, start=1):
        texts: dict[str, Occurrences | None] = {series.name: None, **_suspicious(series)}
        cells: dict[str, CredentialCells] = {}
        for text, occurrences in texts.items():
            for item in _credentials(text):
                cells.setdefault(item.value, CredentialCells(series.name, position, item, occurrences))
        found += cells.values()
    return [cell for cell in found if cell.credential.fingerprint not in allowed]


def redacted_cells(frame: pl.DataFrame, allowed: Collection[str] = ()) -> pl.DataFrame:
    """Return a table whose credentials are replaced by their fingerprints, for people to look at."""
    changed = []
    for series in frame.iter_columns():
        texts = [text for text in _suspicious(series) if _credentials(text)]
        if texts:
            shown = [redacted(text, allowed, assignments=False) for text in texts]
            changed.append(series.cast(pl.String).str.strip_chars().replace(texts, shown))
    return frame.with_columns(changed)


def _suspicious(series: pl.Series) -> dict[str, Occurrences | None]:
    """Return the texts of a column that hold the beginning of a key."""
    if nested_noun(series.dtype) is not None or not isinstance(series.dtype, pl.String | pl.Categorical | pl.Enum):
        return {}
    positions = np.flatnonzero(series.cast(pl.String).str.contains_any(list(ANCHORS)).fill_null(value=False))
    return dict(occurrences_at(series, positions)) if len(positions) else {}


def _credentials(text: str) -> list[Credential]:
    return list(find_credentials(text, assignments=False))
