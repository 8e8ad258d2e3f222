"""`estimator serve` with uvicorn's own protocol: the same app without its hot path."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from estimator.cli import command
from estimator.serving import listening

if __name__ == "__main__":
    listening.HotProtocol = HttpToolsProtocol
    command()
