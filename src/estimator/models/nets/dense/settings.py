"""Dense: the settings of a net, its fit, and the fitted net as nodes of the graph."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from estimator.config import Callback, ConfigFault, NestedError, Section, Training
from estimator.core.task import Task
from estimator.errors import TrainingError, needs_extra
from estimator.models.cost import FitCost, FitShape, LibraryCost
from estimator.models.dataset import EncodedFitData, EncodedRows
from estimator.models.matrix import MatrixModel
from estimator.models.nets import keras_names
from estimator.models.nets.curves import measure, monitoring
from estimator.models.nets.dense.fitted import STATE_FILE, FittedDense, read_state
from estimator.models.nets.dense.initializers import draw
from estimator.models.nets.keras_object import KerasObject, read_keras_object
from estimator.models.nets.loop import run_epochs
from estimator.models.progress import Progress, silent

if TYPE_CHECKING:
    from estimator.models.nets.dense.network import Architecture, Layer, TargetScaling, Weights

# Losses that a standardized target changes by a constant factor only.
_SCALED_LOSSES = frozenset({"mean_squared_error", "mean_absolute_error"})
# Losses of the difference between target and prediction, whatever their size.
_DIFFERENCE_LOSSES = _SCALED_LOSSES | {"huber", "log_cosh"}


def _json_schema(defaults: Mapping[str, keras_names.Settings]) -> WithJsonSchema:
    """Return the JSON Schema of a Keras object: one of the names, in any spelling, or a mapping with settings."""
    return WithJsonSchema({"anyOf": [{"enum": list(defaults)}, {"type": ["string", "object", "null"]}]}, "validation")


Activation = Annotated[
    KerasObject,
    BeforeValidator(lambda value: read_keras_object(value or "linear", keras_names.ACTIVATIONS, "activation")),
    _json_schema(keras_names.ACTIVATIONS),
]
Optimizer = Annotated[
    KerasObject,
    BeforeValidator(lambda value: read_keras_object(value, keras_names.OPTIMIZERS, "optimizer")),
    _json_schema(keras_names.OPTIMIZERS),
]
Loss = Annotated[
    KerasObject,
    BeforeValidator(lambda value: read_keras_object(value, keras_names.LOSSES, "loss")),
    _json_schema(keras_names.LOSSES),
]
Initializer = Annotated[
    KerasObject,
    BeforeValidator(lambda value: read_keras_object(value, keras_names.INITIALIZERS, "initializer")),
    _json_schema(keras_names.INITIALIZERS),
]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
NotNegative = Annotated[float, Field(ge=0.0)]


def _named(name: str, defaults: Mapping[str, keras_names.Settings]) -> KerasObject:
    return read_keras_object(name, defaults, "name")


class LayerSettings(Section):
    """One hidden layer, where it differs from the settings for all layers."""

    units: Annotated[int, Field(ge=1, le=65536)] = Field(description="outputs of the layer")
    activation: Activation | None = Field(None, description="Keras's name, or a mapping with its settings")
    dropout: Rate | None = Field(None, description="fraction of outputs dropped in training")
    batch_normalization: bool | None = Field(None, description="normalize before the activation")
    use_bias: bool = Field(True, description="add a bias per unit")
    l1: NotNegative | None = Field(None, description="l1 penalty of the kernel")
    l2: NotNegative | None = Field(None, description="l2 penalty of the kernel")


def _as_layer(value: object) -> object:
    return {"units": value} if isinstance(value, int) and not isinstance(value, bool) else value


HiddenLayer = Annotated[LayerSettings, BeforeValidator(_as_layer, json_schema_input_type=int | LayerSettings)]


class Dense(MatrixModel):
    """A dense net with Keras's layers, activations, losses, optimizers, initializers and callbacks."""

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
    library_cost: ClassVar[LibraryCost] = LibraryCost(2.0, 250_000_000)
    default_callbacks: ClassVar[tuple[Callback, ...]] = (
        Callback(kind="early_stopping", patience=10, restore_best_weights=True),
    )
    layers: Sequence[
        Annotated[LayerSettings, BeforeValidator(_as_layer, json_schema_input_type=int | LayerSettings)]
    ] = Field(
        [LayerSettings(units=64), LayerSettings(units=64), LayerSettings(units=32)],
        description="units of the hidden layers, or mappings with units and more",
    )
    activations: list[Activation] | None = Field(None, description="one per hidden layer")
    activation: Activation = Field(_named("relu", keras_names.ACTIVATIONS), description="of every hidden layer")
    output_activation: Activation | None = Field(None, description="linear, sigmoid or softmax by the task")
    output_units: int | None = Field(None, description="checked against the task when given")
    loss: Loss | None = Field(None, description="mse, binary or categorical cross-entropy by the task")
    optimizer: Optimizer = Field(_named("adam", keras_names.OPTIMIZERS), description="Keras's name or a mapping")
    kernel_initializer: Initializer = Field(
        _named("glorot_uniform", keras_names.INITIALIZERS), description="start weights of the kernels"
    )
    bias_initializer: Initializer = Field(_named("zeros", keras_names.INITIALIZERS), description="of the biases")
    dropout: Rate = Field(0.0, description="after every hidden layer")
    batch_normalization: bool = Field(False, description="in every hidden layer")
    l1: NotNegative = Field(0.0, description="l1 penalty of every kernel")
    l2: NotNegative = Field(0.0, description="l2 penalty of every kernel")
    scale_target: bool = Field(True, description="regression: fit the standardized target, predict in its units")

    def fit_cost(self, shape: FitShape, training: Training) -> FitCost:
        units = [shape.width, *(layer.units for layer in self.layers), shape.n_outputs]
        n_weights = sum(before * after for before, after in itertools.pairwise(units))
        # Forward, and backward twice.
        step_seconds = 1e-4 + 8e-11 * 3 * n_weights * training.batch_size
        n_steps = training.epochs * -(-shape.n_rows // training.batch_size)
        return FitCost(n_steps * step_seconds, 1e-8 * shape.width + 1e-10 * n_weights)

    @property
    def ignores_offset(self) -> bool:
        is_linear = self.output_activation is None or self.output_activation.name == "linear"
        return is_linear and (self.loss is None or self.loss.name in _DIFFERENCE_LOSSES)

    @property
    def loss_degree(self) -> int | None:
        if not self.ignores_offset:
            return None
        return 2 if self.loss is None else {"mean_squared_error": 2, "mean_absolute_error": 1}.get(self.loss.name)

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
        names = [settings["activation"]] if "activation" in changed else named
        indices = range(len(settings["layers"]))
        return settings | {"activations": [names[min(index, len(names) - 1)] for index in indices]}

    def callback_faults(self, callbacks: Sequence[Section]) -> list[ConfigFault]:
        """Return the faults of callbacks that have an unknown name or setting."""
        faults: list[ConfigFault] = []
        for position, callback in enumerate(callbacks):
            try:
                read_keras_object(callback.model_dump(), keras_names.CALLBACKS, "callback")
            except NestedError as error:
                faults += [replace(fault, path=(position, *fault.path)) for fault in error.faults]
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
            from estimator.models.nets.dense.trainer import DenseTrainer, start_learning_rate
        device.cache_compilations()
        architecture = self.architecture(data.task)
        callbacks = [monitoring(_callback(item.model_dump()), data.metrics) for item in training.callbacks]
        uses_validation = any(callback.monitors_validation for callback in callbacks) and data.has_validation
        rows, eval_rows = (data.fit_rows, data.validation_rows) if uses_validation else (data.rows, data.held_out)
        weights, scaling = self._start_weights(architecture, data, training, start)
        trainer = DenseTrainer(
            architecture,
            weights,
            rows,
            self._encoded_target(rows, data.task),
            scaling,
            eval_rows=(eval_rows, self._encoded_target(eval_rows, data.task)) if eval_rows else None,
            batch_size=training.batch_size,
            seed=training.seed,
        )
        result = run_epochs(
            trainer,
            epochs=training.epochs,
            learning_rate=start_learning_rate(architecture.optimizer),
            callbacks=callbacks,
            progress=progress,
            measure=measure(
                data, callbacks, lambda weights: FittedDense(data.task, architecture, weights, scaling), rows, eval_rows
            ),
        )
        if not np.isfinite(result.curves[result.best_epoch]["loss"]):
            raise TrainingError("the loss is no longer finite", hint="lower the learning rate, or set clipnorm: 1.0")
        return FittedDense(
            data.task, architecture, result.weights, scaling, curves=result.curves, summary=result.summary
        )

    def architecture(self, task: Task) -> Architecture:
        """Return the layers, loss and optimizer for a task.

        Raises
        ------
        TrainingError: a setting does not suit the task.
        """
        from estimator.models.nets.dense.network import Architecture, Layer

        loss = self.loss or _named(_default_loss(task), keras_names.LOSSES)
        units = _output_units(task, loss)
        if self.output_units is not None and self.output_units != units:
            raise TrainingError(
                f"model.layers: the output layer has {self.output_units} units, but {_describe(task)} needs {units}"
            )
        if task.is_regression and loss.name in keras_names.CLASS_LOSSES:
            raise TrainingError(
                f"model.loss: {loss.name!r} is a loss of classes, but the target is a number",
                hint="use mse, mae, huber, ... or set data.task: classification",
            )
        default = "linear" if task.is_regression else "sigmoid" if units == 1 else "softmax"
        output = self.output_activation or _named(default, keras_names.ACTIVATIONS)
        hidden = tuple(
            Layer(
                units=item.units,
                activation=item.activation or (self.activations[index] if self.activations else self.activation),
                use_bias=item.use_bias,
                batch_normalization=self.batch_normalization
                if item.batch_normalization is None
                else item.batch_normalization,
                dropout=self.dropout if item.dropout is None else item.dropout,
                l1=self.l1 if item.l1 is None else item.l1,
                l2=self.l2 if item.l2 is None else item.l2,
            )
            for index, item in enumerate(self.layers)
        )
        return Architecture((*hidden, Layer(units, output, l1=self.l1, l2=self.l2)), loss, self.optimizer)

    def _start_weights(
        self, architecture: Architecture, data: EncodedFitData, training: Training, start: Mapping[str, bytes] | None
    ) -> tuple[Weights, TargetScaling]:
        width = data.rows.width
        fresh = self._random_weights(architecture.layers, width, training.seed)
        if start is None:
            return fresh, self._target_scaling(architecture, data)
        if STATE_FILE not in start:
            raise TrainingError(
                f"the version to continue from has no state/{STATE_FILE}: it is another kind of model",
                hint="leave out training.pretrained (--from), or set model.kind to that version's",
            )
        weights, scaling = read_state(start[STATE_FILE])
        ours, theirs = _shapes(fresh), _shapes(weights)
        if ours != theirs:
            raise TrainingError(
                f"the version to continue from has another architecture: expected {ours}, got {theirs}",
                hint="set model.layers to those of that version, or leave out training.pretrained (--from)",
            )
        return weights, scaling

    def _random_weights(self, layers: Sequence[Layer], width: int, seed: int) -> Weights:
        generator, weights = np.random.default_rng([seed, 0]), []
        for layer in layers:
            arrays = {"kernel": draw(self.kernel_initializer, (width, layer.units), generator)}
            if layer.use_bias:
                arrays["bias"] = draw(self.bias_initializer, (layer.units,), generator)
            if layer.batch_normalization:
                ones, zeros = np.ones(layer.units, np.float32), np.zeros(layer.units, np.float32)
                arrays |= {"gamma": ones, "beta": zeros, "moving_mean": zeros, "moving_variance": ones}
            weights.append(arrays)
            width = layer.outputs
        return weights

    def _target_scaling(self, architecture: Architecture, data: EncodedFitData) -> TargetScaling:
        """Return the target's mean and standard deviation, where the loss allows standardizing."""
        from estimator.models.nets.dense.network import TargetScaling

        linear = architecture.layers[-1].activation.name == "linear"
        if not (data.task.is_regression and self.scale_target and linear and architecture.loss.name in _SCALED_LOSSES):
            return TargetScaling()
        shift, scale = float(data.rows.target.mean()), float(data.rows.target.std()) or 1.0
        return TargetScaling(shift, scale, scale**2 if architecture.loss.name == "mean_squared_error" else scale)

    def _encoded_target(self, rows: EncodedRows, task: Task) -> Any:
        if task.is_regression:
            return rows.target.reshape(-1, 1)
        loss = self.loss or _named(_default_loss(task), keras_names.LOSSES)
        if _output_units(task, loss) == 1:
            return rows.target.reshape(-1, 1)
        return np.eye(task.n_outputs)[rows.target.astype(np.int64)]


def _callback(content: Mapping[str, Any]) -> KerasObject:
    try:
        return read_keras_object(content, keras_names.CALLBACKS, "callback")
    except ValueError as error:
        raise TrainingError(f"training.callbacks: {error}") from error


def _default_loss(task: Task) -> str:
    return {"regression": "mse", "binary": "binary_crossentropy"}.get(task.kind, "categorical_crossentropy")


def _output_units(task: Task, loss: KerasObject) -> int:
    is_single = task.kind == "binary" and (
        loss.name in keras_names.BINARY_LOSSES or loss.name not in keras_names.CLASS_LOSSES
    )
    return 1 if task.is_regression or is_single else task.n_outputs


def _describe(task: Task) -> str:
    return "a regression" if task.is_regression else f"a classification with {task.n_outputs} classes"


def _shapes(weights: Weights) -> list[list[tuple[int, ...]]]:
    return [[layer[name].shape for name in sorted(layer)] for layer in weights]
