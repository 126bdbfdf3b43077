"""Measures how fast, and how cheaply, a file leaves each server."""

from __future__ import annotations
