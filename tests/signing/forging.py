"""
Signed lines as the page describes them, made without the package and without its library.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

KEY = "a key that both of the services know"
OLD = "the key that is being replaced by it"
UNKNOWN = "a key that somebody else has made up"
AUDIENCE = "https://billing.internal"
SIGNATURE = 43


def forge(
    value: str = "alice",
    *,
    field: str = "user_id",
    audience: str = AUDIENCE,
    key: str = KEY,
    age: int = 0,
    text: str | None = None,
) -> str:
    """
    Return a signed line.

    Args:
        value: the ID.
        field: the name of the ID.
        audience: the service that it is for.
        key: the key.
        age: the seconds since it was signed.
        text: all that is signed, in place of audience, value and time.
    """
    signed = text if text is not None else f"{audience} {value} {int(time.time()) - age}"
    own = hmac.digest(key.encode(), f"idlanyard {field}".encode(), hashlib.sha256)
    made = hmac.digest(own, signed.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(made).decode().rstrip('=')}"
