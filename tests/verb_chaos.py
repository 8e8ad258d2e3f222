"""A process that runs one command in a folder and is killed in it; see test_chaos.py.

    python -m tests.verb_chaos CALL ARGUMENT ...

polars cannot be used in a forked process, so each kill takes a process that imports everything.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from estimator import verbs
from estimator.cli import main
from tests.chaos import n_calls_until_killed


def run(arguments: list[str], call: int) -> None:
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
    run(sys.argv[2:], int(sys.argv[1]))
