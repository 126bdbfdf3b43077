"""Certificates for servers under test, whom nobody has to trust."""

from __future__ import annotations

from pathlib import Path


def certificate(directory: Path) -> str:
    """The path of a file with a certificate for localhost and its key."""
    import trustme

    path = directory / "certificate.pem"
    made = trustme.CA().issue_cert("localhost", "127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(path)
    return str(path)
