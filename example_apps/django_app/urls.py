"""Which path leads where."""

from __future__ import annotations

from django.conf import settings
from django.urls import path

from example_apps.django_app import views
from zc_response.integrations.django import serve

urlpatterns = [
    path("", views.index, name="index"),
    path("play/<int:pk>", views.play, name="play"),
    path("download/<int:pk>", views.download, name="download"),
    path("recordings.tar", views.everything, name="everything"),
    path("media/<path:path>", serve, {"document_root": settings.MEDIA_ROOT}),
    path("static/<path:path>", serve, {"insecure": True}),
]
