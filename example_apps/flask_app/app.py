"""The application: an ordinary Flask one, but for one import.

`FILES` in the environment names the directory whose files are handed out.
"""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, Response, render_template_string

from zc_response.integrations.flask import ZeroCopy, send_from_directory

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Files</title>
<link rel="stylesheet" href="{{ url_for('static', filename='page.css') }}">
<h1>Files</h1>
<ul>
{% for file in files %}
  <li><a href="{{ url_for('download', name=file.name) }}">{{ file.name }}</a>
      {{ file.size }} bytes</li>
{% else %}
  <li>There are none.</li>
{% endfor %}
</ul>
</html>
"""


def create_app(folder: Path | None = None) -> Flask:
    """The application that hands out the files in `folder` (else: in `FILES`)."""
    folder = (folder or Path(os.environ.get("FILES", "."))).resolve()
    app = Flask(__name__)
    ZeroCopy(app)

    @app.get("/")
    def index() -> str:
        found = sorted(path for path in folder.iterdir() if path.is_file())
        files = [{"name": path.name, "size": path.stat().st_size} for path in found]
        return render_template_string(PAGE, files=files)

    @app.get("/download/<name>")
    def download(name: str) -> Response:
        return send_from_directory(folder, name, as_attachment=True)

    return app
