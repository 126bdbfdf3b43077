"""`wsgi.file_wrapper` on every WSGI worker: the rules of PEP 3333."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from tests.gunicorn.conftest import BIG_SIZE, CONTENT, SMALL_WINDOW
from tests.gunicorn.running import Gunicorn
from tests.live import Answer, Client, eventually

INVERTED = CONTENT.translate(bytes(255 - byte for byte in range(256)))


def ask(server: Gunicorn, view: str, file: Path) -> Answer:
    with server.client() as client:
        return client.get(f"/{view}/{file.name}")


def strategy(server: Gunicorn, file: Path) -> str:
    found: str = server.report(file)["strategy"]
    return found


@pytest.mark.parametrize("view", ["sized", "unsized", "generated"])
def test_a_file_leaves_by_sendfile(server: Gunicorn, view: str) -> None:
    """And not a byte comes behind it, where the connection is kept."""
    file = server.file(CONTENT)
    with server.client() as client:
        answer = client.get(f"/{view}/{file.name}")
        if answer.reusable:
            assert client.get("/quick/").body == b"quick"

    assert (answer.complete, answer.body) == (True, CONTENT)
    assert strategy(server, file) == "sendfile"


def test_it_starts_where_the_file_stands(server: Gunicorn) -> None:
    """As the file object has it, which has read ahead on its descriptor."""
    file = server.file(CONTENT)

    assert ask(server, "sought", file).body == CONTENT[1234:]
    assert strategy(server, file) == "sendfile"


def test_it_ends_with_the_content_length(server: Gunicorn) -> None:
    file = server.file(CONTENT)

    answer = ask(server, "part", file)

    assert (answer.complete, answer.body) == (True, CONTENT[:100_000])
    assert server.report(file)["promised"] == 100_000


def test_too_long_a_content_length_closes_the_connection(server: Gunicorn) -> None:
    file = server.file(CONTENT)

    answer = ask(server, "longer", file)

    assert not answer.complete
    assert CONTENT.startswith(answer.body)


def test_a_wrong_content_length_costs_no_descriptor(server: Gunicorn) -> None:
    file = server.file(CONTENT)
    ask(server, "longer", file)
    before = server.descriptors()
    for _ in range(5):
        ask(server, "longer", file)

    eventually(lambda: server.descriptors() <= before, "as few descriptors as before")


@pytest.mark.parametrize("size", [0, 1, 8192, 8193])
@pytest.mark.parametrize("view", ["sized", "unsized", "generated"])
def test_small_and_empty_files_are_framed_as_any(
    server: Gunicorn, view: str, size: int
) -> None:
    """And the connection is good for more, where the worker keeps it."""
    file = server.file(CONTENT[:size])
    with server.client() as client:
        for _ in range(2):
            answer = client.get(f"/{view}/{file.name}")
            assert (answer.complete, answer.body) == (True, CONTENT[:size])
            if not answer.reusable:
                break


@pytest.mark.parametrize(
    "view", ["noting", "noting_longer", "no_content", "not_modified"]
)
def test_close_is_always_called_once(server: Gunicorn, view: str) -> None:
    file = server.file(CONTENT)
    mark = file.with_suffix(".closed")

    ask(server, view, file)

    eventually(lambda: mark.exists() and mark.read_text(), "the mark")
    assert mark.read_text() == "closed "


def test_close_is_called_when_the_client_leaves(server: Gunicorn, big: Path) -> None:
    file = server.file(big)
    client = server.client(receive_buffer=SMALL_WINDOW)
    client.send(f"/noting/{file.name}")
    client.socket.recv(1)
    client.reset()

    eventually(file.with_suffix(".closed").exists, "the mark")


def test_a_file_object_that_reads_otherwise_is_read(server: Gunicorn) -> None:
    """The descriptor of a GzipFile is that of the compressed file."""
    file = server.file(gzip.compress(CONTENT), ".gz")

    answer = ask(server, "unpacked", file)

    assert (answer.complete, answer.body) == (True, CONTENT)
    assert server.reports(file) == []


@pytest.mark.parametrize("view", ["memory", "pipe"])
def test_what_is_no_regular_file_is_read(server: Gunicorn, view: str) -> None:
    file = server.file(CONTENT)

    answer = ask(server, view, file)

    assert (answer.status, answer.complete, answer.body) == (200, True, CONTENT)


def test_a_text_file_is_an_error_that_says_why(server: Gunicorn) -> None:
    file = server.file(b"text\n" * 100)

    assert ask(server, "text", file).status == 500
    assert "open it with mode 'rb'" in server.log


@pytest.mark.parametrize("view", ["no_content", "not_modified"])
def test_what_has_no_body_gets_none(server: Gunicorn, view: str) -> None:
    """Whatever the application gives."""
    file = server.file(CONTENT)
    with server.client() as client:
        client.send(f"/{view}/{file.name}")
        client.socket.shutdown(1)
        received = b""
        while data := client.socket.recv(65536):
            received += data

    assert received.endswith(b"\r\n\r\n")
    assert received.count(b"\r\n\r\n") == 1


def test_head_of_a_large_file_does_not_read_it(server: Gunicorn, big: Path) -> None:
    """A hole of a terabyte would take minutes."""
    file = server.file(big)
    with file.open("r+b") as larger:
        larger.truncate(1 << 40)
    with server.client() as client:
        answer = client.head(f"/sized/{file.name}")
        assert answer.length == 1 << 40
    assert ask(server, "quick", file).body == b"quick"


# Middleware ------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["generated", "generated_lazily"])
def test_a_generator_around_the_body_does_not_cost_zero_copy(
    server: Gunicorn, view: str
) -> None:
    file = server.file(CONTENT)

    answer = ask(server, view, file)

    assert (answer.complete, answer.body) == (True, CONTENT)
    assert strategy(server, file) == "sendfile"


def test_a_generator_that_begins_to_change_the_length_later_is_obeyed(
    server: Gunicorn,
) -> None:
    """It has to take the Content-Length back, and by that it is known."""
    answer = ask(server, "doubled_later", server.file(CONTENT))

    first = len(answer.body) - 2 * len(CONTENT)
    assert first < 0
    assert answer.body[:-first] == CONTENT[:-first]
    assert len(answer.body[-first:]) == 2 * len(CONTENT[-first:])


def test_a_generator_that_changes_every_byte_is_obeyed(server: Gunicorn) -> None:
    assert ask(server, "inverted", server.file(CONTENT)).body == INVERTED


def test_a_middleware_that_compresses_is_obeyed(server: Gunicorn) -> None:
    answer = ask(server, "packed", server.file(CONTENT))

    assert gzip.decompress(answer.body) == CONTENT


@pytest.mark.parametrize(
    ("view", "before", "after"),
    [
        ("preceded", b"the beginning", b""),
        ("followed", b"", b"the end"),
        ("twice", b"", CONTENT),
    ],
)
def test_what_a_generator_adds_is_sent_too(
    server: Gunicorn, view: str, before: bytes, after: bytes
) -> None:
    answer = ask(server, view, server.file(CONTENT))

    assert (answer.complete, answer.body) == (True, before + CONTENT + after)


@pytest.mark.parametrize(
    ("view", "after"), [("unsized", 0), ("generated_unsized", 0), ("followed", 7)]
)
def test_a_body_without_a_length_ends_as_it_should_for_a_slow_client(
    server: Gunicorn, big: Path, view: str, after: int
) -> None:
    """Also if somebody else than the worker has to send the rest."""
    file = server.file(big)
    with server.client(receive_buffer=SMALL_WINDOW) as client:
        answer = slowly(client.send(f"/{view}/{file.name}"))

    assert answer.complete
    assert len(answer.body) == BIG_SIZE + after


def slowly(client: Client) -> Answer:
    """The answer to somebody who makes the server wait before he reads."""
    time.sleep(0.3)
    return client.receive(1_000_000)


def test_a_slow_client_gets_what_a_generator_adds(server: Gunicorn, big: Path) -> None:
    file = server.file(big)
    with server.client(receive_buffer=SMALL_WINDOW) as client:
        answer = slowly(client.send(f"/followed/{file.name}"))

    assert answer.body.endswith(b"the end")
