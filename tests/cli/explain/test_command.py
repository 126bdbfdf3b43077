"""`zc-response explain`, as it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zc_response.policy import Policy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(Policy().small_bytes + 1))
    return path


def run(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {f"ZC_RESPONSE_{name.upper()}": text for name, text in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "zc_response.cli", "explain", *map(str, arguments)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def explained(*arguments: str | Path, **settings: str) -> list[str]:
    done = run(*arguments, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "settings", "choice"),
    [
        ("", {}, "sendfile: plain socket"),
        ("--peer local", {}, "sendfile: plain socket"),
        ("--server uvicorn-tls", {}, "copy: TLS"),
        ("--server other", {}, "copy: the server has no zero copy and no hook"),
        (
            "--peer local",
            {"integrity": "strict"},
            "mmap: strict, and the client may be on this host",
        ),
        ("--peer remote", {"integrity": "strict"}, "sendfile: plain socket"),
        ("", {"zero_copy": "off"}, "copy: switched off"),
        ("", {"strategy": "mmap"}, "mmap: asked for"),
        ("", {"direct_min": "100"}, "direct: around the page cache"),
        (
            "--server uvicorn-tls",
            {"strategy": "direct"},
            "direct: around the page cache",
        ),
    ],
)
def test_it_says_what_is_chosen_and_why(
    file: Path, arguments: str, settings: dict[str, str], choice: str
) -> None:
    lines = explained(file, *arguments.split(), **settings)
    assert lines[1].strip() == choice
    decisive = [line for line in lines if line.strip().startswith("yes")]
    assert len(decisive) == 1
    assert choice.split(":")[0] in decisive[0]


def test_a_small_file_is_copied_by_every_server(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"x")
    assert explained(path)[1].strip().startswith("copy: small")


@pytest.mark.parametrize(
    ("server", "strategy", "call", "told"),
    [
        ("uvicorn", "mmap", "mappings._map", "sendfile: mmap: No such device"),
        ("uvicorn-tls", "direct", "files.open_directly", "copy: O_DIRECT: No such"),
    ],
)
def test_what_the_kernel_refuses_is_found_out(
    file: Path, server: str, strategy: str, call: str, told: str
) -> None:
    """By a byte that is sent."""
    code = (
        "import sys\n"
        "from zc_response.cli.explain import commands\n"
        "from zc_response.kernel import files, mappings\n"
        "def refuse(*_):\n"
        "    raise OSError(19, 'No such device')\n"
        f"{call} = refuse\n"
        f"print(commands.explain(sys.argv[1], server='{server}', peer='remote')[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        env={**os.environ, "ZC_RESPONSE_STRATEGY": strategy},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip().startswith(told)


@pytest.mark.parametrize("arguments", ["/nowhere", "--server iis /etc/passwd"])
def test_what_cannot_be_explained_is_an_error(arguments: str) -> None:
    done = run(*arguments.split())
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr
