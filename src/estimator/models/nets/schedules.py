"""Keras's learning-rate schedules as functions of the number of finished steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp

from estimator.models.nets import Array
from estimator.models.nets.keras_object import KerasObject


def rate_at(schedule: KerasObject, steps: Array) -> Array:
    """Return the learning rate after `steps` steps."""
    return SCHEDULES[schedule.name](steps, **schedule.options)


def _exponential(
    steps: Array, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool
) -> Array:
    power = steps / decay_steps
    return initial_learning_rate * decay_rate ** (jnp.floor(power) if staircase else power)


def _inverse_time(
    steps: Array, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool
) -> Array:
    fraction = steps / decay_steps
    return initial_learning_rate / (1.0 + decay_rate * (jnp.floor(fraction) if staircase else fraction))


def _piecewise(steps: Array, boundaries: tuple[float, ...], values: tuple[float, ...]) -> Array:
    return jnp.array(values, jnp.float32)[jnp.sum(steps > jnp.array(boundaries, jnp.float32))]


def _polynomial(
    steps: Array, initial_learning_rate: float, decay_steps: float, end_learning_rate: float, power: float, cycle: bool
) -> Array:
    if cycle:
        length = decay_steps * jnp.where(steps == 0, 1.0, jnp.ceil(steps / decay_steps))
    else:
        length, steps = jnp.asarray(decay_steps), jnp.minimum(steps, decay_steps)
    return (initial_learning_rate - end_learning_rate) * (1 - steps / length) ** power + end_learning_rate


def _cosine(
    steps: Array,
    initial_learning_rate: float,
    decay_steps: float,
    alpha: float,
    warmup_target: float | None,
    warmup_steps: float,
) -> Array:
    """Loshchilov and Hutter (2017), "SGDR", with a linear warm-up before it when a target is given."""
    top = initial_learning_rate if warmup_target is None else warmup_target
    after = steps if warmup_target is None else steps - warmup_steps
    fraction = jnp.clip(after, 0, decay_steps) / decay_steps
    decayed = top * ((1 - alpha) * 0.5 * (1.0 + jnp.cos(math.pi * fraction)) + alpha)
    if warmup_target is None:
        return decayed
    warm = initial_learning_rate + (warmup_target - initial_learning_rate) * steps / max(warmup_steps, 1)
    return jnp.where(steps < warmup_steps, warm, decayed)


def _restarts(
    steps: Array, initial_learning_rate: float, first_decay_steps: float, t_mul: float, m_mul: float, alpha: float
) -> Array:
    done = steps / first_decay_steps
    if t_mul == 1.0:
        period = jnp.floor(done)
        fraction = done - period
    else:
        period = jnp.floor(jnp.log(1.0 - done * (1.0 - t_mul)) / math.log(t_mul))
        fraction = (done - (1.0 - t_mul**period) / (1.0 - t_mul)) / t_mul**period
    decayed = (1 - alpha) * 0.5 * m_mul**period * (1.0 + jnp.cos(math.pi * fraction)) + alpha
    return initial_learning_rate * decayed


SCHEDULES: Mapping[str, Callable[..., Array]] = {
    "exponential_decay": _exponential,
    "inverse_time_decay": _inverse_time,
    "piecewise_constant_decay": _piecewise,
    "polynomial_decay": _polynomial,
    "cosine_decay": _cosine,
    "cosine_decay_restarts": _restarts,
}
