"""The project of the Django tests, as servers load it."""

from __future__ import annotations

from tests.django import project

asgi = project.asgi()
wsgi = project.wsgi()
