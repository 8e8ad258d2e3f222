"""The command `estimator`, which `python -m estimator` runs too.

It imports the command line inside a function: so Ctrl-C while the imports run ends the process without a trace.
"""

import importlib
import os
import signal


def command() -> None:
    """Run the command line as a process of its own."""
    # A process that was started to ignore Ctrl-C goes on ignoring it.
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Also while the imports run.
    if "ESTIMATOR_PARENT" in os.environ:
        importlib.import_module("estimator.core.child_process").end_with_parent()
    cli = importlib.import_module("estimator.cli")
    if is_heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.command()


if __name__ == "__main__":
    command()
