"""Who competes in the serving benchmark, how each is started on one core, and what it is asked and answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from processes import CACHE, built_environment, keras_environment
from serve_model import Served
from serve_processes import ServerError, free_port

HERE = Path(__file__).resolve().parent
PEERS = HERE / "serve_peers"
RUNTIME = ("onnxruntime==1.32.0",)
FASTAPI = ("fastapi==0.165.0", "pydantic==2.14.3", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", *RUNTIME)
# Debian keeps it where only root looks.
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
MANY = 1_000_000_000
# Nobody calls home, and libraries of linear algebra use the one core.
QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Place:
    """Where a contestant runs: its Python and port, what it serves, what it should answer, and a folder of its own."""

    python: Path
    port: int
    served: Served
    answer: bytes
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables that peers' servers need."""
        path = f"{self.python.parent}:{os.environ['PATH']}"
        return {"SERVED_MODEL": str(self.served.folder), "PYTHONPATH": str(PEERS), "PATH": path, **QUIET}

    def program(self, name: str) -> str:
        """Give the path of a program of the environment."""
        return str(self.python.parent / name)


Rows = list[dict[str, Any]]
Start = Callable[[Place], Sequence[str]]


@dataclass(frozen=True)
class Form:
    """The way of asking: the path, rows -> the request, the answer -> its values."""

    path: str
    request: Callable[[Rows], Any]
    values: Callable[[Any], list[float]]


@dataclass(frozen=True)
class Contestant:
    """A server: `start` prepares what it needs and gives the command; it can be asked `n_rows` rows.

    Without packages it needs no environment but ours. The first package, with its pin, names the environment.
    """

    start: Start
    form: Form
    packages: tuple[str, ...] = ()
    n_rows: tuple[int, ...] = (1, 100)

    @property
    def software(self) -> str:
        """What runs, with its version."""
        return self.packages[0] if self.packages else f"estimator=={metadata.version('estimator-lifepath')}"

    def python(self) -> Path:
        """Give the Python of its environment, which is made if it is not there.

        Raises
        ------
        SystemExit: the packages cannot be installed.
        """
        if not self.packages:
            return Path(sys.executable)
        return built_environment(CACHE / self.packages[0].replace("==", "-"), self.packages)


def labelled(answer: Any) -> list[float]:
    """Read the tutorial's form of an answer."""
    return [value for each in answer["predictions"] for value in each.values()]


def split(rows: Rows) -> Any:
    """Ask as MLflow advises: the columns once."""
    return {"dataframe_split": {"columns": list(rows[0]), "data": [list(map(float, row.values())) for row in rows]}}


def tensor(rows: Rows) -> Any:
    """Ask by the Open Inference Protocol: one tensor."""
    cells = [float(cell) for row in rows for cell in row.values()]
    shape = [len(rows), len(rows[0])]
    return {"inputs": [{"name": "rows", "shape": shape, "datatype": "FP64", "data": cells}]}


TUTORIAL = Form("/v1/services/predict", lambda rows: rows, labelled)
FULL = Form("/v1/predict", lambda rows: rows, lambda answer: [each["prediction"] for each in answer["predictions"]])
BENTOML = Form(TUTORIAL.path, lambda rows: {"houses": rows}, labelled)
VETIVER = Form("/predict", lambda rows: rows, lambda answer: answer["predict"])
MLSERVER = Form("/v2/models/boston/infer", tensor, lambda answer: answer["outputs"][0]["data"])
MLFLOW = Form("/invocations", split, lambda answer: answer["predictions"])


def start_ours(place: Place) -> Sequence[str]:
    """Ours, as its users start it."""
    return [str(place.python), "-m", "estimator", *_serve(place)]


def start_ours_by_uvicorn(place: Place) -> Sequence[str]:
    """Ours, answered by uvicorn's own protocol."""
    return [str(place.python), str(PEERS / "ours_by_uvicorn.py"), *_serve(place)]


def _serve(place: Place) -> list[str]:
    return ["serve", "--model", str(place.served.version), "--port", str(place.port)]


def start_fastapi(place: Place) -> Sequence[str]:
    """FastAPI by uvicorn at its fastest."""
    quick = ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    return [*_uvicorn(place, "fastapi_app:app"), *quick]


def start_by_uvicorn(app: str) -> Start:
    """Give the start of an app by plain uvicorn."""
    return lambda place: _uvicorn(place, app)


def _uvicorn(place: Place, app: str) -> list[str]:
    return [str(place.python), "-m", "uvicorn", app, "--port", str(place.port)]


def start_tutorial(call: str) -> Start:
    """Give the start of the tutorial's app: Keras from its own environment, the web framework from FastAPI's."""

    def start(place: Place) -> Sequence[str]:
        keras = keras_environment()
        packages = next((keras.parent.parent / "lib").glob("python*/site-packages"))
        environment = [f"PYTHONPATH={packages}:{PEERS}", f"KERAS_CALL={call}", "KERAS_BACKEND=tensorflow"]
        return ["env", *environment, "TF_CPP_MIN_LOG_LEVEL=3", *_uvicorn(place, "tutorial_app:app")]

    return start


def start_floor(place: Place) -> Sequence[str]:
    """A fixed answer in C."""
    program, answer = place.folder / "serve_floor", place.folder / "answer.json"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(HERE / "serve_floor.c")], check=True)
    answer.write_bytes(place.answer)
    return [str(program), str(place.port), str(answer)]


def start_nginx(place: Place) -> Sequence[str]:
    """A fixed answer by nginx, whose config holds no longer one than of a row."""
    config = place.folder / "nginx.conf"
    server = (
        f"listen 127.0.0.1:{place.port}; access_log off; keepalive_requests {MANY}; default_type application/json; "
        f"location / {{ return 200 '{place.answer.decode()}'; }}"
    )
    config.write_text(
        f"daemon off; worker_processes 1; pid {place.folder}/nginx.pid; error_log stderr; "
        f"events {{ worker_connections 1024; }} http {{ server {{ {server} }} }}"
    )
    return [NGINX, "-p", str(place.folder), "-e", "stderr", "-c", str(config)]


def start_litserve(place: Place) -> Sequence[str]:
    """LitServe with one worker."""
    return [str(place.python), str(PEERS / "litserve_app.py"), str(place.port)]


def start_bentoml(place: Place) -> Sequence[str]:
    """BentoML with one worker."""
    listen = ["--host", "127.0.0.1", "--port", str(place.port), "--working-dir", str(PEERS)]
    return [place.program("bentoml"), "serve", "bentoml_app:Boston", *listen]


def start_mlserver(place: Place) -> Sequence[str]:
    """MLServer without its pool of processes."""
    ports = {"http_port": place.port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings = {**ports, "host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    (place.folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "boston", "implementation": "mlserver_app.Boston"}
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    return [place.program("mlserver"), "start", str(place.folder)]


def start_mlflow(place: Place) -> Sequence[str]:
    """`mlflow models serve` with one worker."""
    model = str(place.folder / "model")
    saving = [str(place.python), str(PEERS / "mlflow_model.py"), model]
    saved = subprocess.run(saving, env={**os.environ, **place.environment}, capture_output=True, text=True)
    if saved.returncode != 0:
        raise ServerError(f"could not save the model: {saved.stderr[-1000:]}")
    listen = ["--host", "127.0.0.1", "--port", str(place.port), "--workers", "1", "--env-manager", "local"]
    return [place.program("mlflow"), "models", "serve", "-m", model, *listen]


CONTESTANTS = {
    "ours": Contestant(start_ours, TUTORIAL),
    "ours-full": Contestant(start_ours, FULL),
    "ours-uvicorn": Contestant(start_ours_by_uvicorn, TUTORIAL),
    "fastapi": Contestant(start_fastapi, TUTORIAL, FASTAPI),
    "c-fixed": Contestant(start_floor, TUTORIAL),
    "nginx-fixed": Contestant(start_nginx, TUTORIAL, n_rows=(1,)),
    "tutorial-call": Contestant(start_tutorial("call"), TUTORIAL, FASTAPI),
    "tutorial-predict": Contestant(start_tutorial("predict"), TUTORIAL, FASTAPI),
    "litserve": Contestant(start_litserve, TUTORIAL, ("litserve==0.2.19", *RUNTIME)),
    "bentoml": Contestant(start_bentoml, BENTOML, ("bentoml==1.4.39", *RUNTIME)),
    "vetiver": Contestant(start_by_uvicorn("vetiver_app:app"), VETIVER, ("vetiver==0.2.6", *RUNTIME)),
    # It does not run with a later uvloop.
    "mlserver": Contestant(start_mlserver, MLSERVER, ("mlserver==1.7.1", "uvloop==0.21.0", *RUNTIME)),
    "mlflow": Contestant(start_mlflow, MLFLOW, ("mlflow==3.17.2", *RUNTIME)),
}
