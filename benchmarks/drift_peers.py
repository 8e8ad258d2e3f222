"""One peer of the drift benchmark in its own process: the windows that each of its rules calls drift, and its time.

A rule is a package's default, given only which columns are categorical. Where a package rejects or ignores missing
values, they are replaced in the way that suits it best, as the function's docstring says.
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
    """The packages of a peer's environment, and the modules whose import is not counted.

    The first package, with its pin, names the environment, so that each version has its own.
    """

    packages: tuple[str, ...]
    modules: tuple[str, ...]


PARQUET = "pyarrow==26.0.1"
EVIDENTLY = ("evidently.presets", "evidently.legacy.calculations.stattests")
PEERS = {
    "evidently": Peer(("evidently==0.7.23", "pandas<3.1", PARQUET), EVIDENTLY),
    # It imports statsmodels without requiring it.
    "nannyml": Peer(("nannyml==0.13.1", "statsmodels", "pandas==3.1.1", PARQUET), ("nannyml",)),
    # It needs numpy 1, which later releases of pyarrow do not support.
    "alibi-detect": Peer(("alibi-detect==0.13.0", "pandas==2.3.3", "pyarrow==22.0.0"), ("alibi_detect.cd",)),
    "psi": Peer(("pandas==2.3.3", PARQUET), ("pandas",)),
}
# No peer reports usage.
SILENT = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
Alarms = dict[str, list[bool]]


@dataclass(frozen=True)
class Job:
    """A reference and windows of equally many rows, as pandas frames; `categorical` names the columns of categories."""

    reference: Any
    windows: list[Any]
    categorical: list[str]

    @property
    def names(self) -> list[str]:
        """All columns."""
        return list(self.reference)

    @property
    def numbers(self) -> list[str]:
        """The columns of numbers."""
        return [name for name in self.names if name not in self.categorical]


def read_job(request: Mapping[str, Any]) -> Job:
    """Read the files of a job."""
    import pandas as pd

    reference, windows = (pd.read_parquet(request[sample]) for sample in ("reference", "windows"))
    n_rows = request["rows"]
    # pandas 3 has a string type that not every peer supports.
    for frame in (reference, windows):
        frame[request["categorical"]] = frame[request["categorical"]].astype(object)
    starts = range(0, len(windows), n_rows)
    return Job(
        reference, [windows[start : start + n_rows].reset_index(drop=True) for start in starts], request["categorical"]
    )


def detect_by_evidently(job: Job) -> Alarms:
    """Evidently's preset: half of the columns, and any column.

    The tests that the preset picks are run without its plots, which take most of its time; on the first window the
    preset's own count must be the same.
    """
    from evidently.metrics import DriftedColumnsCount

    counts = [evidently_count(job, window) for window in job.windows]
    result = evidently_report(DriftedColumnsCount(), job, job.windows[0])
    assert counts[0][0] == result["count"], (counts[0], result)
    return {
        "half of the columns": [2 * count >= n_columns for count, n_columns in counts],
        "any column": [count > 0 for count, _ in counts],
    }


def evidently_count(job: Job, window: Any) -> tuple[int, int]:
    """Count the drifted columns and all; a column that is empty in the window is left out, as the preset rejects it."""
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    drifted = []
    for name in filled(job, window):
        kind = ColumnType.Categorical if name in job.categorical else ColumnType.Numerical
        values = job.reference[name].dropna(), window[name].dropna()
        drifted.append(bool(get_stattest(*values, kind, None)(*values, kind, None).drifted))
    return sum(drifted), len(drifted)


def evidently_preset(job: Job) -> Mapping[str, float]:
    """Run the whole preset on the first window."""
    from evidently.presets import DataDriftPreset

    return evidently_report(DataDriftPreset(), job, job.windows[0])


def evidently_report(metric: Any, job: Job, window: Any) -> Mapping[str, float]:
    """Run a report of the metric; return the count and the fraction of drifted columns."""
    from evidently import DataDefinition, Dataset, Report

    names = filled(job, window)
    kinds = {
        "numerical_columns": [name for name in names if name not in job.categorical],
        "categorical_columns": [name for name in names if name in job.categorical],
    }
    current, reference = (
        Dataset.from_pandas(frame[names], data_definition=DataDefinition(**kinds)) for frame in (window, job.reference)
    )
    result: Mapping[str, float] = Report([metric]).run(current, reference).dict()["metrics"][0]["value"]
    return result


def filled(job: Job, window: Any) -> list[str]:
    """Return the columns with a value in the window."""
    return [name for name in job.names if window[name].notna().any()]


def detect_by_nannyml(job: Job) -> Alarms:
    """NannyML's two calculators, with chunks of the window's size in the reference and all windows as chunks."""
    size = len(job.windows[0])
    return {
        "Jensen-Shannon, any column": nannyml_univariate(job, chunk_size=size),
        "reconstruction error": nannyml_reconstruction(job, chunk_size=size),
    }


def nannyml_univariate(job: Job, **chunks: Any) -> list[bool]:
    """Alert where the Jensen-Shannon distance of any column passes its threshold."""
    from nannyml import UnivariateDriftCalculator

    methods = ["jensen_shannon"]
    calculator = UnivariateDriftCalculator(
        column_names=job.names,
        treat_as_categorical=job.categorical,
        continuous_methods=methods,
        categorical_methods=methods,
        **chunks,
    )
    return nannyml_alerts(calculator, job)


def nannyml_reconstruction(job: Job, **chunks: Any) -> list[bool]:
    """Alert where principal components, which it fits with its own imputers, rebuild the rows unusually."""
    from nannyml import DataReconstructionDriftCalculator

    return nannyml_alerts(DataReconstructionDriftCalculator(column_names=job.names, **chunks), job)


def nannyml_alerts(calculator: Any, job: Job) -> list[bool]:
    """Fit on the reference; return whether each chunk has an alert."""
    import pandas as pd

    calculator.fit(job.reference)
    result = calculator.calculate(pd.concat(job.windows, ignore_index=True)).filter(period="analysis").to_df()
    alerts = result[[name for name in result.columns if name[-1] == "alert"]]
    alarms: list[bool] = (alerts == True).any(axis=1).tolist()  # noqa: E712
    return alarms


def detect_by_alibi(job: Job) -> Alarms:
    """alibi-detect's TabularDrift: KS and chi-square, Bonferroni's correction, 5 %.

    It does not support missing values: in numbers they become the lowest value, in text a category.
    """
    from alibi_detect.cd import TabularDrift

    reference, *windows = matrices(job)
    codes = {job.names.index(name): None for name in job.categorical}
    detector = TabularDrift(reference, p_val=0.05, categories_per_feature=codes or None)
    return {"TabularDrift": [bool(detector.predict(window)["data"]["is_drift"]) for window in windows]}


def matrices(job: Job) -> list[Any]:
    """Return the reference and the windows as floats, with one code per category."""
    import numpy as np
    import pandas as pd

    frames = [job.reference, *job.windows]
    whole = pd.concat(frames, ignore_index=True)
    for name in job.categorical:
        whole[name] = pd.factorize(whole[name].fillna(""))[0]
    whole[job.numbers] = whole[job.numbers].fillna(whole[job.numbers].min() - 1)
    starts = np.cumsum([len(frame) for frame in frames])[:-1]
    parts: list[Any] = np.split(whole.to_numpy(float), starts)
    return parts


def detect_by_psi(job: Job) -> Alarms:
    """Apply the common rule: the population stability index of any column above 0.2."""
    return {"any column > 0.2": [largest_index(job, window) > 0.2 for window in job.windows]}


def largest_index(job: Job, window: Any) -> float:
    """Return the largest index of the columns: categories, or deciles of the reference; missing values are a bin."""
    import numpy as np

    indices = []
    for name in job.names:
        fractions = [
            np.maximum(sample, 1e-4)
            for sample in fractions_of(job.reference[name], window[name], name in job.categorical)
        ]
        indices.append(float(((fractions[0] - fractions[1]) * np.log(fractions[0] / fractions[1])).sum()))
    return max(indices)


def fractions_of(reference: Any, window: Any, is_categorical: bool) -> list[Any]:
    """Return the fractions of both samples in the same bins."""
    import numpy as np
    import pandas as pd

    if is_categorical:
        counts = [sample.fillna("").value_counts(normalize=True) for sample in (reference, window)]
        categories = counts[0].index.union(counts[1].index)
        return [sample.reindex(categories, fill_value=0).to_numpy() for sample in counts]
    edges = np.unique(reference.quantile(np.linspace(0, 1, 11)[1:-1]))
    codes = [np.searchsorted(edges, sample.fillna(0), "right") for sample in (reference, window)]
    missing = [pd.isna(sample).to_numpy() for sample in (reference, window)]
    binned = [np.where(is_missing, len(edges) + 1, code) for is_missing, code in zip(missing, codes, strict=True)]
    return [np.bincount(sample, minlength=len(edges) + 2) / len(sample) for sample in binned]


CHILDREN: dict[str, Callable[[Job], Alarms]] = {
    "evidently": detect_by_evidently,
    "nannyml": detect_by_nannyml,
    "alibi-detect": detect_by_alibi,
    "psi": detect_by_psi,
}
# One check of two frames, including what is learned from the reference.
CHECKS: dict[str, dict[str, Callable[[Job], object]]] = {
    "evidently": {"DataDriftPreset": evidently_preset},
    # By default both frames are cut into ten chunks.
    "nannyml": {"Jensen-Shannon": nannyml_univariate, "reconstruction error": nannyml_reconstruction},
    "alibi-detect": {"TabularDrift": detect_by_alibi},
    "psi": {"any column > 0.2": detect_by_psi},
}


def alarms_of(child: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the alarms of one job and the seconds per window; a failure is a result as well."""
    job = read_job(request)
    started = time.perf_counter()
    try:
        alarms = CHILDREN[child](job)
    except Exception as failed:
        return {"failure": f"{type(failed).__name__}: {failed}"[:1000]}
    return {"alarms": alarms, "seconds_per_check": (time.perf_counter() - started) / len(job.windows)}


def timed(child: str, request: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the seconds of single checks, after one that is not counted."""
    job = read_job(request)
    return {methods: [seconds(check, job) for _ in range(N_CHECKS + 1)][1:] for methods, check in CHECKS[child].items()}


def seconds(check: Callable[[Job], object], job: Job) -> float:
    """Return the seconds of one check."""
    started = time.perf_counter()
    check(job)
    return time.perf_counter() - started


def results_of(child: str, request: Mapping[str, Any]) -> list[Any]:
    """Run every job of the request."""
    for module in PEERS[child].modules:
        import_module(module)
    run: Callable[[str, Mapping[str, Any]], Any] = timed if request["is_timed"] else alarms_of
    return [run(child, job) for job in request["jobs"]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one request, given as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", choices=CHILDREN, required=True)
    parser.add_argument("--request", type=json.loads, required=True)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    # The measuring process reads one JSON object, and some peers are chatty.
    with redirect_stdout(sys.stderr):
        run = {"results": results_of(options.child, options.request)}
    print(json.dumps(run))


if __name__ == "__main__":
    main()
