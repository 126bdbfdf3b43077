"""What is compared: the table of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from zc_response.cli.bench.errors import BenchmarkError, MissingError
from zc_response.cli.bench.files import LARGEST_IN_MEMORY
from zc_response.cli.bench.servers import (
    DJANGO_APPS,
    Granian,
    Gunicorn,
    Nginx,
    Software,
    Uvicorn,
)

PROTOCOL: Final = "zc_response.integrations.uvicorn:ZeroCopyProtocol"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to serve a file."""

    name: str
    title: str
    software: Software
    largest: int | None = None
    """The largest file it can serve; None if there is no limit."""

    def serves(self, size: int) -> bool:
        """True if a file of `size` bytes is not too large for it."""
        return self.largest is None or size <= self.largest


def ours(*, http: str = PROTOCOL, loop: str = "uvloop", **settings: str) -> Uvicorn:
    """Our FileResponse on a protocol of ours, with settings by environment."""
    return Uvicorn(factory="response", http=http, loop=loop, environment=settings)


def under_gunicorn(
    worker: str, stock: str, ours: str, *, prefix: str = "", apps: str = ""
) -> Iterator[Candidate]:
    """A framework's own view and ours, under one of gunicorn's workers."""

    def software(factory: str, *, has_setting: bool = False) -> Gunicorn:
        return Gunicorn(
            worker=worker, factory=factory, has_setting=has_setting, apps=apps
        )

    ways = {
        "stock": (stock, software("stock"), None),
        "setting": (
            f"{stock}, one setting of gunicorn's",
            software("stock", has_setting=True),
            None,
        ),
        "response": (
            f"{ours}, and that setting",
            software("response", has_setting=True),
            None,
        ),
        "in-memory": ("bytes in memory", software("in_memory"), LARGEST_IN_MEMORY),
    }
    for name, (title, server, largest) in ways.items():
        yield Candidate(
            name=f"{prefix}{worker}-{name}",
            title=f"{worker}: {title}",
            software=server,
            largest=largest,
        )


def over_tls() -> Iterator[Candidate]:
    """Encrypted: what bodies are copied for."""
    for name, title, server in (
        ("nginx", "nginx", Nginx(tls=True)),
        (
            "stock",
            "Starlette FileResponse, stock",
            Uvicorn(factory="stock", tls=True),
        ),
        (
            "response",
            "our FileResponse on ZeroCopyProtocol",
            Uvicorn(factory="response", http=PROTOCOL, tls=True),
        ),
        (
            "stock-asyncio",
            "stock, asyncio instead of uvloop",
            Uvicorn(factory="stock", loop="asyncio", tls=True),
        ),
        (
            "response-asyncio",
            "ours, asyncio instead of uvloop",
            Uvicorn(factory="response", http=PROTOCOL, loop="asyncio", tls=True),
        ),
    ):
        yield Candidate(name=f"tls-{name}", title=f"TLS: {title}", software=server)
    for worker in ("sync", "gthread"):
        for factory, title, has_setting in (
            ("stock", "Flask's send_file", False),
            ("response", "our send_file, and our setting", True),
        ):
            yield Candidate(
                name=f"tls-{worker}-{factory}",
                title=f"TLS: {worker}: {title}",
                software=Gunicorn(
                    worker=worker, factory=factory, has_setting=has_setting, tls=True
                ),
            )


_FLASK: Final = ("Flask's send_file", "our send_file")
_STARLETTE: Final = ("Starlette's FileResponse", "our FileResponse")
_DJANGO: Final = ("Django's FileResponse", "our FileResponse for Django")


def django() -> Iterator[Candidate]:
    """Django's own view and ours, and one for a FileField, under each server."""
    stock, ours = _DJANGO
    for worker in ("sync", "gthread"):
        yield from under_gunicorn(worker, *_DJANGO, prefix="django-", apps=DJANGO_APPS)
        yield Candidate(
            name=f"django-{worker}-field",
            title=f"{worker}: {ours}, of a FileField, and that setting",
            software=Gunicorn(
                worker=worker, factory="field", has_setting=True, apps=DJANGO_APPS
            ),
        )
    for name, title, largest in (
        ("stock", stock, None),
        ("middleware", f"{stock}, our middleware and handler", None),
        ("response", f"{ours}, and our handler", None),
        ("field", f"{ours}, of a FileField, and our handler", None),
        ("in-memory", "bytes in memory", LARGEST_IN_MEMORY),
    ):
        factory = f"asgi_{name.replace('-', '_')}"
        yield Candidate(
            name=f"django-{name}",
            title=f"uvicorn: {title}",
            software=Uvicorn(factory=factory, apps=DJANGO_APPS),
            largest=largest,
        )


CANDIDATES: Final = {
    candidate.name: candidate
    for candidate in (
        Candidate(name="nginx", title="nginx, sendfile", software=Nginx()),
        Candidate(
            name="stock",
            title="Starlette FileResponse, stock",
            software=Uvicorn(factory="stock"),
        ),
        Candidate(
            name="middleware",
            title="stock in ZeroCopyMiddleware",
            software=Uvicorn(factory="middleware"),
        ),
        Candidate(
            name="protocol",
            title="stock on ZeroCopyProtocol",
            software=Uvicorn(factory="stock", http=PROTOCOL),
        ),
        Candidate(
            name="import",
            title="our FileResponse, the changed import alone",
            software=Uvicorn(factory="response"),
        ),
        Candidate(
            name="response",
            title="our FileResponse on ZeroCopyProtocol",
            software=ours(),
        ),
        Candidate(
            name="response-asyncio",
            title="our FileResponse, asyncio instead of uvloop",
            software=ours(loop="asyncio"),
        ),
        Candidate(
            name="copy",
            title="our FileResponse, zero copy switched off",
            software=ours(ZC_RESPONSE_ZERO_COPY="0"),
        ),
        Candidate(
            name="fast",
            title="our FileResponse, integrity fast: no guard",
            software=ours(ZC_RESPONSE_INTEGRITY="fast"),
        ),
        Candidate(
            name="strict",
            title="our FileResponse, integrity strict",
            software=ours(ZC_RESPONSE_INTEGRITY="strict"),
        ),
        Candidate(
            name="stock-static",
            title="Starlette StaticFiles, stock",
            software=Uvicorn(factory="stock_static_files"),
        ),
        Candidate(
            name="static",
            title="our StaticFiles on ZeroCopyProtocol",
            software=Uvicorn(factory="static_files", http=PROTOCOL),
        ),
        Candidate(
            name="granian-static",
            title="granian's static files, in Rust",
            software=Granian(),
        ),
        Candidate(
            name="granian",
            title="Starlette FileResponse on granian, pathsend",
            software=Granian(factory="stock"),
        ),
        Candidate(
            name="in-memory",
            title="Starlette Response, bytes in memory",
            software=Uvicorn(factory="in_memory"),
            largest=LARGEST_IN_MEMORY,
        ),
        Candidate(
            name="memory-file",
            title="our FileResponse of a MemoryFile",
            software=Uvicorn(factory="memory_file", http=PROTOCOL),
            largest=LARGEST_IN_MEMORY,
        ),
        Candidate(
            name="snapshot",
            title="our FileResponse, a snapshot for each response",
            software=Uvicorn(factory="snapshot", http=PROTOCOL),
        ),
        Candidate(
            name="pipe",
            title="our PipeResponse, cat",
            software=Uvicorn(factory="pipe", http=PROTOCOL),
        ),
        Candidate(
            name="stock-pipe",
            title="StreamingResponse reading cat's pipe",
            software=Uvicorn(factory="stock_pipe"),
        ),
        Candidate(
            name="pipe-chunked",
            title="our PipeResponse, cat, no length",
            software=Uvicorn(factory="pipe_chunked", http=PROTOCOL),
        ),
        Candidate(
            name="stock-pipe-chunked",
            title="StreamingResponse reading it, no length",
            software=Uvicorn(factory="stock_pipe_chunked"),
        ),
        Candidate(
            name="stock-pipe-asyncio",
            title="the same by asyncio's subprocess",
            software=Uvicorn(factory="stock_pipe_asyncio"),
        ),
        *under_gunicorn("sync", *_FLASK),
        *under_gunicorn("gthread", *_FLASK),
        *under_gunicorn("gevent", *_FLASK),
        *under_gunicorn("asgi", *_STARLETTE),
        *under_gunicorn("uvicorn-worker", *_STARLETTE),
        *django(),
        *over_tls(),
    )
}

DEFAULT: Final = (
    *("nginx", "stock", "middleware", "import", "response", "in-memory"),
    *("stock-static", "static", "granian-static", "granian"),
)
"""Who is compared where speed is measured."""
LATENCY: Final = ("nginx", "stock", "response")
"""Who is compared where one server has many clients."""
BASELINES: Final = ("nginx", "stock", "in-memory")
"""Whom the others are compared with."""


def named(names: Iterable[str]) -> list[Candidate]:
    """The candidates of these names, all of which must be able to run."""
    chosen = [_lookup(name) for name in dict.fromkeys(names)]
    for candidate in chosen:
        obstacle = why_not(candidate)
        if obstacle:
            raise MissingError(f"{candidate.name}: {obstacle}")
    return chosen


def why_not(candidate: Candidate) -> str:
    """What stands in the way of running a candidate; empty if nothing does."""
    try:
        candidate.software.check()
    except MissingError as exc:
        return str(exc)
    return ""


def _lookup(name: str) -> Candidate:
    try:
        return CANDIDATES[name]
    except KeyError:
        known = ", ".join(CANDIDATES)
        raise BenchmarkError(f"no candidate {name!r}; there are: {known}") from None
