"""Compare the wheel built from the tree with the wheel built from the sdist.

Both must hold the same files, each integration as a real file, and no tests.
"""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile


def contents(wheel: str) -> dict[str, int]:
    """Return the checksum of each file in a wheel."""
    with ZipFile(wheel) as archive:
        return {info.filename: info.CRC for info in archive.infolist()}


def complaints(direct: dict[str, int], from_sdist: dict[str, int]) -> list[str]:
    """Return what is wrong with the two wheels."""
    wanted = {
        f"zc_response/{path.as_posix()}" for path in Path("integrations").rglob("*.py")
    } | {"zc_response/py.typed"}
    differing = {name for name, _ in direct.items() ^ from_sdist.items()}
    foreign = {
        name
        for name in direct
        if not name.startswith("zc_response/") and ".dist-info/" not in name
    }
    return (
        [f"the two wheels differ in {name}" for name in sorted(differing)]
        + [f"missing from the wheel: {name}" for name in sorted(wanted - set(direct))]
        + [f"does not belong in the wheel: {name}" for name in sorted(foreign)]
    )


def main(direct: str, from_sdist: str) -> int:
    """Print the complaints; return the exit status."""
    found = complaints(contents(direct), contents(from_sdist))
    for complaint in found:
        print(f"error: {complaint}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
