"""What the serving benchmark's results say, as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from processes import spread

N_ROWS, CONNECTIONS = (1, 100), (1, 8, 64)
NOTES = """\
A server with one worker on one core, wrk on another, over loopback; every answer was compared with the model's before
load began. CPU us: of all processes of the server, per request answered. Start: from the start of the process to the
first answer with status 200. Memory: of all processes after load, shared pages in parts (PSS). Errors: other statuses,
broken connections and answers later than a minute. wrk waits for an answer before it asks again on a connection, and
fills its own core at some 100,000 requests/s: of the fastest, CPU us says more than requests/s. A server so slow that
a connection would get less than four answers is asked for longer, up to a minute.
Cells: median (min..max) of the rounds. Everybody serves the same graph by onnxruntime with one thread, but for the
tutorial's app, which has the same net in Keras.
- ours: `estimator serve`, the tutorial's route; ours-full: its own route, with interval, id and what is outside the
  training range; ours-uvicorn: the first, answered by uvicorn's own protocol
- fastapi: FastAPI + pydantic + onnxruntime by uvicorn with uvloop and httptools
- c-fixed, nginx-fixed: the limit, a server that sends a fixed answer; nginx's is of one row
- tutorial-call, tutorial-predict: FastAPI + Keras on TensorFlow, by `model(x)` and by `model.predict(x)`
- the others with a class of their own kind around the graph, one worker"""


@dataclass(frozen=True)
class Result:
    """What came of a contestant asked so many rows at once, in one round of loads of so many seconds.

    Seconds to the first answer, memory after load, and per load what wrk counted; or `failure`, why there is nothing.
    """

    contestant: str
    n_rows: int
    round: int
    seconds: int
    software: str
    start_seconds: float = 0.0
    megabytes: float = 0.0
    loads: list[dict[str, float]] = field(default_factory=list)
    failure: str | None = None


Load = dict[str, float]
COLUMNS: dict[str, tuple[Callable[[Load], float], str]] = {
    "requests/s": (lambda load: load["requests"] / load["seconds"], ",.0f"),
    "CPU us": (lambda load: load["cpu_us"], ",.1f"),
    "p50 ms": (lambda load: load["p50_us"] / 1e3, ",.3f"),
    "p99 ms": (lambda load: load["p99_us"] / 1e3, ",.3f"),
}
COMPARED = ("requests/s", "CPU us")


def report(results: Sequence[Result], contestants: Sequence[str]) -> str:
    """Lay the results out as tables, the failures below them."""
    good = [each for each in results if each.failure is None]
    tables = [load_table(good, contestants, rows, count) for rows in N_ROWS for count in CONNECTIONS]
    bad = [each for each in results if each.failure is not None]
    failures = dict.fromkeys(f"- {each.contestant}, {_rows(each.n_rows)}: {each.failure}" for each in bad)
    told = ["", "Not measured:", "", *failures] if failures else []
    return "\n".join([NOTES, *tables, start_table(good, contestants), *told])


def load_table(results: Sequence[Result], contestants: Iterable[str], n_rows: int, connections: int) -> str:
    """Give the table of one load, each contestant beside ours."""
    loads: dict[str, list[Load]] = {}
    for name in contestants:
        asked = [each for each in results if each.contestant == name and each.n_rows == n_rows]
        found = [load for each in asked for load in each.loads if load["connections"] == connections]
        loads |= {name: found} if found else {}
    titles = [*COLUMNS, "errors", *(f"{title} / ours" for title in COMPARED)]
    rows = [_load_cells(name, found, loads.get("ours")) for name, found in loads.items()]
    return _table(f"{_rows(n_rows)} per request, connections: {connections}", titles, rows)


def start_table(results: Sequence[Result], contestants: Iterable[str]) -> str:
    """Give the table of start-up and memory."""
    rows = []
    for name in contestants:
        own = [each for each in results if each.contestant == name]
        weights = [[each.megabytes for each in own if each.n_rows == n_rows] for n_rows in N_ROWS]
        if own:
            memory = [spread(weight, ".1f") if weight else "" for weight in weights]
            rows.append([name, spread([each.start_seconds for each in own], ".2f"), *memory])
    return _table("Start and memory", ["start s", *(f"MB after {_rows(n_rows)}" for n_rows in N_ROWS)], rows)


def _load_cells(name: str, loads: Sequence[Load], ours: Sequence[Load] | None) -> list[str]:
    cells = [spread([read(load) for load in loads], form) for read, form in COLUMNS.values()]
    errors = sum(load[kind] for load in loads for kind in ("refused", "broken", "late"))
    ratios = [f"{_median(loads, title) / _median(ours, title):,.3f}" if ours else "" for title in COMPARED]
    return [name, *cells, f"{errors:.0f}", *ratios]


def _median(loads: Iterable[Load], title: str) -> float:
    read, _ = COLUMNS[title]
    return statistics.median(read(load) for load in loads)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _table(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = f"| {'':<16} | " + " | ".join(titles) + " |"
    rule = f"|{'-' * 18}|" + "".join(f"{'-' * (len(each) + 1)}:|" for each in titles)
    lines = [f"| {row[0]:<16} | {' | '.join(row[1:])} |" for row in rows]
    return "\n".join(["", f"### {title}", "", head, rule, *lines])
