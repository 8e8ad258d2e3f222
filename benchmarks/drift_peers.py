"""One peer of the drift benchmark in a process of its own: which windows each of its rules calls drift, and how soon.

A rule is what the package does when it is told nothing but which columns are categories. Where a package refuses or
ignores gaps, it is helped in the way that is best for it, and the function says how.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import Any

# Only the standard library up here: each peer's Python has only that peer's packages.

N_CHECKS = 5


@dataclass(frozen=True)
class Peer:
    """What the environment of a peer holds, and the modules whose import is not counted.

    The first package, with its pin, names the environment, so that another version is another one.
    """

    packages: tuple[str, ...]
    modules: tuple[str, ...]


PARQUET = "pyarrow==26.0.1"
EVIDENTLY = ("evidently.presets", "evidently.legacy.calculations.stattests")
PEERS = {
    "evidently": Peer(("evidently==0.7.23", "pandas<3.1", PARQUET), EVIDENTLY),
    # It imports statsmodels and does not ask for it.
    "nannyml": Peer(("nannyml==0.13.1", "statsmodels", "pandas==3.1.1", PARQUET), ("nannyml",)),
    # It needs numpy 1, which later pyarrow refuses.
    "alibi-detect": Peer(("alibi-detect==0.13.0", "pandas==2.3.3", "pyarrow==22.0.0"), ("alibi_detect.cd",)),
    "psi": Peer(("pandas==2.3.3", PARQUET), ("pandas",)),
}
# No peer shall tell its makers about these runs.
SILENT = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
Alarms = dict[str, list[bool]]


@dataclass(frozen=True)
class Job:
    """A reference and windows of equally many rows, as pandas frames; `words` names the columns of categories."""

    reference: Any
    windows: list[Any]
    words: list[str]

    @property
    def names(self) -> list[str]:
        """All columns."""
        return list(self.reference)

    @property
    def numbers(self) -> list[str]:
        """The columns of numbers."""
        return [name for name in self.names if name not in self.words]


def read_job(request: Mapping[str, Any]) -> Job:
    """Read the files of a job."""
    import pandas as pd

    reference, windows = (pd.read_parquet(request[each]) for each in ("reference", "windows"))
    n_rows = request["rows"]
    # Later pandas has text of its own kind, of which not every peer knows.
    for frame in (reference, windows):
        frame[request["words"]] = frame[request["words"]].astype(object)
    starts = range(0, len(windows), n_rows)
    return Job(reference, [windows[at : at + n_rows].reset_index(drop=True) for at in starts], request["words"])


def watch_evidently(job: Job) -> Alarms:
    """Evidently's preset: half of the columns, and any column.

    The tests that the preset picks are run without what it prepares to draw, which takes most of its time; on the first
    window the preset's own count must be the same.
    """
    from evidently.metrics import DriftedColumnsCount

    counts = [evidently_count(job, window) for window in job.windows]
    told = evidently_report(DriftedColumnsCount(), job, job.windows[0])
    assert counts[0][0] == told["count"], (counts[0], told)
    return {
        "half of the columns": [2 * count >= n_columns for count, n_columns in counts],
        "any column": [count > 0 for count, _ in counts],
    }


def evidently_count(job: Job, window: Any) -> tuple[int, int]:
    """Count the drifted columns and all; a column that is empty in the window is left out, as the preset refuses it."""
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    drifted = []
    for name in filled(job, window):
        kind = ColumnType.Categorical if name in job.words else ColumnType.Numerical
        values = job.reference[name].dropna(), window[name].dropna()
        drifted.append(bool(get_stattest(*values, kind, None)(*values, kind, None).drifted))
    return sum(drifted), len(drifted)


def evidently_preset(job: Job) -> Mapping[str, float]:
    """Run the preset on the first window as its users do."""
    from evidently.presets import DataDriftPreset

    return evidently_report(DataDriftPreset(), job, job.windows[0])


def evidently_report(metric: Any, job: Job, window: Any) -> Mapping[str, float]:
    """Run a report of the metric; give the count and the share of drifted columns, which come first."""
    from evidently import DataDefinition, Dataset, Report

    names = filled(job, window)
    kinds = {
        "numerical_columns": [name for name in names if name not in job.words],
        "categorical_columns": [name for name in names if name in job.words],
    }
    current, reference = (
        Dataset.from_pandas(frame[names], data_definition=DataDefinition(**kinds)) for frame in (window, job.reference)
    )
    told: Mapping[str, float] = Report([metric]).run(current, reference).dict()["metrics"][0]["value"]
    return told


def filled(job: Job, window: Any) -> list[str]:
    """Give the columns with a value in the window."""
    return [name for name in job.names if window[name].notna().any()]


def watch_nannyml(job: Job) -> Alarms:
    """NannyML's two calculators, with chunks of the window's size in the reference and all windows as chunks."""
    size = len(job.windows[0])
    return {
        "Jensen-Shannon, any column": nannyml_univariate(job, chunk_size=size),
        "reconstruction error": nannyml_reconstruction(job, chunk_size=size),
    }


def nannyml_univariate(job: Job, **chunks: Any) -> list[bool]:
    """Alert where the Jensen-Shannon distance of any column passes its threshold."""
    from nannyml import UnivariateDriftCalculator

    way = ["jensen_shannon"]
    calculator = UnivariateDriftCalculator(
        column_names=job.names,
        treat_as_categorical=job.words,
        continuous_methods=way,
        categorical_methods=way,
        **chunks,
    )
    return nannyml_alerts(calculator, job)


def nannyml_reconstruction(job: Job, **chunks: Any) -> list[bool]:
    """Alert where principal components, which it fits with its own imputers, rebuild the rows unusually."""
    from nannyml import DataReconstructionDriftCalculator

    return nannyml_alerts(DataReconstructionDriftCalculator(column_names=job.names, **chunks), job)


def nannyml_alerts(calculator: Any, job: Job) -> list[bool]:
    """Fit on the reference and give, chunk by chunk, whether there is any alert."""
    import pandas as pd

    calculator.fit(job.reference)
    told = calculator.calculate(pd.concat(job.windows, ignore_index=True)).filter(period="analysis").to_df()
    alerts = told[[name for name in told.columns if name[-1] == "alert"]]
    found: list[bool] = (alerts == True).any(axis=1).tolist()  # noqa: E712
    return found


def watch_alibi(job: Job) -> Alarms:
    """alibi-detect's TabularDrift: KS and chi-square, Bonferroni's correction, 5 %.

    It knows no gaps: that of a number is the lowest value of all, and that of a word is a level.
    """
    from alibi_detect.cd import TabularDrift

    reference, *windows = matrices(job)
    places = {job.names.index(name): None for name in job.words}
    detector = TabularDrift(reference, p_val=0.05, categories_per_feature=places or None)
    return {"TabularDrift": [bool(detector.predict(window)["data"]["is_drift"]) for window in windows]}


def matrices(job: Job) -> list[Any]:
    """Give the reference and the windows as floats, with one code per level."""
    import numpy as np
    import pandas as pd

    frames = [job.reference, *job.windows]
    whole = pd.concat(frames, ignore_index=True)
    for name in job.words:
        whole[name] = pd.factorize(whole[name].fillna(""))[0]
    whole[job.numbers] = whole[job.numbers].fillna(whole[job.numbers].min() - 1)
    starts = np.cumsum([len(frame) for frame in frames])[:-1]
    parts: list[Any] = np.split(whole.to_numpy(float), starts)
    return parts


def watch_psi(job: Job) -> Alarms:
    """Apply the common rule: the population stability index of any column above 0.2."""
    return {"any column > 0.2": [largest_index(job, window) > 0.2 for window in job.windows]}


def largest_index(job: Job, window: Any) -> float:
    """Give the largest index of the columns: levels, or tenths of the reference; gaps are a bin."""
    import numpy as np

    indices = []
    for name in job.names:
        shares = [np.maximum(each, 1e-4) for each in shares_of(job.reference[name], window[name], name in job.words)]
        indices.append(float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum()))
    return max(indices)


def shares_of(reference: Any, window: Any, is_word: bool) -> list[Any]:
    """Give the shares of both in the same bins."""
    import numpy as np
    import pandas as pd

    if is_word:
        counts = [each.fillna("").value_counts(normalize=True) for each in (reference, window)]
        levels = counts[0].index.union(counts[1].index)
        return [each.reindex(levels, fill_value=0).to_numpy() for each in counts]
    edges = np.unique(reference.quantile(np.linspace(0, 1, 11)[1:-1]))
    places = [np.searchsorted(edges, each.fillna(0), "right") for each in (reference, window)]
    gaps = [pd.isna(each).to_numpy() for each in (reference, window)]
    placed = [np.where(gap, len(edges) + 1, place) for gap, place in zip(gaps, places, strict=True)]
    return [np.bincount(each, minlength=len(edges) + 2) / len(each) for each in placed]


CHILDREN: dict[str, Callable[[Job], Alarms]] = {
    "evidently": watch_evidently,
    "nannyml": watch_nannyml,
    "alibi-detect": watch_alibi,
    "psi": watch_psi,
}
# One check from the two frames on, what is learned from the reference among it.
CHECKS: dict[str, dict[str, Callable[[Job], object]]] = {
    "evidently": {"DataDriftPreset": evidently_preset},
    # By default the reference is cut into ten chunks, and so is what is looked at.
    "nannyml": {"Jensen-Shannon": nannyml_univariate, "reconstruction error": nannyml_reconstruction},
    "alibi-detect": {"TabularDrift": watch_alibi},
    "psi": {"any column > 0.2": watch_psi},
}


def watched(child: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give the alarms of one job and the seconds per window; a failure is an answer as well."""
    job = read_job(request)
    started = time.perf_counter()
    try:
        alarms = CHILDREN[child](job)
    except Exception as failed:
        return {"failure": f"{type(failed).__name__}: {failed}"[:1000]}
    return {"alarms": alarms, "seconds_per_check": (time.perf_counter() - started) / len(job.windows)}


def timed(child: str, request: Mapping[str, Any]) -> dict[str, list[float]]:
    """Give the seconds of single checks, after one that is not counted."""
    job = read_job(request)
    return {way: [seconds(check, job) for _ in range(N_CHECKS + 1)][1:] for way, check in CHECKS[child].items()}


def seconds(check: Callable[[Job], object], job: Job) -> float:
    """Give the seconds of one check."""
    started = time.perf_counter()
    check(job)
    return time.perf_counter() - started


def answers(child: str, request: Mapping[str, Any]) -> list[Any]:
    """Answer every job of the request."""
    for module in PEERS[child].modules:
        import_module(module)
    answer: Callable[[str, Mapping[str, Any]], Any] = timed if request["is_timed"] else watched
    return [answer(child, job) for job in request["jobs"]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer one request, given as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", choices=CHILDREN, required=True)
    parser.add_argument("--request", type=json.loads, required=True)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    # The measuring process reads one JSON object, and some peers are chatty.
    with redirect_stdout(sys.stderr):
        answer = {"answers": answers(options.child, options.request)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
