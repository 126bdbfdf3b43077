"""gunicorns that several tests share, and certificates for them."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.gunicorn.running import Gunicorn, gunicorn

CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB: more than one step
BIG_SIZE = 24 * 1024 * 1024  # more than the buffers of a connection take
SMALL_WINDOW = 16384
WORKERS = ["sync", "gthread", "gevent"]

Start = Callable[..., contextlib.AbstractContextManager[Gunicorn]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a gunicorn of this test's own: see `running.gunicorn`."""

    def started(*args: Any, **settings: Any) -> Any:
        return gunicorn(tmp_path / "gunicorn", *args, **settings)

    return started


@pytest.fixture(scope="module", params=WORKERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    """The plain application on each kind of worker, one process, for a module."""
    work = tmp_path_factory.mktemp("gunicorn")
    with gunicorn(work, worker=request.param, threads=2) as server:
        yield server


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def certificate(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """gunicorn's settings for TLS."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return {"certfile": str(path), "keyfile": str(path)}


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """More than the buffers of a connection take; it has holes where others have 0."""
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(BIG_SIZE)
    return path
