"""What long work shows meanwhile: a bar in a terminal, lines where there is none, and nothing on stdout."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from estimator import verbs
from estimator.cli import progress_bar
from estimator.models import TrainingStep
from tests.conftest import EXAMPLES
from tests.market import MODEL

BOSTON = EXAMPLES / "boston"
COLORED = re.compile(r"\x1b\[([\d;]*;)?3[0-8](;[\d;]*)?m")
# The command line, with lines so often that a run of a second has some.
OFTEN = "from estimator.cli import main, progress_bar; progress_bar.INTERVAL_SECONDS = 0.02; main()"
STAGES = (
    "reading the table",
    "checking and splitting rows",
    "encoding and fitting",
    "cross-validation fits",
    "calibration",
    "ONNX graph and parity",
    "scores of the held-out rows",
    "feature importance and weak slices",
    "report and version",
)


def command(*words: object) -> list[str]:
    return [sys.executable, "-c", f"import sys; sys.argv = ['estimator', *{list(map(str, words))!r}]; {OFTEN}"]


def in_pipe(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, check=True)


def in_terminal(*words: object, columns: int, **environment: str) -> str:
    """Run the command line in a pseudo terminal; return all that it wrote there."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    usual = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        command(*words), stdin=end, stdout=end, stderr=end, env={**usual, "TERM": "xterm", **environment}
    )
    os.close(end)
    written = b""
    try:
        while part := os.read(terminal, 65536):
            written += part
    except OSError:
        # Linux reports the end of a terminal as an error.
        pass
    os.close(terminal)
    assert process.wait() == 0
    return written.decode()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("progress") / "config.json"
    data = {"path": str(BOSTON / "boston.csv"), "target": "MEDV"}
    # The stages are those of every model; this one needs no library.
    # Without a note on the order of its rows.
    monitoring = {"row_order": "random"}
    path.write_text(
        json.dumps({"name": "houses", "data": data, "model": {"kind": "constant"}, "monitoring": monitoring})
    )
    return path


@pytest.fixture(scope="module")
def trained(config):
    """What training wrote into a pipe, and its store."""
    store = config.parent / "models"
    return in_pipe("train", "--conf", config, "--store", store), store


def test_training_names_every_stage(config, tmp_path):
    steps: list[TrainingStep] = []
    verbs.train.train(config, verbs.Context(store_path=str(tmp_path / "models")), progress=steps.append)
    assert tuple(dict.fromkeys(step.label for step in steps)) == STAGES


def test_a_pipe_gets_lines_on_stderr_only(trained):
    ended, _ = trained
    lines = ended.stderr.splitlines()
    assert len(lines) > 3
    assert all(re.fullmatch(r"[\d.]+ s: \S.*", line) for line in lines), lines
    assert {line.split(": ", 1)[1] for line in lines} & {"report and version", "feature importance and weak slices"}
    assert ended.stdout.startswith("houses  version")
    assert "\r" not in ended.stderr + ended.stdout


def test_every_long_verb_shows_lines_in_a_pipe(trained, config, tmp_path):
    new = ("--model", "houses", "--input", BOSTON / "boston.csv", "--store", trained[1])
    for words in (
        ("predict", *new, "--output", tmp_path / "predictions.csv"),
        ("evaluate", *new, "--include-learned"),
        ("explore", config, "--page", tmp_path / "page.html"),
        ("tune", "--conf", config, "--set", "model.kind=linear", "--set", "tuning.n_trials=1"),
    ):
        assert re.search(r"^[\d.]+ s: ", in_pipe(*words).stderr, re.MULTILINE), words[0]


def test_json_is_all_that_a_program_gets(trained):
    new = ("--model", "houses", "--input", BOSTON / "boston.csv", "--store", trained[1])
    ended = in_pipe("evaluate", *new, "--include-learned", "--json")
    assert json.loads(ended.stdout)["name"] == "houses"
    assert ended.stderr == ""


@pytest.mark.parametrize(("columns", "environment"), [(40, {"NO_COLOR": "1"}), (100, {})])
def test_a_terminal_shows_the_stages_after_the_fits(config, tmp_path, columns, environment):
    words = ("train", "--conf", config, "--store", tmp_path / "models")
    written = in_terminal(*words, columns=columns, **environment)
    during, after = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).split("houses  version")
    assert "feature importance and" in during
    assert "report and version" in during
    # A longer line would be wrapped, and its start be left behind.
    assert all(len(line) <= columns for line in re.split(r"[\r\n]+", during))
    assert ("━" in during) == (columns == 100)
    assert "report and version" not in after
    assert bool(COLORED.search(written)) == ("NO_COLOR" not in environment)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(config, tmp_path):
    words = ("train", "--conf", config, "--store", tmp_path / "models", "--set", "monitoring.row_order=auto")
    written = in_terminal(*words, columns=80, TERM="dumb")
    assert "\x1b" not in written
    assert "note: rows that follow each other are alike in " in written
    assert re.search(r"^[\d.]+ s: report and version", written, re.MULTILINE)


def test_a_note_is_shown_for_as_long_as_it_goes_on(capsys, monkeypatch):
    monkeypatch.setattr(progress_bar, "INTERVAL_SECONDS", 0.01)
    with progress_bar.notes(quiet=False) as note:
        note("installing packages")
        written = ""
        while written.count(": installing packages") < 2:
            written += capsys.readouterr().err
    assert written.startswith("installing packages\n")


def test_a_scheduled_monitor_says_at_once_that_it_has_begun(market):
    market.open_log().close()
    words = ("monitor", MODEL, "--schedule", "--log", market.log_path, "--store", market.store.root)
    with subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.terminate()
    assert first == (
        f"monitoring the prediction log of {MODEL}: new rows every 1 s, scheduled checks every 1 day; "
        "stop with Ctrl-C\n"
    )
    assert process.returncode == 0


def test_an_interruption_says_what_was_going_on_and_how_long_it_would_have_taken(capsys):
    with pytest.raises(KeyboardInterrupt), progress_bar.steps(quiet=False) as progress:
        progress(TrainingStep(0, 0, {}, "encoding and fitting"))
        progress(TrainingStep(3, 15, {}, "cross-validation fits, latest boosting"))
        raise KeyboardInterrupt
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"stopped at: 3/15  cross-validation fits, latest boosting  about .+ left", line)
