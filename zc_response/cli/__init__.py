"""The command `zc-response`.

It needs what the extra `cli` brings; without that it says so. Each of its commands is a
package of its own, imported when it is asked for.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line, and exit with its status."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        advice = "pip install 'zc-response[cli]'"
        sys.exit(f"zc-response needs {' and '.join(missing)}: {advice}")
    from zc_response.cli.commands import zc_response

    zc_response(prog_name="zc-response")
