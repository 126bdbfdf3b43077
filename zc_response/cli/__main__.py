"""`python -m zc_response.cli`."""

from __future__ import annotations

from zc_response.cli import main

if __name__ == "__main__":
    main()
