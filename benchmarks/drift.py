"""Compare drift rules on real tables: false alarms, power, delay and speed of ours and of peers."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
from drift_cases import (
    CLUSTERED,
    CLUSTERED_SHIFT,
    CLUSTERS,
    DRIFTED_TWICE,
    EVERY_SHIFT,
    MISSING,
    MOVED,
    ORDERED,
    QUIET_CLUSTERS,
    QUIET_ORDERED,
    QUIET_TWICE,
    RELATED_SHIFT,
    SHIFT,
    SHIFTS,
    SIZES,
    SMALL,
    UNRELATED_SHIFT,
    UNUSED,
    Task,
    cluster_tasks,
    ordered_tasks,
    small_tasks,
    twice_tasks,
    unused_tasks,
)
from drift_peers import N_CHECKS, PEERS, SILENT
from drift_tables import QUIET, UNMOVED, Pool, natural_stream, pools, stream, window
from processes import CACHE, built_environment, child_command, machine_line, measured, spread

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "tables"
OURS = "ours"
DRIFTED, LATER, TWICE, NATURAL = "drifted", "later", "quiet, sent twice", "quiet, in natural order"
WINDOWS, QUIET_STREAM, CHANGING_STREAM, SPEED = "windows", "quiet stream", "changing stream", "speed"
QUIET_NATURAL, CHANGING_NATURAL = "quiet stream in natural order", "changing stream in natural order"
MAX_PARTS = 5
GROUPS = ("plain", "natural", "small", "twice", "unused", "ordered", "clusters")
WINDOW_KINDS = (WINDOWS, NATURAL, SMALL, DRIFTED_TWICE, UNUSED, ORDERED, CLUSTERS, CLUSTERED_SHIFT)
# What is shown apart from the windows of random rows, by the kind of their task.
CASES = {
    SMALL: (QUIET, *(SHIFT.format(size) for size in SHIFTS), EVERY_SHIFT, MISSING, MOVED),
    DRIFTED_TWICE: (DRIFTED_TWICE,),
    UNUSED: (QUIET, UNRELATED_SHIFT, RELATED_SHIFT),
    ORDERED: (ORDERED,),
    CLUSTERS: (CLUSTERED,),
    CLUSTERED_SHIFT: (CLUSTERED_SHIFT,),
}
CASE_STREAMS = (QUIET_TWICE, QUIET_ORDERED, QUIET_CLUSTERS)
SPEED_TABLE, SPEED_ROWS = "hotel_bookings", 1000
SPEED_COLUMNS = (
    "lead_time", "stays_in_weekend_nights", "stays_in_week_nights", "adults", "children", "babies",
    "is_repeated_guest", "previous_cancellations", "previous_bookings_not_canceled", "adr",
    "total_of_special_requests", "hotel", "meal", "market_segment",
)  # fmt: skip
SPEED_TITLE = (
    "One check of 1,000 rows of 14 columns against 1,000: seconds, median (min..max); of peers from two frames on"
)
LIMIT_SECONDS = 1800
NOTES = """\
{tables} tables, split by {seeds} seeds into a reference of at most 10,000 rows and held-out rows of its period
(quiet); of each table's later or other windows, as its publishers cut them, three are drifted. {quiet} windows per
quiet pool and size, {drifted} per drifted pool and size. Ids, the target, time and columns known only after the target
are left out. King County by date has no drifted pool: in its later months the inputs hardly move, and the fraction of
them called drift is reported separately. Quiet streams and their references are drawn from the rows of all periods;
changing ones drift for good after 10 windows. Streams have up to 50 windows of 50 rows; a rule for windows is applied
after each. Streams in natural order are rows that follow each other in the table, cut out of the middle of the
first period; the reference is the rest of that period, at most 60,000 rows, in the same order. Detected: the first
alarm comes after the change; the delay is in rows. Windows in natural order are parts of quiet streams; "sent twice"
are quiet windows with every row repeated. Every rule of a peer is its default."""
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Whether a rule alarmed on one window."""

    rule: str
    pool: str
    n_rows: int
    label: str
    is_alarm: bool
    kind: str = WINDOWS


@dataclass(frozen=True)
class FirstAlarm:
    """The number of rows of a stream before a rule's first alarm; None if there was none."""

    rule: str
    kind: str
    n_rows: int | None
    change: int | None
    pool: str


@dataclass
class Outcome:
    """The results of all rules; `checks` has the seconds of single checks by rule."""

    verdicts: list[Verdict]
    firsts: list[FirstAlarm]
    checks: dict[str, list[float]]


def tasks_of(pool: Pool, seed: int, options: argparse.Namespace) -> Iterator[Task]:
    """Yield the tasks of a pool, of the groups asked for."""
    n_quiet, n_drifted = counts(options)
    if "plain" in options.groups:
        yield from plain_tasks(pool, seed, n_quiet, n_drifted)
    if "natural" in options.groups:
        yield from natural_tasks(pool, seed)
    if "small" in options.groups:
        yield from small_tasks(pool, seed, n_drifted)
    if "twice" in options.groups:
        yield from twice_tasks(pool, seed, n_drifted)
    if "unused" in options.groups:
        yield from unused_tasks(pool, seed, n_drifted)


def all_tasks(options: argparse.Namespace) -> Iterator[list[Task]]:
    """Yield the tasks of every table and seed together."""
    for seed in range(options.seeds):
        if set(options.groups) - {"ordered", "clusters"}:
            for pool in pools(options.data, seed):
                yield list(tasks_of(pool, seed, options))
        if "ordered" in options.groups:
            yield from ordered_tasks(options.data, seed)
        if "clusters" in options.groups:
            yield from cluster_tasks(options.data, options.environments, seed)


def plain_tasks(pool: Pool, seed: int, n_quiet: int, n_drifted: int) -> Iterator[Task]:
    """Yield windows of every size, and two streams."""
    kinds = [QUIET] * n_quiet + [name for name in pool.drifted for _ in range(n_drifted)]
    moved = LATER if pool.name in UNMOVED else DRIFTED
    labels = [QUIET if kind == QUIET else moved for kind in kinds]
    for n_rows in SIZES:
        drawn = [window(pool, kind, n_rows, index + seed * len(kinds)) for index, kind in enumerate(kinds)]
        halves = [window(pool, QUIET, n_rows // 2, index + seed * len(kinds)) for index in range(n_quiet)]
        twice = [pl.concat([half, half]) for half in halves]
        yield Task(pool.name, seed, WINDOWS, pool.frame_reference, drawn + twice, labels + [TWICE] * len(twice))
    for kind in (QUIET_STREAM, CHANGING_STREAM):
        if kind == CHANGING_STREAM and pool.name in UNMOVED:
            continue
        drawn_stream = stream(pool, seed, changes=kind == CHANGING_STREAM)
        sections = list(drawn_stream.rows.iter_slices(SIZES[0]))
        yield Task(pool.name, seed, kind, drawn_stream.reference, sections, change=drawn_stream.change)


def natural_tasks(pool: Pool, seed: int) -> Iterator[Task]:
    """Yield two streams of rows that follow each other, and windows of the quiet one."""
    for kind in (QUIET_NATURAL, CHANGING_NATURAL):
        if kind == CHANGING_NATURAL and pool.name in UNMOVED:
            continue
        natural = natural_stream(pool, seed, changes=kind == CHANGING_NATURAL)
        sections = list(natural.rows.iter_slices(SIZES[0]))
        yield Task(pool.name, seed, kind, natural.reference, sections, change=natural.change, order="time")
        if kind == QUIET_NATURAL:
            for n_rows in SIZES:
                parts = [part for part in natural.rows.iter_slices(n_rows) if part.height == n_rows][:MAX_PARTS]
                if parts:
                    labels = [NATURAL] * len(parts)
                    yield Task(pool.name, seed, NATURAL, natural.reference, parts, labels, order="time")


def counts(options: argparse.Namespace) -> tuple[int, int]:
    """Return how many quiet windows, and how many per drifted pool, one seed has."""
    return max(1, round(options.windows / options.seeds)), max(1, round(options.windows / 2 / options.seeds))


def speed_task(folder: Path) -> Task:
    """Return one window of 1,000 rows of 14 columns, and a reference of as many."""
    pool = next(pool for pool in pools(folder) if pool.name == SPEED_TABLE)
    reference = pool.frame_reference.select(SPEED_COLUMNS).head(SPEED_ROWS)
    return Task(pool.name, 0, SPEED, reference, [pool.quiet.select(SPEED_COLUMNS).head(SPEED_ROWS)])


def results_of(peer: str, tasks: Sequence[Task], options: argparse.Namespace) -> list[Result]:
    """Return a peer's results, from its file where it has them; failures are not stored."""
    path = options.results / f"{peer}.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    keys = [key_of(peer, task) for task in tasks]
    missing = [task for task, key in zip(tasks, keys, strict=True) if key not in stored]
    if not missing:
        return [stored[key] for key in keys]
    started = time.perf_counter()
    new = dict(zip((key_of(peer, task) for task in missing), run_peer(peer, missing, options), strict=True))
    stored |= {key: result for key, result in new.items() if "failure" not in result}
    path.parent.mkdir(parents=True, exist_ok=True)
    # A run that is stopped here must not lose earlier results.
    unfinished = path.with_suffix(".fresh")
    unfinished.write_text(json.dumps(stored))
    unfinished.replace(path)
    print(f"{peer}, {tasks[0].pool}, seed {tasks[0].seed}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return [stored.get(key) or new[key] for key in keys]


def key_of(peer: str, task: Task) -> str:
    """Return the key of a result, which depends on the rows and the peer's version."""
    sections = (PEERS[peer].packages[0], task.pool, task.kind, task.n_rows, task.seed, task.fingerprint)
    return " ".join(map(str, sections))


def run_peer(peer: str, tasks: Sequence[Task], options: argparse.Namespace) -> list[Result]:
    """Run a peer in its own process; one that dies or takes too long has failed at every task."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [write_task(task, Path(folder) / str(index)) for index, task in enumerate(tasks)]
        request = {"is_timed": tasks[0].kind == SPEED, "jobs": jobs}
        script = Path(__file__).with_name("drift_peers.py")
        command = child_command(python_of(peer, options.environments), script, peer, request)
        try:
            result, _ = measured(command, SILENT, limit_seconds=LIMIT_SECONDS)
        except (SystemExit, TimeoutError) as failed:
            return [{"failure": str(failed)[-1000:]} for _ in tasks]
    results: list[Result] = result["results"]
    return results


def write_task(task: Task, stem: Path) -> dict[str, Any]:
    """Write the rows of a task; return what a peer needs to know."""
    paths = {"reference": f"{stem}-reference.parquet", "windows": f"{stem}-windows.parquet"}
    task.reference.write_parquet(paths["reference"])
    task.rows.write_parquet(paths["windows"])
    categorical = [column.name for column in task.reference if column.dtype == pl.String]
    return {**paths, "rows": task.n_rows, "categorical": categorical}


def python_of(peer: str, folder: Path) -> Path:
    """Return the Python of a peer, installing it if it is missing."""
    packages = PEERS[peer].packages
    name, _, version = packages[0].partition("==")
    return built_environment(folder / f"drift-{name}-{version}", packages)


def packages_of(peer: str) -> list[str]:
    """Return the packages whose versions the report names."""
    return list(dict.fromkeys((PEERS[peer].packages[0].partition("==")[0], "pandas")))


def our_module() -> ModuleType | None:
    """Return the module of our own rules; None where it cannot be imported."""
    try:
        import drift_ours
    except ImportError as missing:
        print(f"without ours: {missing}", file=sys.stderr)
        return None
    return drift_ours


def our_results(module: ModuleType, tasks: Sequence[Task]) -> list[Result]:
    """Apply our rules to the windows, and row by row to the streams."""
    results: list[Result] = []
    for task in tasks:
        if task.target is not None:
            results.append({"alarms": module.model_alarms(task.reference, task.target, task.windows)})
        elif task.kind in WINDOW_KINDS:
            min_effects = (module.MIN_EFFECT, 0.0) if task.kind == SMALL else (module.MIN_EFFECT,)
            alarms = module.batch_alarms(task.reference, task.windows, order=task.order, min_effects=min_effects)
            results.append({"alarms": alarms})
        elif task.kind == SPEED:
            seconds = [module.seconds_per_check(task.reference, task.windows[0]) for _ in range(N_CHECKS + 1)]
            results.append({"check, given the reference": seconds[1:]})
        else:
            results.append({"firsts": module.stream_alarms(task.reference, task.rows, order=task.order)})
    return results


def run_all(options: argparse.Namespace) -> Outcome:
    """Run every rule on every task."""
    outcome = Outcome([], [], {})
    module = our_module() if OURS in options.competitors else None
    runners: dict[str, Callable[[Sequence[Task]], list[Result]]] = {}
    if module:
        runners[OURS] = partial(our_results, module)
    for peer in [name for name in options.competitors if name != OURS]:
        runners[peer] = partial(results_of, peer, options=options)
    for tasks in all_tasks(options):
        for competitor, run in runners.items():
            for task, result in zip(tasks, run(tasks) if tasks else [], strict=True):
                add_result(outcome, competitor, task, result)
    if "plain" not in options.groups:
        return outcome
    task = speed_task(options.data)
    for competitor, run in runners.items():
        add_result(outcome, competitor, task, run([task])[0])
    return outcome


def add_result(outcome: Outcome, competitor: str, task: Task, result: Result) -> None:
    """Add a competitor's result to the outcome."""
    if failure := result.get("failure"):
        print(f"{competitor} failed at {task.pool}, {task.kind}: {failure}", file=sys.stderr)
    elif task.kind == SPEED:
        outcome.checks |= {titled(competitor, way): seconds for way, seconds in result.items()}
    elif task.kind in WINDOW_KINDS:
        kind = WINDOWS if task.kind == NATURAL else task.kind
        for rule, alarms in result["alarms"].items():
            fields = titled(competitor, rule), task.pool, task.n_rows
            windows = zip(task.labels, alarms, strict=True)
            outcome.verdicts.extend(Verdict(*fields, label, alarm, kind) for label, alarm in windows)
    else:
        firsts = result.get("firsts") or first_rows(result["alarms"], task.n_rows)
        for rule, n_rows in firsts.items():
            outcome.firsts.append(FirstAlarm(titled(competitor, rule), task.kind, n_rows, task.change, task.pool))


def titled(competitor: str, rule: str) -> str:
    """Return a rule's name with its competitor."""
    return rule if rule.startswith(competitor) else f"{competitor}: {rule}"


def first_rows(alarms: Mapping[str, Sequence[bool]], n_rows: int) -> dict[str, int | None]:
    """Return the rows before each rule's first alarm, if it is applied at the end of every window."""
    return {rule: (flags.index(True) + 1) * n_rows if any(flags) else None for rule, flags in alarms.items()}


def report(outcome: Outcome, pythons: Mapping[Path, Sequence[str]], options: argparse.Namespace) -> str:
    """Return the report as Markdown."""
    plain = [verdict for verdict in outcome.verdicts if verdict.kind == WINDOWS]
    sections = [machine_line(("polars",), pythons)]
    if "plain" in options.groups or "natural" in options.groups:
        n_quiet, n_drifted = (count * options.seeds for count in counts(options))
        n_tables = len({verdict.pool for verdict in plain})
        sections += [
            NOTES.format(tables=n_tables, seeds=options.seeds, quiet=n_quiet, drifted=n_drifted),
            "Fraction of windows called drift, of 50 / 200 / 1,000 rows",
            windows_table(plain),
            "The same by table, windows of 200 rows: quiet, drifted",
            pools_table(plain, SIZES[1]),
            streams_title(outcome.firsts, (QUIET_STREAM, CHANGING_STREAM)),
            streams_table(outcome.firsts, (QUIET_STREAM, CHANGING_STREAM)),
            f"In natural order: {streams_title(outcome.firsts, (QUIET_NATURAL, CHANGING_NATURAL)).lower()}",
            streams_table(outcome.firsts, (QUIET_NATURAL, CHANGING_NATURAL)),
            SPEED_TITLE,
            markdown(("rule", "s"), [(rule, spread(seconds, ".4f")) for rule, seconds in outcome.checks.items()]),
        ]
    for kind, labels in CASES.items():
        if of_kind := [verdict for verdict in outcome.verdicts if verdict.kind == kind]:
            sections += [
                f"{kind[0].upper()}{kind[1:]}: fraction called drift (windows), of 50 / 200 / 1,000 rows",
                cases_table(of_kind, labels),
            ]
    if any(first.kind in CASE_STREAMS for first in outcome.firsts):
        sections += ["Further quiet streams: false alarms of how many", case_streams_table(outcome.firsts)]
    return "\n\n".join(sections)


def cases_table(verdicts: Sequence[Verdict], labels: Sequence[str]) -> str:
    """Return the fraction of the windows of each case that each rule calls drift, and how many there were."""
    rows = []
    for rule in rules_of(verdicts):
        for label in labels:
            mine = [verdict for verdict in verdicts if (verdict.rule, verdict.label) == (rule, label)]
            by_size = [[verdict for verdict in mine if verdict.n_rows == n_rows] for n_rows in SIZES]
            fractions = " / ".join(alarm_fraction(of_size, label) for of_size in by_size)
            rows.append((rule, label, fractions, " / ".join(str(len(of_size)) for of_size in by_size)))
    return markdown(("rule", "case", "called drift", "windows"), rows)


def case_streams_table(firsts: Sequence[FirstAlarm]) -> str:
    """Return in how many streams of the cases each rule raises an alarm, all of them false."""
    rows = []
    for kind in CASE_STREAMS:
        of_kind = [first for first in firsts if first.kind == kind]
        for rule in rules_of(of_kind):
            mine = [first for first in of_kind if first.rule == rule]
            alarms = [first.pool for first in mine if first.n_rows is not None]
            names = ", ".join(dict.fromkeys(alarms)) or "-"
            rows.append((rule, kind, f"{len(alarms)} of {len(mine)}", names))
    return markdown(("rule", "streams", "with an alarm", "tables"), rows)


def windows_table(verdicts: Sequence[Verdict]) -> str:
    """Return the fraction of windows that each rule calls drift, by kind of window."""
    labels = {
        QUIET: "false alarms",
        DRIFTED: "power",
        LATER: "King County's later months",
        TWICE: TWICE,
        NATURAL: NATURAL,
    }
    rows = []
    for rule in rules_of(verdicts):
        mine = [verdict for verdict in verdicts if verdict.rule == rule]
        sizes = [
            " / ".join(alarm_fraction([verdict for verdict in mine if verdict.n_rows == n], label) for n in SIZES)
            for label in labels
        ]
        rows.append((rule, *sizes))
    return markdown(("rule", *labels.values()), rows)


def pools_table(verdicts: Sequence[Verdict], n_rows: int) -> str:
    """Return the same by table, for windows of one size."""
    names = list(dict.fromkeys(verdict.pool for verdict in verdicts))
    rows = []
    for rule in rules_of(verdicts):
        mine = [verdict for verdict in verdicts if (verdict.rule, verdict.n_rows) == (rule, n_rows)]
        cells = []
        for name in names:
            here = [verdict for verdict in mine if verdict.pool == name]
            cells.append(
                f"{alarm_fraction(here, QUIET)}, {alarm_fraction(here, LATER if name in UNMOVED else DRIFTED)}"
            )
        rows.append((rule, *cells))
    return markdown(("rule", *names), rows)


def alarm_fraction(verdicts: Iterable[Verdict], label: str) -> str:
    """Return the fraction of alarms among the windows of a label."""
    alarms = [verdict.is_alarm for verdict in verdicts if verdict.label == label]
    return f"{statistics.mean(alarms):.2f}" if alarms else "-"


def streams_title(firsts: Sequence[FirstAlarm], kinds: tuple[str, str]) -> str:
    """Return a title with the number of streams of the quiet and the changing kind."""
    rule = next(iter(rules_of(of_kinds(firsts, kinds))), "")
    n_quiet, n_changing = (sum((first.rule, first.kind) == (rule, kind) for first in firsts) for kind in kinds)
    return f"Streams: {n_quiet} quiet, {n_changing} changing"


def streams_table(firsts: Sequence[FirstAlarm], kinds: tuple[str, str]) -> str:
    """Return each rule's alarms in streams of the quiet and the changing kind."""
    rows, (quiet_kind, changing_kind) = [], kinds
    for rule in rules_of(of_kinds(firsts, kinds)):
        quiet = [first.n_rows is not None for first in firsts if (first.rule, first.kind) == (rule, quiet_kind)]
        changing = [first for first in firsts if (first.rule, first.kind) == (rule, changing_kind)]
        alarm_delays = [first.n_rows - (first.change or 0) for first in changing if first.n_rows is not None]
        delays = [delay for delay in alarm_delays if delay > 0]
        false = f"{statistics.mean(quiet):.2f}" if quiet else "-"
        fractions = [
            f"{part / len(changing):.2f}" if changing else "-"
            for part in (len(delays), len(alarm_delays) - len(delays))
        ]
        delay = f"{statistics.median(delays):.0f}" if delays else "-"
        rows.append((rule, false, fractions[0], delay, fractions[1]))
    titles = ("quiet streams with a false alarm", "changing ones detected", "median delay", "false before the change")
    return markdown(("rule", *titles), rows)


def rules_of(results: Iterable[Verdict | FirstAlarm]) -> list[str]:
    """Return the rules in the order of their first result."""
    return list(dict.fromkeys(result.rule for result in results))


def of_kinds(firsts: Sequence[FirstAlarm], kinds: tuple[str, str]) -> list[FirstAlarm]:
    """Return the first alarms in streams of two kinds."""
    return [first for first in firsts if first.kind in kinds]


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def known_competitors(names: str) -> list[str]:
    """Read the option that names competitors."""
    names_given = names.split(",")
    if unknown := set(names_given) - {OURS, *PEERS}:
        raise argparse.ArgumentTypeError(f"expected some of {','.join([OURS, *PEERS])}, got {','.join(unknown)!r}")
    return names_given


def main() -> None:
    """Run what is missing and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    all_names = ",".join([OURS, *PEERS])
    parser.add_argument("--competitors", type=known_competitors, default=all_names, help="%(default)s")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=GROUPS, help="which tasks; %(default)s")
    parser.add_argument("--windows", type=int, default=40, help="per quiet pool and size, all seeds; %(default)s")
    parser.add_argument("--seeds", type=int, default=4, help="splits of each table, and streams of it; %(default)s")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="where the tables are; %(default)s")
    parser.add_argument(
        "--results", type=Path, default=CACHE / "drift", metavar="DIR", help="where results of peers are stored"
    )
    parser.add_argument("--environments", type=Path, default=CACHE, metavar="DIR", help="where peers are installed")
    options = parser.parse_args()
    peers = [name for name in options.competitors if name != OURS]
    pythons = {python_of(peer, options.environments): packages_of(peer) for peer in peers}
    print(report(run_all(options), pythons, options))


if __name__ == "__main__":
    main()
