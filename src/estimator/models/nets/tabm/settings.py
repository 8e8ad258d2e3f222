"""TabM: the settings of the net, its fit, and the fitted net as nodes of the graph."""

from __future__ import annotations

import math
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
from estimator.models.cost import FitCost, FitShape, LibraryCost
from estimator.models.dataset import EncodedFitData, EncodedRows
from estimator.models.matrix import FittedMatrixModel, MatrixModel
from estimator.models.nets import keras_names
from estimator.models.nets.callbacks import CallbackState
from estimator.models.nets.curves import measure
from estimator.models.nets.keras_object import read_keras_object
from estimator.models.nets.loop import run_epochs
from estimator.models.nets.tabm.inputs import Inputs
from estimator.models.nets.tabm.target import TargetTransform
from estimator.models.progress import Progress, silent

if TYPE_CHECKING:
    from estimator.models.nets.tabm.network import TabMNetwork

STATE_FILE = "tabm.safetensors"
MIN_BATCH_SIZE, MAX_BATCH_SIZE, N_BATCHES = 32, 256, 80
# The default number of epochs makes about this many row visits.
MIN_EPOCHS, MAX_EPOCHS, ROW_VISITS = 12, 40, 400_000


class TabM(MatrixModel):
    """An ensemble of small nets with shared kernels, on numbers encoded by bins (Gorishniy et al., 2025, "TabM")."""

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
    library_cost: ClassVar[LibraryCost] = LibraryCost(2.5, 280_000_000)
    members: Annotated[int, Field(ge=1)] = Field(8, description="number of nets whose predictions are averaged")
    width: Annotated[int, Field(ge=1)] = Field(96, description="units of each hidden layer")
    depth: Annotated[int, Field(ge=1)] = Field(2, description="hidden layers")
    bins: Annotated[int, Field(ge=1)] = Field(
        40, description="maximum number of bins that encode a number, at its quantiles"
    )
    embedding: Annotated[int, Field(ge=1)] = Field(8, description="size of the embedding of a number")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.1, description="fraction of units dropped in training")
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        0.004, description="peak learning rate: it warms up, then decays to 0"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.02, description="of AdamW (Loshchilov and Hutter, 2019)")
    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="maximum number of epochs; default: 40, and fewer beyond 10,000 rows"
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        12, description="epochs without improvement before stopping; 0: never stop early"
    )
    batch_size: Annotated[int, Field(ge=1)] | None = Field(
        None, description="rows per step; default: 32 to 256, by the number of rows"
    )
    log_target: bool | None = Field(
        None, description="regression: fit the logarithm of the target; default: only if the target is skewed"
    )

    def fit_cost(self, shape: FitShape, training: Training) -> FitCost:
        # Early stopping usually leaves two thirds of the epochs.
        n_epochs = self.epochs or max(1, round(_epochs(shape.n_rows) * (0.66 if self.patience else 1.0)))
        # Of the default size, which is 8 members, 96 units and 2 hidden layers.
        size = self.members * self.width / (8 * 96)
        visit_seconds = (1e-5 + 1.6e-6 * shape.n_columns) * size * max(self.depth, 1) / 2
        n_multiplied = self.members * self.width * (self.embedding * shape.n_columns + self.depth * self.width)
        return FitCost(n_epochs * shape.n_rows * visit_seconds, 1.5e-10 * n_multiplied)

    @property
    def ignores_offset(self) -> bool:
        return not self.log_target

    @property
    def loss_degree(self) -> int | None:
        return 2

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
            from estimator.models.nets.tabm.trainer import TabMTrainer, TrainingSchedule
        device.cache_compilations()
        uses_validation = data.has_validation
        rows, eval_rows = (data.fit_rows, data.validation_rows) if uses_validation else (data.rows, data.held_out)
        initial = self._start(rows, data.task, training.seed, start)
        schedule = TrainingSchedule(
            self.epochs or _epochs(len(rows)),
            self.batch_size or _batch_size(len(rows)),
            self.learning_rate,
            training.seed,
            initial.transform.scale**2,
        )
        trainer = TabMTrainer(
            initial.network,
            initial.weights,
            (initial.inputs.lower, initial.inputs.slope),
            _net_rows(rows, initial),
            schedule,
            eval_rows=_net_rows(eval_rows, initial) if eval_rows else None,
        )
        callbacks = self.callbacks(uses_validation=uses_validation)
        result = run_epochs(
            trainer,
            epochs=schedule.epochs,
            learning_rate=schedule.learning_rate,
            callbacks=callbacks,
            progress=progress,
            measure=measure(data, callbacks, lambda weights: replace(initial, weights=weights), rows, eval_rows),
        )
        if not np.isfinite(result.curves[-1]["loss"]):
            raise TrainingError("the loss is no longer finite", hint="lower model.learning_rate")
        fitted = replace(initial, weights=result.weights, curves=result.curves, summary=result.summary)
        if not initial.transform.is_log:
            return fitted
        factor_rows = data.validation_rows if uses_validation else rows
        predictions = fitted.predict(factor_rows.matrix)
        return replace(fitted, transform=initial.transform.with_factor(factor_rows, predictions))

    def callbacks(self, *, uses_validation: bool) -> list[CallbackState]:
        """Return the stop at a loss that is not finite and, with validation rows, the choice of the best epoch."""
        callbacks = [_callback_state({"name": "terminate_on_nan"})]
        if uses_validation:
            best: dict[str, Any] = {"name": "model_checkpoint"}
            if self.patience:
                best = {"name": "early_stopping", "patience": self.patience, "restore_best_weights": True}
            # The first epoch has no earlier one to wait for, and an infinite loss is never the best.
            callbacks.append(replace(_callback_state(best), best=math.inf, waited=-1))
        return callbacks

    def _start(self, rows: EncodedRows, task: Task, seed: int, start: Mapping[str, bytes] | None) -> FittedTabM:
        """Return the net before its first step: with random weights, or those of an earlier version."""
        if start is None:
            inputs = Inputs.of(rows.matrix, self.bins)
            transform = TargetTransform.of(rows, log=self.log_target) if task.is_regression else TargetTransform()
            weights = self._random_weights(inputs, task, seed)
            return FittedTabM(task, self._network(task), inputs, weights, transform)
        if STATE_FILE not in start:
            raise TrainingError(
                f"the version to continue from has no state/{STATE_FILE}: it is another kind of model",
                hint="leave out training.pretrained (--from), or set model.kind to that version's",
            )
        inputs, weights, transform = read_state(start[STATE_FILE])
        if _shapes(weights) != _shapes(self._random_weights(inputs, task, seed)):
            raise TrainingError(
                "the version to continue from has another architecture than the config",
                hint="set model.members, width, depth and embedding as there, or leave out training.pretrained",
            )
        return FittedTabM(task, self._network(task), inputs, weights, transform)

    def _random_weights(self, inputs: Inputs, task: Task, seed: int) -> dict[str, Any]:
        from estimator.models.nets.tabm.network import start_weights

        n_outputs = task.n_outputs if task.kind == "multiclass" else 1
        return start_weights(self._network(task), inputs, n_outputs=n_outputs, seed=seed)

    def _network(self, task: Task) -> TabMNetwork:
        from estimator.models.nets.tabm.network import TabMNetwork

        adamw = {"name": "adamw", "weight_decay": self.weight_decay, "beta_2": 0.99}
        optimizer = read_keras_object(adamw, keras_names.OPTIMIZERS, "optimizer")
        return TabMNetwork(task.kind, self.members, self.width, self.depth, self.embedding, self.dropout, optimizer)


@dataclass(frozen=True)
class FittedTabM(FittedMatrixModel):
    """The inputs, the weights by name, and the transform of a numeric target."""

    tolerance: ClassVar[float] = 1e-5
    network: Any = None
    inputs: Any = None
    weights: Any = None
    transform: Any = None

    def predict(self, matrix: Floats) -> Floats:
        from estimator.models.nets.device import in_blocks
        from estimator.models.nets.tabm.network import compiled_predictions

        run, bins = compiled_predictions(self.network), (self.inputs.lower, self.inputs.slope)
        output = in_blocks(lambda rows: run(self.weights, bins, rows), self.inputs.values(matrix)).astype(np.float64)
        if self.task.is_regression:
            numbers: Floats = self.transform.invert(output[:, 0])
            return numbers
        return output

    def write(self, graph: Graph, matrix: str) -> str:
        numbers, indicators = self.inputs.nodes(graph, matrix)
        values = Value(graph, graph("Concat", *self._coded(numbers), indicators.name, axis=1), np.float32)
        values = _new_axis(values, 1) * _constant(graph, self.weights["signs"])
        for layer in range(self.network.depth):
            values = values.op("MatMul", _constant(graph, self.weights[f"kernel{layer}"]))
            values = (values + _constant(graph, self.weights[f"bias{layer}"])).op("Relu")
        head = graph("Einsum", values.name, _constant(graph, self.weights["head"]).name, equation="rmw,mwo->rmo")
        output = Value(graph, head, np.float32) + _constant(graph, self.weights["offset"])
        output = Value(graph, graph("Cast", output.name, to=DOUBLE))
        if self.task.kind == "binary":
            output = logistic(Value(graph, graph("Concat", (-output).name, output.name, axis=2)))
        elif self.task.kind == "multiclass":
            output = output.op("Softmax", axis=2)
        mean = Value(graph, graph("ReduceMean", output.name, graph.constant([1], np.int64), keepdims=0))
        if self.task.is_regression:
            inverted: Value = self.transform.invert(mean)
            return inverted.name
        return mean.name

    def _coded(self, numbers: Value) -> tuple[str, ...]:
        """Write the numbers encoded by bins (rows, numbers * embedding), if there are any."""
        if not self.inputs.n_numbers:
            return ()
        graph = numbers.graph
        parts = (_new_axis(numbers, 2) - _constant(graph, self.inputs.lower)) * _constant(graph, self.inputs.slope)
        parts = parts.op("Max", 0.0).op("Min", 1.0)
        scaled = numbers / 3.0
        soft = _new_axis(numbers / np.sqrt(scaled * scaled + 1.0), 2)
        both = graph("Concat", parts.name, soft.name, axis=2)
        coded = graph("Einsum", both, _constant(graph, self.weights["coding"]).name, equation="rnb,nbe->rne")
        return (graph("Flatten", coded, axis=1),)

    def state(self) -> Mapping[str, bytes]:
        return {STATE_FILE: write_state(self.inputs, self.weights, self.transform)}


def write_state(inputs: Inputs, weights: Mapping[str, Any], transform: TargetTransform) -> bytes:
    """Return a fitted net as safetensors: "inputs.<name>", "weights.<name>" and "target_transform"."""
    from safetensors.numpy import save

    arrays = {f"inputs.{item.name}": getattr(inputs, item.name) for item in fields(Inputs)}
    arrays |= {f"weights.{name}": array for name, array in weights.items()}
    arrays["target_transform"] = np.array(astuple(transform), np.float64)
    content: bytes = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return content


def read_state(content: bytes) -> tuple[Inputs, dict[str, Any], TargetTransform]:
    """Read what `write_state` wrote."""
    from safetensors.numpy import load

    arrays = load(content)
    shift, scale, is_log, *others = arrays["target_transform"].tolist()
    groups: dict[str, dict[str, Any]] = {"inputs": {}, "weights": {}}
    for name, array in arrays.items():
        if "." in name:
            group, array_name = name.split(".")
            groups[group][array_name] = array
    return Inputs(**groups["inputs"]), groups["weights"], TargetTransform(shift, scale, bool(is_log), *others)


def _callback_state(content: Mapping[str, Any]) -> CallbackState:
    return CallbackState(read_keras_object(content, keras_names.CALLBACKS, "callback"))


def _constant(graph: Graph, array: Any) -> Value:
    return Value(graph, graph.constant(array, np.float32), np.float32)


def _new_axis(value: Value, position: int) -> Value:
    """Write a new axis of length 1 at a position."""
    graph = value.graph
    return Value(graph, graph("Unsqueeze", value.name, graph.constant([position], np.int64)), value.dtype)


def _batch_size(n_rows: int) -> int:
    """Return the power of two that makes about `N_BATCHES` batches, within limits."""
    return int(np.clip(1 << (n_rows // N_BATCHES).bit_length(), MIN_BATCH_SIZE, MAX_BATCH_SIZE))


def _epochs(n_rows: int) -> int:
    return int(np.clip(ROW_VISITS // n_rows, MIN_EPOCHS, MAX_EPOCHS))


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in weights.items()}


def _net_rows(rows: EncodedRows, start: FittedTabM) -> EncodedRows:
    """Return rows as the net is fitted to them: its inputs, the transformed target, weights of mean 1."""
    weights = rows.weights / (rows.weights.mean() or 1.0)
    return EncodedRows(start.inputs.values(rows.matrix), start.transform.apply(rows.target), weights)
