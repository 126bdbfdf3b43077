"""The command `zc-response explain`: by which strategy would a file be sent, and why?

It reads the very table that a server reads, for a connection as it is described; the
file is really opened, and a lease really asked for.

    cases      pure: what is asked about, and the verdict on each rule
    commands   opens, asks, prints
    options    the command line; knows click
"""

from __future__ import annotations
