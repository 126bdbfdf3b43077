"""The errors of this package; their text is what the user reads."""

from __future__ import annotations


class DoctorError(Exception):
    """Why nothing could be found out."""
