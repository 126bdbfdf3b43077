"""What a process may do of what sending is made of: from facts to findings. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zc_response.cli.doctor.facts import FileFacts, ProcessFacts
from zc_response.cli.doctor.findings import Finding, Grade
from zc_response.policy import Policy
from zc_response.sources.streams import PIPE_BYTES

GOOD, SO_SO = Grade.GOOD, Grade.SO_SO
_SANDBOX: Final = "A seccomp filter or a sandbox can be the cause."


def judge_abilities(process: ProcessFacts) -> tuple[Finding, ...]:
    """What calls are refused to a process like this one, and what it then lacks."""
    return (*_calls(process), _seals(process), _pipes(process), _ktls(process))


def judge_direct(file: FileFacts, policy: Policy) -> Finding:
    """Can a file be read around the page cache? It matters to who asks for that."""
    topic = "O_DIRECT"
    is_asked = policy.direct_min > 0 or policy.strategy == "direct"
    if not file.direct_words:
        what = "can be read around the page cache (direct_min)"
        return Finding(topic=topic, case="possible", grade=GOOD, what=what)
    refused = f"refused ({file.direct_words})"
    return Finding(
        topic=topic,
        case="refused",
        grade=SO_SO if is_asked else GOOD,
        what=f"{refused}: all is read through the page cache",
        why="What is sent once can take the place of what is asked for often.",
        advice=("Use ZC_RESPONSE_CACHE=drop, or serve from ext4, xfs or btrfs.",),
    )


def _calls(process: ProcessFacts) -> Iterator[Finding]:
    topic = "calls"
    refused = {"sendfile": process.sendfile_words, "splice": process.splice_words}
    for call, words in refused.items():
        if words:
            yield Finding(
                topic=topic,
                case=f"no-{call}",
                grade=SO_SO,
                what=f"{call}(2) is refused: {words}",
                why=f"So the CPU copies what it would move. {_SANDBOX}",
                advice=(f"Allow {call}(2).",),
            )
    if not any(refused.values()):
        what = "sendfile(2) and splice(2) to a socket are allowed"
        yield Finding(topic=topic, case="allowed", grade=GOOD, what=what)


def _seals(process: ProcessFacts) -> Finding:
    topic = "seals"
    if not process.seal_words:
        what = "files in memory can be sealed (MemoryFile, compress_bytes, snapshots)"
        return Finding(topic=topic, case="allowed", grade=GOOD, what=what)
    return Finding(
        topic=topic,
        case="refused",
        grade=SO_SO,
        what=f"no file in memory can be sealed: {process.seal_words}",
        why="A MemoryFile is a file without a name in TMPDIR then, and a snapshot in "
        f"memory cannot be made. {_SANDBOX}",
        advice=("Allow memfd_create(2), and fcntl(2) with F_ADD_SEALS.",),
    )


def _pipes(process: ProcessFacts) -> Finding:
    topic = "pipes"
    if process.pipe_size >= PIPE_BYTES:
        what = "a pipe can hold 1 MiB (PipeResponse)"
        return Finding(topic=topic, case="enough", grade=GOOD, what=what)
    return Finding(
        topic=topic,
        case="small",
        grade=SO_SO,
        what=f"a pipe holds only {process.pipe_size // 1024} KiB, not 1 MiB",
        why="So a program whose output is sent waits more often (PipeResponse).",
        advice=(
            f"sysctl fs.pipe-max-size={PIPE_BYTES}; fs.pipe-user-pages-soft bounds "
            "all pipes of a user, in pages.",
        ),
    )


def _ktls(process: ProcessFacts) -> Finding:
    topic = "kTLS"
    lacking = dict(_lacking(process))
    if not lacking:
        what = "gunicorn's WSGI workers can have it (ssl_context); asked per connection"
        return Finding(topic=topic, case="possible", grade=GOOD, what=what)
    return Finding(
        topic=topic,
        case="-".join(("no", *lacking)),
        grade=SO_SO,
        what="none: " + "; ".join(what for what, _ in lacking.values()),
        why="So over TLS bodies are copied, and encrypted by OpenSSL. Behind a proxy "
        "that ends TLS it does not matter.",
        advice=tuple(advice for _, advice in lacking.values()),
    )


def _lacking(process: ProcessFacts) -> Iterator[tuple[str, tuple[str, str]]]:
    if not process.asks_for_ktls:
        what = f"Python {process.python} with {process.openssl} cannot ask for it"
        yield "python", (what, "Use Python 3.12 or newer, with OpenSSL 3.")
    if not process.has_tls:
        yield (
            "module",
            (
                "the kernel's module `tls` is not loaded",
                "modprobe tls, and the same in /etc/modules-load.d, on the host.",
            ),
        )
