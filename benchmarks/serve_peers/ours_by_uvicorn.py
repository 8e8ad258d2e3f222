"""`estimator serve` without its fast path: uvicorn and FastAPI handle all requests."""

from estimator.cli import command
from estimator.serving import run

if __name__ == "__main__":
    run.fast_path = None
    command()
