"""The views. But for the last import, and `everything`, any Django project has them."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.http import FileResponse as StockFileResponse, HttpRequest
from django.shortcuts import get_object_or_404, redirect, render

from example_apps.django_app.models import Recording
from zc_response.integrations.django import FileResponse, PipeResponse


class UploadForm(forms.ModelForm):  # type: ignore[misc]
    """A title and a file."""

    class Meta:
        """Of a recording."""

        model = Recording
        fields = ("title", "file")


def index(request: HttpRequest) -> object:
    """All recordings, and a form to add one."""
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("index")
    recordings = Recording.objects.order_by("-added")
    return render(request, "index.html", {"form": form, "recordings": recordings})


def play(request: HttpRequest, pk: int) -> object:
    """A recording, for the player."""
    return FileResponse(get_object_or_404(Recording, pk=pk).file)


def download(request: HttpRequest, pk: int) -> object:
    """The same, to be saved; Django's own response, which the middleware takes over."""
    recording = get_object_or_404(Recording, pk=pk)
    return StockFileResponse(recording.file.open("rb"), as_attachment=True)


def everything(_request: HttpRequest) -> object:
    """All recordings, as tar writes them: nothing of it is kept anywhere."""
    command = ["tar", "-c", "-C", settings.MEDIA_ROOT, "."]
    name = {"Content-Disposition": 'attachment; filename="recordings.tar"'}
    return PipeResponse(command, content_type="application/x-tar", headers=name)
