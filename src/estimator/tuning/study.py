"""Where trials are kept: a journal that survives a kill, or a database that several machines share."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from estimator.config import Config
from estimator.config.sections import model_data
from estimator.data.sources.address import locate
from estimator.errors import ConfigError, needs_extra

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# A worker on another machine that has not been heard of for so long, in seconds, is taken for dead.
HEARTBEAT, SILENCE = 30, 120
# With this every journal of Optuna begins.
JOURNAL_START = b'{"op_code"'
# What a study hangs on; its length does not belong to it.
SECTIONS = ("data", "schema", "features", "model", "training", "validation")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which study: where it is kept, its name, and what it belongs to, section -> hash."""

    place: str
    name: str
    parts: Mapping[str, str]

    @classmethod
    def of(cls, config: Config, kind: str, fingerprint: Mapping[str, str], folder: Path) -> Plan:
        """Return the study of a config and its rows; a file's path starts in `folder`."""
        place, values = config.tuning.study, model_data(config, kind)
        searched = {key: value for key, value in values["tuning"].items() if key not in ("n_trials", "study")}
        metrics = config.tuning.metric or config.evaluation.metrics[:1]
        parts = {**{name: values[name] for name in SECTIONS}, "tuning": searched, "evaluation.metrics": metrics}
        told = {name: _hash(part) for name, part in parts.items()} | {"the rows": _hash(dict(fingerprint))}
        return cls(place if "://" in place else str(folder / place), str(config.name), told)

    @property
    def is_file(self) -> bool:
        """Whether it is kept in a file."""
        return "://" not in self.place


@contextmanager
def opened_study(plan: Plan, *, fresh: bool, environment: Mapping[str, str]) -> Iterator[optuna.Study]:
    """Give the study of a plan, made when there is none; `fresh` drops its trials.

    Raises
    ------
    ConfigError: it belongs to another config, other rows or another space.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with ExitStack() as closing:
        storage = _journal(Path(plan.place)) if plan.is_file else _database(plan.place, environment, closing)
        if fresh:
            with suppress(KeyError):
                optuna.delete_study(study_name=plan.name, storage=storage)
        study = optuna.create_study(storage=storage, study_name=plan.name, load_if_exists=True)
        _refuse_another(study, plan)
        yield study


def _refuse_another(study: optuna.Study, plan: Plan) -> None:
    known = study.user_attrs.get("parts")
    if known is None:
        study.set_user_attr("parts", dict(plan.parts))
    elif known != plan.parts:
        other = [name for name in plan.parts if known.get(name) != plan.parts[name]]
        raise ConfigError(
            f"{plan.place}: the {len(study.trials)} trials of {plan.name!r} there belong to another search; "
            f"different: {', '.join(other)}",
            hint="bring it back, name another tuning.study, or start anew with --fresh",
        )


def owner() -> str:
    """Return a name for this process that no other has had."""
    return _named(os.getpid())


def take_up(study: optuna.Study) -> int:
    """Fail trials whose process is gone, and queue what they tried; return how many there were.

    Only processes of this machine can be looked at; a database hears of the others by their heartbeat.
    """
    lost = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if _is_lost(trial)]
    for trial in lost:
        # Somebody else may take it up at the same time.
        with suppress(ValueError, RuntimeError):
            study.tell(trial.number, state=TrialState.FAIL)
            again(study, trial)
    return len(lost)


def again(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Queue what a trial tried that did not come to an end."""
    is_outside = trial.user_attrs.get("is_outside", False)
    if trial.params or is_outside:
        study.enqueue_trial(trial.params, user_attrs={"again": trial.number, "is_outside": is_outside})


def _is_lost(trial: optuna.trial.FrozenTrial) -> bool:
    named = str(trial.user_attrs.get("owner", ""))
    if not named:
        # It has only just begun, or its process died before it could sign.
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start > timedelta(seconds=SILENCE)
    host, pid, _ = named.rsplit(":", 2)
    return host == socket.gethostname() and named != _named(int(pid))


def _named(pid: int) -> str:
    """Return host:pid:start, where a process that is gone has no start."""
    try:
        # Numbers of processes are used again, together with their start they are not.
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
    lock = SystemLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_unfinished_line(path, lock)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))  # type: ignore[arg-type] # it takes and gives back
    except (OSError, ValueError) as error:
        raise ConfigError(f"tuning.study: {path} cannot be used: {error}", hint="name another file") from error


def _cut_unfinished_line(path: Path, lock: SystemLock) -> None:
    """Take away what a crash of the machine left half written; the next line would be joined to it."""
    if not path.exists():
        return
    lock.acquire()
    try:
        content = path.read_bytes()
        if content and not content.startswith(JOURNAL_START):
            raise ValueError("it holds something else than trials")
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


@dataclass
class SystemLock:
    """A lock on a journal that the system takes back from a process that is killed."""

    path: str
    handle: int = -1

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self.handle = handle
        return True

    def release(self) -> None:
        """Give the lock back."""
        os.close(self.handle)


def _database(place: str, environment: Mapping[str, str], closing: ExitStack) -> optuna.storages.BaseStorage:
    address = locate(place, environment)
    url = address.url
    if address.scheme in ("postgresql", "postgres"):
        with needs_extra("sql", "a study in PostgreSQL"):
            import psycopg  # noqa: F401
        url = f"postgresql+psycopg://{url.partition('://')[2]}"
    with _quiet():
        try:
            storage = optuna.storages.RDBStorage(
                url, heartbeat_interval=HEARTBEAT, grace_period=SILENCE, heartbeat_stale_trial_callback=again
            )
        except Exception as error:
            told = address.scrubbed(str(error)).splitlines()[0]
            raise ConfigError(f"tuning.study: {address.name} cannot be opened: {told}") from None
    closing.callback(storage.engine.dispose)
    closing.callback(storage.remove_session)
    return storage


@contextmanager
def _quiet() -> Iterator[None]:
    """Heartbeats are called experimental at every use."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _hash(part: Any) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True, default=str).encode()).hexdigest()[:16]
