"""estimator schema: the JSON Schema of the config, what one of its keys is, or what changed between two schemas."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict

import click

from estimator import verbs
from estimator.cli import EXIT_GATE, options


@click.command("schema")
@click.argument("words", metavar="[KEY | diff FIRST SECOND]", nargs=-1)
@options.store
@options.as_json
def command(words: tuple[str, ...], store: str | None, as_json: bool) -> int:
    """Print the JSON Schema of the config, for editors and validators; with KEY, explain that key or section.

    With diff, list what changed between the schemas of two versions, or of two schema files, and whom it breaks:
    callers, who send rows, or readers of predictions. Exits with 3 if it breaks any.

    \b
    Example: estimator schema > config.schema.json
             estimator schema training.split
             estimator schema model.dense
             estimator schema diff houses@live houses@candidate
    """
    if words[:1] == ("diff",):
        if len(words) != 3:
            raise click.UsageError("diff: expected two versions or schema files")
        return _diff(words[1], words[2], store, as_json=as_json)
    if len(words) > 1:
        raise click.UsageError(f"expected one KEY, or diff FIRST SECOND, got {' '.join(words)}")
    key = words[0] if words else None
    if key is None:
        document = verbs.schema.schema()
        options.emit(document, json.dumps(document, indent=2, ensure_ascii=False), as_json=as_json)
        return 0
    entries = verbs.schema.explain(key)
    lines = []
    for entry in entries:
        default = "" if entry.type == "section" else f" (default {entry.default})" if entry.default else ""
        lines.append(f"{entry.key}: {entry.type}{'' if entry.default == 'required' else default}")
        lines[-1] += " (required)" if entry.default == "required" else ""
        lines += textwrap.wrap(entry.description, options.width(), initial_indent="    ", subsequent_indent="    ")
    options.emit({"keys": [asdict(entry) for entry in entries]}, "\n".join(lines), as_json=as_json)
    return 0


def _diff(first: str, second: str, store: str | None, *, as_json: bool) -> int:
    changes = verbs.schema.diff(first, second, options.context(store=store))
    broken = [party for party in ("callers", "readers") if any(change.breaks == party for change in changes)]
    verdict = "breaking" if broken else "compatible"
    data: dict[str, object] = {"first": first, "second": second, "verdict": verdict, "breaks": broken}
    data["changes"] = [asdict(change) for change in changes]
    rows = [("column", "change", "breaks"), *((item.column, item.change, item.breaks or "") for item in changes)]
    who = {"callers": "callers, whose rows may be rejected or read otherwise", "readers": "readers of predictions"}
    sentence = f"breaking for {' and for '.join(who[party] for party in broken)}" if broken else ""
    lines = options.table(rows) if changes else ["no differences"]
    last = sentence or f"compatible: every row that {first} accepts is accepted by {second}"
    options.emit(data, "\n".join([*lines, "", last]), as_json=as_json)
    return EXIT_GATE if broken else 0
