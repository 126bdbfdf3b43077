"""Shell scripts whose output is sent, each with what is promised of it."""

from __future__ import annotations

SIZE = 3_000_000

SCRIPTS: dict[str, tuple[str, int | None]] = {
    "chunked": (f"head -c {SIZE} /dev/zero", None),
    "known": (f"head -c {SIZE} /dev/zero", SIZE),
    "slow": ("printf one; sleep 0.2; printf two", None),
    "failing": ("head -c 300000 /dev/zero; exit 3", None),
    "failing-known": ("head -c 300000 /dev/zero; exit 3", 300_000),
    "too-long": ("head -c 300001 /dev/zero", 300_000),
    "too-short": ("head -c 299999 /dev/zero", 300_000),
    "silent": ("echo hello; exec sleep 600", None),
    "endless": ("exec cat /dev/zero", None),
    "failing-at-once": ("exit 3", None),
    "late": ("exec sleep 600", None),
    "missing": ("", None),
}
"""Each with the length that is promised of it, if any."""


def command(name: str) -> list[str]:
    """What is run for it; its name can be found among the processes."""
    script = f": {name}; {SCRIPTS[name][0]}"
    return ["/no/such/program"] if name == "missing" else ["sh", "-c", script]
