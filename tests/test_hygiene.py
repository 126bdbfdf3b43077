"""The test suite's own rules hold: what a test leaves behind makes it fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

Run: TypeAlias = Callable[[str], pytest.RunResult]

CONFTEST = Path(__file__).with_name("conftest.py")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run some tests in a process of their own, under this suite's conftest."""

    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(source: str) -> pytest.RunResult:
        conftest = CONFTEST.read_text().replace("GRACE = 2.0", "GRACE = 0.2")
        pytester.makeconftest(conftest)
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-W", "error")

    return run


LEAKS = {
    "a descriptor": (
        """
        import os
        def test(): os.open("/dev/null", os.O_RDONLY)
        """,
        "*descriptor *: /dev/null",
    ),
    "a socket held by a module": (
        """
        import socket
        kept = []
        def test(): kept.extend(socket.socketpair())
        """,
        "*descriptor *: socket:*",
    ),
    "an unclosed file": (
        """
        def test(): open("/dev/null")
        """,
        "*ResourceWarning: unclosed file*/dev/null*",
    ),
    "an unclosed file in a reference cycle": (
        """
        def test():
            cycle = [open("/dev/null")]
            cycle.append(cycle)
        """,
        "*ResourceWarning: unclosed file*/dev/null*",
    ),
    "an exception in a finalizer": (
        """
        class Broken:
            def __del__(self): raise ValueError("too late")
        def test(): Broken()
        """,
        "*ValueError: too late*",
    ),
    "an exception in a thread": (
        """
        from threading import Thread
        def test():
            thread = Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()
        """,
        "*ZeroDivisionError*",
    ),
    "a running child": (
        """
        import os
        def test(): os.posix_spawnp("sleep", ["sleep", "2"], {})
        """,
        "*child process *: sleep 2",
    ),
    "a child nobody waited for": (
        """
        import os
        def test(): os.posix_spawnp("true", ["true"], {})
        """,
        "*child process *: not waited for",
    ),
    "a thread": (
        """
        from threading import Timer
        def test(): Timer(1, int).start()
        """,
        "*thread Thread-*",
    ),
}


@pytest.mark.parametrize(("source", "complaint"), LEAKS.values(), ids=LEAKS)
def test_what_a_test_leaves_behind_fails_it(
    run: Run, source: str, complaint: str
) -> None:
    """The failure says what was left."""
    result = run(source)

    result.stdout.fnmatch_lines([complaint])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_clean_test_passes(run: Run) -> None:
    """What is closed, joined and waited for is no leak."""
    result = run(
        """
        import subprocess, threading

        def test(tmp_path):
            with open(tmp_path / "file", "w"):
                subprocess.run(["true"], check=True)
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
        """
    )

    result.assert_outcomes(passed=1)


def test_what_ends_a_moment_later_is_no_leak(run: Run) -> None:
    """A server may close a connection just after the client's test is over."""
    result = run(
        """
        import os, threading

        def test():
            descriptor = os.open("/dev/null", os.O_RDONLY)
            threading.Timer(0.05, os.close, [descriptor]).start()
        """
    )

    result.assert_outcomes(passed=1)


SERVER = """
    import os, threading, pytest

    @pytest.fixture(scope="{scope}")
    def server():
        ready, stop = threading.Event(), threading.Event()
        reading, writing = os.pipe()
        pid = os.posix_spawnp("sleep", ["sleep", "10"], {{}})
        thread = threading.Thread(target=stop.wait)
        thread.start()
        yield writing
        stop.set()
        thread.join()
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
"""


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_a_wider_fixture_keeps_what_it_opens(run: Run, scope: str) -> None:
    """Asked for by name, by another fixture, or in mid-test: it is not the test's."""
    result = run(
        SERVER.format(scope=scope)
        + """
    class TestServer:
        def test_before(self): pass
        def test_in_mid_test(self, request): request.getfixturevalue("server")
        def test_by_name(self, server): pass
        def test_leak(self, server): os.dup(server)

    def test_after(): pass
    """
    )

    result.assert_outcomes(passed=5, errors=1)
    result.stdout.fnmatch_lines(
        ["*teardown of TestServer.test_leak*", "*descriptor *: pipe:*"]
    )


def test_a_wider_fixture_has_to_clean_up(run: Run) -> None:
    """What it leaves behind fails the session's last test."""
    result = run(
        """
        import os, pytest

        @pytest.fixture(scope="module")
        def server(): return os.open("/dev/null", os.O_RDONLY)

        def test_server(server): pass

        def test_last(): pass
        """
    )

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*still there after the session:*", "*/dev/null*"])


def test_a_failing_test_is_reported_once(run: Run) -> None:
    """What it had no chance to close is no second fault."""
    result = run(
        """
        import os

        def test():
            descriptor = os.dup(0)
            assert False
            os.close(descriptor)
        """
    )

    result.assert_outcomes(failed=1)
