"""tune: search the settings of a config's `tuning.space`, and write a config that trains the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from estimator import tuning
from estimator.config import EngineChoice, from_environment
from estimator.config.variant import write_variant
from estimator.core.files import write_atomic
from estimator.data.stored_table import in_memory
from estimator.engine import Engine, open_engine
from estimator.errors import ConfigError
from estimator.models import Progress, silent
from estimator.training.plan import unplanned_notes
from estimator.tuning import SearchProgress, SearchResult
from estimator.tuning.space import format_setting
from estimator.verbs.context import SHELVES, Context, kind_of

__all__ = ["TunedConfig", "Workers", "format_setting", "tune"]


@dataclass(frozen=True, slots=True)
class Workers:
    """How many processes search, the command line of one, and whether this process is one."""

    count: int = 1
    command: Sequence[str] = ()
    is_worker: bool = False


@dataclass(frozen=True, slots=True)
class TunedConfig:
    """What a search found, where its trials are kept, and the config and page it wrote."""

    result: SearchResult
    study: str
    conf: Path
    page: Path


def tune(
    conf: Path,
    context: Context,
    *,
    fresh: bool = False,
    workers: Workers | None = None,
    show: Callable[[SearchProgress], None] = lambda progress: None,
    progress: Progress = silent,
) -> TunedConfig | None:
    """Search the settings of a config's `tuning.space`, and write a config that trains the best.

    Trials are kept as they end: the same call continues an interrupted search. A worker process returns None.
    """
    workers = workers or Workers()
    loaded = context.loaded(conf)
    config, table = loaded.config, context.table(loaded)
    spec = tuning.StudySpec.of(config, kind_of(config), table.fingerprint, conf.parent)
    n_processes = 1 if workers.is_worker else workers.count
    with _engine(context.engine(config), workers) as engine:
        rows = tuning.TuningRows(in_memory(table.frame), config, table.schema, n_processes, engine)
        context.notes.add((*rows.current.notes, *unplanned_notes(config)))
        search = tuning.Search.of(tuning.Space.of(config, SHELVES), rows)
        current = search.space.current()
        with tuning.open_study(spec, current, fresh=fresh, environment=context.environment) as study:
            if workers.is_worker:
                tuning.run_search(study, search)
                return None
            if workers.count > 1:
                tuning.search_in_processes(study, search, workers.command, workers=workers.count, show=show)
            else:
                tuning.run_search(study, search, show=show, progress=progress)
            result = tuning.evaluate_search(study, search, progress=progress)
    overrides = [*from_environment(context.environment), *context.overrides]
    written = write_variant(conf, config, result.edits, SHELVES, overrides=overrides)
    page = conf.with_name(f"{conf.stem}.tuning.html")
    write_atomic(page, tuning.tuning_page(result, name=str(config.name)))
    return TunedConfig(result, spec.storage, written, page)


def _engine(choice: EngineChoice, workers: Workers) -> AbstractContextManager[Engine]:
    """Context manager: where folds are fitted; each process of a search joins the same cluster.

    Raises
    ------
    ConfigError: every process would start a cluster of its own.
    """
    if workers.count > 1 and choice.kind != "local" and choice.address is None:
        raise ConfigError(
            f"--workers {workers.count}: each process would start a cluster of its own on this machine",
            hint="name a cluster for all of them, --engine ray://HOST:10001, or leave out --workers",
        )
    return open_engine(choice)
