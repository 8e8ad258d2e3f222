"""A process that runs one command in a folder and is killed in it; see test_chaos.py.

    python -m tests.verb_chaos CALL ARGUMENT ...

polars cannot be used in a forked process, so each kill takes a process that imports everything.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from estimator import verbs
from estimator.cli import main
from tests.chaos import N_KILLS, count_kill, n_calls_until_killed
from tests.conftest import ROOT

only_chaos = pytest.mark.skipif(not N_KILLS, reason="each kill starts a command: make test-chaos")


def run_command(folder: Path, *arguments: str, call: int = 0) -> tuple[int, int] | None:
    """Run a command; return the number of its calls and its exit code, None if it was killed."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [sys.executable, "-m", "tests.verb_chaos", str(call), *arguments]
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-4000:]
    if done.returncode:
        return None
    n_calls, exit_code = map(int, done.stdout.split()[-2:])
    return n_calls, exit_code


def killed(folder: Path, *arguments: str, n_kills: int = N_KILLS) -> Iterator[int]:
    """Kill a command at calls all over it, most of them near its end, where it writes; yield after each kill."""
    result = run_command(folder, *arguments)
    assert result is not None
    n_calls, randomness = result[0], random.Random(5)
    done = 0
    while done < n_kills:
        at = randomness.choice((randomness.randrange(1, n_calls), n_calls - randomness.randrange(1, 60)))
        # What an earlier run has done already takes no calls, so that this one may end before.
        if run_command(folder, *arguments, call=max(at, 1)) is None:
            count_kill()
            done += 1
            yield done


def hidden(folder: Path) -> list[str]:
    """Return what killed commands have left in a folder under temporary names."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*")]


def run_to_the_kill(arguments: list[str], call: int) -> None:
    """Run a command to its end, unless that is killed before a call; print the number of calls and its exit code."""
    # Imported before any kill, as imports write nothing.
    import estimator.monitoring.retrain
    import estimator.verbs.tune  # noqa: F401 # the same

    exit_codes = []
    action = retrain if arguments[0] == "retrain" else partial(main, arguments)
    n_calls = n_calls_until_killed(lambda: exit_codes.append(action()), call)
    print(f"\n{n_calls} {exit_codes[0]}")


def retrain() -> int:
    """Retrain, with its candidates in this process, so that their writes are interrupted too."""
    model = verbs.monitor.MonitoredModel("house", None, None, Path())
    context = verbs.Context(store_path="models")
    return 0 if verbs.retrain.retrain(model, context, data="new.csv", isolated=False).chosen else 3


if __name__ == "__main__":
    run_to_the_kill(sys.argv[2:], int(sys.argv[1]))
