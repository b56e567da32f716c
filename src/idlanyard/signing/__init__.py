"""
Signed IDs: believe an ID by its signature, and vouch for one to another service.

``SignedHeader`` reads IDs that a service with one of our keys has signed, and
``Signer`` signs them in outgoing requests. ``pip install 'idlanyard[signing]'``.
"""

from __future__ import annotations

from idlanyard.signing._signed_header import SignedHeader
from idlanyard.signing._signer import Signer

__all__ = ["SignedHeader", "Signer"]
