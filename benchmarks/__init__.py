"""Measures how fast, and how cheaply, a file leaves each server.

General layout; each module knows only those above it:

    errors.py         what can go wrong, in words for the one who runs it
    stats.py          pure: medians, ranges, ratios of paired runs
    files.py          sizes, and the files that are served
    procfs.py         what a server's processes have used: CPU seconds, memory
    client.py         the client: its own process, discards bodies in the kernel
    load.py           drives that client, or wrk, against a server
    servers.py        starts and stops the servers under test
    apps.py           the ASGI applications under test; imported by the servers only
    candidates.py     the table of what is compared
    environment.py    what it ran on
    records.py        the samples, and their JSON file
    figures.py        pure: speed and cost of a sample
    rounds.py         who is measured when: paired runs
    report.py         pure: tables from records
    commands.py       what the command line can do
    cli.py            the command line

Only the standard library is needed here; the servers need what they need.
"""

from __future__ import annotations
