"""A long text: the length of every day, as the usual textbook formulas give it."""

from __future__ import annotations

from datetime import date, timedelta
from math import acos, asin, cos, degrees, radians, sin

LATITUDE = 52.5
FIRST, LAST = 1950, 2049

TITLE = f"""\
Sunrise and sunset at {LATITUDE} degrees north, in local solar time,
for every day from {FIRST} to {LAST}

"""


def almanac() -> str:
    """The whole table, a line for each day."""
    lines = [TITLE]
    day = date(FIRST, 1, 1)
    while day.year <= LAST:
        half = _half_day(day)
        lines.append(
            f"{day:%Y-%m-%d %a}   sunrise {_clock(12 - half)}   "
            f"sunset {_clock(12 + half)}   daylight {_clock(2 * half)}\n"
        )
        day += timedelta(days=1)
    return "".join(lines)


def _half_day(day: date) -> float:
    """Hours from sunrise to noon: the sun's rim and refraction take 0.83 degrees."""
    since = (day - date(2000, 1, 1)).days
    anomaly = radians(357.53 + 0.98560028 * since)
    longitude = radians(280.46 + 0.98564736 * since + 1.915 * sin(anomaly))
    declination = asin(sin(radians(23.44)) * sin(longitude))
    latitude = radians(LATITUDE)
    cosine = (sin(radians(-0.83)) - sin(latitude) * sin(declination)) / (
        cos(latitude) * cos(declination)
    )
    return degrees(acos(cosine)) / 15


def _clock(hours: float) -> str:
    minutes = round(hours * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"
