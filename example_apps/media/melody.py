"""A long recording: Bach's first prelude, plucked by arithmetic.

A stretch of sound is one large integer with 16 bits for each sample, so that mixing
is addition: a whole step of eight strings takes microseconds, without any library.
"""

from __future__ import annotations

import struct
from array import array
from cmath import exp
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, repeat
from math import pi
from operator import mul

RATE = 44_100
STEP = RATE // 5  # stereo samples from one note to the next
VOICES = 8  # steps a string rings, and so the strings that ring at once

# Well-Tempered Clavier I, Prelude in C major (BWV 846): five pitches for each of 32
# bars, as MIDI numbers, played in the order 1 2 3 4 5 3 4 5, twice.
BARS = """
60 64 67 72 76  60 62 69 74 77  59 62 67 74 77  60 64 67 72 76  60 64 69 76 81
60 62 66 69 74  59 62 67 74 79  59 60 64 67 72  57 60 64 67 72  50 57 62 66 72
55 59 62 67 71  55 58 64 67 73  53 57 62 69 74  53 56 62 65 71  52 55 60 67 72
52 53 57 60 65  50 53 57 60 65  43 50 55 59 65  48 52 55 60 64  48 55 58 60 64
41 53 57 60 64  42 48 57 60 63  44 53 59 60 62  43 53 55 59 62  43 52 55 60 64
43 50 55 60 65  43 50 55 59 65  43 51 57 60 66  43 52 55 60 67  43 50 55 60 65
43 50 55 59 65  36 48 55 58 64
"""
# Two bars run on, to the final chord and a bar of silence.
CODA = """
36 48 53 57 60 65 60 57 60 57 53 57 53 50 53 50
36 47 67 71 74 77 74 71 74 71 67 71 62 65 64 62
36 48 64 67 72 0 0 0 0 0 0 0 0 0 0 0
"""
REST = 0

# Eight voices around this value add up to unsigned samples around 0x8000. As plucked
# strings fade, the sum stays within a fifth of the range, so it can be made louder.
CENTRE = 0x8000 // VOICES
LOUDER = 3
LANES = 2 * STEP


def recording(keys: Sequence[int]) -> Iterator[bytes]:
    """Yield a WAV file: the piece once in each key, given in semitones above C."""
    notes = [note and note + key for key in keys for note in _notes()]
    size = len(notes) * LANES * 2
    yield struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE")
    yield struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE, RATE * 4, 4, 16)
    yield struct.pack("<4sI", b"data", size)
    silence = _pack([0x8000] * LANES)
    ringing = deque(repeat(REST, VOICES), VOICES)
    for note in notes:
        ringing.appendleft(note)
        mixed = sum(_string(note)[age] for age, note in enumerate(ringing))
        mixed = mixed * LOUDER - silence * (LOUDER - 1)
        signed = mixed ^ silence  # the uppermost bit of each sample turned over
        yield signed.to_bytes(LANES * 2, "little")


def _notes() -> Iterator[int]:
    pitches = [int(word) for word in BARS.split()]
    for start in range(0, len(pitches), 5):
        one, two, *three = pitches[start : start + 5]
        yield from (one, two, *three, *three) * 2
    yield from (int(word) for word in CODA.split())


@cache
def _string(note: int) -> tuple[int, ...]:
    """The sound of one plucked string, a number for each step it rings.

    The fundamental is a point that circles towards zero; its powers are the overtones,
    which so die away the sooner the higher they are. Their sum is a geometric series.
    """
    if note == REST:
        return (_pack([CENTRE] * LANES),) * VOICES
    count = STEP * VOICES
    hertz = 440 * 2 ** ((note - 69) / 12)
    turn = exp(complex(-2, 2 * pi * hertz) / RATE)
    bright = 0.6
    loud = (CENTRE - 1) * (1 - bright**2) / count
    sound = [
        (point / (1 - bright * point)).imag * loud * left
        for point, left in zip(
            accumulate(repeat(turn, count), mul), range(count, 0, -1), strict=True
        )
    ]
    to_the_right = min(max((note - 36) / 50, 0.0), 1.0)
    stereo = array("H", bytes(4 * count))
    for side, share in enumerate((1 - to_the_right / 2, (1 + to_the_right) / 2)):
        stereo[side::2] = array("H", [CENTRE + int(share * value) for value in sound])
    return tuple(
        _pack(stereo[start : start + LANES]) for start in range(0, 2 * count, LANES)
    )


def _pack(samples: Sequence[int]) -> int:
    return int.from_bytes(struct.pack(f"<{len(samples)}H", *samples), "little")
