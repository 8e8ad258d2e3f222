"""What every push is held to, on this machine or on a server that builds: one verb for all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from estimator.config import Config, read_config, resolve
from estimator.config.sections import model_data
from estimator.core.files import write_atomic
from estimator.errors import ArtefactError, StoreError, needs_extra
from estimator.shipping.ci.pipeline import Check, Checks, Outcome, RefusedError, StoppedError, markdown
from estimator.store.artefact import Artefact
from estimator.verbs.context import VOCABULARY, Order, kind_of, load, named, open_store, opened, prepared_by
from estimator.verbs.judging import compare, verify
from estimator.verbs.making import train
from estimator.verbs.shipping import image

if TYPE_CHECKING:
    from estimator.shipping.image.build import Built, Job
    from estimator.training.comparison import Comparison

NAMES = ("config", "data", "version", "live", "image")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the checks: a config, where the report goes, and the image to build, None for none."""

    conf: Path
    report: Path
    image: Callable[[Artefact], Job] | None


def ci(request: Request, order: Order, *, note: Callable[[Check], None] = lambda check: None) -> Outcome:
    """Check a config, its data, the version that it makes, how that compares with the live one, and its image.

    A config and rows that have made the live version already are not trained again but verified. The report is
    written whatever comes of it.
    """
    checks = Checks(NAMES, perf_counter, note)
    model, artefact, compared, built = request.conf.stem, None, tuple["Comparison", ...](), None
    try:
        config = checks.run("config", partial(_config, request.conf, order))
        model = str(config.name)
        checks.run("data", partial(_data, request.conf, order))
        live = _live(config, order)
        artefact = checks.run("version", partial(_version, request.conf, config, live, order))
        compared = checks.run("live", partial(_beside_live, request.conf, live, artefact, order))
        if request.image is None:
            checks.leave_out("image", "not asked for")
        else:
            built = checks.run("image", partial(_image, artefact, order, request.image(artefact)))
    except StoppedError:
        pass
    outcome = Outcome(model, checks.ended(), artefact, compared, built)
    request.report.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(request.report, markdown(outcome).encode())
    return outcome


def _config(conf: Path, order: Order) -> tuple[Config, str]:
    config = named(read_config(conf, VOCABULARY, overrides=order.overrides, environment=order.environment))
    where = "no deployment" if config.deployment is None else f"deployment {config.model_dump()['deployment']['kind']}"
    return config, f"{config.name}: model {kind_of(config)}, {where}"


def _data(conf: Path, order: Order) -> tuple[None, str]:
    """Hold the rows to the contract: training does the same again, and would say so in more words."""
    with needs_extra("train", "checking rows"):
        prepared, config, _ = prepared_by(conf, order)
    reviewed = config.schema_.file
    how = f"as {reviewed} says" if reviewed else "by a contract that nobody has reviewed (schema.file)"
    return None, f"{len(prepared.target):,} rows, {len(prepared.schema.features)} columns, {how}"


def _live(config: Config, order: Order) -> Artefact | None:
    return _by_alias(config, "live", order)


def _by_alias(config: Config, alias: str, order: Order) -> Artefact | None:
    try:
        return load(f"{config.name}@{alias}", open_store(config, order))
    except StoreError:
        return None


def _version(conf: Path, config: Config, live: Artefact | None, order: Order) -> tuple[Artefact, str]:
    wanted = _made_of(conf, config, order)
    for known in (live, _by_alias(config, "candidate", order)):
        if known is not None and _kept_of(known) == wanted:
            again = verify(f"{known.name}/{known.version}", order, folder=conf.parent)
            if not again.is_equal:
                raise RefusedError(
                    f"{known.version} cannot be made again: {'; '.join(again.differences)}", hint="estimator verify"
                )
            return known, f"{known.version} is of this config and these rows, and was made again bit for bit"
    made = train(conf, order)
    if not made.report.beats_baseline:
        raise RefusedError(
            f"{made.artefact.version}: by {made.report.first} not better than the same answer for every row",
            hint="estimator explore",
        )
    return made.artefact, f"{made.artefact.version} was trained, {made.alias}"


def _made_of(conf: Path, config: Config, order: Order) -> tuple[object, object]:
    """Return the config and the rows that a version would be made of."""
    with opened(config.data, order, conf.parent) as source:
        return model_data(config, kind_of(config)), source.fingerprint()


def _kept_of(artefact: Artefact) -> tuple[object, object]:
    """Return the config and the rows that a version was made of, as this release reads them."""
    config = resolve(artefact.config, VOCABULARY)
    return model_data(config, kind_of(config)), artefact.manifest["data"]["files"]


def _beside_live(
    conf: Path, live: Artefact | None, artefact: Artefact, order: Order
) -> tuple[tuple[Comparison, ...], str]:
    from estimator.training.comparison import in_words

    if live is None or live.version == artefact.version:
        return (), "there is no other live version"
    try:
        found = _compared(live, artefact, order, conf.parent)
    except ArtefactError as error:
        return (), f"not comparable with {live.version}: {error.message}"
    if found[0].gain.high < 0:
        raise RefusedError(f"worse than {live.version}: {in_words(found[0])}", hint="the live version stays")
    return tuple(found), f"beside {live.version} {in_words(found[0])}"


def _compared(live: Artefact, artefact: Artefact, order: Order, folder: Path) -> Sequence[Comparison]:
    references = [f"{each.name}/{each.version}" for each in (live, artefact)]
    plain = Order(environment=order.environment, store=order.store)
    return compare(references[0], references[1], plain, folder=folder)


def _image(artefact: Artefact, order: Order, job: Job) -> tuple[Built, str]:
    from estimator.core.text import format_bytes

    built = image(artefact, order, job)
    if built.trial is None:
        return built, f"{format_bytes(built.size)}, not started: it is for another machine"
    return built, f"{format_bytes(built.size)}, {built.trial.n_rows} golden rows and {built.trial.n_refused} refusals"


def init_ci(conf: Path, system: str, order: Order, *, force: bool, root: Path = Path()) -> Path:
    """Write the workflow of a system that holds every push to `ci`; return its path in the repository's root."""
    from estimator.shipping.ci.workflows import write_workflow

    config = named(read_config(conf, VOCABULARY, overrides=order.overrides, environment=order.environment))
    return write_workflow(system, config, conf, root, force=force)
