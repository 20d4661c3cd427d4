"""Keys of services: from an argument or the environment, and never into a message."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from kullm.errors import KeyRefused, MissingKey


def safe(url: str) -> bool:
    """May a key be sent there? Over https, and to this machine itself."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def api_key(given: str | None, *, service: str, variable: str, where: str) -> str:
    """The key `given`, or that of the environment variable, without white space around it.

    Raises `MissingKey` where there is none, and `KeyRefused`, which does not quote it, for one that no header can hold.
    """
    key = (given or os.environ.get(variable) or "").strip()
    if not key:
        raise MissingKey(service, variable, where)
    if not (key.isascii() and key.isprintable()):
        raise KeyRefused(f"The key for {service} holds characters that no key has.", next=f"Check {variable}.")
    return key
