from __future__ import annotations

import pytest

from tests.transmit.strategies_page import PAGE, page


@pytest.mark.skipif(not PAGE.exists(), reason="away from the checkout")
def test_the_page_has_the_tables_as_they_are_in_the_code() -> None:
    """If not: scripts/document-strategies."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text
