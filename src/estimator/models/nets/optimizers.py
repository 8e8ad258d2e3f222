"""Keras's optimizers as update rules on jax arrays.

Written here because no library follows Keras's arithmetic: optax places epsilon, bias correction and weight
decay elsewhere, so that losses diverge after a few dozen steps. Each rule takes the gradient, the parameter and
its slots, and returns the parameter's and the slots' next values. `t` counts steps from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from estimator.models.nets import Array
from estimator.models.nets.keras_object import KerasObject
from estimator.models.nets.schedules import rate_at

Slots = dict[str, Array]
Rule = Callable[[Mapping[str, Any], Array, Array, Slots, Array, Array], tuple[Array, Slots]]


def _sgd(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    if s["momentum"] == 0:
        return p - g * lr, {}
    m = slots["m"] * s["momentum"] - g * lr
    return p + (m * s["momentum"] - g * lr if s["nesterov"] else m), {"m": m}


def _rmsprop(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    rho = s["rho"]
    v = rho * slots["v"] + (1 - rho) * jnp.square(g)
    mean = rho * slots["mean"] + (1 - rho) * g if s["centered"] else slots["mean"]
    spread = v - jnp.square(mean) if s["centered"] else v
    change = lr * g / jnp.sqrt(spread + s["epsilon"])
    m = s["momentum"] * slots["m"] + change if s["momentum"] > 0 else slots["m"]
    return p - (m if s["momentum"] > 0 else change), {"v": v, "mean": mean, "m": m}


def _moments(s: Mapping[str, Any], g: Array, slots: Slots) -> tuple[Array, Array]:
    m = slots["m"] + (g - slots["m"]) * (1 - s["beta_1"])
    v = slots["v"] + (jnp.square(g) - slots["v"]) * (1 - s["beta_2"])
    return m, v


def _adam(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    """Kingma and Ba (2015); with amsgrad, Reddi et al. (2018)."""
    m, v = _moments(s, g, slots)
    alpha = lr * jnp.sqrt(1 - s["beta_2"] ** t) / (1 - s["beta_1"] ** t)
    largest = jnp.maximum(slots["largest"], v) if s.get("amsgrad") else v
    return p - m * alpha / (jnp.sqrt(largest) + s["epsilon"]), {"m": m, "v": v, "largest": largest}


def _adadelta(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    rho, epsilon = s["rho"], s["epsilon"]
    v = rho * slots["v"] + (1 - rho) * jnp.square(g)
    change = -jnp.sqrt(slots["d"] + epsilon) * g / jnp.sqrt(v + epsilon)
    d = rho * slots["d"] + (1 - rho) * jnp.square(change)
    return p + lr * change, {"v": v, "d": d}


def _adagrad(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    v = slots["v"] + jnp.square(g)
    return p - lr * g / jnp.sqrt(v + s["epsilon"]), {"v": v}


def _adamax(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    m = slots["m"] + (g - slots["m"]) * (1 - s["beta_1"])
    u = jnp.maximum(s["beta_2"] * slots["v"], jnp.abs(g))
    return p - lr * m / ((1 - s["beta_1"] ** t) * (u + s["epsilon"])), {"m": m, "v": u}


def _nadam(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    """Dozat (2016), "Incorporating Nesterov momentum into Adam"."""
    m, v = _moments(s, g, slots)
    now = s["beta_1"] * (1.0 - 0.5 * 0.96**t)
    later = s["beta_1"] * (1.0 - 0.5 * 0.96 ** (t + 1))
    product = slots["product"] * now
    m_hat = later * m / (1 - product * later) + (1 - now) * g / (1 - product)
    v_hat = v / (1 - s["beta_2"] ** t)
    return p - m_hat * lr / (jnp.sqrt(v_hat) + s["epsilon"]), {"m": m, "v": v, "product": product}


def _ftrl(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    """McMahan et al. (2013), "Ad click prediction"."""
    power, l1 = -s["learning_rate_power"], s["l1_regularization_strength"]
    l2 = s["l2_regularization_strength"] + s["beta"] / (2.0 * lr)
    shrunk = g + 2 * s["l2_shrinkage_regularization_strength"] * p
    v = slots["v"] + jnp.square(g)
    linear = slots["linear"] + shrunk - (v**power - slots["v"] ** power) / lr * p
    quadratic = v**power / lr + 2 * l2
    return (jnp.clip(linear, -l1, l1) - linear) / quadratic, {"v": v, "linear": linear}


def _lion(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    """Chen et al. (2023), "Symbolic discovery of optimization algorithms"."""
    m = slots["m"]
    moved = p - lr * jnp.sign(m * s["beta_1"] + g * (1.0 - s["beta_1"]))
    return moved, {"m": m * s["beta_2"] + g * (1.0 - s["beta_2"])}


def _lamb(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    """You et al. (2020), "Large batch optimization for deep learning"."""
    m, v = _moments(s, g, slots)
    change = m / (1 - s["beta_1"] ** t) / (jnp.sqrt(v / (1 - s["beta_2"] ** t)) + s["epsilon"])
    size, step = jnp.sqrt(jnp.sum(p**2)), jnp.sqrt(jnp.sum(change**2))
    ratio = jnp.where((size > 0) & (step > 0), size / jnp.where(step > 0, step, 1.0), 1.0)
    return p - ratio * lr * change, {"m": m, "v": v}


def _adafactor(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    """Shazeer and Stern (2018), "Adafactor"."""
    rate = jnp.minimum(lr, 1 / jnp.sqrt(t)) if s["relative_step"] else lr
    alpha = jnp.maximum(s["epsilon_2"], _rms(p)) * jnp.minimum(rate, 1 / jnp.sqrt(t))
    squares, decay = jnp.square(g) + s["epsilon_1"], 1 - t ** s["beta_2_decay"]
    updated = dict(slots)
    if p.ndim >= 2:
        updated["r"] = decay * slots["r"] + (1 - decay) * jnp.mean(squares, axis=-1)
        updated["c"] = decay * slots["c"] + (1 - decay) * jnp.mean(squares, axis=-2)
        v = (updated["r"] / jnp.mean(updated["r"], axis=-1, keepdims=True))[..., None] * updated["c"][..., None, :]
    else:
        v = updated["v"] = decay * slots["v"] + (1 - decay) * squares
    change = g / jnp.sqrt(v)
    return p - alpha * change / jnp.maximum(1.0, _rms(change) / s["clip_threshold"]), updated


def _rms(values: Array) -> Array:
    return jnp.sqrt(jnp.mean(jnp.square(values)))


def _muon(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    """Jordan et al. (2024), "Muon", for matrices; AdamW for all else."""
    if p.ndim != 2:
        inner = {**s, "beta_1": s["adam_beta_1"], "beta_2": s["adam_beta_2"]}
        return _adam(inner, g, p, slots, lr * s["adam_lr_ratio"], t)
    m = slots["m"] + g + slots["m"] * (s["momentum"] - 1)
    direction = _orthogonalised(g + s["momentum"] * m if s["nesterov"] else m, s)
    size = 1.0 if s["rms_rate"] is None else jnp.sqrt(max(p.shape)) * s["rms_rate"]
    return p - lr * direction * size, {**slots, "m": m}


def _orthogonalised(x: Array, s: Mapping[str, Any]) -> Array:
    """Newton-Schulz iteration towards the nearest orthogonal matrix."""
    tall = x.shape[-2] > x.shape[-1]
    x = x.T if tall else x
    x = x / (jnp.linalg.norm(x) + 1e-7)
    for _ in range(s["ns_steps"]):
        square = x @ x.T
        x = s["muon_a"] * x + (s["muon_b"] * square + s["muon_c"] * square @ square) @ x
    return x.T if tall else x


def _schedule_free(s: Mapping[str, Any], g: Array, p: Array, slots: Slots, lr: Array, t: Array) -> tuple[Array, Slots]:
    """Defazio et al. (2024), "The road less scheduled"."""
    lr = lr * jnp.minimum(t / s["warmup_steps"], 1.0) if s["warmup_steps"] > 0 else lr
    v = slots["v"] + (jnp.square(g) - slots["v"]) * (1 - s["beta_2"])
    z = slots["z"] - lr * g / (jnp.sqrt(v / (1 - s["beta_2"] ** t)) + s["epsilon"])
    mean = (p - (1 - s["beta_1"]) * slots["z"]) / s["beta_1"]
    mean = (1 - 1.0 / t) * mean + z / t
    return (1 - s["beta_1"]) * z + s["beta_1"] * mean, {"v": v, "z": z}


# name -> (rule, names of its slots, which start as zeros of the parameter's shape)
RULES: Mapping[str, tuple[Rule, tuple[str, ...]]] = {
    "sgd": (_sgd, ("m",)),
    "rmsprop": (_rmsprop, ("v", "mean", "m")),
    "adam": (_adam, ("m", "v", "largest")),
    "adamw": (_adam, ("m", "v", "largest")),
    "adadelta": (_adadelta, ("v", "d")),
    "adagrad": (_adagrad, ("v",)),
    "adamax": (_adamax, ("m", "v")),
    "nadam": (_nadam, ("m", "v", "product")),
    "ftrl": (_ftrl, ("v", "linear")),
    "lion": (_lion, ("m",)),
    "lamb": (_lamb, ("m", "v")),
    "adafactor": (_adafactor, ("r", "c", "v")),
    "muon": (_muon, ("m", "v", "largest")),
    "schedule_free_adamw": (_schedule_free, ("v", "z")),
}


def start(optimizer: KerasObject, parameters: Sequence[Array]) -> dict[str, Any]:
    """Return the optimizer's state before the first step."""
    state: dict[str, Any] = {"slots": [_slots(optimizer, p) for p in parameters], "t": np.zeros((), np.float32)}
    if optimizer["use_ema"]:
        state["ema"] = list(parameters)
    if optimizer["gradient_accumulation_steps"]:
        state["sum"] = [np.zeros_like(p) for p in parameters]
    return state


def _slots(optimizer: KerasObject, p: Array) -> Slots:
    settings = optimizer.options
    if optimizer.name == "sgd" and settings["momentum"] == 0:
        return {}
    slots: Slots = {name: np.zeros_like(p) for name in RULES[optimizer.name][1]}
    if "initial_accumulator_value" in settings:
        slots["v"] = np.full_like(p, settings["initial_accumulator_value"])
    if optimizer.name == "nadam":
        slots["product"] = np.ones((), np.float32)
    if optimizer.name == "schedule_free_adamw":
        slots["z"] = np.array(p)
    if optimizer.name == "adafactor" and p.ndim >= 2:
        return {"r": np.zeros(p.shape[:-1], p.dtype), "c": np.zeros((*p.shape[:-2], p.shape[-1]), p.dtype)}
    return slots


def step(
    optimizer: KerasObject, gradients: Sequence[Array], parameters: Sequence[Array], state: dict[str, Any], rate: Array
) -> tuple[list[Array], dict[str, Any]]:
    """Return parameters and state after one batch; `rate` is used unless the optimizer has a schedule."""
    every = optimizer["gradient_accumulation_steps"]
    if not every:
        return _update(optimizer, gradients, parameters, state, rate)
    total = [g + s for g, s in zip(gradients, state["sum"], strict=True)]
    due = (state["t"] + 1) % every == 0
    moved, moved_state = _update(optimizer, [g / every for g in total], parameters, {**state}, rate)
    accumulated = {**state, "sum": total, "t": state["t"] + 1}
    moved_state["sum"] = [jnp.zeros_like(g) for g in total]
    updated: tuple[list[Array], dict[str, Any]] = jax.tree.map(
        lambda new, old: jnp.where(due, new, old), (moved, moved_state), (list(parameters), accumulated)
    )
    return updated


def _update(
    optimizer: KerasObject, gradients: Sequence[Array], parameters: Sequence[Array], state: dict[str, Any], rate: Array
) -> tuple[list[Array], dict[str, Any]]:
    settings, rule = optimizer.options, RULES[optimizer.name][0]
    # Rules count updates, not batches; schedules count batches.
    t = jnp.floor(state["t"] / (settings["gradient_accumulation_steps"] or 1)) + 1
    rate = (
        rate_at(settings["learning_rate"], state["t"]) if isinstance(settings["learning_rate"], KerasObject) else rate
    )
    moved, slots = [], []
    for g, p, old_slots in zip(clipped(gradients, settings), parameters, state["slots"], strict=True):
        decay = _decay(optimizer.name, settings, p)
        decayed = p if decay is None else p - p * decay * rate
        new, new_slots = rule(settings, g, decayed, old_slots, rate, t)
        moved.append(new)
        slots.append({**old_slots, **new_slots})
    after = {**state, "slots": slots, "t": state["t"] + 1}
    if settings["use_ema"]:
        # The first average is the first parameters.
        momentum = jnp.where(t > 1, settings["ema_momentum"], 0.0)
        after["ema"] = [momentum * e + (1 - momentum) * p for e, p in zip(state["ema"], moved, strict=True)]
        if settings["ema_overwrite_frequency"]:
            due = t % settings["ema_overwrite_frequency"] == 0
            moved = [jnp.where(due, e, p) for e, p in zip(after["ema"], moved, strict=True)]
    return moved, after


def _decay(name: str, settings: Mapping[str, Any], p: Array) -> float | None:
    decay: float | None = settings["weight_decay"]
    return settings["adam_weight_decay"] if name == "muon" and p.ndim != 2 else decay


def clipped(gradients: Sequence[Array], settings: Mapping[str, Any]) -> list[Array]:
    """Return gradients clipped by their own norms, by their joint norm, or by value."""
    if settings["clipnorm"]:
        return [_to_norm(g, jnp.sqrt(jnp.sum(jnp.square(g))), settings["clipnorm"]) for g in gradients]
    if settings["global_clipnorm"]:
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in gradients))
        return [_to_norm(g, norm, settings["global_clipnorm"]) for g in gradients]
    if settings["clipvalue"]:
        return [jnp.clip(g, -settings["clipvalue"], settings["clipvalue"]) for g in gradients]
    return list(gradients)


def _to_norm(g: Array, norm: Array, limit: float) -> Array:
    return g * limit / jnp.maximum(norm, limit)
