"""The commands of `zc-response`."""

from __future__ import annotations

import click

from zc_response import __version__
from zc_response.cli.bench.options import bench
from zc_response.cli.doctor.options import doctor
from zc_response.cli.explain.options import explain


@click.group()
@click.version_option(__version__, prog_name="zc-response")
def zc_response() -> None:
    """File responses that leave at the kernel's speed."""


zc_response.add_command(bench)
zc_response.add_command(doctor)
zc_response.add_command(explain)
