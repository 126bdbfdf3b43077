"""A gunicorn configuration that only adds zero copy.

gunicorn -c python:zc_response.integrations.gunicorn_conf app:app
"""

from __future__ import annotations

from zc_response.integrations.gunicorn import (
    post_worker_init,
    ssl_context,
    worker_exit,
)

__all__ = ["post_worker_init", "ssl_context", "worker_exit"]
