"""ci: every check of a push, on this machine or on a CI server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

from estimator.config import Config, resolve
from estimator.config.sections import model_data
from estimator.core.credentials import redacted
from estimator.core.files import write_atomic
from estimator.core.text import counted, format_bytes
from estimator.errors import ArtefactError, CheckError, GateError, StoreError
from estimator.shipping.ci.pipeline import CheckRunner, CiCheck, CiResult, markdown
from estimator.shipping.image.builders import Builder, ImageBuild
from estimator.store.artefact import Artefact, missing_packages_named, open_artefact
from estimator.store.store import locate
from estimator.training.comparison import Comparison
from estimator.verbs.compare import compare
from estimator.verbs.context import SHELVES, Context, kind_of
from estimator.verbs.image import image
from estimator.verbs.train import prepared_rows, train
from estimator.verbs.verify import verify

NAMES = ("config", "data", "version", "live", "image")


@dataclass(frozen=True, slots=True)
class CiRequest:
    """A config to check, where the report goes, and how to build the image: by no builder, it is not built."""

    conf: Path
    report: Path
    builder: Builder | None = "auto"
    rootfs: Path | None = None


def ci(request: CiRequest, context: Context, *, note: Callable[[CiCheck], None] = lambda check: None) -> CiResult:
    """Check a config, its data, the version it trains, how that compares with the live one, and its image.

    A config and rows that made the live version are verified instead of trained again. The report is always written.
    """
    checks = CheckRunner(NAMES, perf_counter, note)
    model, artefact, comparisons, built = request.conf.stem, None, tuple[Comparison, ...](), None
    try:
        config = checks.run("config", partial(_config, request.conf, context))
        model = str(config.name)
        # What is verified and compared lies in the store of the config, too.
        context = replace(context, store_path=str(context.store(config).location), own_data=config.data)
        checks.run("data", partial(_data, request.conf, context))
        live = _by_alias(config, "live", context)
        artefact = checks.run("version", partial(_version, request.conf, config, live, context))
        comparisons = checks.run("live", partial(_compared, request.conf, live, artefact, context))
        if request.builder is None:
            checks.skip("image", "not requested")
        else:
            built = checks.run("image", partial(_image, artefact, request, context))
    except CheckError:
        pass
    result = CiResult(model, checks.finish(), artefact, comparisons, built)
    write_atomic(request.report, redacted(markdown(result)).encode())
    return result


def _config(conf: Path, context: Context) -> tuple[Config, str]:
    config = context.config(conf)
    kind = None if config.deployment is None else config.model_dump()["deployment"]["kind"]
    deployment = f"deployment {kind}" if kind else "no deployment"
    return config, f"{config.name}: model {kind_of(config)}, {deployment}"


def _data(conf: Path, context: Context) -> tuple[None, str]:
    """Check the rows against the schema; training does it again, but its errors come later."""
    prepared, config, _ = prepared_rows(conf, context)
    path = config.schema_.file
    schema = f"schema file {path}" if path else "an inferred schema, not reviewed (set schema.file)"
    rows = counted(len(prepared.rows.target), "row")
    return None, f"{rows}, {counted(len(prepared.schema.features), 'column')}, {schema}"


def _by_alias(config: Config, alias: str, context: Context) -> Artefact | None:
    try:
        return open_artefact(locate(f"{config.name}@{alias}", context.store(config)))
    except StoreError:
        return None


def _version(conf: Path, config: Config, live: Artefact | None, context: Context) -> tuple[Artefact, str]:
    """Return the live version or the candidate when this config and these rows made it, else a new version."""
    recipe = _recipe(conf, config, context)
    for artefact in (live, _by_alias(config, "candidate", context)):
        if artefact is not None and _recipe_of(artefact) == recipe:
            reproduction = verify(f"{artefact.name}/{artefact.version}", context, folder=conf.parent)
            if not reproduction.is_equal:
                raise GateError(
                    f"{artefact.version} cannot be reproduced: {'; '.join(reproduction.differences)}",
                    hint="estimator verify",
                )
            return artefact, f"{artefact.version} has this config and these rows, and was reproduced bit for bit"
    new = train(conf, context)
    if not new.report.beats_baseline:
        raise GateError(
            f"{new.artefact.version}: {new.report.deciding_metric} is not better than always predicting the same value",
            hint="estimator explore",
        )
    return new.artefact, f"{new.artefact.version} was trained, {new.alias}"


def _recipe(conf: Path, config: Config, context: Context) -> tuple[object, object]:
    """Return the config and the rows' fingerprint that a new version would have."""
    with context.rows(config.data, conf.parent) as source:
        return model_data(config, kind_of(config)), source.fingerprint()


def _recipe_of(artefact: Artefact) -> tuple[object, object]:
    """Return the config of a version, as this release reads it, and the fingerprint of its rows."""
    with missing_packages_named(artefact):
        config = resolve(artefact.recorded_config, SHELVES)
    return model_data(config, kind_of(config)), artefact.manifest["data"]["files"]


def _compared(
    conf: Path, live: Artefact | None, artefact: Artefact, context: Context
) -> tuple[tuple[Comparison, ...], str]:
    if live is None or live.version == artefact.version:
        return (), "there is no other live version"
    first, second = (f"{version.name}/{version.version}" for version in (live, artefact))
    try:
        comparisons: Sequence[Comparison] = compare(first, second, context.without_overrides(), folder=conf.parent)
    except ArtefactError as error:
        return (), f"not comparable with {live.version}: {error.message}"
    if comparisons[0].verdict == "worse":
        raise GateError(f"worse than {live.version}: {comparisons[0].change}", hint="the live version stays")
    return tuple(comparisons), f"against {live.version}: {comparisons[0].sentence}"


def _image(artefact: Artefact, request: CiRequest, context: Context) -> tuple[ImageBuild, str]:
    built = image(artefact, context, builder=request.builder or "auto", rootfs=request.rootfs)
    size, smoke_test = format_bytes(built.size_bytes), built.smoke_test
    if smoke_test is None:
        return built, f"{size}, not started: it is for another machine"
    return built, f"{size}, {smoke_test.n_rows} golden rows and {smoke_test.n_rejected} rejected rows"
