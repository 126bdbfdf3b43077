"""The command line of `zc-response explain`."""

from __future__ import annotations

import sys

import click

from zc_response.cli.explain import commands
from zc_response.cli.explain.cases import OBSTACLES, PEERS


@click.command()
@click.argument("path", type=click.Path())
@click.option(
    "--server",
    type=click.Choice(list(OBSTACLES)),
    default="uvicorn",
    show_default=True,
    help="Who serves it.",
)
@click.option(
    "--peer",
    type=click.Choice(list(PEERS)),
    default="remote",
    show_default=True,
    help="Where the client is: a proxy on this host is a local one.",
)
def explain(path: str, *, server: str, peer: str) -> None:
    """Say by which strategy a file would be sent, and why.

    \b
    zc-response explain film.mp4
    ZC_RESPONSE_INTEGRITY=strict zc-response explain film.mp4 --peer local

    The table of all rules follows, read from the top: `no` where one does not hold,
    `yes` at the one that decides. The file is really opened, a lease really asked for,
    and one byte sent, to see whether the kernel refuses. Settings are those of the
    environment, ZC_RESPONSE_*.
    """
    try:
        lines = commands.explain(path, server=server, peer=peer)
    except commands.ExplainError as exc:
        print(f"error: {exc}", file=sys.stderr)
        raise click.exceptions.Exit(2) from exc
    print("\n".join(lines))
