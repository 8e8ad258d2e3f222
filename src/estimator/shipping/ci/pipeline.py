"""What every push is held to: checks in order, and what they found as a report for the people who decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from estimator.core.text import format_bytes, format_duration, format_number
from estimator.errors import CheckError, EstimatorError, GateError
from estimator.store.artefact import Artefact

if TYPE_CHECKING:
    from estimator.shipping.image.build import ImageBuild
    from estimator.training.comparison import Comparison

Verdict = Literal["passed", "failed", "refused", "left out"]
Found = TypeVar("Found")
SIGNS = {"passed": "✅", "failed": "❌", "refused": "⛔", "left out": "➖"}
N_WEAK = 5


@dataclass(frozen=True, slots=True)
class CiCheck:
    """One check: what it found in words, and how long it took in seconds."""

    name: str
    verdict: Verdict
    text: str
    seconds: float = 0.0


@dataclass
class CheckRunner:
    """Checks as they are made; `note` is told of each."""

    names: Sequence[str]
    clock: Callable[[], float]
    note: Callable[[CiCheck], None]
    found: list[CiCheck] = field(default_factory=list)

    def run(self, name: str, work: Callable[[], tuple[Found, str]]) -> Found:
        """Do the work of a check, which returns what it found and that in words.

        Raises
        ------
        CheckError: it did not pass; that is noted.
        """
        began = self.clock()
        try:
            value, text = work()
        except EstimatorError as error:
            verdict: Verdict = "refused" if isinstance(error, GateError) else "failed"
            text = error.message + (f" ({error.hint})" if error.hint else "")
            self._add(CiCheck(name, verdict, text, self.clock() - began))
            raise CheckError(error.message, hint=error.hint) from error
        self._add(CiCheck(name, "passed", text, self.clock() - began))
        return value

    def leave_out(self, name: str, why: str) -> None:
        """Note that a check is not asked for."""
        self._add(CiCheck(name, "left out", why))

    def ended(self) -> tuple[CiCheck, ...]:
        """Return all checks, those that were not come to as well."""
        made = {check.name for check in self.found}
        for name in self.names:
            if name not in made:
                self._add(CiCheck(name, "left out", "not come to"))
        return tuple(self.found)

    def _add(self, check: CiCheck) -> None:
        self.found.append(check)
        self.note(check)


@dataclass(frozen=True, slots=True)
class CiResult:
    """What a push was found to be; `compared` is the version beside the live one, () where there is none to compare."""

    model: str
    checks: tuple[CiCheck, ...]
    artefact: Artefact | None = None
    compared: tuple[Comparison, ...] = ()
    built: ImageBuild | None = None

    @property
    def verdict(self) -> Verdict:
        """How the checks ended together."""
        return next((check.verdict for check in self.checks if check.verdict in ("failed", "refused")), "passed")

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "model": self.model,
            "version": None if self.artefact is None else self.artefact.version,
            "verdict": self.verdict,
            "checks": [asdict(check) for check in self.checks],
            "metrics": None if self.artefact is None else self.artefact.manifest["metrics"],
            "compared": [one.to_data() for one in self.compared],
            "image_bytes": None if self.built is None else self.built.size,
        }


def markdown(outcome: CiResult) -> str:
    """Return an outcome as Markdown, for a pull request or a summary."""
    version = f" `{outcome.artefact.version}`" if outcome.artefact is not None else ""
    lines = [f"## {SIGNS[outcome.verdict]} {outcome.model}{version}: {outcome.verdict}", ""]
    lines += ["| | check | | time |", "|---|---|---|---|"]
    lines += [
        f"| {SIGNS[check.verdict]} | {check.name} | {_cell(check.text)} | "
        f"{format_duration(check.seconds) if check.verdict != 'left out' else ''} |"
        for check in outcome.checks
    ]
    if outcome.artefact is not None:
        lines += ["", *_metrics(outcome.artefact, outcome.compared), *_weak(outcome.artefact)]
    if outcome.built is not None:
        lines += ["", *_image(outcome.built)]
    return "\n".join(lines) + "\n"


def _metrics(artefact: Artefact, compared: Sequence[Comparison]) -> list[str]:
    beside = {one.metric: one for one in compared}
    lines = ["| metric | this version | same answer for every row |", "|---|---|---|"]
    if beside:
        lines = ["| metric | this version | same answer for every row | live | gain |", "|---|---|---|---|---|"]
    for name, score in artefact.manifest["metrics"].items():
        cells = [name, _score(score), _score(artefact.manifest["baseline"][name])]
        if beside:
            one = beside.get(name)
            cells += ["", ""] if one is None else [format_number(one.first), f"{one.gain}: {one.verdict}"]
        lines.append(f"| {' | '.join(cells)} |")
    if found := artefact.manifest.get("coverage"):
        lines += ["", f"{found['target']:.0%} intervals cover {_score(found['actual'])} of actual values."]
    return lines


def _weak(artefact: Artefact) -> list[str]:
    """Return the parts of the rows in which answers are worst."""
    if "explanation.json" not in artefact.manifest["files"]:
        return []
    found = artefact.read_json("explanation.json").get("weak_slices", {}).get("slices", [])
    if not found:
        return []
    lines = ["", "| weaker where | rows | there | elsewhere |", "|---|---|---|---|"]
    return lines + [
        f"| {_cell(each['condition'])} | {each['rows']:,} | {format_number(each['score'])} | {format_number(each['score_elsewhere'])} |"
        for each in found[:N_WEAK]
    ]


def _image(built: ImageBuild) -> list[str]:
    lines = ["| layer | size |", "|---|---|"]
    lines += [f"| {_cell(made[:80])} | {format_bytes(size)} |" for made, size in built.layers]
    lines.append(f"| **all** | **{format_bytes(built.size)}** |")
    if (trial := built.trial) is not None:
        times = f"{trial.latency[0]:.2f} ms over HTTP, 99 of 100 at most {trial.latency[1]:.2f} ms"
        lines += ["", f"Ready after {trial.seconds:.2f} s; one row takes {times}."]
    return lines


def _score(data: dict[str, Any]) -> str:
    from estimator.evaluation.scores import Score

    return str(Score(*(float("nan") if data[name] is None else data[name] for name in ("value", "low", "high"))))


def _cell(text: str) -> str:
    """Return a text as the cell of a Markdown table.

    >>> _cell("a|b")
    'a\\\\|b'
    """
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
