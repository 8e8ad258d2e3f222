"""Keras's losses: truth and answer of shape (rows, outputs) -> one loss per row, by Keras's formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import nn

Array = Any
EPSILON = 1e-7


def _mean(terms: Array) -> Array:
    return jnp.mean(terms, axis=-1)


def _percentage(truth: Array, answer: Array) -> Array:
    return 100.0 * _mean(jnp.abs((truth - answer) / jnp.maximum(jnp.abs(truth), EPSILON)))


def _squared_logarithm(truth: Array, answer: Array) -> Array:
    first = jnp.log(jnp.maximum(answer, EPSILON) + 1.0)
    second = jnp.log(jnp.maximum(truth, EPSILON) + 1.0)
    return _mean(jnp.square(first - second))


def _huber(truth: Array, answer: Array, delta: float) -> Array:
    error = answer - truth
    size = jnp.abs(error)
    return _mean(jnp.where(size <= delta, 0.5 * jnp.square(error), delta * size - 0.5 * delta**2))


def _log_cosh(truth: Array, answer: Array) -> Array:
    error = answer - truth
    return _mean(error + nn.softplus(error * -2.0) - jnp.log(2.0))


def _cosine(truth: Array, answer: Array) -> Array:
    return -jnp.sum(_unit(truth) * _unit(answer), axis=-1)


def _unit(values: Array) -> Array:
    squares = jnp.sum(jnp.square(values), axis=-1, keepdims=True)
    return values / jnp.sqrt(jnp.maximum(squares, EPSILON**2))


def _hinge(truth: Array, answer: Array) -> Array:
    return _mean(jnp.maximum(1.0 - (2.0 * truth - 1.0) * answer, 0.0))


def _squared_hinge(truth: Array, answer: Array) -> Array:
    return _mean(jnp.square(jnp.maximum(1.0 - (2.0 * truth - 1.0) * answer, 0.0)))


def _categorical_hinge(truth: Array, answer: Array) -> Array:
    positive = jnp.sum(truth * answer, axis=-1)
    negative = jnp.max((1.0 - truth) * answer, axis=-1)
    return jnp.maximum(negative - positive + 1.0, 0.0)


def _divergence(truth: Array, answer: Array) -> Array:
    truth, answer = jnp.clip(truth, EPSILON, 1.0), jnp.clip(answer, EPSILON, 1.0)
    return jnp.sum(truth * jnp.log(truth / answer), axis=-1)


def _binary_terms(truth: Array, answer: Array) -> Array:
    answer = jnp.clip(answer, EPSILON, 1.0 - EPSILON)
    return -(truth * jnp.log(answer) + (1.0 - truth) * jnp.log(1.0 - answer))


def _binary(truth: Array, answer: Array, label_smoothing: float) -> Array:
    truth = truth * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return _mean(_binary_terms(truth, answer))


def _binary_focal(
    truth: Array, answer: Array, apply_class_balancing: bool, alpha: float, gamma: float, label_smoothing: float
) -> Array:
    """Lin et al. (2017), "Focal loss for dense object detection"."""
    truth = truth * (1.0 - label_smoothing) + 0.5 * label_smoothing
    right = truth * answer + (1.0 - truth) * (1.0 - answer)
    terms = jnp.power(1.0 - right, gamma) * _binary_terms(truth, answer)
    if apply_class_balancing:
        terms = (truth * alpha + (1.0 - truth) * (1.0 - alpha)) * terms
    return _mean(terms)


def _normalized(answer: Array) -> Array:
    return jnp.clip(answer / jnp.sum(answer, axis=-1, keepdims=True), EPSILON, 1.0 - EPSILON)


def _smoothed(truth: Array, label_smoothing: float) -> Array:
    return truth * (1.0 - label_smoothing) + label_smoothing / truth.shape[-1]


def _categorical(truth: Array, answer: Array, label_smoothing: float = 0.0) -> Array:
    return -jnp.sum(_smoothed(truth, label_smoothing) * jnp.log(_normalized(answer)), axis=-1)


def _categorical_focal(truth: Array, answer: Array, alpha: float, gamma: float, label_smoothing: float) -> Array:
    share = _normalized(answer)
    terms = -_smoothed(truth, label_smoothing) * jnp.log(share)
    return jnp.sum(alpha * jnp.power(1.0 - share, gamma) * terms, axis=-1)


def _generalized(truth: Array, answer: Array, q: float) -> Array:
    """Zhang and Sabuncu (2018), "Generalized cross entropy loss"."""
    right = jnp.sum(answer * truth, axis=-1)
    return (1.0 - jnp.power(right, q)) / q


LOSSES: Mapping[str, Callable[..., Array]] = {
    "mean_squared_error": lambda truth, answer: _mean(jnp.square(truth - answer)),
    "mean_absolute_error": lambda truth, answer: _mean(jnp.abs(truth - answer)),
    "mean_absolute_percentage_error": _percentage,
    "mean_squared_logarithmic_error": _squared_logarithm,
    "huber": _huber,
    "log_cosh": _log_cosh,
    "poisson": lambda truth, answer: _mean(answer - truth * jnp.log(answer + EPSILON)),
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


def _overlap(truth: Array, answer: Array, here: Array) -> Array:
    """Dice over the rows that are `here`, as one figure for the batch (Milletari et al., 2016)."""
    both = jnp.sum(truth * answer * here)
    return 1.0 - 2.0 * both / (jnp.sum(truth * here) + jnp.sum(answer * here) + EPSILON)


def _tversky(truth: Array, answer: Array, here: Array, alpha: float, beta: float) -> Array:
    """Salehi et al. (2017), "Tversky loss function"."""
    both = jnp.sum(truth * answer * here)
    missed = jnp.sum((1.0 - answer) * truth * here)
    false = jnp.sum(answer * (1.0 - truth) * here)
    return 1.0 - both / (both + missed * alpha + false * beta + EPSILON)


# Losses of a whole batch: they have no value per row, so row weights only mark which rows count.
BATCH_LOSSES: Mapping[str, Callable[..., Array]] = {"dice": _overlap, "tversky": _tversky}


def batch_loss(
    name: str, settings: Mapping[str, Any], truth: Array, answer: Array, weights: Array, here: Array
) -> Array:
    """Return the loss of a batch: weighted row losses summed over the number of rows that are here.

    `weights` and `here` have shape (rows,); `here` is 0 for padding.
    """
    if name in BATCH_LOSSES:
        return BATCH_LOSSES[name](truth, answer, here[:, None], **settings)
    rows = LOSSES[name](truth, answer, **settings)
    return jnp.sum(jnp.where(here > 0, rows * weights, 0.0)) / jnp.sum(here)
