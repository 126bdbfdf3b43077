"""What a benchmark ran on: enough to judge its figures, nothing about whose it is."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from zc_response.cli.bench.errors import MissingError
from zc_response.cli.bench.servers import Nginx
from zc_response.kernel.mounts import mounts
from zc_response.sources.places import Places

_PACKAGES: Final = (
    *("uvicorn", "uvloop", "httptools", "starlette", "anyio", "granian"),
    *("gunicorn", "gevent", "flask", "werkzeug"),
)
_OURS: Final = "ZC_RESPONSE_"
"""Settings of the package by environment change what is measured."""


def describe(files: Path, wrk: str | None) -> dict[str, str]:
    """Kernel, processor and versions, by name; what is not there is left out."""
    facts = {
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": cpu_model(_text("/proc/cpuinfo")),
        "cpus": str(len(os.sched_getaffinity(0))),
        "filesystem": filesystem(_text("/proc/self/mountinfo"), files.resolve()),
        "congestion control": _text(
            "/proc/sys/net/ipv4/tcp_congestion_control"
        ).strip(),
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: _package(name) for name in _PACKAGES},
        "zc_response": _own_version(),
        "nginx": _nginx(),
        "wrk": _wrk(wrk),
        **{name: text for name, text in os.environ.items() if name.startswith(_OURS)},
    }
    return {name: fact for name, fact in facts.items() if fact}


def cpu_model(cpuinfo: str) -> str:
    """The processor's name in /proc/cpuinfo."""
    match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else ""


def filesystem(mountinfo: str, path: Path) -> str:
    """The type of the filesystem that `path` is on, by /proc/self/mountinfo."""
    return Places(mounts(os.fsencode(mountinfo))).kind_of(str(path))


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _own_version() -> str:
    try:
        import zc_response
    except ImportError:
        return ""
    return zc_response.__version__


def _nginx() -> str:
    try:
        return _version_in([Nginx().path(), "-v"])
    except MissingError:
        return ""


def _wrk(program: str | None) -> str:
    return _version_in([program, "-v"]) if program else ""


def _version_in(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"[0-9]+(\.[0-9]+)+", done.stdout + done.stderr)
    return match[0] if match else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
