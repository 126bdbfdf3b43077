"""What keeps a slice honest while it is sent.

Today there is one guard, and it is built into every step: the bytes are counted, and
a body that ends early aborts its connection.
"""

from __future__ import annotations

from typing import Final

COUNT: Final = "count"
"""The guard of a body whose bytes are counted against what was promised."""
