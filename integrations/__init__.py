"""Frameworks and servers: each module knows one of them, and our public names."""
