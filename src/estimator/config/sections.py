"""The sections of a config: a key is a field, its default is written here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, SerializeAsAny, Tag, field_validator, model_validator

from estimator.config.monitoring import Monitoring, Promotion, Retraining
from estimator.config.section import Section, Share, Text


class Data(Section):
    """Where the rows are and which column is to be predicted."""

    path: Text | list[Text] = Field(
        description="a file, a pattern, a folder of parts, or a list of them; or an address: sqlite://, postgresql://, "
        "s3://, https://. ${NAME} in it stands for an environment variable"
    )
    target: Text = Field(description="the column to predict")
    query: Text | None = Field(None, description="of a database: a SELECT, or a table's name")
    kind: str | None = Field(None, description="the kind of source; told by the ending when left out")
    delimiter: str | None = Field(None, description="what parts the cells of a csv; told from its header when left out")
    on_bad_lines: Literal["error", "skip"] = Field(
        "error", description="what happens to lines of a csv with too few or too many cells"
    )
    drop: list[Text] = Field([], description="columns to leave out; they may be present later and are ignored")
    sample_weight: Text | None = Field(None, description="a column of row weights, at least 0")
    task: Literal["auto", "regression", "classification"] = Field(
        "auto", description="auto: words and two-valued targets are classified, numbers are predicted"
    )

    positive_class: Text | None = Field(None, description="of two levels, the one that probabilities and f1 speak of")


class ColumnChoices(Section):
    """What is known about one column; keys that are left out are inferred from the table."""

    kind: str | None = Field(
        None,
        description="number, integer, boolean, category, date, datetime, text (free text), identifier or constant (both "
        "not features); inferred from the values when left out",
    )
    nullable: bool | None = Field(
        None,
        description="true: values may be missing; false: a missing value is an error; when left out, true if na_values is "
        "given or a value is missing in the table",
    )
    na_values: list[Text] | None = Field(
        None,
        description='spellings of a missing value, such as ["999", "unknown"]; the empty cell always is one; when left '
        "out, the usual spellings (NA, null, ?, ...) that occur in the table",
    )
    range: tuple[float | None, float | None] | None = Field(
        None, description="[low, high]: other values are errors; null leaves an end open; no bounds when left out"
    )
    unknown: Literal["other", "error", "missing"] | None = Field(
        None,
        description="what a category that is not in the training rows becomes: other (a category of its own, the "
        "default), missing (a missing value), error (rejected)",
    )
    unit: str | None = Field(None, description='unit shown in reports and API docs, such as "m2"; none when left out')
    aliases: list[Text] = Field([], description="other names under which the column is accepted")
    strip: list[Text] = Field([], description='text around a number that is removed: ["$", "km", "%"]')
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        "", description='thousands separator of numbers written as text: "," "." " " or "\'"; "" for none'
    )
    decimal: Literal[".", ","] = Field(".", description='decimal separator of numbers written as text: "." or ","')
    units: dict[Text, float] = Field(
        {}, description='units that follow a number, and the factor to multiply it by: {"m2": 10.764}'
    )
    date_formats: list[Text] = Field(
        [], description='strptime formats, tried in order: ["%d.%m.%Y"]; inferred when empty'
    )
    pattern: str | None = Field(
        None,
        description="regular expression; only its first group is kept of a text that matches; unused when left out",
    )
    ignore_case: bool = Field(
        False, description="compare categories in lower case, with outer blanks removed and inner blanks collapsed"
    )
    replace: dict[Text, Text] = Field({}, description='spellings and the values they stand for: {"two": "2"}')


class SchemaChoices(Section):
    """The schema of the table: what each column is and accepts."""

    file: Text | None = Field(
        None, description="path of a reviewed schema file; when left out, the schema is inferred from the training rows"
    )
    na_values: list[Text] = Field(
        [], description="more spellings of a missing value, for every column, besides the usual ones (NA, null, ?, ...)"
    )
    unknown_columns: Literal["error", "ignore"] = Field(
        "error", description="columns that the schema does not have: error rejects the rows, ignore drops the columns"
    )
    columns: dict[Text, ColumnChoices] = Field({}, description="what is known about each column, by its name")


class EncoderChoice(Section):
    """How one column is encoded."""

    encoder: str = Field(description="the encoder's kind")


class FeatureChoices(Section):
    """How columns become numbers; the model's family decides unless told otherwise."""

    max_categories: Annotated[int, Field(ge=1)] | None = Field(
        None, description="most levels a category may have before target means replace indicators or codes"
    )
    target_smoothing: Annotated[float, Field(ge=0)] = Field(
        20.0, description="rows' worth of the overall mean in target means"
    )
    columns: dict[Text, EncoderChoice] = Field({}, description="encoders by column")


RANGE = re.compile(r"(\d+)-(\d+)")


def row_ranges(text: str) -> list[tuple[int, int]]:
    """Return numbers of rows, which count from 1, as first and last.

    >>> row_ranges("1-20,41-60")
    [(1, 20), (41, 60)]
    """
    found = [RANGE.fullmatch(part.strip()) for part in text.split(",")]
    if not all(found):
        raise ValueError(f"expected numbers of rows such as 801-1000, got {text!r}")
    return [(int(match[1]), int(match[2])) for match in found if match is not None]


class Split(Section):
    """Which rows are held out: they are never learned from and give the report's figures."""

    kind: Literal["random", "group", "time", "column", "rows"] = Field("random", description="how rows are dealt")
    column: Text | None = Field(None, description="the column of groups, of times, or of parts")
    test: Text = Field(
        "test", description="kind column: the value that marks the held-out rows; kind rows: numbers such as 801-1000"
    )
    unused: Text | None = Field(None, description="kind rows: numbers of rows neither learned from nor held out")

    @model_validator(mode="after")
    def _has_numbers(self) -> Split:
        if self.kind == "rows":
            for text in (self.test, *([self.unused] if self.unused else [])):
                row_ranges(text)
        return self


class Callback(Section):
    """A Keras callback of the dense net: `kind` and Keras's own arguments."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str = Field(description="early_stopping, reduce_lr_on_plateau, learning_rate_schedule, terminate_on_nan")


class Training(Section):
    """How a model is fitted and on which rows."""

    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the split, the start weights and the shuffling")
    test_size: Share = Field(0.2, description="share of rows held out for the report")
    split: Split = Field(Split(), description="how the held-out rows are chosen")
    validation_size: Annotated[float, Field(gt=0.0, lt=0.9)] = Field(
        0.15, description="share of the training rows that early stopping and callbacks look at"
    )
    epochs: Annotated[int, Field(ge=1)] = Field(100, description="dense: passes over the rows")
    batch_size: Annotated[int, Field(ge=1)] = Field(32, description="dense: rows per step")
    callbacks: list[Callback] = Field([], description="dense: Keras's callbacks")
    class_weight: Literal["balanced"] | dict[Text, float] | None = Field(
        None, description="weights of the levels of a classification"
    )


class Validation(Section):
    """How rows take turns in being held out, for weights of an ensemble, for intervals and for comparisons."""

    folds: Annotated[int, Field(ge=0, le=50)] = Field(
        5, description="parts of the training rows, dealt as the split is; 0 leaves intervals out"
    )
    repeats: Annotated[int, Field(ge=1, le=20)] = Field(1, description="times that rows are dealt anew")
    coverage: Share = Field(0.9, description="share of truths that an answer's interval, or set of levels, is to hold")

    @field_validator("folds")
    @classmethod
    def _more_than_one(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one part cannot be held out and learned from; give 0, or 2 and more")
        return folds


class Range(Section):
    """Numbers of a search, from low to high."""

    low: float = Field(description="the smallest")
    high: float = Field(description="the largest")
    log: bool = Field(False, description="search the order of size: 0.01 to 0.1 as thoroughly as 0.1 to 1")
    integer: bool = Field(False, description="whole numbers only")

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"expected low below high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, got {self.low:g}")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"integer needs whole numbers, got {self.low:g} and {self.high:g}")
        return self


class Layers(Section):
    """Architectures of a search: how many hidden layers, and the units of each."""

    count: Range = Field(description="how many")
    units: Range = Field(description="outputs of each")

    @field_validator("count", "units", mode="before")
    @classmethod
    def _whole(cls, value: object) -> object:
        return {"integer": True, **value} if isinstance(value, Mapping) else value


def _form(value: object) -> str:
    if isinstance(value, Layers) or (isinstance(value, Mapping) and {"count", "units"} & set(value)):
        return "[Layers]"
    return "[Range]" if isinstance(value, Mapping | Range) else "[list]"


Dimension = Annotated[
    Annotated[Range, Tag("[Range]")]
    | Annotated[Layers, Tag("[Layers]")]
    | Annotated[list[Any], Field(min_length=1), Tag("[list]")],
    Discriminator(_form),
]
LIMIT = re.compile(r"\s*(>=|<=)\s*([-+.\deE]+)\s*")


class Tuning(Section):
    """Which settings are searched, for how long, and what the best must keep to."""

    space: dict[Text, Dimension] = Field(
        {}, description="a key of model, training or features -> a list of choices, or {low, high, log, integer}; "
        "model.layers: {count: {low, high}, units: {low, high}}; what suits the kind when left out"
    )  # fmt: skip
    n_trials: Annotated[int, Field(ge=1)] = Field(50, description="settings that are tried, in all runs together")
    metric: str | None = Field(None, description="what is searched for; the first of evaluation.metrics")
    limits: dict[Text, float | str] = Field(
        {}, description='most latency_ms (one row, median) and size_mb of the graph; or a metric: {"recall": ">= 0.6"}'
    )
    sample: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="share, or from 1 on number, of rows for a first pass that drops the worse half"
    )
    study: Text = Field(
        "tuning/journal.log", description="where trials are kept, a file or postgresql://; ${NAME} as in data.path"
    )

    @field_validator("limits")
    @classmethod
    def _readable(cls, limits: dict[str, float | str]) -> dict[str, float | str]:
        for name, limit in limits.items():
            if isinstance(limit, str) and not LIMIT.fullmatch(limit):
                raise ValueError(f"{name}: expected a number, or >= or <= and a number, got {limit!r}")
        return limits


class Evaluation(Section):
    """What the report says about the held-out rows."""

    metrics: list[str] = Field([], description="the first one decides; the task's usual ones when left out")
    confidence: Share = Field(0.95, description="of the metrics' confidence intervals")
    bootstrap_samples: Annotated[int, Field(ge=100)] = Field(
        1000, description="bootstrap bootstrap_samples of the rows"
    )
    importance_repeats: Annotated[int, Field(ge=0)] = Field(
        3, description="shuffles per column; 0 leaves importance out, dependence and contributions too"
    )
    fairness_columns: list[str] = Field(
        [], description="columns whose groups are compared, features or not, such as sex or region"
    )


class Serving(Section):
    """How the server listens and answers."""

    host: str = Field("127.0.0.1", description="a public address needs a key")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="0 picks a free one")
    workers: Annotated[int, Field(ge=1)] = Field(1, description="processes that share the port, each with the model")
    label: str | None = Field(None, description='of the tutorial route; "Prediction <target>" when left out')
    max_body_bytes: Annotated[int, Field(ge=1)] = Field(10_000_000, description="larger bodies get 413")
    max_rows: Annotated[int, Field(ge=1)] = Field(10_000, description="more rows in one request get 413")
    max_concurrent: Annotated[int, Field(ge=1)] = Field(1000, description="more requests at once, per worker, get 503")
    request_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        30, description="a request that takes longer to come gets 408"
    )
    rate_limit: Annotated[float, Field(gt=0)] | None = Field(
        None, description="requests per second and key, over all workers; more get 429; without keys, all share it"
    )
    api_key_env: str | None = Field(None, description="name of the environment variable that holds a key")
    keys_file: str | None = Field(
        None, description="file of keys that `estimator key` writes, read again when it changes"
    )
    tls_certificate: str | None = Field(None, description="file with the certificate and its chain, PEM")
    tls_key: str | None = Field(None, description="file with the certificate's key, PEM")
    prediction_log: str | None = Field(
        None, description="where answers are kept: a SQLite file, or postgresql://me:${PASSWORD}@host/db"
    )
    log_retention_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="of age, when answers are forgotten"
    )
    log_overflow: Literal["drop", "reject"] = Field("drop", description="the answer, or refuse its request")
    shadow: str | None = Field(None, description="alias, such as candidate, that answers a copy of the traffic, logged")
    private_columns: list[str] = Field([], description="columns that are never written to the log")
    traces: bool = Field(False, description="a span per request to where the OTEL_ variables of the environment say")
    access_log: bool = Field(False, description="a JSON line on stderr per request, without any value of its rows")
    page: bool = Field(True, description="browsers are given the model as a page at /; never when keys are asked for")


class Image(Section):
    """How a version becomes a container image."""

    base: Text | None = Field(
        None, description="an image with Python in /usr/local, else python:3.11-slim; or scratch: this Python alone"
    )
    python: Annotated[Text, Field(pattern=r"^3\.\d+$")] | None = Field(
        None, description="the base's, such as 3.11; the one that runs when left out"
    )
    architecture: Literal["amd64", "arm64"] | None = Field(None, description="this machine's when left out")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(5000, description="where it listens inside")
    extras: list[Literal["batch", "sql", "traces"]] = Field(
        [], description="batch for tables over HTTP, sql for a log in PostgreSQL, traces for OpenTelemetry"
    )
    max_size_mb: Annotated[float, Field(gt=0)] = Field(500, description="of all layers; a larger image is refused")
    labels: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")], Text] = Field(
        {}, description="beside those of the OCI image specification"
    )


class Config(Section):
    """Everything a model's life needs, in one file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")] | None = Field(
        None, description="of the model in the store; the name of the data file when left out"
    )
    purpose: str | None = Field(None, description="what the model is for and what it is not, told in its card")
    store: str | None = Field(None, description="folder of all versions; ESTIMATOR_STORE, else models")
    data: Data
    schema_: SchemaChoices = Field(SchemaChoices(), alias="schema")
    features: FeatureChoices = FeatureChoices()
    model: SerializeAsAny[Section] = Field(description="`kind` and the settings of that kind")
    training: Training = Training()
    validation: Validation = Validation()
    tuning: Tuning = Tuning()
    evaluation: Evaluation = Evaluation()
    serving: Serving = Serving()
    image: Image = Image()
    deployment: SerializeAsAny[Section] | None = Field(None, description="`kind` and the settings of that kind")
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()
    promotion: Promotion = Promotion()


def model_data(config: Config, kind: str) -> dict[str, Any]:
    """Return the config with every default filled in, as JSON-ready data."""
    data = config.model_dump(mode="json", by_alias=True)
    data["model"] = {"kind": kind, **data["model"]}
    return data
