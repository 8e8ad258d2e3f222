"""The sections of a config: a key is a field, and its default and description are written here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from estimator.config.data import Data
from estimator.config.engine import EngineChoice
from estimator.config.evaluation import Evaluation
from estimator.config.faults import ConfigFault, NestedError
from estimator.config.formula import FormulaError, evaluation_order, parse_formula
from estimator.config.monitoring import Duration, Monitoring, Promotion, Retraining
from estimator.config.schema import SchemaChoices
from estimator.config.secrets import Secrets
from estimator.config.section import ColumnName, Fraction, Section, Size, Text
from estimator.config.tuning import Tuning

MODEL_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")


class EncoderChoice(Section):
    """How one column is encoded."""

    encoder: str = Field(
        description="standard (scaled number), raw (number as it is), onehot, codes (category as an integer), "
        "target_mean, words or tfidf (free text), calendar or calendar_standard (parts of a date, as "
        "they are or scaled)"
    )


class FeatureChoices(Section):
    """How columns become numbers; the kind of model decides what is left out."""

    max_categories: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="columns with more categories are encoded by the mean of the target instead of one-hot or as "
        "codes; when left out, by the kind of model",
    )
    target_smoothing: Annotated[float, Field(ge=0)] = Field(
        20.0, description="weight of the overall mean in target encoding, in rows"
    )
    columns: dict[ColumnName, EncoderChoice] = Field({}, description="encoder of each column or formula, by name")
    formulas: dict[ColumnName, Text] = Field(
        {},
        description="features that are computed of columns, each by its name: price / area, month(sold_on), "
        "'north' if city in ['Kiel', 'Hamburg'] else 'south'",
    )

    made: Literal["none", "auto"] = Field(
        "none",
        description="auto: ratios, products, sums and differences of numbers, and days between dates, become formulas, "
        "if they lower the out-of-fold loss of a quick model",
    )

    @field_validator("formulas")
    @classmethod
    def _can_be_read(cls, formulas: dict[str, str]) -> dict[str, str]:
        faults = [fault for name, text in formulas.items() for fault in _formula_faults(name, text)]
        if faults:
            raise NestedError(faults)
        try:
            evaluation_order(formulas)
        except FormulaError as error:
            raise NestedError([ConfigFault((), error.message, error.hint)]) from None
        return formulas

    @property
    def formula_columns(self) -> frozenset[str]:
        """The names of the columns that formulas use."""
        named = (column.value for text in self.formulas.values() for column in parse_formula(text).columns)
        return frozenset(str(name) for name in named if name not in self.formulas)


def _formula_faults(name: str, text: str) -> Iterator[ConfigFault]:
    if not name.strip():
        yield ConfigFault((name,), "expected a name")
    try:
        parse_formula(text)
    except FormulaError as error:
        yield ConfigFault((name,), error.message, error.hint)


ROW_RANGE = re.compile(r"(\d+)-(\d+)")


def row_ranges(text: str) -> list[tuple[int, int]]:
    """Return ranges of row numbers, which count from 1, as (first, last).

    >>> row_ranges("1-20,41-60")
    [(1, 20), (41, 60)]
    """
    matches = [ROW_RANGE.fullmatch(part.strip()) for part in text.split(",")]
    if not all(matches):
        raise ValueError(f"expected row numbers such as 801-1000, got {text!r}")
    return [(int(match[1]), int(match[2])) for match in matches if match is not None]


class Split(Section):
    """Which rows are held out as the test set of the report."""

    kind: Literal["random", "group", "time", "column", "rows"] = Field(
        "random",
        description="random: rows at random; group: whole groups of `column`; time: the latest rows by `column`; "
        "column: the rows where `column` has the value `test`; rows: the row numbers in `test`",
    )
    column: ColumnName | None = Field(
        None, description="column of groups, times or set names; required for the kinds group, time and column"
    )
    test: Text = Field(
        "test", description='kind column: value that marks the test rows; kind rows: row numbers such as "801-1000"'
    )
    unused: Text | None = Field(
        None, description="kind rows: row numbers used neither for training nor for testing; none when left out"
    )
    in_order: bool = Field(
        False,
        description="kind rows: rows that follow each other may be alike, so folds and validation rows are blocks, "
        "not drawn at random; retraining sets it",
    )

    @model_validator(mode="after")
    def _has_row_numbers(self) -> Split:
        if self.kind == "rows":
            for text in (self.test, *([self.unused] if self.unused else [])):
                row_ranges(text)
        elif self.in_order:
            raise ValueError(f"in_order is of the kind rows, not {self.kind}")
        elif self.kind != "random" and self.column is None:
            raise ValueError(f"kind {self.kind} needs `column`: the name of a column")
        return self


class Callback(Section):
    """A Keras callback of the dense net: `kind` and Keras's own arguments."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = Field(description="early_stopping, reduce_lr_on_plateau, model_checkpoint or terminate_on_nan")


def _as_callback(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


class Training(Section):
    """How a model is trained, and on which rows."""

    pretrained: Text | None = Field(
        None,
        description="version to continue from: MODEL@ALIAS, MODEL/VERSION or its folder; `train` starts from its "
        "weights, as with --from; from random weights when left out",
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of the split, the initial weights and the shuffling")
    effort: Literal["quick", "standard", "high"] = Field(
        "standard",
        description="how much to try: by the rows of the table, it chooses validation.folds, model.members and the "
        "rows that each member learns from, where the config leaves them out",
    )
    time_limit: Duration | None = Field(
        None,
        description="chooses a smaller effort until the forecast of the training keeps this time; a forecast is no "
        "promise",
    )
    memory_limit: Size | None = Field(
        None,
        description="memory that training may use, such as 4GB; a table that does not fit is kept in files of "
        "training.scratch and read in part; nine tenths of the free memory when left out",
    )
    scratch: Text | None = Field(
        None,
        description="folder for what does not fit into memory, relative to the config; empty again at the end; the "
        "store when left out",
    )
    test_size: Fraction = Field(0.2, description="fraction of rows held out for the report")
    split: Split = Field(Split(), description="how the held-out rows are chosen")
    refit_full: bool = Field(
        False,
        description="after the report, train the version once more on all rows, held-out ones included; the scores "
        "are those of the model before",
    )
    validation_size: Annotated[float, Field(gt=0.0, lt=0.9)] = Field(
        0.15, description="fraction of the training rows used for early stopping and callbacks"
    )
    epochs: Annotated[int, Field(ge=1)] = Field(100, description="dense: passes over the training rows")
    batch_size: Annotated[int, Field(ge=1)] = Field(32, description="dense: rows per gradient step")
    callbacks: list[Annotated[Callback, BeforeValidator(_as_callback, json_schema_input_type=str | Callback)]] = Field(
        [],
        description="dense: Keras callbacks, called in order after each epoch; `monitor` is loss, val_loss or a "
        "metric, such as val_mae or val_auc, whose `mode` is the metric's own",
    )
    class_weight: Literal["balanced"] | dict[Text, float] | None = Field(
        None,
        description="classification: balanced (classes weigh the same in total), or a weight for each class; when left "
        "out, all rows weigh the same",
    )


class Validation(Section):
    """Cross-validation: for ensemble weights, prediction intervals and comparisons of versions."""

    folds: Annotated[int, Field(ge=0, le=50)] = Field(
        5,
        description="folds of the training rows, assigned as in training.split; 1: one split, which holds out "
        "training.validation_size of them (split conformal), for large tables; 0: no folds and no intervals",
    )
    repeats: Annotated[int, Field(ge=1, le=20)] = Field(1, description="times the rows are reshuffled into new folds")
    coverage: Fraction = Field(
        0.9, description="fraction of actual values that prediction intervals, or sets of classes, are to cover"
    )


class Canary(Section):
    """Another version that predicts a share of the requests: its responses are sent and logged."""

    version: Text = Field(
        description="alias, such as candidate, or a version; no canary while it is not set, or is the live version"
    )
    share: Fraction = Field(0.05, description="fraction of the requests that it predicts; all rows of one go together")
    by: ColumnName | None = Field(
        None,
        description="column, such as customer_id, whose value in a request's first row decides, so that equal values "
        "stay with one version; when left out, or missing in the row, the random id of the request decides",
    )


class Serving(Section):
    """How the HTTP server listens, which requests it accepts and what it logs."""

    host: str = Field("127.0.0.1", description="address to listen on; a public address requires an API key")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="port to listen on; 0 picks a free port")
    workers: Annotated[int, Field(ge=1)] = Field(1, description="processes that share the port; each loads the model")
    label: str | None = Field(
        None, description='name of the prediction in the tutorial\'s route; "Prediction <target>" when left out'
    )
    max_body_bytes: Annotated[int, Field(ge=1)] = Field(
        10_000_000, description="largest request body, in bytes; larger ones get HTTP 413"
    )
    max_rows: Annotated[int, Field(ge=1)] = Field(10_000, description="most rows per request; more get HTTP 413")
    max_concurrent: Annotated[int, Field(ge=1)] = Field(
        1000, description="most concurrent requests per worker; more get HTTP 503"
    )
    request_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        30, description="seconds within which a request must arrive completely; else HTTP 408"
    )
    rate_limit: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="requests per second and API key, over all workers; more get HTTP 429; without keys, all clients "
        "share it; no limit when left out",
    )
    api_key_env: str | None = Field(
        None, description="environment variable that holds an API key; when left out, only keys_file holds keys"
    )
    keys_file: str | None = Field(
        None, description="file of API keys that `estimator key` writes, reloaded when it changes; none when left out"
    )
    tls_certificate: str | None = Field(
        None, description="PEM file with the TLS certificate and its chain; plain HTTP when left out"
    )
    tls_key: str | None = Field(None, description="PEM file with the private key of tls_certificate; required with it")
    prediction_log: str | None = Field(
        None,
        description="where predictions are logged: a SQLite file, or postgresql://me:${PASSWORD}@host/db; nowhere when "
        "left out",
    )
    log_retention_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="days after which logged predictions are deleted; kept forever when left out"
    )
    log_overflow: Literal["drop", "reject"] = Field(
        "drop", description="when the log falls behind: drop leaves predictions unlogged, reject responds with HTTP 503"
    )
    shadow: str | None = Field(
        None,
        description="alias, such as candidate, whose version also predicts every request, for the log only; none when "
        "left out",
    )
    canary: Canary | None = Field(
        None, description="another version that predicts a share of the requests; none when left out"
    )
    private_columns: list[ColumnName] = Field([], description="columns that are never written to the log")
    traces: bool = Field(
        False, description="send an OpenTelemetry span per request, as the OTEL_ environment variables say"
    )
    access_log: bool = Field(False, description="write a JSON line per request to stderr, without values of its rows")
    page: bool = Field(
        True,
        description="serve the model as a web page at /; where API keys are required, to browsers that are signed in",
    )


class Image(Section):
    """How a version becomes a container image."""

    base: Text | None = Field(
        None,
        description="base image with Python in /usr/local, or scratch: Python and nothing else, that of this machine "
        "or, by an engine, that of its official image; python:<version>-slim when left out",
    )
    python: Annotated[Text, Field(pattern=r"^3\.\d+$")] | None = Field(
        None, description="Python version of the base image, such as 3.11; the running one when left out"
    )
    architecture: Literal["amd64", "arm64"] | None = Field(
        None, description="processor: amd64 (Intel, AMD) or arm64 (ARM); this machine's when left out"
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(5000, description="port inside the container")
    extras: list[Literal["batch", "sql", "traces"]] = Field(
        [],
        description="optional parts to install: batch (tables over HTTP), sql (log in PostgreSQL), traces "
        "(OpenTelemetry)",
    )
    max_size_mb: Annotated[float, Field(gt=0)] = Field(
        500, description="largest uncompressed size of the image, in MB; larger images are rejected"
    )
    labels: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")], Text] = Field(
        {}, description="image labels, added to the standard OCI ones"
    )


class ContinuousIntegration(Section):
    """What the workflow files of `estimator init --ci` install."""

    package: Text | None = Field(
        None,
        description="this package for pip: a path below the top of the repository, such as tools/estimator, or the URL "
        "of a wheel; when left out, `estimator init --ci` writes a wheel of the installed one to .ci/",
    )

    @field_validator("package")
    @classmethod
    def _check_package(cls, package: str | None) -> str | None:
        if package is not None and "://" not in package and (package[:1] in "/~" or ".." in package.split("/")):
            raise ValueError(f"expected a path below the top of the repository, or a URL, got {package!r}")
        return package


class Config(Section):
    """A whole config file: all that is needed to train, serve, deploy and monitor one model."""

    name: Annotated[Text, Field(pattern=MODEL_NAME.pattern)] | None = Field(
        None, description="name of the model in the store; the data file's name when left out"
    )
    purpose: str | None = Field(
        None, description="what the model is for, and what it is not for; shown in the model card; none when left out"
    )
    store: str | None = Field(
        None,
        description="folder of all versions, or an address such as s3://bucket/models; when left out, the variable "
        "ESTIMATOR_STORE, else the folder models",
    )
    data: Data
    schema_: SchemaChoices = Field(SchemaChoices(), alias="schema")
    features: FeatureChoices = FeatureChoices()
    model: SerializeAsAny[Section] = Field(description="`kind` and the settings of that kind")
    training: Training = Training()
    validation: Validation = Validation()
    engine: EngineChoice | None = Field(
        None, description="where fits of folds run; when left out, the variable ESTIMATOR_ENGINE, else local"
    )
    tuning: Tuning = Tuning()
    evaluation: Evaluation = Evaluation()
    serving: Serving = Serving()
    image: Image = Image()
    ci: ContinuousIntegration = ContinuousIntegration()
    deployment: SerializeAsAny[Section] | None = Field(
        None, description="`kind` and the settings of that kind; docker when left out"
    )
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()
    promotion: Promotion = Promotion()
    secrets: Secrets = Secrets()


def model_data(config: Config, kind: str) -> dict[str, Any]:
    """Return the config as JSON-ready data, every default filled in."""
    data = config.model_dump(mode="json", by_alias=True)
    data["model"] = {"kind": kind, **data["model"]}
    return data
