"""Independent work as tasks of a Ray cluster: a private one of this machine, or one that the config names."""

from __future__ import annotations

import logging
import os
import platform
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from threading import Thread
from time import monotonic, sleep
from typing import Any, ClassVar

from estimator.config import EngineChoice
from estimator.engine.base import Engine, Item, Result, Shared, ignored
from estimator.engine.transfer import register_transfers
from estimator.errors import ConfigError, EngineError, needs_extra

with needs_extra("ray", "engine kind 'ray'"):
    import ray
    from ray.exceptions import RayError, RayTaskError, TaskCancelledError

CONNECT_SECONDS = 5.0
# A task whose process dies is run again so often.
MAX_RETRIES = 3
# How often a cluster that reports nothing is asked whether it is there, and how long it may be silent.
POLL_SECONDS, LOST_SECONDS = 1.0, 10.0
# What Ray and the processes that it starts for us are to do: report nothing to anyone, and give up a fit that needs
# more memory than a node has, which would be tried again for ever.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_task_oom_retries": str(MAX_RETRIES),
}
# Packages that decide the digits of a model; they must be the same on all nodes.
PACKAGES = (
    "estimator-lifepath",
    "numpy",
    "onnxruntime",
    "scipy",
    "scikit-learn",
    "lightgbm",
    "jax",
    "jaxlib",
    "catboost",
    "xgboost-cpu",
)


@dataclass
class RayEngine(Engine):
    """Tasks of a Ray cluster, at most `workers` at once; `endpoint` is where it listens.

    Mutable, as it remembers what it sent last: maps over the same rows send them once.
    """

    is_here: ClassVar[bool] = False
    endpoint: tuple[str, int]
    workers: int | None = None
    place: str = "the cluster"
    _sent: tuple[Any, Any] = field(default=(None, None), repr=False)

    @classmethod
    @contextmanager
    def open(cls, choice: EngineChoice) -> Iterator[RayEngine]:
        if choice.address is not None:
            _check_address(choice.address)
        if ray.is_initialized():
            raise ConfigError(
                "engine: this process is connected to a Ray cluster already",
                hint="disconnect first, ray.shutdown(), or set engine.kind: local",
            )
        register_transfers()
        try:
            with _environment(SETTINGS), warnings.catch_warnings():
                # Jax warns of forks; Ray's are replaced by a program at once.
                warnings.simplefilter("ignore", RuntimeWarning)
                endpoint = _start() if choice.address is None else _join(choice.address)
            place = f"the cluster at {choice.address}" if choice.address else "the cluster"
            engine = cls(endpoint, choice.workers, place)
            yield engine
            # A trained model remembers its engine, which must not keep the rows.
            engine._sent = (None, None)
        finally:
            ray.shutdown()

    def map(
        self,
        function: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Sequence[Item],
        *,
        n_jobs: int = 0,
        threads: int = 1,
        on_end: Callable[[Item, Result], None] = ignored,
    ) -> list[Result]:
        with self._losses_named():
            tasks = _Tasks(self, _remote(threads), function, self._put(shared), items, on_end)
            tasks.run()
        if tasks.errors:
            raise tasks.errors[min(tasks.errors)]
        return [tasks.ended[index] for index in range(len(items))]

    def _put(self, shared: Any) -> Any:
        """Return the reference of a value in the object store; one that was sent last is not sent again."""
        if self._sent[0] is not shared or shared is None:
            self._sent = (None, None)
            self._sent = (shared, ray.put(shared))
        return self._sent[1]

    def check_alive(self) -> None:
        """Raise an error when nothing listens at the cluster's address any more: Ray itself would wait a minute."""
        began = monotonic()
        while not _listens(*self.endpoint):
            if monotonic() - began > LOST_SECONDS:
                raise EngineError(f"engine: {self.place} was lost: nothing listens at {_at(self.endpoint)}", hint=LOST)
            sleep(POLL_SECONDS)

    @contextmanager
    def _losses_named(self) -> Iterator[None]:
        """Context manager: turn an error of Ray itself into one that says what to do."""
        try:
            yield
        except (RayError, ConnectionError) as error:
            raise EngineError(f"engine: {self.place} failed: {_first_line(error)}", hint=LOST) from error


LOST = (
    "run the same command again; if it happens again, give the nodes more memory, lower engine.workers, or use "
    "--engine local"
)


@dataclass
class _Tasks:
    """The tasks of one map. Mutable: results come in any order, and tasks begin as others end."""

    engine: RayEngine
    remote: Any
    function: Callable[[Any, Any], Any]
    shared: Any
    items: Sequence[Any]
    on_end: Callable[[Any, Any], None]
    n_begun: int = 0
    running: dict[Any, int] = field(default_factory=dict)
    ended: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, BaseException] = field(default_factory=dict)

    def run(self) -> None:
        """Run the tasks until all have ended, or one has an error and those before it have ended."""
        try:
            self._begin()
            while self.running:
                ready, _ = ray.wait(list(self.running), timeout=POLL_SECONDS)
                if not ready:
                    self.engine.check_alive()
                for task in ready:
                    self._end(task)
                self._begin()
        except BaseException:
            self._cancel(after=-1)
            raise

    def _begin(self) -> None:
        """Begin as many tasks as may run at once, none after an error."""
        at_once = self.engine.workers or len(self.items)
        while not self.errors and self.n_begun < len(self.items) and len(self.running) < at_once:
            item = self.items[self.n_begun]
            task = self.remote.remote(_versions(), self.function, self.shared, item)
            self.running[task] = self.n_begun
            self.n_begun += 1

    def _end(self, task: Any) -> None:
        index = self.running.pop(task)
        try:
            self.ended[index] = ray.get(task)
            self.on_end(self.items[index], self.ended[index])
        except RayTaskError as error:
            self._fail(index, error.cause if isinstance(error.cause, BaseException) else error)
        except RayError:
            raise
        except Exception as error:
            self._fail(index, error)

    def _fail(self, index: int, error: BaseException) -> None:
        """Note an error and cancel later items; earlier ones may have an error, too, which comes first."""
        self.errors[index] = error
        self._cancel(after=min(self.errors))

    def _cancel(self, *, after: int) -> None:
        for task in [task for task, index in self.running.items() if index > after]:
            del self.running[task]
            with suppress(RayError, ConnectionError, TaskCancelledError):
                # A fit does not look whether it was cancelled, so its process ends.
                ray.cancel(task, force=True)


def _task(versions: Mapping[str, str], function: Callable[[Any, Any], Any], shared: Any, item: Any) -> Any:
    """Run one item in a process of the cluster."""
    from threadpoolctl import threadpool_limits

    _check_versions(versions)
    with threadpool_limits(1, user_api="blas"):
        return function(shared, item)


def _remote(threads: int) -> Any:
    """Return the task as Ray runs it, with as many processors as it has threads; 0 for all of a node."""
    processors = [node["Resources"].get("CPU", 0.0) for node in _nodes() if node["Alive"]] if threads == 0 else []
    n_cpus = threads or max(1, int(min((count for count in processors if count), default=1)))
    return ray.remote(num_cpus=n_cpus, max_retries=MAX_RETRIES)(_task)


@cache
def _versions() -> dict[str, str]:
    """Return the versions of what decides the digits of a model, of what is installed here."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _check_versions(wanted: Mapping[str, str]) -> None:
    here = _versions()
    differences = [
        f"{name} {here[name]}, not {number}" for name, number in wanted.items() if here.get(name, number) != number
    ]
    if differences:
        raise EngineError(
            f"engine: node {socket.gethostname()} has {', '.join(differences)}, as this machine",
            hint="install the same versions on every node, or use --engine local",
        )


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call] # theirs
    return nodes


def _start() -> tuple[str, int]:
    """Start a cluster of this machine alone; return where it listens.

    Raises
    ------
    ConfigError: it does not start.
    """
    try:
        ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    # Ray raises errors of no common class.
    except Exception as error:
        raise ConfigError(
            f"engine: Ray cannot start a cluster of this machine: {_first_line(error)}",
            hint="use --engine local, or name a cluster that runs: engine.address",
        ) from error
    return _endpoint(ray.get_runtime_context().gcs_address)


def _join(address: str) -> tuple[str, int]:
    """Join a cluster; return where it listens.

    Raises
    ------
    ConfigError: it is no cluster of the same Ray and Python.
    """
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    # The same.
    except Exception as error:
        raise ConfigError(
            f"engine.address: cannot join the cluster at {address}: {_first_line(error)}",
            hint="host:6379 joins from one of its nodes, ray://host:10001 from elsewhere; Ray and Python must be those "
            "of the cluster",
        ) from error
    return _endpoint(address)


def _check_address(address: str) -> None:
    """Reject an address that nothing listens at: Ray itself would wait for minutes."""
    if not _listens(*_endpoint(address)):
        raise ConfigError(
            f"engine.address: nothing listens at {_at(_endpoint(address))}",
            hint="start a cluster (ray start --head), correct the address, or use --engine local",
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def _endpoint(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return host.strip("[]"), int(port)


def _at(endpoint: tuple[str, int]) -> str:
    return f"{endpoint[0]}:{endpoint[1]}"


def _listens(host: str, port: int) -> bool:
    """Whether something listens; looking up a name has no time-out of its own, so a thread may be left behind."""
    reached = []

    def connect() -> None:
        with suppress(OSError), socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            reached.append(True)

    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return bool(reached)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Context manager: environment variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
