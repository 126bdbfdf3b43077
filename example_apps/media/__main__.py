"""Run the demo: python -m example_apps.media --host 127.0.0.1 --port 8000."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
from pathlib import Path

import uvicorn

from example_apps.media.app import create_app
from example_apps.media.library import make_library, recipes
from example_apps.media.transfers import Board

LIBRARY = Path(__file__).with_name("library")


class Server(uvicorn.Server):
    """uvicorn's server, which ends the event streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, board: Board) -> None:
        super().__init__(config)
        self._board = board

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving."""
        self._board.close()
        await super().shutdown(sockets)


def main() -> int:
    """Make the files, serve them until Ctrl-C, and return the exit status."""
    options = parse_options()
    set_up_logging()
    try:
        with listen(options.host, options.port) as listener:
            make_library(options.library, recipes(small=options.small))
            serve(options.library, listener)
    except KeyboardInterrupt:
        print("\nStopped.")
    except OSError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m example_apps.media",
        description="Serve a page with pictures, music and a large archive, "
        "and show how their bytes leave.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument(
        "--library",
        type=Path,
        default=LIBRARY,
        metavar="DIR",
        help="where the files are; those that are missing are made at the start",
    )
    parser.add_argument(
        "--small", action="store_true", help="make smaller files, in a second"
    )
    return parser.parse_args()


def set_up_logging() -> None:
    """Show what somebody should know, one line each; the page shows the rest."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("zc_response").setLevel(logging.INFO)
    logging.getLogger("zc_response.transfer").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.error").addFilter(is_news)


def is_news(record: logging.LogRecord) -> bool:
    """False for the traceback of a download that was cut short by the shutdown."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError that says what could be done."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        reason = str(exc.strerror).partition(" (")[0]
        hint = "choose another port: --port 8001, or make demo PORT=8001"
        raise OSError(f"{host} port {port}: {reason}; {hint}") from exc


def serve(folder: Path, listener: socket.socket) -> None:
    """Serve until a signal comes; Ctrl-C raises KeyboardInterrupt afterwards."""
    app = create_app(folder)
    config = uvicorn.Config(
        app,
        http="zc_response.integrations.uvicorn:ZeroCopyProtocol",
        loop="auto",  # uvloop where it is installed
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=0.5,  # type: ignore[arg-type]  # asyncio takes it
    )
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"Open http://{shown}:{port}/  (Ctrl-C stops)", flush=True)
    Server(config, app.state.board).run([listener])


if __name__ == "__main__":
    sys.exit(main())
