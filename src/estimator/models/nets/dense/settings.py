"""Dense: the settings of a net, its fit, and the fitted net as nodes of the graph."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from estimator.config import Callback, Section, Training
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.errors import TrainingError, needs_extra
from estimator.graph.builder import DOUBLE, FLOAT, Graph, Value
from estimator.models.dataset import EncodedFitData, EncodedRows
from estimator.models.matrix import FittedMatrixModel, MatrixModel
from estimator.models.nets.dense import vocabulary
from estimator.models.nets.dense.words import Word, read_word
from estimator.models.probabilities import write_binary_probabilities
from estimator.models.progress import Progress, silent

if TYPE_CHECKING:
    from estimator.models.nets.dense.network import Architecture, Layer, Units, Weights

STATE_FILE = "weights.safetensors"
# Losses for which a standardised target means the same, up to a factor, in the target's units.
_SCALED_LOSSES = frozenset({"mean_squared_error", "mean_absolute_error"})

Activation = Annotated[
    Word, BeforeValidator(lambda value: read_word(value or "linear", vocabulary.ACTIVATIONS, "activation"))
]
Optimizer = Annotated[Word, BeforeValidator(lambda value: read_word(value, vocabulary.OPTIMIZERS, "optimizer"))]
Loss = Annotated[Word, BeforeValidator(lambda value: read_word(value, vocabulary.LOSSES, "loss"))]
Initializer = Annotated[Word, BeforeValidator(lambda value: read_word(value, vocabulary.INITIALIZERS, "initializer"))]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
NotNegative = Annotated[float, Field(ge=0.0)]


def _word(name: str, words: Mapping[str, vocabulary.Settings]) -> Word:
    return read_word(name, words, "word")


class LayerSettings(Section):
    """One hidden layer where it differs from the settings of all."""

    units: Annotated[int, Field(ge=1, le=65536)] = Field(description="outputs of the layer")
    activation: Activation | None = Field(None, description="Keras's name, or a mapping with its settings")
    dropout: Rate | None = Field(None, description="share of outputs switched off while training")
    batch_normalization: bool | None = Field(None, description="normalise before the activation")
    use_bias: bool = Field(True, description="add a bias per unit")
    l1: NotNegative | None = Field(None, description="l1 penalty of the kernel")
    l2: NotNegative | None = Field(None, description="l2 penalty of the kernel")


def _as_layer(value: object) -> object:
    return {"units": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Dense(MatrixModel):
    """A dense net with Keras's layers, activations, losses, optimisers, initialisers and callbacks."""

    matrix_kind: ClassVar[Literal["scaled", "raw"]] = "scaled"
    max_categories: ClassVar[int] = 50
    supports_warm_start: ClassVar[bool] = True
    default_space: ClassVar[Mapping[str, Any]] = {
        "model.layers": {"count": {"low": 1, "high": 4}, "units": {"low": 16, "high": 256, "log": True}},
        "model.activation": ["relu", "gelu", "swish"],
        "model.optimizer.learning_rate": {"low": 0.0003, "high": 0.03, "log": True},
        "model.dropout": [0.0, 0.05, 0.1, 0.2, 0.3, 0.5],
        "training.batch_size": [8, 16, 32, 64],
    }
    distributions: ClassVar[tuple[str, ...]] = ("jax",)
    default_callbacks: ClassVar[tuple[Callback, ...]] = (
        Callback(kind="early_stopping", patience=10, restore_best_weights=True),
    )
    layers: Sequence[Annotated[LayerSettings, BeforeValidator(_as_layer)]] = Field(
        [LayerSettings(units=64), LayerSettings(units=64), LayerSettings(units=32)],
        description="units of the hidden layers, or mappings with units and more",
    )
    activations: list[Activation] | None = Field(None, description="one per hidden layer")
    activation: Activation = Field(_word("relu", vocabulary.ACTIVATIONS), description="of every hidden layer")
    output_activation: Activation | None = Field(None, description="linear, sigmoid or softmax by the task")
    output_units: int | None = Field(None, description="checked against the task when given")
    loss: Loss | None = Field(None, description="mse, binary or categorical cross-entropy by the task")
    optimizer: Optimizer = Field(_word("adam", vocabulary.OPTIMIZERS), description="Keras's name or a mapping")
    kernel_initializer: Initializer = Field(
        _word("glorot_uniform", vocabulary.INITIALIZERS), description="start weights of the kernels"
    )
    bias_initializer: Initializer = Field(_word("zeros", vocabulary.INITIALIZERS), description="of the biases")
    dropout: Rate = Field(0.0, description="after every hidden layer")
    batch_normalization: bool = Field(False, description="in every hidden layer")
    l1: NotNegative = Field(0.0, description="l1 penalty of every kernel")
    l2: NotNegative = Field(0.0, description="l2 penalty of every kernel")
    scale_target: bool = Field(True, description="regression: learn the standardised target, answer in its units")

    @model_validator(mode="after")
    def _one_activation_per_layer(self) -> Dense:
        if self.activations is not None and len(self.activations) != len(self.layers):
            raise ValueError(
                f"activations: expected one per hidden layer ({len(self.layers)}), got {len(self.activations)}"
            )
        return self

    @classmethod
    def with_dependent_settings(cls, settings: dict[str, Any], changed: Collection[str]) -> dict[str, Any]:
        """Give every layer of a changed net an activation, where the config names one per layer."""
        named = settings.get("activations")
        if not named or not {"layers", "activation"} & set(changed):
            return settings
        known = [settings["activation"]] if "activation" in changed else named
        places = range(len(settings["layers"]))
        return settings | {"activations": [known[min(place, len(known) - 1)] for place in places]}

    def callback_faults(self, callbacks: Sequence[Section]) -> list[tuple[int, str]]:
        """Return (position, message) of each callback that has an unknown name or setting."""
        faults = []
        for position, callback in enumerate(callbacks):
            try:
                read_word(callback.model_dump(), vocabulary.CALLBACKS, "callback")
            except ValueError as error:
                faults.append((position, str(error)))
        return faults

    def fit_matrix(
        self,
        data: EncodedFitData,
        training: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedDense:
        with needs_extra("train", "model kind 'dense'"):
            from estimator.models.nets import device
            from estimator.models.nets.dense import fitting
            from estimator.models.nets.dense.callbacks import Follower
        device.keep_compilations()
        architecture = self.architecture(data.task)
        followers = tuple(Follower(_callback(item.model_dump())) for item in training.callbacks)
        decides = any(follower.decides_on_validation for follower in followers) and data.has_validation
        rows, watched = (data.fit_rows, data.validation_rows) if decides else (data.rows, data.held_out)
        weights, units = self._start(architecture, data, training, start)
        run = fitting.Run(training.epochs, training.batch_size, training.seed, followers)
        trained = fitting.fit_weights(
            architecture, weights, rows, self._truth(rows, data.task), run, units,
            watched=None if watched is None or not len(watched) else (watched, self._truth(watched, data.task)),
            progress=progress,
        )  # fmt: skip
        return FittedDense(
            data.task, architecture, trained.weights, units,
            curves=trained.curves, summary={"epochs": len(trained.curves), "best_epoch": trained.best_epoch + 1},
        )  # fmt: skip

    def architecture(self, task: Task) -> Architecture:
        """Return the layers, loss and optimiser for a task, or refuse settings that do not suit it."""
        from estimator.models.nets.dense.network import Architecture, Layer

        loss = self.loss or _word(_usual_loss(task), vocabulary.LOSSES)
        units = _output_units(task, loss)
        if self.output_units is not None and self.output_units != units:
            raise TrainingError(
                f"model.layers: the output layer has {self.output_units} units, but {_described(task)} needs {units}"
            )
        if task.is_regression and loss.name in vocabulary.LEVEL_LOSSES:
            raise TrainingError(
                f"model.loss: {loss.name!r} compares levels, but the target is a number",
                hint="use mse, mae, huber, ... or set data.task: classification",
            )
        usual = "linear" if task.is_regression else "sigmoid" if units == 1 else "softmax"
        output = self.output_activation or _word(usual, vocabulary.ACTIVATIONS)
        hidden = tuple(
            Layer(
                units=item.units,
                activation=item.activation or (self.activations[place] if self.activations else self.activation),
                use_bias=item.use_bias,
                batch_normalization=self.batch_normalization
                if item.batch_normalization is None
                else item.batch_normalization,
                dropout=self.dropout if item.dropout is None else item.dropout,
                l1=self.l1 if item.l1 is None else item.l1,
                l2=self.l2 if item.l2 is None else item.l2,
            )
            for place, item in enumerate(self.layers)
        )
        return Architecture((*hidden, Layer(units, output, l1=self.l1, l2=self.l2)), loss, self.optimizer)

    def _start(
        self, architecture: Architecture, data: EncodedFitData, training: Training, start: Mapping[str, bytes] | None
    ) -> tuple[Weights, Units]:
        width = data.rows.matrix.shape[1]
        fresh = self._drawn(architecture.layers, width, training.seed)
        if start is None:
            return fresh, self._units(architecture, data)
        if STATE_FILE not in start:
            raise TrainingError("the version to continue from holds no net", hint="leave out --from")
        weights, units = read_state(start[STATE_FILE])
        ours, theirs = _shapes(fresh), _shapes(weights)
        if ours != theirs:
            raise TrainingError(
                f"the version to continue from has another architecture: {theirs} where the config has {ours}",
                hint="set model.layers as they were, or leave out --from",
            )
        return weights, units

    def _drawn(self, layers: Sequence[Layer], width: int, seed: int) -> Weights:
        from estimator.models.nets.dense.initializers import draw

        generator, weights = np.random.default_rng([seed, 0]), []
        for layer in layers:
            own = {"kernel": draw(self.kernel_initializer, (width, layer.units), generator)}
            if layer.use_bias:
                own["bias"] = draw(self.bias_initializer, (layer.units,), generator)
            if layer.batch_normalization:
                ones, zeros = np.ones(layer.units, np.float32), np.zeros(layer.units, np.float32)
                own |= {"gamma": ones, "beta": zeros, "moving_mean": zeros, "moving_variance": ones}
            weights.append(own)
            width = layer.outputs
        return weights

    def _units(self, architecture: Architecture, data: EncodedFitData) -> Units:
        """Learn the target's location and spread from the rows, where the loss allows it."""
        from estimator.models.nets.dense.network import Units

        linear = architecture.layers[-1].activation.name == "linear"
        if not (data.task.is_regression and self.scale_target and linear and architecture.loss.name in _SCALED_LOSSES):
            return Units()
        shift, scale = float(data.rows.target.mean()), float(data.rows.target.std()) or 1.0
        return Units(shift, scale, scale**2 if architecture.loss.name == "mean_squared_error" else scale)

    def _truth(self, rows: EncodedRows, task: Task) -> Any:
        if task.is_regression:
            return rows.target.reshape(-1, 1)
        loss = self.loss or _word(_usual_loss(task), vocabulary.LOSSES)
        if _output_units(task, loss) == 1:
            return rows.target.reshape(-1, 1)
        return np.eye(task.n_outputs)[rows.target.astype(np.int64)]


@dataclass(frozen=True)
class FittedDense(FittedMatrixModel):
    """Weights as numpy arrays, layer by layer."""

    # Far outside of training, sums of hundreds in single precision are told apart by calibration.
    tolerance: ClassVar[float] = 2e-5
    architecture: Any = None
    weights: Any = None
    units: Any = None

    def predict(self, matrix: Floats) -> Floats:
        from estimator.models.nets.dense.network import answer

        output: Floats = answer(self._layers, self.weights, matrix.astype(np.float32)).astype(np.float64)
        if self._tells_odds:
            odds = output if output.shape[1] > 1 else np.column_stack([np.zeros(len(output)), output])
            raised = np.exp(odds - odds.max(axis=1, keepdims=True))
            shares: Floats = raised / raised.sum(axis=1, keepdims=True)
            return shares
        if self.task.is_regression:
            in_units: Floats = output[:, 0] * self.units.scale + self.units.shift
            return in_units
        if output.shape[1] > 1:
            return output
        positive = self._share(output)
        return np.column_stack([1.0 - positive, positive])

    def _share(self, output: Floats) -> Floats:
        """Return one output unit as the probability of the second level; hinge scores go from -1 to 1."""
        return np.clip((output + 1.0) * 0.5, 0.0, 1.0) if self._is_signed else output

    @property
    def _tells_odds(self) -> bool:
        """Whether the last layer's sums are log odds: they become probabilities in double.

        In single precision a sure answer is 0 or 1, and calibration could not tell it from a surer one.
        """
        last = self.architecture.layers[-1]
        usual = "sigmoid" if last.outputs == 1 else "softmax"
        return not self.task.is_regression and not self._is_signed and last.activation == Word(name=usual)

    @property
    def _layers(self) -> tuple[Any, ...]:
        """The layers that compute in single precision."""
        *first, last = self.architecture.layers
        return (*first, replace(last, activation=Word(name="linear"))) if self._tells_odds else (*first, last)

    @property
    def _is_signed(self) -> bool:
        return self.architecture.loss.name in ("hinge", "squared_hinge")

    def write(self, graph: Graph, matrix: str) -> str:
        value = Value(graph, graph("Cast", matrix, to=FLOAT), np.float32)
        for layer, own in zip(self._layers, self.weights, strict=True):
            value = _write_layer(value, layer, own)
        output = Value(graph, graph("Cast", value.name, to=DOUBLE))
        if self._tells_odds:
            one = self.architecture.layers[-1].outputs == 1
            odds = graph("Concat", (output * 0.0).name, output.name, axis=1) if one else output.name
            return graph("Softmax", odds, axis=1)
        if self.task.is_regression:
            in_units: Value = output * self.units.scale + self.units.shift
            return in_units.name
        if self.architecture.layers[-1].outputs > 1:
            return output.name
        if self._is_signed:
            output = ((output + 1.0) * 0.5).op("Max", 0.0).op("Min", 1.0)
        return write_binary_probabilities(graph, output.name)

    def state(self) -> Mapping[str, bytes]:
        return {STATE_FILE: write_state(self.weights, self.units)}


def _write_layer(value: Value, layer: Any, own: Mapping[str, Any]) -> Value:
    from estimator.models.nets.dense.activations import ACTIVATIONS
    from estimator.models.nets.dense.network import NORM_EPSILON

    graph = value.graph
    kernel, bias = own["kernel"], own.get("bias")
    if layer.batch_normalization:
        # At answering time the normalisation is one more scale and shift of the kernel's outputs.
        scale = own["gamma"] / np.sqrt(own["moving_variance"] + NORM_EPSILON)
        bias = own["beta"] + ((0.0 if bias is None else bias) - own["moving_mean"]) * scale
        kernel = kernel * scale
    inputs = [value.name, graph.constant(kernel, np.float32)]
    inputs += [] if bias is None else [graph.constant(bias, np.float32)]
    summed = Value(graph, graph("Gemm", *inputs), np.float32)
    return ACTIVATIONS[layer.activation.name].write(summed, **layer.activation.options)


def write_state(weights: Weights, units: Units) -> bytes:
    """Return weights as safetensors, named "<layer>.<array>", with the target's units as metadata."""
    from safetensors.numpy import save

    arrays = {
        f"{place}.{name}": np.ascontiguousarray(array)
        for place, own in enumerate(weights)
        for name, array in own.items()
    }
    described = {"units": json.dumps([units.shift, units.scale, units.baseline])}
    content: bytes = save(arrays, metadata=described)
    return content


def read_state(content: bytes) -> tuple[Weights, Units]:
    """Return what `write_state` was given."""
    from safetensors.numpy import load

    from estimator.models.nets.dense.network import Units

    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    weights: Weights = []
    for name, array in sorted(load(content).items(), key=lambda item: int(item[0].split(".")[0])):
        place, part = name.split(".")
        weights.extend({} for _ in range(int(place) + 1 - len(weights)))
        weights[int(place)][part] = array
    return weights, Units(*json.loads(header["__metadata__"]["units"]))


def _callback(content: Mapping[str, Any]) -> Word:
    try:
        return read_word(content, vocabulary.CALLBACKS, "callback")
    except ValueError as error:
        raise TrainingError(f"training.callbacks: {error}") from error


def _usual_loss(task: Task) -> str:
    return {"regression": "mse", "binary": "binary_crossentropy"}.get(task.kind, "categorical_crossentropy")


def _output_units(task: Task, loss: Word) -> int:
    one_share = task.kind == "binary" and (
        loss.name in vocabulary.BINARY_LOSSES or loss.name not in vocabulary.LEVEL_LOSSES
    )
    return 1 if task.is_regression or one_share else task.n_outputs


def _described(task: Task) -> str:
    return "a regression" if task.is_regression else f"a classification with {task.n_outputs} levels"


def _shapes(weights: Weights) -> list[list[tuple[int, ...]]]:
    return [[own[name].shape for name in sorted(own)] for own in weights]
