"""An optional fast path for the predict routes, below FastAPI: `install` is its only door.

Delete this folder and the server still gives the same responses, more slowly: `run.py` then lets uvicorn and FastAPI
handle every request.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import cast

from estimator.serving.fast_path.dispatcher import Dispatcher, build_fast_routes
from estimator.serving.fast_path.http_protocol import FastProtocol
from estimator.serving.gateway import Gateway

__all__ = ["install"]


def install(gateway: Gateway) -> type[asyncio.Protocol]:
    """Give a gateway its fast routes; return the protocol that uvicorn is to speak on each connection."""
    gateway.add_fast_routes(build_fast_routes)
    return cast(type[asyncio.Protocol], partial(FastProtocol, dispatcher=Dispatcher(gateway)))
