"""
Signed IDs: believe an ID by its signature, and vouch for one to another service.

``SignedHeader`` reads IDs that a service with one of our keys has signed, and
``Signer`` signs them in outgoing requests. ``pip install 'idlanyard[signing]'``.

``Assertion`` reads IDs out of the verified JWTs of a gateway or an identity
provider. ``pip install 'idlanyard[jwt]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idlanyard.signing._signed_header import SignedHeader
from idlanyard.signing._signer import Signer

if TYPE_CHECKING:
    from idlanyard.signing._assertions.assertion import Assertion

__all__ = ["Assertion", "SignedHeader", "Signer"]


def __getattr__(name: str) -> Any:
    # An application that has no JWTs need not have PyJWT.
    if name == "Assertion":
        try:
            from idlanyard.signing._assertions.assertion import Assertion
        except ModuleNotFoundError as error:
            raise ImportError(
                "Assertion needs PyJWT with cryptography: run pip install 'idlanyard[jwt]'",
                name=error.name,
            ) from error
        return Assertion
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
