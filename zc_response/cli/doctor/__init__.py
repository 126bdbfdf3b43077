"""The command `zc-response doctor`: how well can a file be served here, and why?

Facts are gathered, in the process itself or in a child that is another user; a pure
function makes findings of them; those are printed.

    facts      what was found out, in plain values
    probes     finds it out: opens the file, asks for a lease and for a reflink
    trials     tries what the process may do: splice, seals, O_DIRECT
    network    by what interfaces bytes leave for a peer, and what these can do
    writers    who has a file open for writing
    users      does that as another user
    findings   a finding, a section of them, an exit status
    verdicts   pure: facts and policy in, findings out
    dma        the same for a way to a peer: is anything copied on it?
    abilities  the same for what the process may do
    console    prints them; knows rich
    commands   all of it in order
    options    the command line; knows click
"""

from __future__ import annotations
