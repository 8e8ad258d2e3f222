"""A process that runs one command in a folder and is killed in it; see test_chaos.py.

    python -m tests.verb_chaos CALL ARGUMENT ...

polars cannot be used in a forked process, so each kill takes a process that imports everything.
"""

from __future__ import annotations

import sys

from estimator.cli import main
from tests.chaos import n_calls_until_killed


def run(arguments: list[str], call: int) -> None:
    """Run a command to its end, unless that is killed before a call; print the number of calls."""
    # Imported before any kill, as imports write nothing.
    import estimator.monitoring.retrain
    import estimator.verbs.tune  # noqa: F401 # the same

    exit_codes = []
    n_calls = n_calls_until_killed(lambda: exit_codes.append(main(arguments)), call)
    print(f"\n{n_calls} {exit_codes[0]}")


if __name__ == "__main__":
    run(sys.argv[2:], int(sys.argv[1]))
