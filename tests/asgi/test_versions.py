"""Which uvicorns have been seen to work; scripts/test-uvicorn looks at others."""

from __future__ import annotations

import pytest
import uvicorn
from packaging.version import Version

from tests.asgi.apps import calling
from tests.asgi.conftest import Serve
from zc_response.asgi import Scope, Send
from zc_response.integrations import uvicorn as integration

SEEN = range(36, 55)
"""Releases 0.36 to 0.54; every second of them was tried."""


def test_this_uvicorn_is_one_of_those_seen() -> None:
    release = Version(uvicorn.__version__).release[:2]
    if release >= (0, SEEN.stop):
        pytest.skip(f"uvicorn {uvicorn.__version__} is newer than all that were seen")
    assert release >= (0, SEEN.start)


def test_this_uvicorn_has_all_that_we_rely_on(plain: Serve) -> None:
    found: list[object] = []

    async def respond(_scope: Scope, send: Send) -> None:
        found.append(integration.connect(send))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with plain(calling(respond)) as server, server.client() as client:
        assert client.get().status == 204

    assert isinstance(found[0], integration._CycleConnection)
