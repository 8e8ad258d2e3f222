"""Several families over the same folds, weighted by their out-of-fold predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, WithJsonSchema

from estimator import models
from estimator.config import ConfigFault, NestedError, Section, Training, faults_of
from estimator.core.arrays import Floats, Mask
from estimator.core.units import DOUBLES, Units
from estimator.data.schema import Batch
from estimator.errors import ConfigError, TrainingError
from estimator.features.matrix import CrossFittedFeatures, Features
from estimator.graph.builder import Graph, Value
from estimator.models.base import AdditiveContributions, Curves, FittedModel, Model, WarmStart
from estimator.models.dataset import EncodedFitData, EncodedRows, FitData
from estimator.models.matrix import FittedMatrixModel, MatrixModel, feature_contributions, mean_model
from estimator.models.progress import Progress, parallel_map, silent
from estimator.models.units import MatrixUnits

SELECTION_STEPS = 40
# More rows would not change the weights, only the time to find them.
MAX_SELECTION_ROWS = 20_000
EPSILON = 1e-15
# A smaller gain, of a loss below 1 relative to it, is the rounding of sums.
MIN_GAIN = 1e-12
# A member with a smaller weight costs more than it improves.
MIN_WEIGHT = 0.04
# A small net: one twice as wide improves no test score next to the other members, and takes longer than all of them.
SMALL_NET = {"kind": "tabm", "members": 4, "width": 64, "patience": 6}
DEFAULT_MEMBERS = ({"kind": "linear"}, SMALL_NET, {"kind": "boosting"})
# Fewer members, more members, and boosting with a lower learning rate or other leaves.
MEMBER_CHOICES = [
    [dict(member) for member in DEFAULT_MEMBERS],
    [{"kind": "linear"}, {"kind": "boosting"}],
    [{"kind": "linear"}, {"kind": "tabm"}, {"kind": "boosting"}],
    [{"kind": "linear"}, {"kind": "tabm"}],
    [*(dict(member) for member in DEFAULT_MEMBERS), {"kind": "boosting", "extra_trees": True}],
    [{"kind": "boosting", "learning_rate": 0.02}, {"kind": "boosting", "learning_rate": 0.02, "extra_trees": True}],
    [*(dict(member) for member in DEFAULT_MEMBERS), {"kind": "boosting", "learning_rate": 0.02, "num_leaves": 48}],
    [*(dict(member) for member in DEFAULT_MEMBERS), {"kind": "boosting", "learning_rate": 0.02, "num_leaves": 8}],
]


def _read_member(value: object) -> object:
    if isinstance(value, Model):
        return value
    if not isinstance(value, Mapping) or "kind" not in value:
        raise ValueError(f"expected a mapping with `kind` and the settings of that kind, got {value!r:.60}")
    try:
        kind = models.SHELF.load(str(value["kind"]))
    except ConfigError as error:
        raise NestedError([ConfigFault(("kind",), error.message, error.hint)]) from None
    if not issubclass(kind, MatrixModel):
        raise NestedError([ConfigFault(("kind",), f"{value['kind']!r} cannot be a member of an ensemble")])
    settings = {key: item for key, item in value.items() if key != "kind"}
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise NestedError(faults_of(error, kind, (), settings)) from None


def _write_member(member: MatrixModel) -> dict[str, Any]:
    return {"kind": models.SHELF.name_of(type(member)), **member.model_dump(mode="json")}


_MEMBER_SCHEMA = WithJsonSchema({"type": "object", "required": ["kind"]}, "validation")
Member = Annotated[MatrixModel, BeforeValidator(_read_member), PlainSerializer(_write_member), _MEMBER_SCHEMA]


@dataclass(frozen=True, slots=True)
class WeightedMember:
    """One family: its encoders, one model that stands for those of all folds, and its weight in the prediction."""

    name: str
    features: Features
    model: FittedMatrixModel
    weight: float


@dataclass(frozen=True)
class FittedEnsemble(FittedModel):
    """The weighted mean of the members with a weight above 0."""

    members: tuple[WeightedMember, ...] = ()
    losses: Mapping[str, float] = field(default_factory=dict)

    @property
    def tolerance(self) -> float:
        return max(member.model.tolerance for member in self.members)

    @property
    def offset(self) -> float:
        return sum(member.weight * member.model.offset for member in self.members)

    @property
    def curves(self) -> Curves:
        return ()

    @property
    def summary(self) -> Mapping[str, float]:
        return {**{f"weight of {member.name}": member.weight for member in self.members}, **self.losses}

    def predict(self, batch: Batch) -> Floats:
        matrices = {id(features): features.matrix(batch) for features in self._distinct_features()}
        predictions = [(member.weight, member.model.predict(matrices[id(member.features)])) for member in self.members]
        with np.errstate(over="ignore", invalid="ignore"):
            total: Floats = sum((weight * of_member for weight, of_member in predictions), np.zeros(()))
        return total

    def contributions(self, batch: Batch, background: Batch) -> AdditiveContributions | None:
        # A mean of probabilities is not a mean of log odds.
        members = self.members if self.task.is_regression else ()
        return AdditiveContributions.weighted_sum(
            [
                (feature_contributions(member.features, member.model, batch, background), member.weight)
                for member in members
            ]
        )

    def write(self, graph: Graph) -> str:
        matrices = {id(features): features.write(graph) for features in self._distinct_features()}
        total, *others = (
            Value(graph, member.model.write(graph, matrices[id(member.features)])) * member.weight
            for member in self.members
        )
        for other in others:
            total = total + other
        return total.name

    def state(self) -> Mapping[str, bytes]:
        described = [
            {"name": member.name, "weight": member.weight, "features": member.features.to_data()}
            for member in self.members
        ]
        files = {"ensemble.json": json.dumps(described, ensure_ascii=False, allow_nan=False).encode()}
        for index, member in enumerate(self.members):
            files |= {f"{index}/{name}": content for name, content in member.model.state().items()}
        return files

    def _distinct_features(self) -> list[Features]:
        """Return each set of encoders once: members with the same encoding share one matrix."""
        return list({id(member.features): member.features for member in self.members}.values())


class Ensemble(Model):
    """Families fitted over the folds of `validation` and mixed by greedy selection (Caruana et al., 2004)."""

    supports_warm_start: ClassVar[bool] = False
    default_space: ClassVar[Mapping[str, Any]] = {"model.members": MEMBER_CHOICES}
    members: Annotated[Sequence[Member], Field(min_length=1)] = Field(
        [dict(member) for member in DEFAULT_MEMBERS],
        validate_default=True,
        description="the families, each with `kind` and its settings",
    )
    refit: bool = Field(
        False,
        description="refit each family on all rows and use that one model, not one per fold: a smaller, faster graph",
    )

    @property
    def libraries(self) -> tuple[str, ...]:
        return tuple(sorted({name for member in self.members for name in member.libraries}))

    def callback_faults(self, callbacks: Sequence[Section]) -> list[ConfigFault]:
        """Return the faults of callbacks that a member rejects."""
        # Members of one kind reject the same callbacks.
        return list(dict.fromkeys(fault for member in self.members for fault in member.callback_faults(callbacks)))

    def fit(
        self, data: FitData, training: Training, *, progress: Progress = silent, start: WarmStart | None = None
    ) -> FittedEnsemble:
        if start is not None:
            raise TrainingError(
                f"an ensemble cannot continue from version {start.version}", hint="leave out training.pretrained"
            )
        if data.n_folds < 2:
            raise TrainingError(
                f"an ensemble needs at least 2 folds, got {data.n_folds} for {len(data.rows)} rows",
                hint="set validation.folds: 5, or one kind in model.kind",
            )
        names, encodings = _names(self.members), _encodings(data, self.members)
        units = _units(data, self.members, encodings)
        fits = [
            _FoldFit(data, member, encoding, of_member, test_mask, _fold_training(member, training, fold))
            for member, encoding, of_member in zip(self.members, encodings, units, strict=True)
            for fold, test_mask in enumerate(_test_masks(data))
        ]
        results = parallel_map(_FoldFit.run, fits, n_jobs=data.threads, progress=progress)
        predictions = [_out_of_fold(data, fits, results, member) for member in self.members]
        loss, everything = _loss(data), np.ones(len(data.rows), dtype=np.bool_)
        weights = _greedy_weights(predictions, loss, everything, training.seed)
        by_member = [
            [model for fit, (model, _) in zip(fits, results, strict=True) if fit.member is member]
            for member in self.members
        ]
        ensemble = FittedEnsemble(
            data.task,
            tuple(
                WeightedMember(name, encoding.features, mean_model(folds), float(weight))
                for name, encoding, weight, folds in zip(names, encodings, weights, by_member, strict=True)
                if weight > 0
            ),
        )
        losses = {}
        if self.refit:
            losses = {"held-out loss of all folds": _held_out_loss(data, ensemble)}
            used = [member for member, weight in zip(self.members, weights, strict=True) if weight > 0]
            ensemble = _refitted(ensemble, used, data, training)
            losses["held-out loss"] = _held_out_loss(data, ensemble)
        mixed = _mixed_out_of_fold(data, predictions, loss, training.seed)
        losses |= {
            f"loss of {name}": loss(of_member, everything) for name, of_member in zip(names, predictions, strict=True)
        }
        return replace(ensemble, losses=losses | {"loss": loss(mixed, everything)}, out_of_fold=mixed)


@dataclass(frozen=True, slots=True)
class _FoldFit:
    """The fit of one family without one fold, the rows of `test_mask`."""

    data: FitData
    member: MatrixModel
    encoding: CrossFittedFeatures
    units: MatrixUnits
    test_mask: Mask
    training: Training

    def run(self) -> tuple[FittedMatrixModel, Floats]:
        """Return the fitted model and its predictions for the fold, on one thread."""
        fit_rows, fold_rows = self.data.rows.take(~self.test_mask), self.data.rows.take(self.test_mask)
        fold_matrix = self.encoding.validation_matrix(~self.test_mask, self.test_mask)
        encoded = EncodedFitData(
            EncodedRows(self.encoding.training_matrix(~self.test_mask), fit_rows.target, fit_rows.weights),
            np.zeros(len(fit_rows), dtype=np.bool_),
            None,
            self.data.task,
            self.encoding.features.categorical,
            validation_fold=EncodedRows(fold_matrix, fold_rows.target, fold_rows.weights),
            threads=1,
            metrics=self.data.metrics,
        )
        model = self.member.fit_rescaled(encoded, self.training, units=self.units)
        return model, model.predict(fold_matrix)


def _refitted(
    ensemble: FittedEnsemble, members: Sequence[MatrixModel], data: FitData, training: Training
) -> FittedEnsemble:
    """Return the same ensemble with each member fitted once, on all rows."""
    refitted = [
        replace(weighted, model=_fit_all_rows(data, member, encoding, training))
        for weighted, member, encoding in zip(ensemble.members, members, _encodings(data, members), strict=True)
    ]
    return replace(ensemble, members=tuple(refitted))


def _fit_all_rows(
    data: FitData, member: MatrixModel, encoding: CrossFittedFeatures, training: Training
) -> FittedMatrixModel:
    everything = np.ones(len(data.rows), dtype=np.bool_)
    rows = EncodedRows(encoding.training_matrix(everything), data.rows.target, data.rows.weights)
    encoded = EncodedFitData(
        rows, data.validation_mask, None, data.task, encoding.features.categorical, metrics=data.metrics
    )
    return member.fit_rescaled(encoded, _fold_training(member, training, 0))


def _held_out_loss(data: FitData, ensemble: FittedEnsemble) -> float:
    """Return the loss of the held-out rows, which shows what the smaller graph of a refit costs."""
    if data.held_out is None:
        return float("nan")
    loss = _loss(replace(data, rows=data.held_out))
    return loss(ensemble.predict(data.held_out.batch), np.ones(len(data.held_out), dtype=np.bool_))


def _test_masks(data: FitData) -> list[Mask]:
    """Return the mask of every fold of every repeat."""
    return [assigned == fold for assigned in data.folds for fold in range(int(assigned.max()) + 1)]


def _encodings(data: FitData, members: Sequence[MatrixModel]) -> list[CrossFittedFeatures]:
    """Return an encoding per member; members with the same encoding share one."""
    shared: dict[tuple[str, int], CrossFittedFeatures] = {}
    for member in members:
        key = (member.matrix_kind, member.max_categories)
        if key not in shared:
            shared[key] = member.encoding(data)
            # Computed here once: threads of the fits would compute it several times.
            _ = shared[key].matrix
    return [shared[member.matrix_kind, member.max_categories] for member in members]


def _units(
    data: FitData, members: Sequence[MatrixModel], encodings: Sequence[CrossFittedFeatures]
) -> list[MatrixUnits]:
    """Return the units of each member, the same for all folds, so that their models can become one."""
    return [
        member.units(
            EncodedFitData(
                EncodedRows(encoding.matrix, data.rows.target, data.rows.weights),
                data.validation_mask,
                None,
                data.task,
                encoding.features.categorical,
            )
        )
        for member, encoding in zip(members, encodings, strict=True)
    ]


def _names(members: Sequence[MatrixModel]) -> list[str]:
    """Return a name per member, numbered where a kind occurs again."""
    kinds = [str(_write_member(member)["kind"]) for member in members]
    return [
        kind if kinds.count(kind) == 1 else f"{kind} {kinds[: index + 1].count(kind)}"
        for index, kind in enumerate(kinds)
    ]


def _fold_training(member: MatrixModel, training: Training, fold: int) -> Training:
    """Return the training settings of one fold: a seed of its own, and callbacks that stop the fit."""
    callbacks = training.callbacks or member.default_callbacks
    return training.model_copy(update={"seed": training.seed + 1000 * fold, "callbacks": callbacks})


def _out_of_fold(
    data: FitData, fits: Sequence[_FoldFit], results: Sequence[tuple[FittedMatrixModel, Floats]], member: MatrixModel
) -> Floats:
    """Return a member's out-of-fold predictions for every row, the mean over repeats."""
    shape = (len(data.rows),) if data.task.is_regression else (len(data.rows), data.task.n_outputs)
    predictions = np.zeros(shape)
    for fit, (_, fold_predictions) in zip(fits, results, strict=True):
        if fit.member is member:
            predictions[fit.test_mask] += fold_predictions / len(data.folds)
    return predictions


Loss = Callable[[Floats, Mask], float]


def _loss(data: FitData) -> Loss:
    """Return the weighted mean squared error, or the log loss, of the rows of a mask."""
    target, weights = data.rows.target, data.rows.weights
    if data.task.is_regression:
        # Squares of ordinary numbers neither overflow nor vanish: there, the scale is 1.
        scale = Units.of(target, DOUBLES).scale
        return lambda predictions, mask: float(
            np.average(np.square((predictions[mask] - target[mask]) * scale), weights=weights[mask] + EPSILON)
        )
    codes = target.astype(np.int64)

    def log_loss(probabilities: Floats, mask: Mask) -> float:
        of_target = probabilities[mask, codes[mask]]
        return float(np.average(-np.log(np.clip(of_target, EPSILON, 1.0)), weights=weights[mask] + EPSILON))

    return log_loss


def _greedy_weights(predictions: Sequence[Floats], loss: Loss, mask: Mask, seed: int) -> Floats:
    """Return weights by forward selection with replacement: each step adds the member that lowers the loss most."""
    if mask.sum() > MAX_SELECTION_ROWS:
        generator = np.random.default_rng([seed, 50])
        sampled = generator.choice(np.flatnonzero(mask), MAX_SELECTION_ROWS, replace=False)
        mask = np.isin(np.arange(len(mask)), sampled)
    total, counts = np.zeros_like(predictions[0]), np.zeros(len(predictions))
    best, weights = np.inf, counts
    for step in range(1, SELECTION_STEPS + 1):
        losses = [loss((total + of_member) / step, mask) for of_member in predictions]
        index = int(np.argmin(losses))
        total += predictions[index]
        counts[index] += 1
        if losses[index] < best - MIN_GAIN * min(best, 1.0):
            best, weights = losses[index], counts / step
    large = np.where(weights >= MIN_WEIGHT, weights, 0.0)
    normalized: Floats = large / large.sum()
    return normalized


def _mixed_out_of_fold(data: FitData, predictions: Sequence[Floats], loss: Loss, seed: int) -> Floats:
    """Return the ensemble's out-of-fold predictions: the weights for a fold come from the other folds."""
    mixed = np.zeros_like(predictions[0])
    for fold in range(data.n_folds):
        test_mask = data.folds[0] == fold
        weights = _greedy_weights(predictions, loss, ~test_mask, seed)
        mixed[test_mask] = sum(
            weight * of_member[test_mask] for weight, of_member in zip(weights, predictions, strict=True)
        )
    return mixed


__all__ = ["Ensemble", "FittedEnsemble"]
