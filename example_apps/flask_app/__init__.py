"""A Flask application that hands out the files of a directory, run by gunicorn."""
