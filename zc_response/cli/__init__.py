"""The command `zc-response`."""

from __future__ import annotations
