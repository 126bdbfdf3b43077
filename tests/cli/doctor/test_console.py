"""How findings look: for people in a terminal, for pipes, and for machines."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from tests.cli.doctor.test_verdicts import FILE, SERVICE
from zc_response.cli.doctor import console
from zc_response.cli.doctor.facts import Facts, Lease, Reflink, Residency
from zc_response.cli.doctor.verdicts import findings
from zc_response.policy import Policy


@pytest.mark.parametrize("integrity", ["fast", "safe", "strict"])
def test_every_line_fits_a_terminal(
    integrity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = itertools.product(Lease, Reflink, Residency)
    files = tuple(
        replace(FILE, lease=lease, reflink=reflink, residency=residency)
        for lease, reflink, residency in cases
    )
    process = replace(SERVICE, grain_ns=2 * 10**9, descriptors=99, signals=1)

    found = findings(Facts(process=process, files=files), Policy(integrity=integrity))
    console.show(found)

    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert "\x1b" not in shown


def test_a_long_path_stays_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/srv/" + "long-name/" * 20 + "film.mp4"
    found = findings(
        Facts(process=SERVICE, files=(replace(FILE, path="film.mp4", real_path=path),)),
        Policy(),
    )
    console.show(found)
    assert path in capsys.readouterr().out


def test_a_terminal_gets_colours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    console.show(findings(Facts(process=SERVICE, files=(FILE,)), Policy()))
    assert "\x1b[32mgood" in capsys.readouterr().out


def test_a_name_cannot_speak_to_the_terminal() -> None:
    assert console.clean("a\x1b[2Jb\nc\udcffd é") == "a\\x1b[2Jb\\nc\\xffd é"


def test_machines_get_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(Facts(process=SERVICE, files=(FILE,)), Policy())
    console.show_json(found, user="www-data")
    said = json.loads(capsys.readouterr().out)
    assert (said["status"], said["user"]) == (0, "www-data")
    first = said["sections"][0]
    assert first["title"] == FILE.path
    assert [each["topic"] for each in first["findings"]][:4] == [
        *("guard", "file", "filesystem", "lease"),
    ]
