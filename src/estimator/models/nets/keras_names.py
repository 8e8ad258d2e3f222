"""Keras's names for dense nets with their default settings, without jax, so that a config is checked fast.

Left out, with the reason: the losses `ctc` and `circle` (sequences and embeddings, not tables), the
optimizers' `loss_scale_factor` (half precision), and wrappers of several optimizers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Settings = Mapping[str, Any]

_COMMON: Settings = {
    "weight_decay": None,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "gradient_accumulation_steps": None,
}
_ADAM: Settings = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}

OPTIMIZERS: Mapping[str, Settings] = {
    name: {**_COMMON, **settings}
    for name, settings in {
        "sgd": {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False},
        "rmsprop": {"learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False},
        "adam": {**_ADAM, "amsgrad": False},
        "adamw": {**_ADAM, "amsgrad": False, "weight_decay": 0.004},
        "adadelta": {"learning_rate": 0.001, "rho": 0.95, "epsilon": 1e-7},
        "adagrad": {"learning_rate": 0.001, "initial_accumulator_value": 0.1, "epsilon": 1e-7},
        "adamax": _ADAM,
        "nadam": _ADAM,
        "ftrl": {
            "learning_rate": 0.001,
            "learning_rate_power": -0.5,
            "initial_accumulator_value": 0.1,
            "l1_regularization_strength": 0.0,
            "l2_regularization_strength": 0.0,
            "l2_shrinkage_regularization_strength": 0.0,
            "beta": 0.0,
        },
        "lion": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.99},
        "lamb": _ADAM,
        "adafactor": {
            "learning_rate": 0.001,
            "beta_2_decay": -0.8,
            "epsilon_1": 1e-30,
            "epsilon_2": 1e-3,
            "clip_threshold": 1.0,
            "relative_step": True,
        },
        "muon": {
            "learning_rate": 0.001,
            "adam_beta_1": 0.9,
            "adam_beta_2": 0.999,
            "adam_weight_decay": 0.004,
            "epsilon": 1e-7,
            "weight_decay": 0.004,
            "muon_a": 3.4445,
            "muon_b": -4.7750,
            "muon_c": 2.0315,
            "adam_lr_ratio": 1.0,
            "momentum": 0.95,
            "ns_steps": 5,
            "nesterov": True,
            "rms_rate": 0.2,
        },
        "schedule_free_adamw": {
            "learning_rate": 0.0025,
            "beta_1": 0.9,
            "beta_2": 0.999,
            "epsilon": 1e-8,
            "warmup_steps": 0,
        },
    }.items()
}

SCHEDULES: Mapping[str, Settings] = {
    "exponential_decay": {"initial_learning_rate": ..., "decay_steps": ..., "decay_rate": ..., "staircase": False},
    "inverse_time_decay": {"initial_learning_rate": ..., "decay_steps": ..., "decay_rate": ..., "staircase": False},
    "piecewise_constant_decay": {"boundaries": ..., "values": ...},
    "polynomial_decay": {
        "initial_learning_rate": ...,
        "decay_steps": ...,
        "end_learning_rate": 0.0001,
        "power": 1.0,
        "cycle": False,
    },
    "cosine_decay": {
        "initial_learning_rate": ...,
        "decay_steps": ...,
        "alpha": 0.0,
        "warmup_target": None,
        "warmup_steps": 0,
    },
    "cosine_decay_restarts": {
        "initial_learning_rate": ...,
        "first_decay_steps": ...,
        "t_mul": 2.0,
        "m_mul": 1.0,
        "alpha": 0.0,
    },
}

ACTIVATIONS: Mapping[str, Settings] = {
    "linear": {},
    "relu": {"negative_slope": 0.0, "max_value": None, "threshold": 0.0},
    "relu6": {},
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 1.0},
    "selu": {},
    "celu": {"alpha": 1.0},
    "gelu": {"approximate": False},
    "silu": {},
    "mish": {},
    "sigmoid": {},
    "hard_sigmoid": {},
    "hard_silu": {},
    "log_sigmoid": {},
    "tanh": {},
    "hard_tanh": {},
    "tanh_shrink": {},
    "softplus": {},
    "softsign": {},
    "exponential": {},
    "squareplus": {"b": 4.0},
    "sparse_plus": {},
    "sparse_sigmoid": {},
    "soft_shrink": {"threshold": 0.5},
    "hard_shrink": {"threshold": 0.5},
    "threshold": {"threshold": ..., "default_value": ...},
    "softmax": {},
    "log_softmax": {},
    "sparsemax": {},
    "glu": {},
}

LOSSES: Mapping[str, Settings] = {
    "mean_squared_error": {},
    "mean_absolute_error": {},
    "mean_absolute_percentage_error": {},
    "mean_squared_logarithmic_error": {},
    "huber": {"delta": 1.0},
    "log_cosh": {},
    "poisson": {},
    "cosine_similarity": {},
    "hinge": {},
    "squared_hinge": {},
    "categorical_hinge": {},
    "kl_divergence": {},
    "binary_crossentropy": {"label_smoothing": 0.0},
    "binary_focal_crossentropy": {"apply_class_balancing": False, "alpha": 0.25, "gamma": 2.0, "label_smoothing": 0.0},
    "categorical_crossentropy": {"label_smoothing": 0.0},
    "sparse_categorical_crossentropy": {},
    "categorical_focal_crossentropy": {"alpha": 0.25, "gamma": 2.0, "label_smoothing": 0.0},
    "categorical_generalized_cross_entropy": {"q": 0.5},
    "dice": {},
    "tversky": {"alpha": 0.5, "beta": 0.5},
}
# Losses of one output; with two classes they need one output unit.
BINARY_LOSSES = frozenset({"binary_crossentropy", "binary_focal_crossentropy", "hinge", "squared_hinge"})
CLASS_LOSSES = BINARY_LOSSES | {
    "categorical_hinge",
    "kl_divergence",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "dice",
    "tversky",
}

INITIALIZERS: Mapping[str, Settings] = {
    "glorot_uniform": {},
    "glorot_normal": {},
    "he_uniform": {},
    "he_normal": {},
    "lecun_uniform": {},
    "lecun_normal": {},
    "random_uniform": {"minval": -0.05, "maxval": 0.05},
    "random_normal": {"mean": 0.0, "stddev": 0.05},
    "truncated_normal": {"mean": 0.0, "stddev": 0.05},
    "variance_scaling": {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"},
    "orthogonal": {"gain": 1.0},
    "identity": {"gain": 1.0},
    "constant": {"value": 0.0},
    "zeros": {},
    "ones": {},
}

CALLBACKS: Mapping[str, Settings] = {
    "early_stopping": {
        "monitor": "val_loss",
        "min_delta": 0.0,
        "patience": 0,
        "mode": "auto",
        "baseline": None,
        "restore_best_weights": False,
        "start_from_epoch": 0,
    },
    "reduce_lr_on_plateau": {
        "monitor": "val_loss",
        "factor": 0.1,
        "patience": 10,
        "mode": "auto",
        "min_delta": 1e-4,
        "cooldown": 0,
        "min_lr": 0.0,
    },
    "model_checkpoint": {"monitor": "val_loss", "mode": "auto", "save_best_only": True},
    "terminate_on_nan": {},
}

_ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "swish": "silu",
    "hard_swish": "hard_silu",
    "none": "linear",
    "normal": "random_normal",
    "uniform": "random_uniform",
    "zero": "zeros",
    "one": "ones",
    "best_weights": "model_checkpoint",
    "reduce_learning_rate_on_plateau": "reduce_lr_on_plateau",
}


def canonical(name: str, names: Iterable[str]) -> str:
    """Return the one of `names` that is meant, ignoring case and underscores; `name` itself when none matches.

    >>> canonical("MeanSquaredError", LOSSES), canonical("mse", LOSSES), canonical("LeakyReLU", ACTIVATIONS)
    ('mean_squared_error', 'mean_squared_error', 'leaky_relu')
    """
    squeezed = {_squeezed(candidate): candidate for candidate in names}
    aliases = {_squeezed(alias): _squeezed(target) for alias, target in _ALIASES.items()}
    bare = _squeezed(name)
    return squeezed.get(aliases.get(bare, bare), name)


def _squeezed(name: str) -> str:
    return name.replace("_", "").replace(" ", "").lower()
