"""gunicorn's configuration: settings of one's own, and the two hooks."""

from __future__ import annotations

from zc_response.integrations.gunicorn import post_worker_init, worker_exit

__all__ = ["post_worker_init", "worker_exit"]

wsgi_app = "example_apps.flask_app.app:create_app()"
bind = "127.0.0.1:8001"
workers = 2
worker_class = "gthread"
threads = 4
accesslog = "-"
