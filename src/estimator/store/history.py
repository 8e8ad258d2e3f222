"""A model's history, one line per move of an alias; a last line that the aliases do not confirm never happened."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from estimator.errors import StoreError

HISTORY = "history.jsonl"
LINE_ID = "id"
logger = logging.getLogger("estimator.store")


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One line of the history: `alias` now points at `version`, and pointed at `previous` before (None: nowhere).

    `time` is ISO 8601 in UTC. `action` is the verb that made the change, such as "train", "promote" or "rollback".
    """

    time: str
    user: str
    action: str
    alias: str
    previous: str | None
    version: str
    reason: str

    @property
    def at(self) -> float:
        """The time in seconds since 1970."""
        return datetime.fromisoformat(self.time).timestamp()


@dataclass(frozen=True, slots=True)
class History:
    """The moves of a model's aliases, oldest first, and what is wrong with the file's last line, None for nothing.

    `n_bytes` are those of the lines that count. A line is written before its move is made, which is one atomic step:
    until then, and for ever if the process is killed in between, it does not count.
    """

    path: Path
    changes: tuple[AliasChange, ...]
    n_bytes: int
    problem: str | None

    @classmethod
    def read(cls, folder: Path, aliases: Mapping[str, str]) -> History:
        """Return the history of a model's folder, as far as its aliases, alias -> version, confirm it.

        Raises
        ------
        StoreError: the file cannot be read.
        """
        path = folder / HISTORY
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
        *lines, cut = content.split(b"\n")
        parsed = [parsed_line(line) for line in lines]
        for number, change in enumerate(parsed, start=1):
            if change is None:
                logger.warning("%s: line %d cannot be read", path, number)
        changes = [change for change in parsed if change is not None]
        if cut:
            return cls(path, tuple(changes), len(content) - len(cut), "was cut off")
        if changes and parsed[-1] is not None and not _is_confirmed(changes[-1], aliases):
            n_bytes = len(content) - len(lines[-1]) - 1
            return cls(path, tuple(changes[:-1]), n_bytes, "tells of a move that was never made")
        return cls(path, tuple(changes), len(content), None)

    def repaired(self) -> History:
        """Return the history without the last line, if that is wrong, removed from the file; the caller has its lock.

        Raises
        ------
        StoreError: the file cannot be changed.
        """
        if self.problem is None:
            return self
        try:
            os.truncate(self.path, self.n_bytes)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from error
        logger.warning("%s: the last line %s, by a kill or a full disk: it was removed", self.path, self.problem)
        return History(self.path, self.changes, self.n_bytes, None)

    def append(self, change: AliasChange) -> None:
        """Write the line of a move that is about to be made.

        Raises
        ------
        StoreError: the file cannot be written.
        """
        try:
            with self.path.open("ab") as file:
                file.write(change_line(change))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from error


def moved(aliases: Mapping[str, str], change: AliasChange) -> dict[str, str]:
    """Return the aliases, alias -> version, after a change; a candidate that becomes live is no candidate any more."""
    result = {**aliases, change.alias: change.version}
    if change.alias == "live" and result.get("candidate") == change.version:
        del result["candidate"]
    return result


def live_stack(changes: Sequence[AliasChange]) -> list[str]:
    """Return the versions to which rollbacks lead, the live one last: a promotion adds one, a rollback removes some."""
    stack: list[str] = []
    for change in changes:
        if change.alias != "live":
            continue
        if stack[-1:] != [change.previous] and change.previous is not None:
            # The line before is lost; this one says what it led to.
            stack = [change.previous]
        if change.action == "rollback" and change.version in stack:
            while stack[-1] != change.version:
                stack.pop()
        elif stack[-1:] != [change.version]:
            stack.append(change.version)
    return stack


def parsed_line(line: bytes) -> AliasChange | None:
    """Return the change of a line of a history, None if it cannot be read."""
    try:
        values = json.loads(line)
        # Only lines on S3 have it: it tells two equal moves of one second apart.
        values.pop(LINE_ID, None)
        return AliasChange(**values)
    except (ValueError, TypeError, AttributeError):
        return None


def change_line(change: AliasChange, line_id: str | None = None) -> bytes:
    """Return the line of a history for a change."""
    more = {} if line_id is None else {LINE_ID: line_id}
    return (json.dumps({**asdict(change), **more}, ensure_ascii=False) + "\n").encode()


def _is_confirmed(change: AliasChange, aliases: Mapping[str, str]) -> bool:
    """Whether the aliases are not those from before the change; what somebody has edited by hand is no kill."""
    return change.version == change.previous or aliases.get(change.alias) != change.previous
