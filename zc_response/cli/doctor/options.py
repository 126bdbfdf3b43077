"""The command line of `zc-response doctor`: its options and its exit status."""

from __future__ import annotations

import sys
from typing import Final

import click

from zc_response.cli.doctor import commands
from zc_response.cli.doctor.errors import DoctorError

IMPOSSIBLE: Final = 2


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path())
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="ADDRESS",
    help="The IP address of a client; may be repeated. Without: the default routes.",
)
@click.option(
    "--user",
    metavar="NAME",
    help="Ask as this user, such as the one of the service. Only root can.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def doctor(
    paths: tuple[str, ...], *, peers: tuple[str, ...], user: str | None, as_json: bool
) -> None:
    """Say how well a file can be served from here, and how to do better.

    \b
    zc-response doctor
    zc-response doctor film.mp4
    sudo zc-response doctor --user www-data /srv/media
    zc-response doctor --peer 192.0.2.7

    PATH is a file, or a directory of files; without one, only of the process and the
    network is anything said. It is told what keeps its bytes honest
    while they are sent (a lease and a snapshot, at best), what the filesystem can
    and cannot do, and what to change. Of the way to a peer it is told whether the
    network card fetches the file's pages by itself, or what makes the CPU copy them.
    The kernel is really asked; nothing is changed, nothing is sent, and nothing is
    left behind. Settings are those of the environment, ZC_RESPONSE_*.

    \b
    Exit status: 0 if every path gets the best guard, and nothing is copied on the
    way to each peer that was named; 1 if one gets less; 2 if a path cannot be
    served, a peer cannot be reached, or the command line is wrong.
    """
    try:
        status = commands.doctor(paths, peers=peers, user=user, as_json=as_json)
    except DoctorError as exc:
        print(f"error: {exc}", file=sys.stderr)
        raise click.exceptions.Exit(IMPOSSIBLE) from exc
    raise click.exceptions.Exit(status)
