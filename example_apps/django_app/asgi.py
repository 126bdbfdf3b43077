"""For uvicorn: one import differs from what `startproject` makes."""

from __future__ import annotations

import os

from zc_response.integrations.django import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_apps.django_app.settings")

application = get_asgi_application()
