"""The command `estimator`: one file per verb; options in, the verb of the same name called, text out."""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from estimator.cli import options
from estimator.core.credentials import redacted
from estimator.core.text import closest
from estimator.errors import EstimatorError, FileError

# The help lists verbs in the order of a model's life; a file that is not named here comes last.
ORDER = (
    "init", "explore", "schema", "train", "tune", "compare", "verify", "evaluate", "predict", "serve", "page", "key",
    "why", "models", "sign", "promote", "rollback", "history", "monitor", "retrain", "replay", "export", "image",
    "push", "deploy", "status", "down", "ci",
)  # fmt: skip
HELPERS = frozenset({"options", "progress_bar"})
_FILES = {module.name for module in pkgutil.iter_modules(__path__)} - HELPERS
VERBS = (*ORDER, *sorted(_FILES - set(ORDER)))
# What a disk says that takes no more.
DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG)
EXIT_EXPLAINED, EXIT_USAGE, EXIT_GATE, EXIT_INTERRUPTED = 1, 2, 3, 130


class _Verbs(click.Group):
    """Imports a verb's file only when it is called or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"estimator.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            guess = closest(args[0], VERBS)
            hint = f"did you mean {guess!r}?" if guess else f"commands: {', '.join(VERBS)}"
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="estimator-lifepath", prog_name="estimator")
def estimator() -> None:
    """Take a table and one config file through the whole life of a model.

    \b
    Example:
      estimator init houses.csv --target price
      estimator train --conf config.yml
      estimator serve --model houses

    Exit codes: 0 done, 1 failed with an explanation, 2 usage error, 3 a gate failed, 130 interrupted.
    """


def command() -> None:
    """Run the command line as a process of its own."""
    # Start-up makes many objects and hardly any garbage to look for.
    gc.set_threshold(50_000, 20, 100)
    code = main()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # What cannot be written was explained by `main`.
        with suppress(OSError, ValueError):
            stream.flush()
    # Libraries take 0.25 s to free memory that the system reclaims at once.
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; only our own bugs end in a stack trace."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = estimator.main(args=argv, prog_name="estimator", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: no unfinished result was saved", err=True)
        return EXIT_INTERRUPTED
    except EstimatorError as error:
        _explain(error, as_json="--json" in argv)
        return EXIT_EXPLAINED
    except BrokenPipeError:
        # The reader of our output has closed the pipe, as `head` does.
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        path = error.filename or "the standard output"
        _explain(FileError(f"{path}: cannot be written: {error.strerror}"), as_json=False)
        return EXIT_EXPLAINED


def _explain(error: EstimatorError, *, as_json: bool) -> None:
    # A driver's message may quote its address, and a wrong value may be a key.
    message, hint = redacted(error.message), redacted(error.hint or "") or None
    if as_json:
        click.echo(json.dumps({"error": {"message": message, "hint": hint}}, ensure_ascii=False))
    for label, color, text in (("error: ", "red", message), ("hint: ", "yellow", hint)):
        if text:
            styled = options.wrapped(label + text).removeprefix(label)
            click.echo(click.style(label, fg=color) + styled, err=True)
