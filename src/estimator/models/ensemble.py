"""Several families over the same folds, weighed by their answers for rows they had not seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer

from estimator.config import Section, Training
from estimator.core.arrays import Floats, Mask
from estimator.data.schema import Batch
from estimator.errors import ConfigError, TrainingError
from estimator.features.matrix import Encoding, Features
from estimator.graph.builder import Graph, Value
from estimator.models.base import (
    Curves,
    Fitted,
    MatrixModel,
    Model,
    Progress,
    Rows,
    Start,
    TrainingData,
    side_by_side,
    silent,
)
from estimator.models.fitted import Additions, Learned, Table, by_feature

STEPS = 40
WEIGHING_ROWS = 20_000
SMALLEST = 1e-15
# A small net: beside the others, one twice as wide gains nothing that a test shows, and takes as long as all of them.
SMALL_NET = {"kind": "tabm", "members": 4, "width": 64, "patience": 6}
DEFAULT_MEMBERS = ({"kind": "linear"}, SMALL_NET, {"kind": "boosting"})
# Fewer and more members, and trees that are slower and finer or larger.
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
# Members of a smaller share cost more than they bring.
LEAST_WEIGHT = 0.04


def _read_member(value: object) -> object:
    from estimator.models import SHELF

    if isinstance(value, Model):
        return value
    if not isinstance(value, Mapping) or "kind" not in value:
        raise ValueError("expected a mapping with `kind` and the settings of that kind")
    try:
        kind = SHELF.load(str(value["kind"]))
    except ConfigError as error:
        raise ValueError(f"{error.message}; {error.hint}") from None
    if not issubclass(kind, MatrixModel):
        raise ValueError(f"{value['kind']!r} cannot be a member of an ensemble")
    return kind(**{key: item for key, item in value.items() if key != "kind"})


def _write_member(member: MatrixModel) -> dict[str, Any]:
    from estimator.models import SHELF

    return {"kind": SHELF.name_of(type(member)), **member.model_dump(mode="json")}


Member = Annotated[MatrixModel, BeforeValidator(_read_member), PlainSerializer(_write_member)]


@dataclass(frozen=True, slots=True)
class Bag:
    """One family: a fitted model that stands for those of all folds, its encoders, and its share of the answer."""

    name: str
    features: Features
    fitted: Fitted
    weight: float


@dataclass(frozen=True)
class Blend(Learned):
    """The weighted mean of families that carry weight."""

    bags: tuple[Bag, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def tolerance(self) -> float:
        return max(bag.fitted.tolerance for bag in self.bags)

    @property
    def curves(self) -> Curves:
        return ()

    @property
    def summary(self) -> Mapping[str, float]:
        return {**{f"weight of {bag.name}": bag.weight for bag in self.bags}, **self.scores}

    def predict(self, batch: Batch) -> Floats:
        matrices = {id(bag.features): bag.features.matrix(batch) for bag in self._by_features()}
        found: Floats = sum(
            (bag.weight * bag.fitted.predict(matrices[id(bag.features)]) for bag in self.bags), np.zeros(())
        )
        return found

    def contributions(self, batch: Batch, background: Batch) -> Additions | None:
        # The mean of probabilities is not that of log odds.
        bags = self.bags if self.task.is_regression else ()
        return Additions.weighed(
            [(by_feature(bag.features, bag.fitted, batch, background), bag.weight) for bag in bags]
        )

    def write(self, graph: Graph) -> str:
        matrices = {id(bag.features): bag.features.write(graph) for bag in self._by_features()}
        parts = [Value(graph, bag.fitted.nodes(graph, matrices[id(bag.features)])) * bag.weight for bag in self.bags]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total.name

    def state(self) -> Mapping[str, bytes]:
        described = [{"name": bag.name, "weight": bag.weight, "features": bag.features.to_data()} for bag in self.bags]
        files = {"ensemble.json": json.dumps(described, ensure_ascii=False, allow_nan=False).encode()}
        for place, bag in enumerate(self.bags):
            files |= {f"{place}/{name}": content for name, content in bag.fitted.state().items()}
        return files

    def _by_features(self) -> list[Bag]:
        return list({id(bag.features): bag for bag in self.bags}.values())


class Ensemble(Model):
    """Families trained over the folds of `validation` and mixed by greedy selection (Caruana et al., 2004)."""

    continues: ClassVar[bool] = False
    usual_space: ClassVar[Mapping[str, Any]] = {"model.members": MEMBER_CHOICES}
    members: Annotated[Sequence[Member], Field(min_length=1)] = Field(
        [dict(member) for member in DEFAULT_MEMBERS],
        validate_default=True,
        description="the families, each with `kind` and its settings",
    )
    refit: bool = Field(
        False, description="fit each family once more on all rows and keep that one, not one per fold: a smaller graph"
    )

    def callback_faults(self, callbacks: Sequence[Section]) -> list[tuple[int, str]]:
        """Return (position, message) of each callback that a member rejects."""
        # Members of one kind reject the same callbacks.
        return sorted({fault for member in self.members for fault in member.callback_faults(callbacks)})

    def learn(self, table: Table, plan: Training, *, progress: Progress = silent, start: Start | None = None) -> Blend:
        if start is not None:
            raise TrainingError(f"an ensemble cannot continue from {start.version}", hint="train without --from")
        if table.n_folds < 2:
            raise TrainingError(
                f"an ensemble needs at least 2 folds, got {table.n_folds} for {len(table.rows)} rows",
                hint="set validation.folds: 5, or name one kind in model.kind",
            )
        names, encodings = _names(self.members), _encodings(table, self.members)
        tasks = [
            _Fit(table, member, encoding, out, _plan(member, plan, place))
            for member, encoding in zip(self.members, encodings, strict=True)
            for place, out in enumerate(_outs(table))
        ]
        fitted = side_by_side(tasks, lambda task: task.run(1), at_once=table.threads, progress=progress)
        answers = [_out_of_fold(table, tasks, fitted, member) for member in self.members]
        loss = _loss(table)
        everything = np.ones(len(table.rows), dtype=np.bool_)
        weights = _greedy(answers, loss, everything, plan.seed)
        bags = [
            Bag(name, encoding.features, type(own[0]).mean_of(own), float(weight))
            for name, member, encoding, weight in zip(names, self.members, encodings, weights, strict=True)
            if weight > 0
            for own in [[model for task, (model, _) in zip(tasks, fitted, strict=True) if task.member is member]]
        ]
        blend = Blend(table.task, tuple(bags))
        scores = {}
        if self.refit:
            scores = {"held-out loss of all folds": _held_out_loss(table, blend)}
            kept = [member for member, weight in zip(self.members, weights, strict=True) if weight > 0]
            blend = replace(
                blend,
                bags=tuple(
                    replace(bag, fitted=_on_all_rows(table, member, encoding, plan))
                    for bag, member, encoding in zip(bags, kept, _encodings(table, kept), strict=True)
                ),
            )
            scores["held-out loss"] = _held_out_loss(table, blend)
        mixed = _mixed_out_of_fold(table, answers, loss, plan.seed)
        scores |= {f"loss of {name}": loss(answer, everything) for name, answer in zip(names, answers, strict=True)}
        return replace(blend, scores=scores | {"loss": loss(mixed, everything)}, out_of_fold=mixed)


@dataclass(frozen=True, slots=True)
class _Fit:
    """One family to be fitted while one fold, the rows of `out`, is held back."""

    table: Table
    member: MatrixModel
    encoding: Encoding
    out: Mask
    plan: Training

    def run(self, threads: int) -> tuple[Fitted, Floats]:
        """Return the fitted model and its answers for the fold."""
        rows = self.table.rows
        inside, outside = rows.pick(~self.out), rows.pick(self.out)
        held_back = Rows(self.encoding.answering(~self.out, self.out), outside.target, outside.weights)
        data = TrainingData(
            Rows(self.encoding.learning(~self.out), inside.target, inside.weights),
            np.zeros(len(inside), dtype=np.bool_),
            None,
            self.table.task,
            self.encoding.features.categorical,
            outside=held_back,
            threads=threads,
        )
        fitted = self.member.fit(data, self.plan)
        return fitted, fitted.predict(held_back.matrix)


def _on_all_rows(table: Table, member: MatrixModel, encoding: Encoding, plan: Training) -> Fitted:
    everything = np.ones(len(table.rows), dtype=np.bool_)
    rows = Rows(encoding.learning(everything), table.rows.target, table.rows.weights)
    codes = encoding.features.categorical
    return member.fit(TrainingData(rows, table.validation, None, table.task, codes), _plan(member, plan, 0))


def _held_out_loss(table: Table, blend: Blend) -> float:
    """Return the loss of rows that decide nothing, to tell what a smaller graph costs."""
    if table.held_out is None:
        return float("nan")
    rows = replace(table, rows=table.held_out)
    return _loss(rows)(blend.predict(table.held_out.batch), np.ones(len(table.held_out), dtype=np.bool_))


def _outs(table: Table) -> list[Mask]:
    """Return the mask of every fold of every repeat."""
    return [dealt == number for dealt in table.folds for number in range(int(dealt.max()) + 1)]


def _encodings(table: Table, members: Sequence[MatrixModel]) -> list[Encoding]:
    """Return an encoding per member; members that want the same share one."""
    shared: dict[tuple[str, int], Encoding] = {}
    for member in members:
        key = (member.wants, member.max_categories)
        if key not in shared:
            shared[key] = table.encoding(member)
            _ = shared[key].matrix
    return [shared[member.wants, member.max_categories] for member in members]


def _names(members: Sequence[MatrixModel]) -> list[str]:
    """Return a name per member, numbered where a kind occurs again."""
    kinds = [str(_write_member(member)["kind"]) for member in members]
    return [
        kind if kinds.count(kind) == 1 else f"{kind} {kinds[: place + 1].count(kind)}"
        for place, kind in enumerate(kinds)
    ]


def _plan(member: MatrixModel, plan: Training, fold: int) -> Training:
    stopping = {"callbacks": plan.callbacks or member.stopping}
    return plan.model_copy(update={"seed": plan.seed + 1000 * fold, **stopping})


def _out_of_fold(
    table: Table, tasks: Sequence[_Fit], fitted: Sequence[tuple[Fitted, Floats]], member: MatrixModel
) -> Floats:
    """Return a member's answers for every row by models that had not seen it, the mean over repeats."""
    shape = (len(table.rows),) if table.task.is_regression else (len(table.rows), table.task.n_outputs)
    found = np.zeros(shape)
    for task, (_, answers) in zip(tasks, fitted, strict=True):
        if task.member is member:
            found[task.out] += answers / len(table.folds)
    return found


Loss = Callable[[Floats, Mask], float]


def _loss(table: Table) -> Loss:
    """Return the weighted mean squared error, or the log loss, of some rows."""
    target, weights = table.rows.target, table.rows.weights
    if table.task.is_regression:
        return lambda answers, which: float(
            np.average(np.square(answers[which] - target[which]), weights=weights[which] + SMALLEST)
        )
    positions = target.astype(np.int64)

    def log_loss(answers: Floats, which: Mask) -> float:
        told = answers[which, positions[which]]
        return float(np.average(-np.log(np.clip(told, SMALLEST, 1.0)), weights=weights[which] + SMALLEST))

    return log_loss


def _greedy(answers: Sequence[Floats], loss: Loss, which: Mask, seed: int) -> Floats:
    """Return weights by forward selection with replacement: each step takes in whichever member helps most."""
    if which.sum() > WEIGHING_ROWS:
        picked = np.random.default_rng([seed, 50]).choice(np.flatnonzero(which), WEIGHING_ROWS, replace=False)
        which = np.isin(np.arange(len(which)), picked)
    total, counts = np.zeros_like(answers[0]), np.zeros(len(answers))
    best, weights = np.inf, counts
    for step in range(1, STEPS + 1):
        losses = [loss((total + answer) / step, which) for answer in answers]
        place = int(np.argmin(losses))
        total += answers[place]
        counts[place] += 1
        if losses[place] < best - 1e-12:
            best, weights = losses[place], counts / step
    kept = np.where(weights >= LEAST_WEIGHT, weights, 0.0)
    found: Floats = kept / kept.sum()
    return found


def _mixed_out_of_fold(table: Table, answers: Sequence[Floats], loss: Loss, seed: int) -> Floats:
    """Return the blend's answers for every row; the weights too come from other folds than its own."""
    found = np.zeros_like(answers[0])
    for number in range(table.n_folds):
        out = table.folds[0] == number
        weights = _greedy(answers, loss, ~out, seed)
        found[out] = sum(weight * answer[out] for weight, answer in zip(weights, answers, strict=True))
    return found


__all__ = ["Blend", "Ensemble"]
