"""A Django project for recordings: upload, play, seek, download."""
