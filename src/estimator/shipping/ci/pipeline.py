"""The checks of `estimator ci`, and their report in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

from estimator.core.text import format_bytes, format_duration, format_number
from estimator.errors import CheckError, EstimatorError, GateError
from estimator.evaluation.scores import Score
from estimator.shipping.image.builders import ImageBuild
from estimator.store.artefact import Artefact
from estimator.training.comparison import Comparison

CiStatus = Literal["passed", "failed", "rejected", "skipped"]
Value = TypeVar("Value")
SIGNS = {"passed": "✅", "failed": "❌", "rejected": "⛔", "skipped": "➖"}
N_WEAK_SLICES = 5


@dataclass(frozen=True, slots=True)
class CiCheck:
    """The result of one check, with its message and duration."""

    name: str
    status: CiStatus
    message: str
    seconds: float = 0.0


@dataclass
class CheckRunner:
    """Runs checks in order and collects their results; `note` is called with each."""

    names: Sequence[str]
    clock: Callable[[], float]
    note: Callable[[CiCheck], None]
    checks: list[CiCheck] = field(default_factory=list)

    def run(self, name: str, check: Callable[[], tuple[Value, str]]) -> Value:
        """Run a check, which returns a value and a message; return the value.

        Raises
        ------
        CheckError: the check failed or rejected the version; its result is recorded.
        """
        started_at = self.clock()
        try:
            value, message = check()
        except EstimatorError as error:
            status: CiStatus = "rejected" if isinstance(error, GateError) else "failed"
            message = error.message + (f" ({error.hint})" if error.hint else "")
            self._add(CiCheck(name, status, message, self.clock() - started_at))
            raise CheckError(error.message, hint=error.hint) from error
        self._add(CiCheck(name, "passed", message, self.clock() - started_at))
        return value

    def skip(self, name: str, reason: str) -> None:
        """Record that a check was not requested."""
        self._add(CiCheck(name, "skipped", reason))

    def finish(self) -> tuple[CiCheck, ...]:
        """Return the results of all checks; those that were not reached are skipped."""
        finished = {check.name for check in self.checks}
        for name in self.names:
            if name not in finished:
                self._add(CiCheck(name, "skipped", "an earlier check did not pass"))
        return tuple(self.checks)

    def _add(self, check: CiCheck) -> None:
        self.checks.append(check)
        self.note(check)


@dataclass(frozen=True, slots=True)
class CiResult:
    """The result of all checks; `comparisons` with the live version are empty if there is none to compare with."""

    model: str
    checks: tuple[CiCheck, ...]
    artefact: Artefact | None = None
    comparisons: tuple[Comparison, ...] = ()
    image: ImageBuild | None = None

    @property
    def status(self) -> CiStatus:
        """The status of the first check that failed or rejected the version, else "passed"."""
        return next((check.status for check in self.checks if check.status in ("failed", "rejected")), "passed")

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "model": self.model,
            "version": None if self.artefact is None else self.artefact.version,
            "status": self.status,
            "checks": [asdict(check) for check in self.checks],
            "metrics": None if self.artefact is None else self.artefact.manifest["metrics"],
            "comparisons": [comparison.to_data() for comparison in self.comparisons],
            "image_bytes": None if self.image is None else self.image.size_bytes,
        }


def markdown(result: CiResult) -> str:
    """Return the report in Markdown, for a pull request or a job summary."""
    version = f" `{result.artefact.version}`" if result.artefact is not None else ""
    lines = [f"## {SIGNS[result.status]} {result.model}{version}: {result.status}", ""]
    lines += ["| | check | result | time |", "|---|---|---|---|"]
    for check in result.checks:
        time = "" if check.status == "skipped" else format_duration(check.seconds)
        lines.append(f"| {SIGNS[check.status]} | {check.name} | {_cell(check.message)} | {time} |")
    if result.artefact is not None:
        lines += ["", *_metrics(result.artefact, result.comparisons), *_weak_slices(result.artefact)]
    if result.image is not None:
        lines += ["", *_image(result.image)]
    return "\n".join(lines) + "\n"


def _metrics(artefact: Artefact, comparisons: Sequence[Comparison]) -> list[str]:
    by_metric = {comparison.metric: comparison for comparison in comparisons}
    columns = ["metric", "this version", "constant baseline", *(["live version", "gain"] if by_metric else [])]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, score in artefact.manifest["metrics"].items():
        scores = (score, artefact.manifest["baseline"][name])
        cells = [name, *(str(Score.from_data(item)) for item in scores)]
        if (comparison := by_metric.get(name)) is not None:
            cells += [format_number(comparison.first), f"{comparison.gain}: {comparison.verdict}"]
        cells += [""] * (len(columns) - len(cells))
        lines.append(f"| {' | '.join(cells)} |")
    if coverage := artefact.manifest.get("coverage"):
        lines += [
            "",
            f"{coverage['target']:.0%} intervals cover {Score.from_data(coverage['actual'])} of actual values.",
        ]
    return lines


def _weak_slices(artefact: Artefact) -> list[str]:
    """Return a table of the slices of rows where the model scores worst."""
    if "explanation.json" not in artefact.manifest["files"]:
        return []
    slices = artefact.read_json("explanation.json").get("weak_slices", {}).get("slices", [])
    if not slices:
        return []
    lines = ["", "| weak slice | rows | score | score elsewhere |", "|---|---|---|---|"]
    for weak in slices[:N_WEAK_SLICES]:
        scores = f"{format_number(weak['score'])} | {format_number(weak['score_elsewhere'])}"
        lines.append(f"| {_cell(weak['condition'])} | {weak['rows']:,} | {scores} |")
    return lines


def _image(image: ImageBuild) -> list[str]:
    lines = ["| image layer | size |", "|---|---|"]
    lines += [f"| {_cell(created_by[:80])} | {format_bytes(size)} |" for created_by, size in image.layers]
    lines.append(f"| **total** | **{format_bytes(image.size_bytes)}** |")
    if (smoke_test := image.smoke_test) is not None:
        times = f"median {smoke_test.latency_median_ms:.2f} ms, p99 {smoke_test.latency_p99_ms:.2f} ms"
        lines += ["", f"Ready after {smoke_test.startup_seconds:.2f} s. Latency of one row over HTTP: {times}."]
    return lines


def _cell(text: str) -> str:
    """Return a text as the cell of a Markdown table.

    >>> _cell("a|b")
    'a\\\\|b'
    """
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
