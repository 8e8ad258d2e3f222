"""explore: what a table holds, what a careful reader would notice, and the config edit that resolves each finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from estimator.config import Config
from estimator.config.editor import write_edits
from estimator.config.secrets import allowed_fingerprints
from estimator.core.credentials import redacted
from estimator.core.files import write_atomic
from estimator.core.text import join_names
from estimator.data.credentials import credential_cells, redacted_cells
from estimator.data.sources.address import model_name
from estimator.data.sources.base import checked_batches
from estimator.errors import ConfigError
from estimator.exploration import Profile
from estimator.exploration.explore import explore as explore_rows
from estimator.exploration.findings import Finding, run_rules
from estimator.exploration.page import edit_text, exploration_page, numbers_on, table_on
from estimator.models import Progress, silent, stage
from estimator.verbs.context import ConfigReference, Context, kind_of, reviewed_schema

__all__ = ["ExploredTable", "TableReference", "accept_findings", "edit_text", "explore", "page_for"]


@dataclass(frozen=True, slots=True)
class TableReference:
    """A table that no config names: its path or URL, the column to predict, and the query for a database."""

    path: str
    target: str
    query: str | None = None


@dataclass(frozen=True, slots=True)
class ExploredTable:
    """The profile of a table, its findings, and those whose edits were written into the config."""

    profile: Profile
    findings: Sequence[Finding]
    accepted: Sequence[Finding] = ()


def page_for(table: ConfigReference | TableReference) -> Path:
    """Return where the page of a table goes in the current folder: exploration.html.

    With the name of the config, where that is not config.yml, or of the table, where the page shows another table.
    """
    page = Path("exploration.html")
    if not isinstance(table, TableReference):
        return page if not isinstance(table, Path) or table.stem == "config" else Path(f"{table.stem}.{page}")
    name = model_name(table.path, table.query)
    return page if table_on(page) in (None, name) else Path(f"{name}.{page}")


def explore(
    table: ConfigReference | TableReference,
    context: Context,
    *,
    page: Path,
    tsne: bool = False,
    accept: Sequence[range] = (),
    progress: Progress = silent,
) -> ExploredTable:
    """Profile a table, named directly or by a config's path, and write the page of its profile and findings.

    Findings that an earlier page there shows keep their numbers. The edits of those with numbers in `accept` are
    written into the config, and they are no longer among the findings.
    `progress` gets the number of rows read so far, and what follows.
    """
    loaded = context.loaded({"data": asdict(table)} if isinstance(table, TableReference) else table)
    config, folder, name = loaded.config, loaded.document.folder, str(loaded.config.name)
    allowed, cells = allowed_fingerprints(loaded.document.values), dict[tuple[str, str], str]()
    schema = reviewed_schema(config, folder)
    with context.rows(config.data, folder) as source:

        def batches() -> Iterator[pl.DataFrame]:
            for frame in _counted(checked_batches(source.batches(), check), progress):
                found = credential_cells(frame.iter_columns(), allowed)
                # The rows of the first batch are right, and one note per value is enough.
                for item in found:
                    cells.setdefault((item.column, item.credential.value), str(item))
                yield redacted_cells(frame, allowed) if found else frame

        def check(header: Sequence[str]) -> None:
            loaded.check_columns(header, [] if schema is None else list(schema.by_name))

        exploration = explore_rows(batches, config, schema, tsne=tsne)
        secrets = (f"{sentence}; shown here as its fingerprint" for sentence in cells.values())
        notes = (*source.notes(), *exploration.notes, *secrets)
    context.notes.add(notes)
    progress(stage("looking for faults, leaks and shortcuts"))
    findings = run_rules(
        exploration.schema,
        exploration.profile,
        exploration.rows,
        sensitive=config.evaluation.fairness_columns,
        odd_values=exploration.odd_values,
        point_questions=exploration.point_questions,
        model=kind_of(config),
        in_effect=config.model_dump(mode="json", exclude_unset=True, by_alias=True),
        before=numbers_on(page, name=name, target=config.data.target),
    )
    accepted = accept_findings(Path(str(table)), findings, accept) if accept else []
    context.notes.add(_formula_notes(config, accepted))
    progress(stage("page"))
    left = [finding for finding in findings if finding not in accepted]
    content = exploration_page(exploration.profile, left, name=name, notes=notes).decode()
    write_atomic(page, redacted(content, allowed, assignments=False))
    return ExploredTable(exploration.profile, left, accepted)


def _formula_notes(config: Config, accepted: Sequence[Finding]) -> list[str]:
    """Return what is dropped as a feature, now or before, and still learned from through a formula."""
    dropped = [*config.data.drop, *(name for finding in accepted for name in (finding.edit or {}).get("data.drop", ()))]
    used = sorted(set(dropped) & config.features.formula_columns)
    return (
        [f"{join_names(used, limit=10)}: left out by data.drop, but learned from in features.formulas"] if used else []
    )


def _counted(batches: Iterator[pl.DataFrame], progress: Progress) -> Iterator[pl.DataFrame]:
    n_rows = 0
    for frame in batches:
        yield frame
        n_rows += frame.height
        progress(stage(f"{n_rows:,} rows read"))


def accept_findings(conf: Path, findings: Sequence[Finding], numbers: Sequence[range]) -> list[Finding]:
    """Write the edits of the findings with these numbers into a config, keeping its comments.

    Of a range of several numbers, those with an edit are accepted.

    Raises
    ------
    ConfigError: a number belongs to no finding, or to one without an edit; a range has none with an edit.
    """
    with_edit = [finding for finding in findings if finding.edit is not None]
    accepted = [finding for finding in with_edit if any(finding.number in span for span in numbers)]
    missing = [span for span in numbers if not any(finding.number in span for finding in accepted)]
    if missing:
        shown = ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in missing)
        raise ConfigError(
            f"--accept: no finding with an edit has the number {shown}",
            hint=f"findings with an edit: {', '.join(str(finding.number) for finding in findings if finding.edit)}",
        )
    for finding in accepted:
        write_edits(conf, finding.edit or {})
    return accepted
