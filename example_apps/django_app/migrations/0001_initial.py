"""The first table."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):  # type: ignore[misc]
    """Recordings."""

    initial = True
    operations: ClassVar = [
        migrations.CreateModel(
            name="Recording",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("title", models.CharField(max_length=200)),
                ("file", models.FileField(upload_to="recordings")),
                ("added", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
