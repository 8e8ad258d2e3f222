"""Keras's losses: target and prediction of shape (rows, outputs) -> one loss per row, by Keras's formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import nn

from estimator.models.nets import Array

EPSILON = 1e-7


def _mean(terms: Array) -> Array:
    return jnp.mean(terms, axis=-1)


def _percentage(target: Array, prediction: Array) -> Array:
    return 100.0 * _mean(jnp.abs((target - prediction) / jnp.maximum(jnp.abs(target), EPSILON)))


def _squared_logarithm(target: Array, prediction: Array) -> Array:
    first = jnp.log(jnp.maximum(prediction, EPSILON) + 1.0)
    second = jnp.log(jnp.maximum(target, EPSILON) + 1.0)
    return _mean(jnp.square(first - second))


def _huber(target: Array, prediction: Array, delta: float) -> Array:
    error = prediction - target
    size = jnp.abs(error)
    return _mean(jnp.where(size <= delta, 0.5 * jnp.square(error), delta * size - 0.5 * delta**2))


def _log_cosh(target: Array, prediction: Array) -> Array:
    error = prediction - target
    return _mean(error + nn.softplus(error * -2.0) - jnp.log(2.0))


def _cosine(target: Array, prediction: Array) -> Array:
    return -jnp.sum(_unit(target) * _unit(prediction), axis=-1)


def _unit(values: Array) -> Array:
    squares = jnp.sum(jnp.square(values), axis=-1, keepdims=True)
    return values / jnp.sqrt(jnp.maximum(squares, EPSILON**2))


def _hinge(target: Array, prediction: Array) -> Array:
    return _mean(jnp.maximum(1.0 - (2.0 * target - 1.0) * prediction, 0.0))


def _squared_hinge(target: Array, prediction: Array) -> Array:
    return _mean(jnp.square(jnp.maximum(1.0 - (2.0 * target - 1.0) * prediction, 0.0)))


def _categorical_hinge(target: Array, prediction: Array) -> Array:
    positive = jnp.sum(target * prediction, axis=-1)
    negative = jnp.max((1.0 - target) * prediction, axis=-1)
    return jnp.maximum(negative - positive + 1.0, 0.0)


def _divergence(target: Array, prediction: Array) -> Array:
    target, prediction = jnp.clip(target, EPSILON, 1.0), jnp.clip(prediction, EPSILON, 1.0)
    return jnp.sum(target * jnp.log(target / prediction), axis=-1)


def _binary_terms(target: Array, prediction: Array) -> Array:
    prediction = jnp.clip(prediction, EPSILON, 1.0 - EPSILON)
    return -(target * jnp.log(prediction) + (1.0 - target) * jnp.log(1.0 - prediction))


def _binary(target: Array, prediction: Array, label_smoothing: float) -> Array:
    target = target * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return _mean(_binary_terms(target, prediction))


def _binary_focal(
    target: Array, prediction: Array, apply_class_balancing: bool, alpha: float, gamma: float, label_smoothing: float
) -> Array:
    """Lin et al. (2017), "Focal loss for dense object detection"."""
    target = target * (1.0 - label_smoothing) + 0.5 * label_smoothing
    right = target * prediction + (1.0 - target) * (1.0 - prediction)
    terms = jnp.power(1.0 - right, gamma) * _binary_terms(target, prediction)
    if apply_class_balancing:
        terms = (target * alpha + (1.0 - target) * (1.0 - alpha)) * terms
    return _mean(terms)


def _normalized(prediction: Array) -> Array:
    return jnp.clip(prediction / jnp.sum(prediction, axis=-1, keepdims=True), EPSILON, 1.0 - EPSILON)


def _smoothed(target: Array, label_smoothing: float) -> Array:
    return target * (1.0 - label_smoothing) + label_smoothing / target.shape[-1]


def _categorical(target: Array, prediction: Array, label_smoothing: float = 0.0) -> Array:
    return -jnp.sum(_smoothed(target, label_smoothing) * jnp.log(_normalized(prediction)), axis=-1)


def _categorical_focal(target: Array, prediction: Array, alpha: float, gamma: float, label_smoothing: float) -> Array:
    probabilities = _normalized(prediction)
    terms = -_smoothed(target, label_smoothing) * jnp.log(probabilities)
    return jnp.sum(alpha * jnp.power(1.0 - probabilities, gamma) * terms, axis=-1)


def _generalized(target: Array, prediction: Array, q: float) -> Array:
    """Zhang and Sabuncu (2018), "Generalized cross entropy loss"."""
    right = jnp.sum(prediction * target, axis=-1)
    return (1.0 - jnp.power(right, q)) / q


LOSSES: Mapping[str, Callable[..., Array]] = {
    "mean_squared_error": lambda target, prediction: _mean(jnp.square(target - prediction)),
    "mean_absolute_error": lambda target, prediction: _mean(jnp.abs(target - prediction)),
    "mean_absolute_percentage_error": _percentage,
    "mean_squared_logarithmic_error": _squared_logarithm,
    "huber": _huber,
    "log_cosh": _log_cosh,
    "poisson": lambda target, prediction: _mean(prediction - target * jnp.log(prediction + EPSILON)),
    "cosine_similarity": _cosine,
    "hinge": _hinge,
    "squared_hinge": _squared_hinge,
    "categorical_hinge": _categorical_hinge,
    "kl_divergence": _divergence,
    "binary_crossentropy": _binary,
    "binary_focal_crossentropy": _binary_focal,
    "categorical_crossentropy": _categorical,
    "sparse_categorical_crossentropy": _categorical,
    "categorical_focal_crossentropy": _categorical_focal,
    "categorical_generalized_cross_entropy": _generalized,
}


def _overlap(target: Array, prediction: Array, present: Array) -> Array:
    """Dice over the rows that are `present`, as one number for the batch (Milletari et al., 2016)."""
    both = jnp.sum(target * prediction * present)
    return 1.0 - 2.0 * both / (jnp.sum(target * present) + jnp.sum(prediction * present) + EPSILON)


def _tversky(target: Array, prediction: Array, present: Array, alpha: float, beta: float) -> Array:
    """Salehi et al. (2017), "Tversky loss function"."""
    both = jnp.sum(target * prediction * present)
    missed = jnp.sum((1.0 - prediction) * target * present)
    false = jnp.sum(prediction * (1.0 - target) * present)
    return 1.0 - both / (both + missed * alpha + false * beta + EPSILON)


# Losses of a whole batch: they have no value per row, so row weights only mark which rows count.
BATCH_LOSSES: Mapping[str, Callable[..., Array]] = {"dice": _overlap, "tversky": _tversky}


def batch_loss(
    name: str, settings: Mapping[str, Any], target: Array, prediction: Array, weights: Array, present: Array
) -> Array:
    """Return the loss of a batch: weighted row losses divided by the number of rows present.

    `weights` and `present` have shape (rows,); `present` is 0 for padding.
    """
    if name in BATCH_LOSSES:
        return BATCH_LOSSES[name](target, prediction, present[:, None], **settings)
    rows = LOSSES[name](target, prediction, **settings)
    return jnp.sum(jnp.where(present > 0, rows * weights, 0.0)) / jnp.sum(present)
