"""Compression on the fly in gunicorn's workers: nobody waits for it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.derived.test_variants import TEXT
from tests.gunicorn.running import UVICORN_WORKER, gunicorn
from tests.live import Answer, eventually


@pytest.mark.parametrize(
    ("app", "worker"),
    [
        ("flask_app", "sync"),
        ("flask_app", "gthread"),
        ("flask_app", "gevent"),
        ("starlette_app", UVICORN_WORKER),
    ],
)
def test_each_kind_of_worker_makes_variants_beside_its_work(
    tmp_path: Path, app: str, worker: str
) -> None:
    """The first client gets the file, also where the worker has one at a time."""
    answers: list[Answer] = []
    with gunicorn(
        tmp_path / "gunicorn",
        f"tests.derived.apps:{app}",
        worker=worker,
        environ={"ZC_RESPONSE_COMPRESS_BYTES": "8388608"},
    ) as server:
        file = server.file(TEXT, ".txt")

        def is_compressed() -> bool:
            with server.client() as client:
                answers.append(client.get(f"/{file.name}", {"accept-encoding": "gzip"}))
            return "content-encoding" in answers[-1].headers

        eventually(is_compressed, "an answer with the variant")
        report = server.report(Path(f"<memory file '{file}.gz'>"))

    first, last = answers[0], answers[-1]
    assert (first.body, "content-encoding" in first.headers) == (TEXT, False)
    assert gzip.decompress(last.body) == TEXT
    assert last.headers["vary"] == "Accept-Encoding"
    assert report["guard"] == "sealed"
