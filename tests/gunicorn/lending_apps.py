"""Applications that have their bodies in memory, for clients on what looks like another
host: see `tests.lending`. Loaded in gunicorn's workers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import pytest
from flask import Flask, Response
from starlette.requests import Request
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route, Router

from tests.gunicorn.apps import length
from tests.gunicorn.conftest import BIG_SIZE, CONTENT
from tests.lending import gather, lead_elsewhere
from zc_response.wsgi import Environ, StartResponse

BIG = CONTENT * (BIG_SIZE // len(CONTENT))

if "TEST_LENDING" in os.environ:
    lead_elsewhere(pytest.MonkeyPatch())
    gather(pytest.MonkeyPatch())


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as the path says."""
    return VIEWS[environ["PATH_INFO"]](start_response)


def listed(start_response: StartResponse) -> Iterable[bytes]:
    """One chunk in a list."""
    start_response("200 OK", length(len(BIG)))
    return [BIG]


def generated(start_response: StartResponse) -> Iterator[bytes]:
    """One chunk, out of a generator."""
    start_response("200 OK", length(len(BIG)))
    yield BIG


def in_two(start_response: StartResponse) -> Iterable[bytes]:
    """Two chunks, of which one alone would do."""
    start_response("200 OK", length(len(BIG) + 1))
    return [BIG, b"."]


def unsized(start_response: StartResponse) -> Iterable[bytes]:
    """One chunk, and no Content-Length."""
    start_response("200 OK", [])
    return [BIG]


VIEWS = {
    "/listed": listed,
    "/generated": generated,
    "/in-two": in_two,
    "/unsized": unsized,
}

flask_app = Flask(__name__)


@flask_app.get("/flask")
def flask_view() -> Response:
    return Response(BIG)


async def starlette_view(_request: Request) -> StarletteResponse:
    return StarletteResponse(BIG)


asgi_app = Router([Route("/asgi", starlette_view)])
