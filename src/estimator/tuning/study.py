"""Where trials are stored: a journal that survives a kill, or a database that several machines share."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from estimator.config import Config
from estimator.config.sections import model_data
from estimator.core.lock import FileLock, locked
from estimator.data.sources.address import locate
from estimator.errors import ConfigError, needs_extra

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# A worker on another machine without a heartbeat for this long counts as dead.
HEARTBEAT_SECONDS, GRACE_SECONDS = 30, 120
# The first bytes of every journal of Optuna.
JOURNAL_START = b'{"op_code"'
# A study is valid for one value of these; the number of trials may change.
SECTIONS = ("data", "schema", "features", "model", "training", "validation")


@dataclass(frozen=True, slots=True)
class StudySpec:
    """Which study: the file or database it is stored in, its name, and the search it belongs to, section -> hash."""

    storage: str
    name: str
    hashes: Mapping[str, str]

    @classmethod
    def of(cls, config: Config, kind: str, fingerprint: Mapping[str, str], folder: Path) -> StudySpec:
        """Return the study of a config and its rows; the path of a file is relative to `folder`."""
        storage, values = config.tuning.study, model_data(config, kind)
        tuning = {key: value for key, value in values["tuning"].items() if key not in ("n_trials", "study")}
        metrics = config.tuning.metric or config.evaluation.metrics[:1]
        sections = {**{name: values[name] for name in SECTIONS}, "tuning": tuning, "evaluation.metrics": metrics}
        hashes = {name: _hash(section) for name, section in sections.items()} | {"rows": _hash(dict(fingerprint))}
        return cls(storage if "://" in storage else str(folder / storage), str(config.name), hashes)

    @property
    def is_file(self) -> bool:
        """Whether the study is stored in a file."""
        return "://" not in self.storage


@contextmanager
def open_study(
    spec: StudySpec, current: Mapping[str, Any] | None, *, fresh: bool, environment: Mapping[str, str]
) -> Iterator[optuna.Study]:
    """Open the study, or create it; `fresh` drops its trials.

    The first trial has the parameters of the current config, `current`, None when it is outside the space.

    Raises
    ------
    ConfigError: its trials are of another config, other rows or another space.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with ExitStack() as closing:
        storage = _journal(Path(spec.storage)) if spec.is_file else _database(spec.storage, environment, closing)
        with _opening(spec):
            if fresh:
                with suppress(KeyError):
                    optuna.delete_study(study_name=spec.name, storage=storage)
            study = optuna.create_study(storage=storage, study_name=spec.name, load_if_exists=True)
            _check_same_search(study, spec)
            if not study.get_trials(deepcopy=False):
                study.enqueue_trial(dict(current or {}), user_attrs={"is_outside_space": current is None})
        yield study


def _opening(spec: StudySpec) -> AbstractContextManager[None]:
    """Let one process at a time open the study, so that two searches never both find it new."""
    if not spec.is_file:
        return nullcontext()
    # The journal's own lock is taken for each of its lines meanwhile.
    path = Path(spec.storage)
    return locked(path.with_name(f"{path.name}.open"), name=spec.storage, purpose="opening it", error_type=ConfigError)


def _check_same_search(study: optuna.Study, spec: StudySpec) -> None:
    stored = study.user_attrs.get("hashes")
    if stored is None:
        study.set_user_attr("hashes", dict(spec.hashes))
    elif stored != spec.hashes:
        changed = [name for name in spec.hashes if stored.get(name) != spec.hashes[name]]
        raise ConfigError(
            f"{spec.storage}: its {len(study.trials)} trials of {spec.name!r} belong to another search; "
            f"changed since: {', '.join(changed)}",
            hint="undo the change, name another tuning.study, or start over with --fresh",
        )


def owner() -> str:
    """Return a name of this process that no other process has had."""
    return _process_name(os.getpid())


def requeue_lost(study: optuna.Study) -> int:
    """Fail trials whose process is gone and queue them again; return how many there were.

    Only processes of this machine are checked; a database notices the others by their heartbeat.
    """
    lost = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if _is_lost(trial)]
    for trial in lost:
        # Another worker may requeue it at the same time.
        with suppress(ValueError, RuntimeError):
            study.tell(trial.number, state=TrialState.FAIL)
            requeue(study, trial)
    return len(lost)


def requeue(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Queue the settings of a trial that did not finish."""
    is_outside = trial.user_attrs.get("is_outside_space", False)
    if trial.params or is_outside:
        study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number, "is_outside_space": is_outside})


def _is_lost(trial: optuna.trial.FrozenTrial) -> bool:
    name = str(trial.user_attrs.get("owner", ""))
    if not name:
        # It has just started, or its process died before it set its name.
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start > timedelta(
            seconds=GRACE_SECONDS
        )
    host, pid, _ = name.rsplit(":", 2)
    return host == socket.gethostname() and name != _process_name(int(pid))


def _process_name(pid: int) -> str:
    """Return host:pid:start time; the start time of a process that is gone is empty."""
    try:
        # Process ids are reused; together with their start time they are unique.
        start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        start = "" if Path("/proc/self/stat").exists() or not _is_alive(pid) else "alive"
    return f"{socket.gethostname()}:{pid}:{start}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _journal(path: Path) -> optuna.storages.BaseStorage:
    lock = FileLock(path, purpose="writing trials", error_type=ConfigError)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_unfinished_line(path, lock)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))  # type: ignore[arg-type] # it takes and gives back
    except (OSError, ValueError) as error:
        raise ConfigError(f"tuning.study: {path} cannot be used: {error}", hint="choose another file") from error


def _cut_unfinished_line(path: Path, lock: FileLock) -> None:
    """Remove a line that a crash left half written, because the next one would be appended to it."""
    if not path.exists():
        return
    lock.acquire()
    try:
        content = path.read_bytes()
        if content and not content.startswith(JOURNAL_START):
            raise ValueError("it is not a journal of trials")
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _database(storage_url: str, environment: Mapping[str, str], closing: ExitStack) -> optuna.storages.BaseStorage:
    address = locate(storage_url, environment)
    url = address.url
    if address.scheme in ("postgresql", "postgres"):
        with needs_extra("sql", "a study in PostgreSQL"):
            import psycopg  # noqa: F401
        url = f"postgresql+psycopg://{url.partition('://')[2]}"
    with _without_warnings():
        try:
            storage = optuna.storages.RDBStorage(
                url,
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=requeue,
            )
        except Exception as error:
            message = address.scrubbed(str(error)).splitlines()[0]
            raise ConfigError(f"tuning.study: {address.name} cannot be opened: {message}") from None
    closing.callback(storage.engine.dispose)
    closing.callback(storage.remove_session)
    return storage


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence the warning that heartbeats are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _hash(section: Any) -> str:
    return hashlib.sha256(json.dumps(section, sort_keys=True, default=str).encode()).hexdigest()[:16]
