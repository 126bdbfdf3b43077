"""Measures how fast, and how cheaply, a file leaves each server: `zc-response bench`.

General layout; each module knows only those above it:

    errors.py         what can go wrong, in words for the one who runs it
    stats.py          pure: medians, percentiles, ratios of paired runs
    files.py          sizes, and the files that are served
    procfs.py         what a server's processes have used: CPU seconds, memory
    helper.py         a process that makes load, and how its parent speaks to it
    client.py         a helper: one download after the other, discarded in the kernel
    load.py           drives that client, or wrk, against a server
    probe.py          a helper: quick requests, and their latencies
    swarm.py          a helper: many downloads at once
    holders.py        a helper: clients that read nothing
    relay.py          a process: another host, and the line to it
    states.py         what files that are written to have been like, in shared memory
    scribe.py         a helper: writes to a file in all the ways that people do
    reader.py         a helper: clients that check every byte of such files
    opener.py         a helper: opens a file for writing, and how long that takes
    mounts.py         loop devices, mounts and FUSE processes, for a block
    sleepy.py         a process: a FUSE filesystem that takes its time
    disks.py          filesystems on a disk that is held to a rate
    servers.py        starts and stops the servers under test
    apps.py           the ASGI applications under test; imported by the servers only
    wsgi_apps.py      the WSGI ones
    candidates.py     the table of what is compared
    environment.py    what it ran on
    records.py        the samples, and their JSON file
    figures.py        pure: speed, cost and other quantities, and their units
    rounds.py         who is measured when: paired runs
    ranges.py         ranges at the end of a large file
    cold.py           quick requests while a file comes from a slow disk
    crowd.py          quick requests amid many downloads
    stalled.py        what clients cost that read nothing
    churn.py          what clients get of files that are written to
    writers.py        how long a writer waits for a file that is being sent
    tables.py         pure: tables from records, and as text
    markdown.py       pure: the same for documentation
    charts.py         pure: what is plotted
    plots.py          draws charts; knows matplotlib
    page.py           pure: the HTML page
    console.py        progress and tables on the terminal; knows rich
    namespace.py      runs all of it again with another congestion control
    commands.py       what each command does
    options.py        the command line; knows click

Only the standard library is needed where nothing else is named; the servers need what
they need.
"""

from __future__ import annotations
