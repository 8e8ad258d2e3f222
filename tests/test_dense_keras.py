"""Our nets against Keras itself: the same start weights and batches give the same loss after 50 steps."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is a development dependency")

from estimator.models.dataset import EncodedRows  # noqa: E402 # the back end must be named before keras comes in
from estimator.models.nets import keras_names  # noqa: E402
from estimator.models.nets.callbacks import CallbackState, LoopControl  # noqa: E402
from estimator.models.nets.dense import trainer  # noqa: E402
from estimator.models.nets.dense.activations import ACTIVATIONS  # noqa: E402
from estimator.models.nets.dense.losses import LOSSES, batch_loss  # noqa: E402
from estimator.models.nets.dense.network import Architecture, Layer, compiled_epoch, forward, table_loss  # noqa: E402
from estimator.models.nets.device import padded_table  # noqa: E402
from estimator.models.nets.keras_object import KerasObject, read_keras_object  # noqa: E402

# Keras's arrays variables do not follow numpy 2 yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
STEPS, BATCH, INPUTS = 50, 8, 5


def named(value, defaults):
    return read_keras_object(value, defaults, "name")


def relu() -> KerasObject:
    return named("relu", keras_names.ACTIVATIONS)


def data(loss: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and a target that the loss accepts, in two outputs."""
    generator = np.random.default_rng(7)
    rows = generator.standard_normal((STEPS * BATCH, INPUTS)).astype(np.float32)
    if loss in keras_names.CLASS_LOSSES:
        return rows, np.eye(2, dtype=np.float32)[(rows[:, 0] > 0).astype(int)]
    raw = np.stack([rows[:, 0] + 2.0, np.abs(rows[:, 1]) + 1.0], axis=1)
    return rows, np.abs(raw).astype(np.float32) + 0.5


def keras_net(layers, loss, optimizer):
    """Build the same net in Keras from our layers."""
    net = keras.Sequential([keras.Input((INPUTS,))])
    for layer in layers:
        regularizer = keras.regularizers.L1L2(layer.l1, layer.l2) if layer.l1 or layer.l2 else None
        net.add(keras.layers.Dense(layer.units, use_bias=layer.use_bias, kernel_regularizer=regularizer))
        if layer.batch_normalization:
            net.add(keras.layers.BatchNormalization())
        net.add(keras.layers.Lambda(keras_activation(layer.activation), output_shape=(layer.outputs,)))
    net.compile(loss=loss, optimizer=optimizer)
    return net


def keras_activation(activation: KerasObject):
    function = getattr(keras.activations, activation.name)
    return lambda x: function(x, **activation.options)


def start_weights(layers) -> list[dict[str, np.ndarray]]:
    generator, width, weights = np.random.default_rng(3), INPUTS, []
    for layer in layers:
        arrays = {"kernel": generator.normal(0, 0.4, (width, layer.units)).astype(np.float32)}
        if layer.use_bias:
            arrays["bias"] = generator.normal(0, 0.1, layer.units).astype(np.float32)
        if layer.batch_normalization:
            arrays |= {"gamma": np.ones(layer.units, np.float32), "beta": np.zeros(layer.units, np.float32)}
            arrays |= {
                "moving_mean": np.zeros(layer.units, np.float32),
                "moving_variance": np.ones(layer.units, np.float32),
            }
        weights.append(arrays)
        width = layer.outputs
    return weights


def into_keras(net, layers, weights) -> None:
    order = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    net.set_weights([arrays[name] for arrays in weights for name in order if name in arrays])


def compare(layers, loss: KerasObject, optimizer: KerasObject, keras_loss, keras_optimizer, row_weights=None) -> None:
    """Train both over the same batches and compare the last loss of each on all rows."""
    rows, target = data(loss.name)
    weights = np.ones(len(rows)) if row_weights is None else row_weights
    start = start_weights(layers)
    net = keras_net(layers, keras_loss, keras_optimizer)
    into_keras(net, layers, start)
    net.fit(
        rows, target, sample_weight=weights.astype(np.float32), batch_size=BATCH, epochs=1, shuffle=False, verbose=0
    )
    expected = net.evaluate(rows, target, verbose=0, batch_size=len(rows))
    architecture = Architecture(tuple(layers), loss, optimizer)
    batches = trainer.Batches.of(EncodedRows(rows, target[:, 0], weights), target, BATCH)
    state = trainer.start_state(architecture, start)
    scales = np.array([0.0, 1.0, 1.0], np.float32)
    rate = np.float32(trainer.start_learning_rate(optimizer))
    order, present = batches.ordered(np.arange(len(rows)))
    evaluation = padded_table(EncodedRows(rows, target[:, 0], np.ones(len(rows))), target)
    plan = (order, present, rate, scales, np.uint32(0))
    state, _, loss_value = compiled_epoch(architecture)(state, batches.arrays, plan, evaluation)
    assert np.isfinite(expected)
    assert float(loss_value) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def two_layers(output: str = "linear") -> list[Layer]:
    return [Layer(6, relu()), Layer(2, named(output, keras_names.ACTIVATIONS))]


MSE = "mean_squared_error"


def mse() -> KerasObject:
    return named("mse", keras_names.LOSSES)


OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.5, "centered": True}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "learning_rate": 0.01}),
    ("AdamW", {}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adagrad", {"learning_rate": 0.1}),
    ("Adamax", {}),
    ("Nadam", {}),
    ("Ftrl", {"learning_rate": 0.1, "l1_regularization_strength": 0.001, "beta": 0.1}),
    ("Lion", {}),
    ("Lamb", {}),
    ("Adafactor", {}),
    ("Adafactor", {"relative_step": False, "learning_rate": 0.01}),
    ("Muon", {}),
    ("ScheduleFreeAdamW", {}),
    ("ScheduleFreeAdamW", {"warmup_steps": 10}),
    ("SGD", {"weight_decay": 0.01}),
    ("Adam", {"clipnorm": 0.1}),
    ("Adam", {"clipvalue": 0.01}),
    ("SGD", {"global_clipnorm": 0.1}),
    ("SGD", {"gradient_accumulation_steps": 5}),
    ("Adam", {"gradient_accumulation_steps": 5}),
    ("SGD", {"use_ema": True, "ema_momentum": 0.9}),
]


@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS, ids=lambda value: str(value))
def test_optimizers_take_keras_steps(name, settings):
    arrays = named({"name": name, **settings}, keras_names.OPTIMIZERS)
    theirs = getattr(keras.optimizers, name)(**settings)
    compare(two_layers(), mse(), arrays, MSE, theirs)


@pytest.mark.parametrize("name", keras_names.LOSSES)
def test_losses_have_keras_formulas_and_gradients(name):
    loss = named(name, keras_names.LOSSES)
    classes = {item.lower(): item for item in dir(keras.losses) if item[0].isupper()}
    class_name = classes.get(name.replace("_", ""))
    if class_name is None or name in ("sparse_categorical_crossentropy", "categorical_generalized_cross_entropy"):
        pytest.skip("Keras takes integer labels here; see test_integer_losses_have_keras_formulas")
    theirs = getattr(keras.losses, class_name)(**loss.options)
    rows, target = data(name)
    weights, present = np.linspace(0, 2, len(rows), dtype=np.float32), np.ones(len(rows), np.float32)
    output = jax.nn.softmax if name in keras_names.CLASS_LOSSES else jax.nn.softplus
    prediction = output(rows[:, :2] + rows[:, 2:4])
    ours = jax.value_and_grad(lambda p: batch_loss(name, loss.options, target, p, weights, present))(prediction)
    expected = jax.value_and_grad(lambda p: theirs(target, p, sample_weight=weights))(prediction)
    assert np.isfinite(expected[0])
    assert float(ours[0]) == pytest.approx(float(expected[0]), rel=1e-5)
    assert np.asarray(ours[1]) == pytest.approx(np.asarray(expected[1]), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["SparseCategoricalCrossentropy", "CategoricalGeneralizedCrossEntropy"])
def test_integer_losses_have_keras_formulas(name):
    arrays = named(name, keras_names.LOSSES)
    predictions = np.random.default_rng(0).dirichlet([1, 1, 1], 6).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 2])
    expected = getattr(keras.losses, name)(reduction="none")(labels, predictions)
    losses = LOSSES[arrays.name](np.eye(3, dtype=np.float32)[labels], predictions, **arrays.options)
    assert np.asarray(losses) == pytest.approx(np.asarray(expected), rel=1e-5)


@pytest.mark.parametrize(
    "loss", [{"name": "huber", "delta": 0.3}, {"name": "categorical_crossentropy", "label_smoothing": 0.2}]
)
def test_loss_settings_mean_the_same(loss):
    arrays = named(loss, keras_names.LOSSES)
    settings = {key: value for key, value in loss.items() if key != "name"}
    theirs = (
        keras.losses.Huber(**settings) if loss["name"] == "huber" else keras.losses.CategoricalCrossentropy(**settings)
    )
    output = "softmax" if arrays.name in keras_names.CLASS_LOSSES else "linear"
    compare(two_layers(output), arrays, named("sgd", keras_names.OPTIMIZERS), theirs, keras.optimizers.SGD())


def value_and_gradient(function, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a function's values and the gradient of their sum with random weights."""
    values, backward = jax.vjp(function, x)
    weights = np.random.default_rng(5).standard_normal(values.shape).astype(np.float32)
    return np.asarray(values), np.asarray(backward(weights)[0])


# Keras 3.15 sums cumulative sums in its sparsemax, so that its outputs do not sum to 1; ours is the paper's.
@pytest.mark.parametrize("name", [name for name in keras_names.ACTIVATIONS if name != "sparsemax"])
def test_activations_have_keras_formulas_and_gradients(name):
    value = {"name": name, "threshold": 0.2, "default_value": 0.1} if name == "threshold" else name
    activation = named(value, keras_names.ACTIVATIONS)
    x = np.random.default_rng(6).normal(0, 2, (50, 6)).astype(np.float32)
    ours = value_and_gradient(lambda x: ACTIVATIONS[name].apply(x, **activation.options), x)
    theirs = value_and_gradient(keras_activation(activation), x)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5, abs=1e-6)
    assert ours[1] == pytest.approx(theirs[1], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "relu", "negative_slope": 0.1, "max_value": 1.0, "threshold": 0.2},
        {"name": "gelu", "approximate": True},
    ],
)
def test_activation_settings_mean_the_same(settings):
    hidden = Layer(6, named(settings, keras_names.ACTIVATIONS))
    layers = [hidden, Layer(2, named("linear", keras_names.ACTIVATIONS))]
    compare(layers, mse(), named("sgd", keras_names.OPTIMIZERS), MSE, keras.optimizers.SGD())


@pytest.mark.parametrize("extra", [{"batch_normalization": True}, {"l1": 0.01, "l2": 0.02}, {"use_bias": False}])
def test_layers_do_as_in_keras(extra):
    layers = [Layer(6, relu(), **extra), Layer(2, named("linear", keras_names.ACTIVATIONS))]
    compare(layers, mse(), named("sgd", keras_names.OPTIMIZERS), MSE, keras.optimizers.SGD())


def test_row_weights_count_as_in_keras():
    weights = np.random.default_rng(1).uniform(0, 3, STEPS * BATCH)
    compare(two_layers(), mse(), named("sgd", keras_names.OPTIMIZERS), MSE, keras.optimizers.SGD(), weights)


SCHEDULES = {
    "ExponentialDecay": {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.8, "staircase": True},
    "InverseTimeDecay": {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.8},
    "PiecewiseConstantDecay": {"boundaries": [10, 20], "values": [0.1, 0.05, 0.01]},
    "PolynomialDecay": {"initial_learning_rate": 0.1, "decay_steps": 9, "power": 2.0, "cycle": True},
    "CosineDecay": {"initial_learning_rate": 0.0, "decay_steps": 20, "warmup_target": 0.1, "warmup_steps": 5},
    "CosineDecayRestarts": {"initial_learning_rate": 0.1, "first_decay_steps": 6, "m_mul": 0.9},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_follow_keras(name):
    from estimator.models.nets.schedules import rate_at

    arrays = named({"name": name, **SCHEDULES[name]}, keras_names.SCHEDULES)
    theirs = getattr(keras.optimizers.schedules, name)(**SCHEDULES[name])
    for steps in range(40):
        assert float(rate_at(arrays, np.float32(steps))) == pytest.approx(float(theirs(steps)), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", [item for item in keras_names.INITIALIZERS if item not in ("identity",)])
def test_initializers_have_keras_spread(name):
    from estimator.models.nets.dense.initializers import draw

    classes = {item.lower(): item for item in dir(keras.initializers) if item[0].isupper()}
    arrays = named(name, keras_names.INITIALIZERS)
    drawn = draw(arrays, (300, 200), np.random.default_rng(0))
    theirs = np.asarray(getattr(keras.initializers, classes[name.replace("_", "")])(**arrays.options)((300, 200)))
    assert drawn.std() == pytest.approx(theirs.std(), rel=0.03, abs=1e-9)
    assert drawn.mean() == pytest.approx(theirs.mean(), abs=0.002)
    assert np.abs(drawn).max() == pytest.approx(np.abs(theirs).max(), rel=0.25)


def controls(callback: dict, values: list[float], rate: float = 0.1) -> list[tuple[float, bool]]:
    """Return (learning rate, stop) after each epoch, given val_loss of each."""
    state, control = CallbackState(named(callback, keras_names.CALLBACKS)), LoopControl(rate)
    history = []
    for epoch, value in enumerate(values):
        state, control = state.after_epoch(epoch, {"loss": value, "val_loss": value}, control)
        history.append((round(control.learning_rate, 9), control.stop))
        if control.stop:
            break
    return history


def keras_controls(callback, values: list[float], rate: float = 0.1) -> list[tuple[float, bool]]:
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    net.compile(loss="mse", optimizer=keras.optimizers.SGD(rate))
    callback.set_model(net)
    callback.on_train_begin()
    history, net.stop_training = [], False
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"loss": value, "val_loss": value})
        history.append((round(float(net.optimizer.learning_rate), 9), bool(net.stop_training)))
        if net.stop_training:
            break
    return history


VAL_LOSSES = [[5, 4, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2], [1, 2, 3, 4, 5], [5, 4.99, 4.98, 4.97, 4.96, 4.95, 3], [1.0]]


@pytest.mark.parametrize("val_losses", VAL_LOSSES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"patience": 2},
        {"patience": 3, "min_delta": 0.05},
        {"patience": 1, "start_from_epoch": 2},
        {"patience": 2, "baseline": 2.5},
    ],
)
def test_early_stopping_stops_with_keras(val_losses, settings):
    theirs = keras_controls(keras.callbacks.EarlyStopping(**settings), val_losses)
    ours = controls({"kind": "early_stopping", **settings}, val_losses)
    assert [stop for _, stop in ours] == [stop for _, stop in theirs]


@pytest.mark.parametrize("val_losses", VAL_LOSSES)
@pytest.mark.parametrize(
    "settings", [{"patience": 1}, {"patience": 2, "cooldown": 2}, {"patience": 1, "factor": 0.5, "min_lr": 0.03}]
)
def test_reduce_on_plateau_reduces_with_keras(val_losses, settings):
    theirs = [rate for rate, _ in keras_controls(keras.callbacks.ReduceLROnPlateau(**settings), val_losses)]
    ours = [rate for rate, _ in controls({"kind": "reduce_lr_on_plateau", **settings}, val_losses)]
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_sparsemax_projects_onto_the_simplex():
    scores = np.random.default_rng(0).normal(0, 2, (50, 6)).astype(np.float32)
    projected = np.asarray(ACTIVATIONS["sparsemax"].apply(scores))
    assert projected.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-5)
    # The projection leaves the same distance to every score that stays above zero.
    for row, scored in zip(projected, scores, strict=True):
        shift = (scored - row)[row > 0]
        assert shift == pytest.approx(np.full(len(shift), shift[0]), abs=1e-5)
        assert (scored[row == 0] <= shift[0] + 1e-5).all()


def test_dropout_keeps_the_expected_value():
    import jax

    layer = Layer(4000, named("linear", keras_names.ACTIVATIONS), dropout=0.3)
    weights = [{"kernel": np.ones((1, 4000), np.float32), "bias": np.zeros(4000, np.float32)}]
    dropped, _ = forward([layer], weights, np.ones((1, 1), np.float32), present=np.ones(1), key=jax.random.key(0))
    assert float(np.mean(np.asarray(dropped) == 0)) == pytest.approx(0.3, abs=0.03)
    assert float(np.mean(dropped)) == pytest.approx(1.0, abs=0.05)


def test_the_scaled_target_changes_units_not_the_loss():
    rows, target = data("mean_squared_error")
    architecture = Architecture(tuple(two_layers()), mse(), named("sgd", keras_names.OPTIMIZERS))
    weights, arrays = start_weights(two_layers()), EncodedRows(rows, target[:, 0], np.ones(len(rows)))
    plain = table_loss(architecture, weights, *padded_table(arrays, target), np.array([0, 1, 1], np.float32))
    thousand = np.array([0, 1000, 1e6], np.float32)
    scaled = table_loss(architecture, weights, *padded_table(arrays, target * 1000), thousand)
    assert float(scaled) == pytest.approx(float(plain) * 1e6, rel=1e-5)
