"""How long to wait for what nobody tells: a little, then longer."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 0.001
LONGEST_SECONDS: Final = 0.05


class Waits:
    """The waits of one who asks again and again, in seconds."""

    __slots__ = ("_moved", "_seconds")

    def __init__(self) -> None:
        self._seconds = FIRST_SECONDS
        self._moved = 0

    def next(self, moved: int = 0) -> float:
        """The wait that comes now; each is twice as long as the one before it.

        Unless something has `moved` meanwhile: bytes, say.
        """
        if moved != self._moved:
            self._moved = moved
            self.over()
        seconds = self._seconds
        self._seconds = min(seconds * 2, LONGEST_SECONDS)
        return seconds

    def over(self) -> None:
        """It has come: start from the shortest again."""
        self._seconds = FIRST_SECONDS
