"""Applications that show zc_response at work."""

from __future__ import annotations
