"""A page that serves real files and shows how each of them left."""

from __future__ import annotations
