"""Compare rules that look for drift, on real tables: false alarms, power, delay and speed of ours and of peers."""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
from drift_peers import N_CHECKS, PEERS, SILENT
from drift_tables import QUIET, UNMOVED, Pool, pools, stream, window
from processes import CACHE, built_environment, child_command, machine_line, measured, spread

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "tables"
OURS = "ours"
DRIFTED, LATER = "drifted", "later"
WINDOWS, QUIET_STREAM, CHANGING_STREAM, SPEED = "windows", "quiet stream", "changing stream", "speed"
SIZES = (50, 200, 1000)
SPEED_TABLE, SPEED_ROWS = "hotel_bookings", 1000
SPEED_COLUMNS = (
    "lead_time", "stays_in_weekend_nights", "stays_in_week_nights", "adults", "children", "babies",
    "is_repeated_guest", "previous_cancellations", "previous_bookings_not_canceled", "adr",
    "total_of_special_requests", "hotel", "meal", "market_segment",
)  # fmt: skip
LIMIT_SECONDS = 1800
NOTES = """\
{tables} tables, dealt anew by {seeds} seeds into a reference of at most 10,000 rows and rows of its period held apart
(quiet); of each table's later or other windows, as its publishers cut them, three are drifted. {quiet} windows per
quiet pool and size, {drifted} per drifted pool and size. Ids, the target, time and what is known only after the target
are nobody's columns. King County by date has no drifted pool: in its later months the inputs hardly move, and how many
windows of them are called drift is told apart. Quiet streams and their references are drawn from the rows of all
periods; changing ones drift for good after 10 windows. Streams are of up to 50 windows of 50 rows, and a rule of
windows looks after each. Detected: the first alarm of all comes after the change; the delay is in rows. Every rule of
a peer is its default."""
Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """Windows to be judged against a reference; in a stream they come one after another.

    `labels` says what each window is, and `change` how many rows of a stream come before those that drifted.
    """

    pool: str
    seed: int
    kind: str
    reference: pl.DataFrame
    windows: Sequence[pl.DataFrame]
    labels: Sequence[str] = ()
    change: int | None = None

    @property
    def n_rows(self) -> int:
        """The rows of a window."""
        return self.windows[0].height

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The rows of all windows."""
        return pl.concat(self.windows)

    @cached_property
    def fingerprint(self) -> str:
        """What tells these rows from others."""
        text = self.reference.write_csv() + self.rows.write_csv()
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Verdict:
    """What a rule said of one window."""

    rule: str
    pool: str
    n_rows: int
    label: str
    is_alarm: bool


@dataclass(frozen=True)
class FirstAlarm:
    """How many rows of a stream a rule had seen when it first alarmed; None if it never did."""

    rule: str
    kind: str
    at: int | None
    change: int | None


@dataclass
class Found:
    """What everybody said; `checks` has the seconds of single checks by rule."""

    verdicts: list[Verdict]
    firsts: list[FirstAlarm]
    checks: dict[str, list[float]]


def tasks_of(pool: Pool, seed: int, options: argparse.Namespace) -> Iterator[Task]:
    """Give what is asked of a pool: windows of every size, and two streams."""
    n_quiet, n_drifted = counts(options)
    kinds = [QUIET] * n_quiet + [name for name in pool.drifted for _ in range(n_drifted)]
    moved = LATER if pool.name in UNMOVED else DRIFTED
    labels = [QUIET if kind == QUIET else moved for kind in kinds]
    for n_rows in SIZES:
        drawn = [window(pool, kind, n_rows, place + seed * len(kinds)) for place, kind in enumerate(kinds)]
        yield Task(pool.name, seed, WINDOWS, pool.frame_reference, drawn, labels)
    for kind in (QUIET_STREAM, CHANGING_STREAM):
        if kind == CHANGING_STREAM and pool.name in UNMOVED:
            continue
        drawn_stream = stream(pool, seed, changes=kind == CHANGING_STREAM)
        parts = list(drawn_stream.rows.iter_slices(SIZES[0]))
        yield Task(pool.name, seed, kind, drawn_stream.reference, parts, change=drawn_stream.change)


def counts(options: argparse.Namespace) -> tuple[int, int]:
    """Give how many quiet windows, and how many per drifted pool, fall to one seed."""
    return max(1, round(options.windows / options.seeds)), max(1, round(options.windows / 2 / options.seeds))


def speed_task(folder: Path) -> Task:
    """Give one window of 1,000 rows of 14 columns, and a reference of as many."""
    pool = next(pool for pool in pools(folder) if pool.name == SPEED_TABLE)
    reference = pool.frame_reference.select(SPEED_COLUMNS).head(SPEED_ROWS)
    return Task(pool.name, 0, SPEED, reference, [pool.quiet.select(SPEED_COLUMNS).head(SPEED_ROWS)])


def answers_of(peer: str, tasks: Sequence[Task], options: argparse.Namespace) -> list[Answer]:
    """Give a peer's answers, from its file as far as they are there; a failure is not kept."""
    path = options.results / f"{peer}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    keys = [key_of(peer, task) for task in tasks]
    missing = [task for task, key in zip(tasks, keys, strict=True) if key not in known]
    if not missing:
        return [known[key] for key in keys]
    started = time.perf_counter()
    told = dict(zip((key_of(peer, task) for task in missing), asked(peer, missing, options), strict=True))
    known |= {key: answer for key, answer in told.items() if "failure" not in answer}
    path.parent.mkdir(parents=True, exist_ok=True)
    # A run that is stopped here must not lose what came before.
    fresh = path.with_suffix(".fresh")
    fresh.write_text(json.dumps(known))
    fresh.replace(path)
    print(f"{peer}, {tasks[0].pool}, seed {tasks[0].seed}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return [known.get(key) or told[key] for key in keys]


def key_of(peer: str, task: Task) -> str:
    """Name an answer, so that one to other rows or of another version is another one."""
    parts = (PEERS[peer].packages[0], task.pool, task.kind, task.n_rows, task.seed, task.fingerprint)
    return " ".join(map(str, parts))


def asked(peer: str, tasks: Sequence[Task], options: argparse.Namespace) -> list[Answer]:
    """Ask a peer in a process of its own; one that dies or takes too long has failed at every task."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [written(task, Path(folder) / str(place)) for place, task in enumerate(tasks)]
        request = {"is_timed": tasks[0].kind == SPEED, "jobs": jobs}
        script = Path(__file__).with_name("drift_peers.py")
        command = child_command(python_of(peer, options.environments), script, peer, request)
        try:
            answer, _ = measured(command, SILENT, limit_seconds=LIMIT_SECONDS)
        except (SystemExit, TimeoutError) as failed:
            return [{"failure": str(failed)[-1000:]} for _ in tasks]
    answers: list[Answer] = answer["answers"]
    return answers


def written(task: Task, stem: Path) -> dict[str, Any]:
    """Write the rows of a task; give what a peer must know."""
    paths = {"reference": f"{stem}-reference.parquet", "windows": f"{stem}-windows.parquet"}
    task.reference.write_parquet(paths["reference"])
    task.rows.write_parquet(paths["windows"])
    words = [each.name for each in task.reference if each.dtype == pl.String]
    return {**paths, "rows": task.n_rows, "words": words}


def python_of(peer: str, folder: Path) -> Path:
    """Give the Python of a peer, installing it where it is not there."""
    packages = PEERS[peer].packages
    name, _, version = packages[0].partition("==")
    return built_environment(folder / f"drift-{name}-{version}", packages)


def packages_of(peer: str) -> list[str]:
    """Name the packages whose versions a reader wants to know."""
    return list(dict.fromkeys((PEERS[peer].packages[0].partition("==")[0], "pandas")))


def our_module() -> ModuleType | None:
    """Give the module of our own rules; None where it cannot be had."""
    try:
        import drift_ours
    except ImportError as missing:
        print(f"without ours: {missing}", file=sys.stderr)
        return None
    return drift_ours


def our_answers(module: ModuleType, tasks: Sequence[Task]) -> list[Answer]:
    """Let ours judge the windows, and follow the streams row by row."""
    answers: list[Answer] = []
    for task in tasks:
        if task.kind == WINDOWS:
            answers.append({"alarms": module.batch_alarms(task.reference, task.windows)})
        elif task.kind == SPEED:
            seconds = [module.seconds_per_check(task.reference, task.windows[0]) for _ in range(N_CHECKS + 1)]
            answers.append({"check, the reference being kept": seconds[1:]})
        else:
            answers.append({"firsts": module.stream_alarms(task.reference, task.rows)})
    return answers


def compete(options: argparse.Namespace) -> Found:
    """Ask everybody everything."""
    found = Found([], [], {})
    module = our_module() if OURS in options.contestants else None
    askers: dict[str, Callable[[Sequence[Task]], list[Answer]]] = {}
    if module:
        askers[OURS] = partial(our_answers, module)
    for peer in [name for name in options.contestants if name != OURS]:
        askers[peer] = partial(answers_of, peer, options=options)
    for seed in range(options.seeds):
        for pool in pools(options.data, seed):
            tasks = list(tasks_of(pool, seed, options))
            for contestant, ask in askers.items():
                for task, answer in zip(tasks, ask(tasks), strict=True):
                    note(found, contestant, task, answer)
    task = speed_task(options.data)
    for contestant, ask in askers.items():
        note(found, contestant, task, ask([task])[0])
    return found


def note(found: Found, contestant: str, task: Task, answer: Answer) -> None:
    """Add what a contestant answered to what was found."""
    if failure := answer.get("failure"):
        print(f"{contestant} failed at {task.pool}, {task.kind}: {failure}", file=sys.stderr)
    elif task.kind == SPEED:
        found.checks |= {titled(contestant, way): seconds for way, seconds in answer.items()}
    elif task.kind == WINDOWS:
        for rule, alarms in answer["alarms"].items():
            told = zip(task.labels, alarms, strict=True)
            known = titled(contestant, rule), task.pool, task.n_rows
            found.verdicts.extend(Verdict(*known, label, alarm) for label, alarm in told)
    else:
        firsts = answer.get("firsts") or first_rows(answer["alarms"], task.n_rows)
        for rule, at in firsts.items():
            found.firsts.append(FirstAlarm(titled(contestant, rule), task.kind, at, task.change))


def titled(contestant: str, rule: str) -> str:
    """Name a rule with whose it is; ours may say so themselves."""
    return rule if rule.startswith(contestant) else f"{contestant}: {rule}"


def first_rows(alarms: Mapping[str, Sequence[bool]], n_rows: int) -> dict[str, int | None]:
    """Give the rows that had been seen at each rule's first alarm, when it looked at the end of every window."""
    return {rule: (told.index(True) + 1) * n_rows if any(told) else None for rule, told in alarms.items()}


def report(found: Found, pythons: Mapping[Path, Sequence[str]], options: argparse.Namespace) -> str:
    """Lay out what was found as Markdown."""
    n_tables = len({verdict.pool for verdict in found.verdicts})
    n_quiet, n_drifted = (count * options.seeds for count in counts(options))
    notes = NOTES.format(tables=n_tables, seeds=options.seeds, quiet=n_quiet, drifted=n_drifted)
    parts = [
        machine_line(("polars",), pythons),
        notes,
        "Share of windows called drift, of 50 / 200 / 1,000 rows",
        windows_table(found.verdicts),
        "The same by table, windows of 200 rows: quiet, drifted",
        pools_table(found.verdicts, SIZES[1]),
        streams_title(found.firsts),
        streams_table(found.firsts),
        "One check of 1,000 rows of 14 columns against 1,000: seconds, median (min..max); of peers from two frames on",
        markdown(("rule", "s"), [(rule, spread(seconds, ".4f")) for rule, seconds in found.checks.items()]),
    ]
    return "\n\n".join(parts)


def windows_table(verdicts: Sequence[Verdict]) -> str:
    """Say of each rule how many windows it calls drift, by what they are."""
    labels = {QUIET: "false alarms", DRIFTED: "power", LATER: "King County's later months"}
    rows = []
    for rule in rules_of(verdicts):
        mine = [verdict for verdict in verdicts if verdict.rule == rule]
        sizes = [
            " / ".join(share([each for each in mine if each.n_rows == n], label) for n in SIZES) for label in labels
        ]
        rows.append((rule, *sizes))
    return markdown(("rule", *labels.values()), rows)


def pools_table(verdicts: Sequence[Verdict], n_rows: int) -> str:
    """Say the same of each table, for windows of one size."""
    names = list(dict.fromkeys(verdict.pool for verdict in verdicts))
    rows = []
    for rule in rules_of(verdicts):
        mine = [verdict for verdict in verdicts if (verdict.rule, verdict.n_rows) == (rule, n_rows)]
        cells = []
        for name in names:
            here = [verdict for verdict in mine if verdict.pool == name]
            cells.append(f"{share(here, QUIET)}, {share(here, LATER if name in UNMOVED else DRIFTED)}")
        rows.append((rule, *cells))
    return markdown(("rule", *names), rows)


def share(verdicts: Iterable[Verdict], label: str) -> str:
    """Give the share of alarms among the windows of a label."""
    alarms = [verdict.is_alarm for verdict in verdicts if verdict.label == label]
    return f"{statistics.mean(alarms):.2f}" if alarms else "-"


def streams_title(firsts: Sequence[FirstAlarm]) -> str:
    """Say how many streams there were."""
    rule = next(iter(rules_of(firsts)), "")
    n_quiet, n_changing = (
        sum((first.rule, first.kind) == (rule, kind) for first in firsts) for kind in (QUIET_STREAM, CHANGING_STREAM)
    )
    return f"Streams: {n_quiet} quiet, {n_changing} changing"


def streams_table(firsts: Sequence[FirstAlarm]) -> str:
    """Say of each rule how it did in streams."""
    rows = []
    for rule in rules_of(firsts):
        quiet = [first.at is not None for first in firsts if (first.rule, first.kind) == (rule, QUIET_STREAM)]
        changing = [first for first in firsts if (first.rule, first.kind) == (rule, CHANGING_STREAM)]
        seen = [first.at - (first.change or 0) for first in changing if first.at is not None]
        delays = [delay for delay in seen if delay > 0]
        false = f"{statistics.mean(quiet):.2f}" if quiet else "-"
        shares = [f"{part / len(changing):.2f}" if changing else "-" for part in (len(delays), len(seen) - len(delays))]
        delay = f"{statistics.median(delays):.0f}" if delays else "-"
        rows.append((rule, false, shares[0], delay, shares[1]))
    titles = ("quiet streams with a false alarm", "changing ones detected", "median delay", "false before the change")
    return markdown(("rule", *titles), rows)


def rules_of(told: Iterable[Verdict | FirstAlarm]) -> list[str]:
    """Give the rules in the order in which they first spoke."""
    return list(dict.fromkeys(each.rule for each in told))


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def known_contestants(names: str) -> list[str]:
    """Read the option that names contestants."""
    wanted = names.split(",")
    if unknown := set(wanted) - {OURS, *PEERS}:
        raise argparse.ArgumentTypeError(f"expected some of {','.join([OURS, *PEERS])}, got {','.join(unknown)!r}")
    return wanted


def main() -> None:
    """Run what is missing and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    everybody = ",".join([OURS, *PEERS])
    parser.add_argument("--contestants", type=known_contestants, default=everybody, help="%(default)s")
    parser.add_argument("--windows", type=int, default=40, help="per quiet pool and size, all seeds; %(default)s")
    parser.add_argument("--seeds", type=int, default=4, help="deals of each table, and streams of it; %(default)s")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="where the tables are; %(default)s")
    parser.add_argument("--results", type=Path, default=CACHE / "drift", metavar="DIR", help="what peers answered")
    parser.add_argument("--environments", type=Path, default=CACHE, metavar="DIR", help="where peers are installed")
    options = parser.parse_args()
    peers = [name for name in options.contestants if name != OURS]
    pythons = {python_of(peer, options.environments): packages_of(peer) for peer in peers}
    print(report(compete(options), pythons, options))


if __name__ == "__main__":
    main()
