"""What the serving benchmark's results say, as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from processes import spread

N_ROWS, CONNECTIONS = (1, 100), (1, 8, 64)
NOTES = """\
A server with one worker on one core, wrk on another, over loopback; every response was compared with the model's before
the load began. CPU us: of all processes of the server, per response. Start: from the start of the process to the first
response with status 200. Memory: of all processes after load, shared pages divided among their users (PSS). Errors:
other statuses, broken connections and responses later than a minute. wrk waits for a response before it sends the next
request on a connection, and fills its own core at some 100,000 requests/s: of the fastest servers, CPU us says more
than requests/s. A server so slow that a connection would get fewer than four responses is loaded for longer, up to a
minute. Cells: median (min..max) of the rounds. All serve the same graph by onnxruntime with one thread, except the
tutorial's app, which has the same net in Keras.
- ours: `estimator serve`, the tutorial's route; ours-full: /v1/predict, with interval, id and out-of-range columns;
  ours-uvicorn: the first, by uvicorn's own protocol
- fastapi: FastAPI + pydantic + onnxruntime by uvicorn with uvloop and httptools
- c-fixed, nginx-fixed: the limit, a server that sends a fixed response; nginx's has one row
- tutorial-call, tutorial-predict: FastAPI + Keras on TensorFlow, by `model(x)` and by `model.predict(x)`
- the others: the graph in the framework's own model class, one worker"""


@dataclass(frozen=True)
class Result:
    """One round of loads of one competitor, with a number of rows per request and seconds per load.

    Seconds to the first response, memory after load, and what wrk counted per load; `failure` says why there is none.
    """

    competitor: str
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


def report(results: Sequence[Result], competitors: Sequence[str]) -> str:
    """Return the results as tables, with the failures below them."""
    good = [result for result in results if result.failure is None]
    tables = [load_table(good, competitors, rows, count) for rows in N_ROWS for count in CONNECTIONS]
    bad = [result for result in results if result.failure is not None]
    failures = dict.fromkeys(f"- {result.competitor}, {_rows(result.n_rows)}: {result.failure}" for result in bad)
    section = ["", "Not measured:", "", *failures] if failures else []
    return "\n".join([NOTES, *tables, start_table(good, competitors), *section])


def load_table(results: Sequence[Result], competitors: Iterable[str], n_rows: int, connections: int) -> str:
    """Return the table of one load, each competitor next to ours."""
    loads: dict[str, list[Load]] = {}
    for name in competitors:
        matching = [result for result in results if result.competitor == name and result.n_rows == n_rows]
        measured = [load for result in matching for load in result.loads if load["connections"] == connections]
        loads |= {name: measured} if measured else {}
    titles = [*COLUMNS, "errors", *(f"{title} / ours" for title in COMPARED)]
    rows = [_load_cells(name, measured, loads.get("ours")) for name, measured in loads.items()]
    return _table(f"{_rows(n_rows)} per request, connections: {connections}", titles, rows)


def start_table(results: Sequence[Result], competitors: Iterable[str]) -> str:
    """Return the table of start-up and memory."""
    rows = []
    for name in competitors:
        mine = [result for result in results if result.competitor == name]
        weights = [[result.megabytes for result in mine if result.n_rows == n_rows] for n_rows in N_ROWS]
        if mine:
            memory = [spread(weight, ".1f") if weight else "" for weight in weights]
            rows.append([name, spread([result.start_seconds for result in mine], ".2f"), *memory])
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
    rule = f"|{'-' * 18}|" + "".join(f"{'-' * (len(title) + 1)}:|" for title in titles)
    lines = [f"| {row[0]:<16} | {' | '.join(row[1:])} |" for row in rows]
    return "\n".join(["", f"### {title}", "", head, rule, *lines])
