"""Away from Linux the package imports and copies; here by pretending to be there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ELSEWHERE = """
import sys
sys.platform = "freebsd14"  # what the package asks; the kernel stays what it is

import zc_response
from starlette.applications import Starlette
from starlette.routing import Route
from tests.live import HOOKED, serve
from zc_response.integrations.starlette import FileResponse

async def view(request):
    return FileResponse(sys.argv[1])

seen = []
zc_response.add_listener(seen.append)
app = Starlette(routes=[Route("/", view)])
with serve(app, http=HOOKED["h11"], loop="asyncio") as server:
    with server.client() as client:
        whole, part = client.get(), client.get("/", {"range": "bytes=9-200000"})
        small = client.get("/", {"range": "bytes=100-199"})
content = open(sys.argv[1], "rb").read()
assert (whole.status, whole.body) == (200, content)
assert (part.status, part.body) == (206, content[9:200001])
assert (small.status, small.body) == (206, content[100:200])
assert whole.reusable and part.reusable and small.reusable
print(*(f"{report.strategy}: {report.reason}" for report in seen), sep="\\n")
"""


def test_elsewhere_the_same_bytes_leave_by_copying(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8000)
    command = [sys.executable, "-W", "error", "-c", ELSEWHERE, str(path)]
    root = Path(__file__).parents[1]

    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    missing = "Function not implemented"
    large = [f"copy: sendfile: {missing}; mmap: {missing}"] * 2
    assert done.stdout.splitlines() == [*large, "copy: small"]
