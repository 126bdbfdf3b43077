"""What the project keeps."""

from __future__ import annotations

from django.db import models


class Recording(models.Model):  # type: ignore[misc]
    """Something to be heard or seen, and its file."""

    title = models.CharField(max_length=200)
    file = models.FileField(upload_to="recordings")
    added = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        title: str = self.title
        return title
