"""The competitors of the serving benchmark: how each is started on one core, its requests and its responses."""

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
# On Debian it is not in the PATH of users.
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
MANY_REQUESTS = 1_000_000_000
# No usage reports, and linear algebra uses the one core.
QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class ServerSetup:
    """Where a competitor runs: its Python and port, what it serves, the expected response, and a scratch folder."""

    python: Path
    port: int
    served: Served
    response: bytes
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables that peers' servers need."""
        path = f"{self.python.parent}:{os.environ['PATH']}"
        return {"SERVED_MODEL": str(self.served.folder), "PYTHONPATH": str(PEERS), "PATH": path, **QUIET}

    def program(self, name: str) -> str:
        """Return the path of a program of the environment."""
        return str(self.python.parent / name)


Rows = list[dict[str, Any]]
Start = Callable[[ServerSetup], Sequence[str]]


@dataclass(frozen=True)
class RequestFormat:
    """The format of a request: its path, rows -> the body, the response -> its predictions."""

    path: str
    request: Callable[[Rows], Any]
    values: Callable[[Any], list[float]]


@dataclass(frozen=True)
class Competitor:
    """A server: `start` prepares what it needs and returns the command; `n_rows` are the request sizes it accepts.

    Without packages it runs in our environment. The first package, with its pin, names the environment.
    """

    start: Start
    request_format: RequestFormat
    packages: tuple[str, ...] = ()
    n_rows: tuple[int, ...] = (1, 100)

    @property
    def software(self) -> str:
        """What runs, with its version."""
        return self.packages[0] if self.packages else f"estimator=={metadata.version('estimator-lifepath')}"

    def python(self) -> Path:
        """Return the Python of its environment, which is created if it is missing.

        Raises
        ------
        SystemExit: the packages cannot be installed.
        """
        if not self.packages:
            return Path(sys.executable)
        return built_environment(CACHE / self.packages[0].replace("==", "-"), self.packages)


def tutorial_values(response: Any) -> list[float]:
    """Return the predictions of a response in the tutorial's format."""
    return [value for row in response["predictions"] for value in row.values()]


def split(rows: Rows) -> Any:
    """Return a request in MLflow's split format, which names the columns once."""
    return {"dataframe_split": {"columns": list(rows[0]), "data": [list(map(float, row.values())) for row in rows]}}


def tensor(rows: Rows) -> Any:
    """Return a request of the Open Inference Protocol: one tensor."""
    cells = [float(cell) for row in rows for cell in row.values()]
    shape = [len(rows), len(rows[0])]
    return {"inputs": [{"name": "rows", "shape": shape, "datatype": "FP64", "data": cells}]}


TUTORIAL = RequestFormat("/v1/services/predict", lambda rows: rows, tutorial_values)
FULL = RequestFormat(
    "/v1/predict", lambda rows: rows, lambda response: [row["prediction"] for row in response["predictions"]]
)
BENTOML = RequestFormat(TUTORIAL.path, lambda rows: {"houses": rows}, tutorial_values)
VETIVER = RequestFormat("/predict", lambda rows: rows, lambda response: response["predict"])
MLSERVER = RequestFormat("/v2/models/boston/infer", tensor, lambda response: response["outputs"][0]["data"])
MLFLOW = RequestFormat("/invocations", split, lambda response: response["predictions"])


def start_ours(setup: ServerSetup) -> Sequence[str]:
    """Ours, as its users start it."""
    return [str(setup.python), "-m", "estimator", *_serve(setup)]


def start_ours_by_uvicorn(setup: ServerSetup) -> Sequence[str]:
    """Ours without the fast path, by uvicorn's own protocol."""
    return [str(setup.python), str(PEERS / "ours_by_uvicorn.py"), *_serve(setup)]


def _serve(setup: ServerSetup) -> list[str]:
    return ["serve", "--model", str(setup.served.version), "--port", str(setup.port)]


def start_fastapi(setup: ServerSetup) -> Sequence[str]:
    """FastAPI by uvicorn at its fastest."""
    quick = ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    return [*_uvicorn(setup, "fastapi_app:app"), *quick]


def start_by_uvicorn(app: str) -> Start:
    """Return the start of an app by plain uvicorn."""
    return lambda setup: _uvicorn(setup, app)


def _uvicorn(setup: ServerSetup, app: str) -> list[str]:
    return [str(setup.python), "-m", "uvicorn", app, "--port", str(setup.port)]


def start_tutorial(call: str) -> Start:
    """Return the start of the tutorial's app: Keras from its own environment, the web framework from FastAPI's."""

    def start(setup: ServerSetup) -> Sequence[str]:
        keras = keras_environment()
        packages = next((keras.parent.parent / "lib").glob("python*/site-packages"))
        environment = [f"PYTHONPATH={packages}:{PEERS}", f"KERAS_CALL={call}", "KERAS_BACKEND=tensorflow"]
        return ["env", *environment, "TF_CPP_MIN_LOG_LEVEL=3", *_uvicorn(setup, "tutorial_app:app")]

    return start


def start_floor(setup: ServerSetup) -> Sequence[str]:
    """A fixed response in C."""
    program, response = setup.folder / "serve_floor", setup.folder / "response.json"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(HERE / "serve_floor.c")], check=True)
    response.write_bytes(setup.response)
    return [str(program), str(setup.port), str(response)]


def start_nginx(setup: ServerSetup) -> Sequence[str]:
    """A fixed response by nginx, whose config has room for one row only."""
    config = setup.folder / "nginx.conf"
    server = (
        f"listen 127.0.0.1:{setup.port}; access_log off; keepalive_requests {MANY_REQUESTS}; "
        "default_type application/json; "
        f"location / {{ return 200 '{setup.response.decode()}'; }}"
    )
    config.write_text(
        f"daemon off; worker_processes 1; pid {setup.folder}/nginx.pid; error_log stderr; "
        f"events {{ worker_connections 1024; }} http {{ server {{ {server} }} }}"
    )
    return [NGINX, "-p", str(setup.folder), "-e", "stderr", "-c", str(config)]


def start_litserve(setup: ServerSetup) -> Sequence[str]:
    """LitServe with one worker."""
    return [str(setup.python), str(PEERS / "litserve_app.py"), str(setup.port)]


def start_bentoml(setup: ServerSetup) -> Sequence[str]:
    """BentoML with one worker."""
    listen = ["--host", "127.0.0.1", "--port", str(setup.port), "--working-dir", str(PEERS)]
    return [setup.program("bentoml"), "serve", "bentoml_app:Boston", *listen]


def start_mlserver(setup: ServerSetup) -> Sequence[str]:
    """MLServer without its pool of processes."""
    ports = {"http_port": setup.port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings = {**ports, "host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    (setup.folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "boston", "implementation": "mlserver_app.Boston"}
    (setup.folder / "model-settings.json").write_text(json.dumps(model))
    return [setup.program("mlserver"), "start", str(setup.folder)]


def start_mlflow(setup: ServerSetup) -> Sequence[str]:
    """`mlflow models serve` with one worker."""
    model = str(setup.folder / "model")
    saving = [str(setup.python), str(PEERS / "mlflow_model.py"), model]
    saved = subprocess.run(saving, env={**os.environ, **setup.environment}, capture_output=True, text=True)
    if saved.returncode != 0:
        raise ServerError(f"could not save the model: {saved.stderr[-1000:]}")
    listen = ["--host", "127.0.0.1", "--port", str(setup.port), "--workers", "1", "--env-manager", "local"]
    return [setup.program("mlflow"), "models", "serve", "-m", model, *listen]


COMPETITORS = {
    "ours": Competitor(start_ours, TUTORIAL),
    "ours-full": Competitor(start_ours, FULL),
    "ours-uvicorn": Competitor(start_ours_by_uvicorn, TUTORIAL),
    "fastapi": Competitor(start_fastapi, TUTORIAL, FASTAPI),
    "c-fixed": Competitor(start_floor, TUTORIAL),
    "nginx-fixed": Competitor(start_nginx, TUTORIAL, n_rows=(1,)),
    "tutorial-call": Competitor(start_tutorial("call"), TUTORIAL, FASTAPI),
    "tutorial-predict": Competitor(start_tutorial("predict"), TUTORIAL, FASTAPI),
    "litserve": Competitor(start_litserve, TUTORIAL, ("litserve==0.2.19", *RUNTIME)),
    "bentoml": Competitor(start_bentoml, BENTOML, ("bentoml==1.4.39", *RUNTIME)),
    "vetiver": Competitor(start_by_uvicorn("vetiver_app:app"), VETIVER, ("vetiver==0.2.6", *RUNTIME)),
    # Does not run with a later uvloop.
    "mlserver": Competitor(start_mlserver, MLSERVER, ("mlserver==1.7.1", "uvloop==0.21.0", *RUNTIME)),
    "mlflow": Competitor(start_mlflow, MLFLOW, ("mlflow==3.17.2", *RUNTIME)),
}
