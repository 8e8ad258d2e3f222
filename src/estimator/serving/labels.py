"""POST /v1/labels: the actual values of earlier predictions, each read as its model's target is read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from estimator.core.text import join_names
from estimator.data.labels import TargetReader
from estimator.data.schema.cells import CellError
from estimator.errors import Fault, RequestError
from estimator.prediction_log import Label
from estimator.prediction_log.writer import PAUSE_SECONDS
from estimator.serving.request_body import non_finite_values, raise_faults, read_json, repeated_keys
from estimator.serving.routes import ServerContext

KEYS = ("id", "label")
FORM = 'a list of {"id": ..., "label": ...}'


class SentLabel(NamedTuple):
    """A label as it was sent, and the number of its object in the body, from 1."""

    row: int
    id: str
    value: Any


def read_labels(body: bytes, *, max_rows: int) -> list[SentLabel]:
    """Return the labels of a JSON body, whose values are still to be read; of equal ones only the first.

    >>> read_labels(b'[{"id": "4f1c2a-0", "label": 21.5}]', max_rows=10)
    [SentLabel(row=1, id='4f1c2a-0', value=21.5)]

    Raises
    ------
    RequestError: the body has another form, is empty, or has too many labels.
    RowError: an object lacks a key, or two labels of one id differ.
    """
    content, is_strict = read_json(body)
    if not isinstance(content, list):
        raise RequestError(422, f"expected {FORM}, got {'an object' if isinstance(content, dict) else 'a value'}")
    if not content:
        raise RequestError(422, "expected at least one label, got an empty list")
    if len(content) > max_rows:
        raise RequestError(413, f"expected at most {max_rows:,} labels, got {len(content):,}")
    if not is_strict:
        raise_faults(non_finite_values(content))
    raise_faults(fault for row, item in enumerate(content, start=1) for fault in _form_faults(row, item))
    raise_faults(repeated_keys(body))
    first: dict[str, SentLabel] = {}
    for row, item in enumerate(content, start=1):
        first.setdefault(item["id"], SentLabel(row, item["id"], item["label"]))
    raise_faults(
        Fault(row, "id", item["id"], f"this id has another label in row {first[item['id']].row}")
        for row, item in enumerate(content, start=1)
        if _differ(item["label"], first[item["id"]].value)
    )
    return list(first.values())


def _form_faults(row: int, item: Any) -> Iterator[Fault]:
    if not isinstance(item, dict):
        yield Fault(row, None, item, f'expected {{"id": ..., "label": ...}}, got {item!r:.80}')
        return
    for key in KEYS:
        if key not in item:
            yield Fault(row, key, None, f"missing: expected {' and '.join(KEYS)}, got {join_names(map(repr, item))}")
    for key in item.keys() - set(KEYS):
        yield Fault(row, key, item[key], f"unknown key: expected {' and '.join(KEYS)}")
    name = item.get("id", "x")
    if not isinstance(name, str) or not name or "\x00" in name:
        yield Fault(row, "id", name, f"expected the id of a prediction, got {name!r:.80}")


def _differ(value: Any, other: Any) -> bool:
    return type(value) is not type(other) or value != other


def store_labels(context: ServerContext, sent: Sequence[SentLabel], at: float) -> dict[str, int]:
    """Store labels and return their counts: all of a body, or none.

    Raises
    ------
    RowError: a label is not one of its model's target; nothing is stored.
    SourceError: the log cannot be used.
    """
    recorder = context.recorder
    readers = {service.artefact.name: service.artefact.target_reader for service in context.services}
    ids = [label.id for label in sent]
    models = recorder.models_of(ids)
    if len(models) < len(ids):
        # A prediction that was just made reaches the log within a pause of its writer, in whichever process that is.
        time.sleep(2 * PAUSE_SECONDS)
        models = recorder.models_of(ids)
    labels: list[Label] = []
    faults: list[Fault] = []
    for label in sent:
        try:
            labels.append(Label(label.id, _read(label.value, models.get(label.id), readers)))
        except CellError as error:
            faults.append(Fault(label.row, "label", label.value, str(error)))
    recorder.count_rejected_labels(len(faults))
    raise_faults(faults)
    counts = recorder.label(labels, at)
    return {"received": len(sent), "matched": counts.matched, "replaced": counts.replaced}


def _read(value: Any, model: str | None, readers: Mapping[str, TargetReader]) -> float | str | bool:
    """Return a label as it is stored.

    The prediction may not be in the log yet. Then its model is that of the server if there is only one; of several, one
    must accept the label, and it is stored as it was sent.
    """
    if model is None and len(readers) == 1:
        (model,) = readers
    if model is not None:
        if model not in readers:
            raise CellError(f"this is a prediction of model {model!r}; this server has {join_names(readers)}")
        return readers[model].label(value)
    errors = []
    for reader in readers.values():
        try:
            reader.read(value)
        except CellError as error:
            errors.append(error)
        else:
            stored: float | str | bool = value
            return stored
    raise CellError("; or ".join(map(str, errors)))
