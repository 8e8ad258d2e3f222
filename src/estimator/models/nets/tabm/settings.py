"""TabM: the settings of the net, its fit, and the fitted net as nodes of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.config import Training
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.errors import TrainingError, needs_extra
from estimator.graph.builder import DOUBLE, Graph, Value, logistic
from estimator.models.dataset import EncodedFitData, EncodedRows
from estimator.models.matrix import FittedMatrixModel, MatrixModel
from estimator.models.nets.tabm.inputs import Inputs
from estimator.models.nets.tabm.target import TargetUnits
from estimator.models.progress import Progress, silent

if TYPE_CHECKING:
    from estimator.models.nets.tabm.network import Net

STATE_FILE = "tabm.safetensors"
LEAST_BATCH, MOST_BATCH, BATCHES = 32, 256, 80
LEAST_EPOCHS, MOST_EPOCHS, VISITS = 12, 40, 400_000


class TabM(MatrixModel):
    """An ensemble of small nets that share their kernels, on numbers coded by bins (Gorishniy et al., 2025, "TabM")."""

    matrix_kind: ClassVar[Literal["scaled", "raw"]] = "scaled"
    max_categories: ClassVar[int] = 50
    supports_warm_start: ClassVar[bool] = True
    default_space: ClassVar[Mapping[str, Any]] = {
        "model.width": {"low": 32, "high": 256, "log": True, "integer": True},
        "model.depth": {"low": 1, "high": 3, "integer": True},
        "model.bins": {"low": 4, "high": 48, "log": True, "integer": True},
        "model.learning_rate": {"low": 0.0005, "high": 0.02, "log": True},
        "model.dropout": {"low": 0.0, "high": 0.4},
        "model.weight_decay": {"low": 0.001, "high": 0.2, "log": True},
    }
    distributions: ClassVar[tuple[str, ...]] = ("jax",)
    members: Annotated[int, Field(ge=1)] = Field(8, description="nets whose answers are averaged")
    width: Annotated[int, Field(ge=1)] = Field(96, description="units of each hidden layer")
    depth: Annotated[int, Field(ge=1)] = Field(2, description="hidden layers")
    bins: Annotated[int, Field(ge=1)] = Field(40, description="most bins a number is coded by, at its quantiles")
    embedding: Annotated[int, Field(ge=1)] = Field(8, description="values that a coded number becomes")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.1, description="share of units switched off in training")
    learning_rate: Annotated[float, Field(gt=0)] = Field(0.004, description="at its peak: it rises, then falls to 0")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.02, description="of AdamW (Loshchilov and Hutter, 2019)")
    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="most passes over the rows; 40, and fewer beyond 10,000 rows, when left out"
    )
    patience: Annotated[int, Field(ge=0)] = Field(12, description="epochs without gain before stopping; 0: never stop")
    batch_size: Annotated[int, Field(ge=1)] | None = Field(
        None, description="rows per step; 32 to 256 by the number of rows when left out"
    )
    log_target: bool | None = Field(
        None, description="regression: learn the logarithm of the target; by how skewed it is when left out"
    )

    def fit_matrix(
        self,
        data: EncodedFitData,
        training: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedTabM:
        with needs_extra("train", "model kind 'tabm'"):
            from estimator.models.nets import device
            from estimator.models.nets.tabm.fitting import Run, fit_weights
        device.keep_compilations()
        decides = len(data.validation_rows) > 0
        rows, watched = (data.fit_rows, data.validation_rows) if decides else (data.rows, data.held_out)
        begun = self._begun(rows, data.task, training.seed, start)
        run = Run(
            self.epochs or _epochs(len(rows)), self.batch_size or _batch_size(len(rows)), self.learning_rate,
            self.patience, training.seed, begun.units.scale**2,
        )  # fmt: skip
        trained = fit_weights(
            begun.net, begun.weights, (begun.inputs.lower, begun.inputs.slope), _learned(rows, begun), run,
            watched=_learned(watched, begun) if watched is not None and len(watched) else None,
            decides=decides, progress=progress,
        )  # fmt: skip
        summary = {"epochs": len(trained.curves), "best_epoch": trained.best_epoch + 1}
        fitted = replace(begun, weights=trained.weights, curves=trained.curves, summary=summary)
        if not begun.units.is_log:
            return fitted
        judges = data.validation_rows if decides else rows
        return replace(fitted, units=begun.units.levelled(judges, fitted.predict(judges.matrix)))

    def _begun(self, rows: EncodedRows, task: Task, seed: int, start: Mapping[str, bytes] | None) -> FittedTabM:
        """Return the net before its first step: drawn, or as an earlier version left it."""
        if start is None:
            inputs = Inputs.of(rows.matrix, self.bins)
            units = TargetUnits.of(rows, log=self.log_target) if task.is_regression else TargetUnits()
            return FittedTabM(task, self._net(task), inputs, self._drawn(inputs, task, seed), units)
        if STATE_FILE not in start:
            raise TrainingError("the version to continue from holds no tabm", hint="leave out --from")
        inputs, weights, units = read_state(start[STATE_FILE])
        if _shapes(weights) != _shapes(self._drawn(inputs, task, seed)):
            raise TrainingError(
                "the version to continue from has another architecture than the config",
                hint="set members, width, depth and embedding of model as they were, or leave out --from",
            )
        return FittedTabM(task, self._net(task), inputs, weights, units)

    def _drawn(self, inputs: Inputs, task: Task, seed: int) -> dict[str, Any]:
        from estimator.models.nets.tabm.network import start_weights

        n_outputs = task.n_outputs if task.kind == "multiclass" else 1
        return start_weights(self._net(task), inputs, n_outputs=n_outputs, seed=seed)

    def _net(self, task: Task) -> Net:
        from estimator.models.nets.dense import vocabulary
        from estimator.models.nets.dense.words import read_word
        from estimator.models.nets.tabm.network import Net

        adamw = {"name": "adamw", "weight_decay": self.weight_decay, "beta_2": 0.99}
        optimizer = read_word(adamw, vocabulary.OPTIMIZERS, "optimizer")
        return Net(task.kind, self.members, self.width, self.depth, self.embedding, self.dropout, optimizer)


@dataclass(frozen=True)
class FittedTabM(FittedMatrixModel):
    """Inputs, weights by name, and the units of a target that is a number."""

    tolerance: ClassVar[float] = 1e-5
    net: Any = None
    inputs: Any = None
    weights: Any = None
    units: Any = None

    def predict(self, matrix: Floats) -> Floats:
        from estimator.models.nets.device import in_blocks
        from estimator.models.nets.tabm.network import answers_of

        run, bins = answers_of(self.net), (self.inputs.lower, self.inputs.slope)
        answers = in_blocks(lambda rows: run(self.weights, bins, rows), self.inputs.values(matrix)).astype(np.float64)
        if self.task.is_regression:
            in_units: Floats = self.units.answers(answers[:, 0])
            return in_units
        return answers

    def write(self, graph: Graph, matrix: str) -> str:
        numbers, indicators = self.inputs.nodes(graph, matrix)
        values = Value(graph, graph("Concat", *self._coded(numbers), indicators.name, axis=1), np.float32)
        values = _axis(values, 1) * _held(graph, self.weights["signs"])
        for layer in range(self.net.depth):
            values = values.op("MatMul", _held(graph, self.weights[f"kernel{layer}"]))
            values = (values + _held(graph, self.weights[f"bias{layer}"])).op("Relu")
        head = graph("Einsum", values.name, _held(graph, self.weights["head"]).name, equation="rmw,mwo->rmo")
        output = Value(graph, head, np.float32) + _held(graph, self.weights["offset"])
        output = Value(graph, graph("Cast", output.name, to=DOUBLE))
        if self.task.kind == "binary":
            output = logistic(Value(graph, graph("Concat", (-output).name, output.name, axis=2)))
        elif self.task.kind == "multiclass":
            output = output.op("Softmax", axis=2)
        answers = Value(graph, graph("ReduceMean", output.name, graph.constant([1], np.int64), keepdims=0))
        if self.task.is_regression:
            in_units: Value = self.units.answers(answers)
            return in_units.name
        return answers.name

    def _coded(self, numbers: Value) -> tuple[str, ...]:
        """Write the numbers coded by bins (rows, numbers * embedding), if there are any."""
        if not self.inputs.n_numbers:
            return ()
        graph = numbers.graph
        parts = (_axis(numbers, 2) - _held(graph, self.inputs.lower)) * _held(graph, self.inputs.slope)
        parts = parts.op("Max", 0.0).op("Min", 1.0)
        scaled = numbers / 3.0
        soft = _axis(numbers / np.sqrt(scaled * scaled + 1.0), 2)
        both = graph("Concat", parts.name, soft.name, axis=2)
        coded = graph("Einsum", both, _held(graph, self.weights["coding"]).name, equation="rnb,nbe->rne")
        return (graph("Flatten", coded, axis=1),)

    def state(self) -> Mapping[str, bytes]:
        return {STATE_FILE: write_state(self.inputs, self.weights, self.units)}


def write_state(inputs: Inputs, weights: Mapping[str, Any], units: TargetUnits) -> bytes:
    """Return what was learned as safetensors: "inputs.<name>", "weights.<name>" and "units"."""
    from safetensors.numpy import save

    arrays = {f"inputs.{item.name}": getattr(inputs, item.name) for item in fields(Inputs)}
    arrays |= {f"weights.{name}": array for name, array in weights.items()}
    arrays["units"] = np.array(astuple(units), np.float64)
    content: bytes = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return content


def read_state(content: bytes) -> tuple[Inputs, dict[str, Any], TargetUnits]:
    """Return what `write_state` was given."""
    from safetensors.numpy import load

    arrays = load(content)
    shift, scale, is_log, *others = arrays["units"].tolist()
    parts: dict[str, dict[str, Any]] = {"inputs": {}, "weights": {}}
    for name, array in arrays.items():
        if "." in name:
            part, own = name.split(".")
            parts[part][own] = array
    return Inputs(**parts["inputs"]), parts["weights"], TargetUnits(shift, scale, bool(is_log), *others)


def _held(graph: Graph, array: Any) -> Value:
    return Value(graph, graph.constant(array, np.float32), np.float32)


def _axis(value: Value, place: int) -> Value:
    """Write a new axis of length 1."""
    graph = value.graph
    return Value(graph, graph("Unsqueeze", value.name, graph.constant([place], np.int64)), value.dtype)


def _batch_size(n_rows: int) -> int:
    """Return the power of two that makes about eighty batches, within limits."""
    return int(np.clip(1 << (n_rows // BATCHES).bit_length(), LEAST_BATCH, MOST_BATCH))


def _epochs(n_rows: int) -> int:
    return int(np.clip(VISITS // n_rows, LEAST_EPOCHS, MOST_EPOCHS))


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in weights.items()}


def _learned(rows: EncodedRows, begun: FittedTabM) -> EncodedRows:
    """Return rows as the net learns them: its inputs, its units of the target, weights of mean 1."""
    weights = rows.weights / (rows.weights.mean() or 1.0)
    return EncodedRows(begun.inputs.values(rows.matrix), begun.units.learned(rows.target), weights)
