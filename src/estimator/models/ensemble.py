"""Several families over the same folds, weighted by their out-of-fold predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, WithJsonSchema

from estimator import models
from estimator.config import ConfigFault, NestedError, Section, Training, faults_of
from estimator.core.arrays import Floats
from estimator.data.schema import Batch
from estimator.errors import ConfigError, TrainingError
from estimator.features.matrix import CrossFittedFeatures, Features
from estimator.graph.builder import Graph, Value
from estimator.models.base import AdditiveContributions, Curves, FittedModel, Model, WarmStart
from estimator.models.dataset import EncodedFitData, EncodedRows, FitData
from estimator.models.fold_fits import Candidacy, fit_folds, fold_training, out_of_fold_of
from estimator.models.matrix import FittedMatrixModel, MatrixModel, feature_contributions, mean_model
from estimator.models.progress import Progress, silent
from estimator.models.selection import greedy_weights, mixed_out_of_fold, selection_loss
from estimator.models.units import MatrixUnits

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
        if data.n_folds < 1:
            raise TrainingError(
                f"an ensemble needs folds, or one split (validation.folds: 1), and got none for {len(data.rows)} rows",
                hint="set validation.folds: 5, give rows of more groups or times, or set one kind in model.kind",
            )
        candidates, covered, loss = _candidates(data, self.members), data.folds[0] >= 0, selection_loss(data)
        fitted = fit_folds(data, candidates, loss, training, progress=progress)
        predictions = [out_of_fold_of(data, fitted[candidate.name]) for candidate in candidates]
        n_folds = [len(fitted[candidate.name]) for candidate in candidates]
        finalists = np.flatnonzero(np.array(n_folds) == max(n_folds))
        of_finalists = [predictions[index] for index in finalists]
        weights = np.zeros(len(candidates))
        weights[finalists] = greedy_weights(of_finalists, loss, covered, training.seed)
        ensemble = FittedEnsemble(
            data.task,
            tuple(
                WeightedMember(
                    candidate.name,
                    candidate.encoding.features,
                    mean_model([fold.model for fold in fitted[candidate.name]]),
                    float(weight),
                )
                for candidate, weight in zip(candidates, weights, strict=True)
                if weight > 0
            ),
        )
        losses = {}
        if self.refit:
            losses = {"held-out loss of all folds": _held_out_loss(data, ensemble)}
            used = [member for member, weight in zip(self.members, weights, strict=True) if weight > 0]
            ensemble = _refitted(ensemble, used, data, training)
            losses["held-out loss"] = _held_out_loss(data, ensemble)
        mixed = mixed_out_of_fold(data, of_finalists, loss, training.seed)
        for candidate, of_member, n_fitted in zip(candidates, predictions, n_folds, strict=True):
            rows = np.any([fold.test_mask for fold in fitted[candidate.name]], axis=0)
            losses[f"loss of {candidate.name}"] = loss(of_member, rows)
            if n_fitted < max(n_folds):
                losses[f"folds of {candidate.name}"] = float(n_fitted)
        return replace(ensemble, losses=losses | {"loss": loss(mixed, covered)}, out_of_fold=mixed)


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
    return member.fit_rescaled(encoded, fold_training(member, training, 0))


def _held_out_loss(data: FitData, ensemble: FittedEnsemble) -> float:
    """Return the loss of the held-out rows, which shows what the smaller graph of a refit costs."""
    if data.held_out is None:
        return float("nan")
    loss = selection_loss(replace(data, rows=data.held_out))
    return loss(ensemble.predict_all(data.held_out.batch), np.ones(len(data.held_out), dtype=np.bool_))


def _encodings(data: FitData, members: Sequence[MatrixModel]) -> list[CrossFittedFeatures]:
    """Return an encoding per member; members with the same encoding share one."""
    shared: dict[tuple[str, int], CrossFittedFeatures] = {}
    for member in members:
        key = (member.matrix_kind, member.max_categories)
        if key not in shared:
            alike = [other for other in members if (other.matrix_kind, other.max_categories) == key]
            shared[key] = replace(member.encoding(data), keeps_matrix=any(other.reads_blocks for other in alike))
            # Computed here once: threads of the fits would compute it several times.
            _ = shared[key].matrix
    return [shared[member.matrix_kind, member.max_categories] for member in members]


def _candidates(data: FitData, members: Sequence[MatrixModel]) -> list[Candidacy]:
    """Fit encoders and units of each member, the same for all folds, so that their models can become one."""
    encodings = _encodings(data, members)
    units = _units(data, members, encodings)
    return [Candidacy(*parts) for parts in zip(_names(members), members, encodings, units, strict=True)]


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


__all__ = ["Ensemble", "FittedEnsemble"]
