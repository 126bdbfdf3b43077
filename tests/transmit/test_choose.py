from __future__ import annotations

from collections.abc import Callable

import pytest

from zc_response.policy import Policy
from zc_response.transmit import Access, Strategy, access, choose
from zc_response.transmit.choose import Choice


def fileno() -> int:
    return 7


REMOTE, SAME_HOST = False, True
NO_SOCKET = Access(obstacle="TLS")
SOCKET = Access(fileno=fileno)
ENCRYPTED = Access(fileno=fileno, encrypts=True)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[int]]:
    """Say where the client is; what comes are the descriptors that were asked for."""

    def client(same_host: bool) -> list[int]:
        asked: list[int] = []

        def is_same_host(fd: int) -> bool:
            asked.append(fd)
            return same_host

        monkeypatch.setattr(access, "is_same_host", is_same_host)
        return asked

    return client


@pytest.mark.parametrize(
    ("settings", "way", "is_firm", "same_host", "strategy", "reason"),
    [
        ({"zero_copy": False}, SOCKET, True, REMOTE, "copy", "switched off"),
        ({"zero_copy": False}, NO_SOCKET, True, REMOTE, "copy", "switched off"),
        ({}, NO_SOCKET, True, REMOTE, "copy", "TLS"),
        ({"integrity": "strict"}, NO_SOCKET, False, REMOTE, "copy", "TLS"),
        ({"integrity": "fast"}, SOCKET, False, SAME_HOST, "sendfile", "plain socket"),
        ({"integrity": "safe"}, SOCKET, False, SAME_HOST, "sendfile", "plain socket"),
        ({"integrity": "safe"}, SOCKET, True, REMOTE, "sendfile", "plain socket"),
        ({"integrity": "strict"}, SOCKET, True, REMOTE, "sendfile", "plain socket"),
        (
            {"integrity": "strict"},
            SOCKET,
            True,
            SAME_HOST,
            "mmap",
            "strict, and the client may be on this host",
        ),
        (
            {"integrity": "strict"},
            SOCKET,
            False,
            REMOTE,
            "copy",
            "strict, and no lease on the file",
        ),
        (
            {"integrity": "strict"},
            SOCKET,
            False,
            SAME_HOST,
            "copy",
            "strict, and no lease on the file",
        ),
    ],
)
def test_the_first_rule_that_holds_decides(
    client: Callable[[bool], list[int]],
    settings: dict[str, object],
    way: Access,
    is_firm: bool,
    same_host: bool,
    strategy: str,
    reason: str,
) -> None:
    client(same_host)
    policy = Policy(**settings)  # type: ignore[arg-type]

    assert choose(way, policy, is_firm=is_firm, count=10) == Choice(
        Strategy(strategy), reason
    )


@pytest.mark.parametrize("way", [SOCKET, NO_SOCKET])
def test_what_can_never_change_goes_by_reference_wherever_the_client_is(
    client: Callable[[bool], list[int]], way: Access
) -> None:
    asked = client(SAME_HOST)
    policy = Policy(integrity="strict")

    choice = choose(way, policy, is_firm=True, is_fixed=True, count=10)

    assert choice.reason == ("plain socket" if way is SOCKET else "TLS")
    assert choice.strategy == ("sendfile" if way is SOCKET else "copy")
    assert asked == []


@pytest.mark.parametrize("integrity", ["fast", "safe", "strict"])
@pytest.mark.parametrize("is_firm", [True, False])
def test_where_the_client_is_is_only_asked_when_it_decides(
    client: Callable[[bool], list[int]], integrity: str, is_firm: bool
) -> None:
    asked = client(REMOTE)
    choose(SOCKET, Policy(integrity=integrity), is_firm=is_firm, count=10)
    assert asked == ([7] if integrity == "strict" and is_firm else [])


AROUND = "around the page cache"


@pytest.mark.parametrize("way", [SOCKET, NO_SOCKET])
@pytest.mark.parametrize(
    ("settings", "count", "strategy"),
    [
        ({"strategy": "direct"}, 10, "direct"),
        ({"direct_min": 10}, 10, "direct"),
        ({"direct_min": 11}, 10, None),
        ({"strategy": "direct", "zero_copy": False}, 10, "copy"),
    ],
)
def test_huge_files_are_read_around_the_page_cache_whoever_sends_them(
    way: Access, settings: dict[str, object], count: int, strategy: str | None
) -> None:
    policy = Policy(**settings)  # type: ignore[arg-type]
    choice = choose(way, policy, is_firm=True, count=count)
    assert (choice.reason == AROUND) == (strategy == "direct")
    assert strategy in (None, choice.strategy)


@pytest.mark.parametrize("kind", ["is_fixed", "flows"])
def test_what_is_no_file_on_a_disk_is_never_read_around_the_page_cache(
    kind: str,
) -> None:
    policy = Policy(strategy="direct")
    choice = choose(
        SOCKET,
        policy,
        is_firm=True,
        count=10,
        is_fixed=kind == "is_fixed",
        flows=kind == "flows",
    )
    assert choice.strategy != Strategy.DIRECT


PLENTY = {"zerocopy_min": 10}


@pytest.mark.parametrize(
    ("settings", "way", "same_host", "count", "strategy", "reason"),
    [
        (PLENTY, SOCKET, REMOTE, 10, "zerocopy", "in memory, and a client on another"),
        (PLENTY, SOCKET, REMOTE, 9, "copy", "in memory"),
        (PLENTY, SOCKET, SAME_HOST, 10, "copy", "in memory"),
        (PLENTY, ENCRYPTED, REMOTE, 10, "copy", "in memory"),
        (PLENTY, NO_SOCKET, REMOTE, 10, "copy", "TLS"),
        (PLENTY | {"strategy": "copy"}, SOCKET, REMOTE, 10, "copy", "switched off"),
        (PLENTY | {"zero_copy": False}, SOCKET, REMOTE, 10, "copy", "switched off"),
        (PLENTY | {"direct_min": 1}, SOCKET, REMOTE, 9, "copy", "in memory"),
        ({}, SOCKET, REMOTE, 1 << 30, "copy", "in memory"),
    ],
)
def test_memory_is_lent_where_somebody_asked_for_it_and_to_another_host(
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, object],
    way: Access,
    same_host: bool,
    count: int,
    strategy: str,
    reason: str,
) -> None:
    monkeypatch.setattr(access, "may_lend", lambda _fd: not same_host)
    policy = Policy(**settings)  # type: ignore[arg-type]

    choice = choose(way, policy, is_firm=True, in_memory=True, count=count)

    assert choice.strategy == strategy
    assert choice.reason.startswith(reason)


def test_a_file_is_never_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "may_lend", lambda _fd: True)
    policy = Policy(zerocopy_min=1)
    assert choose(SOCKET, policy, is_firm=True, count=10).strategy == "sendfile"
