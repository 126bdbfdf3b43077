"""Pictures made of formulas, as PNG and SVG files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from math import cos, hypot, log2, pi, sin, sqrt

Colour = tuple[int, int, int]


def png(width: int, palette: list[Colour], pixels: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a PNG file whose rows of `width` pixels are indices into `palette`."""
    rows = list(pixels)
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 3, 0, 0, 0)
    image = zlib.compress(b"".join(b"\0" + row for row in rows))
    yield b"\x89PNG\r\n\x1a\n"
    yield _chunk(b"IHDR", header)
    yield _chunk(b"PLTE", bytes(value for colour in palette for value in colour))
    yield _chunk(b"IDAT", image)
    yield _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def blend(stops: list[Colour], count: int) -> list[Colour]:
    """`count` colours that pass evenly through `stops`."""
    colours = []
    for number in range(count):
        place = number / (count - 1) * (len(stops) - 1)
        index = min(int(place), len(stops) - 2)
        part = place - index
        red, green, blue = (
            round(a + (b - a) * part)
            for a, b in zip(stops[index], stops[index + 1], strict=True)
        )
        colours.append((red, green, blue))
    return colours


# Dusk ------------------------------------------------------------------------------

SKY = [(18, 24, 66), (70, 52, 120), (196, 84, 116), (246, 150, 92), (255, 214, 140)]
SUN = (255, 244, 200)
RANGES = [  # from far to near: the ridge's colour, and the mist at its foot
    ((150, 84, 116), (206, 128, 120)),
    ((106, 64, 108), (164, 98, 116)),
    ((70, 48, 92), (120, 74, 104)),
    ((40, 32, 68), (78, 52, 86)),
    ((16, 16, 38), (38, 30, 58)),
]
SHADES = 24


def dusk(width: int) -> Iterator[bytes]:
    """Hills in the evening, 8 to 5."""
    height = width * 5 // 8
    sun = 255 - SHADES * len(RANGES)  # the sky's colours come before it
    palette = [*blend(SKY, sun), SUN]
    palette += [colour for ends in RANGES for colour in blend(list(ends), SHADES)]
    layers = [_gradient(sun, height * 2 // 3, height)]
    layers += [
        _gradient(SHADES, height * 2 // 9, height, first)
        for first in range(sun + 1, len(palette), SHADES)
    ]
    columns = b"".join(_dusk_column(x / width, sun, layers) for x in range(width))
    return png(width, palette, (columns[y::height] for y in range(height)))


def _gradient(colours: int, reach: int, height: int, first: int = 0) -> bytes:
    """A column of `colours` indices from `first` on; from `reach` on it is the last."""
    last = colours - 1
    return bytes(first + min(y * colours // reach, last) for y in range(height))


def _dusk_column(x: float, sun: int, layers: list[bytes]) -> bytes:
    """One column of palette indices, top to bottom; `x` goes from 0 to 1."""
    column = bytearray(layers[0])
    height = len(column)
    half = sqrt(max(0.055**2 - (x - 0.66) ** 2, 0)) * 8 / 5
    top, bottom = round((0.5 - half) * height), round((0.5 + half) * height)
    column[top:bottom] = bytes([sun]) * (bottom - top)
    for number, layer in enumerate(layers[1:]):
        ridge = round((0.53 + 0.1 * number - _relief(x, number)) * height)
        ridge = min(ridge, height)
        column[ridge:] = layer[: height - ridge]
    return bytes(column)


def _relief(x: float, number: int) -> float:
    """The height of one ridge line above its base."""
    rough = 0.055 + 0.008 * number
    waves = (
        (1 << octave, 0.37 * number + 0.71 * octave * number) for octave in range(6)
    )
    return sum(sin(2 * pi * (x * 0.9 * f + phase)) * rough / f for f, phase in waves)


# Julia -----------------------------------------------------------------------------

LAGOON = [
    (6, 10, 32),
    (16, 48, 96),
    (30, 120, 150),
    (130, 214, 190),
    (255, 246, 214),
    (250, 170, 90),
    (160, 50, 60),
    (40, 12, 40),
]


def julia(width: int) -> Iterator[bytes]:
    """The Julia set of z*z + c, 3 to 2. Turned by 180 degrees it is the same."""
    height = width * 2 // 3
    scale = 3.1 / width
    upper = [
        bytes(
            _escape(complex((x - width / 2) * scale, (y - height / 2 + 0.5) * scale))
            for x in range(width)
        )
        for y in range(height // 2)
    ]
    lower = (row[::-1] for row in reversed(upper))
    return png(width, blend(LAGOON, 256), [*upper, *lower])


def _escape(z: complex, c: complex = -0.8 + 0.156j) -> int:
    """How fast a point leaves the circle of radius 4, as a colour."""
    for count in range(120):
        z = z * z + c
        if abs(z) > 4:
            smooth = count + 1 - log2(log2(abs(z)) / 2)
            return min(int(sqrt(max(smooth, 0)) * 23), 255)
    return 255


# Ripples ---------------------------------------------------------------------------

INK = [(12, 36, 60), (38, 110, 140), (236, 244, 238), (238, 190, 120), (120, 50, 50)]


def ripples(width: int) -> Iterator[bytes]:
    """Waves from two drops, in a square."""
    rows = (
        bytes(_wave(x / width, y / width) for x in range(width)) for y in range(width)
    )
    return png(width, blend(INK, 256), rows)


def _wave(x: float, y: float) -> int:
    one = cos(hypot(x - 0.3, y - 0.36) * 90)
    two = cos(hypot(x - 0.72, y - 0.62) * 90)
    return int(127.5 + 63.7 * (one + two))


# Sunflower -------------------------------------------------------------------------


def sunflower(seeds: int) -> Iterator[bytes]:
    """Vogel's spiral, as an SVG file: each seed a golden angle after the last."""
    yield b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-110 -110 220 220">\n'
    yield b'<rect x="-110" y="-110" width="220" height="220" fill="#17324d"/>\n'
    golden = pi * (3 - sqrt(5))
    for seed in range(1, seeds + 1):
        distance = 100 * sqrt(seed / seeds)
        x, y = distance * cos(seed * golden), distance * sin(seed * golden)
        size = 0.8 + 2.4 * distance / 100
        hue = 48 - 30 * distance / 100
        yield (
            f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{size:.2f}" '
            f'fill="hsl({hue:.0f} 90% {38 + 22 * distance / 100:.0f}%)"/>\n'
        ).encode()
    yield b"</svg>\n"
