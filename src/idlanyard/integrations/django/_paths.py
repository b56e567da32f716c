"""
The path of a request as Django's routes match it: decoded, and below the prefix
of the deployment.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings

from idlanyard._decision import protocols


class _ASGIRequest(protocols.ASGIRequest):
    """
    The view of an ASGI ``scope`` that Django serves.
    """

    __slots__ = ()

    @property
    def path(self) -> str:
        """
        The path below ``FORCE_SCRIPT_NAME``, or else below ``root_path``.
        """
        path = str(self.scope.get("path", ""))
        root = str(settings.FORCE_SCRIPT_NAME or self.scope.get("root_path") or "").rstrip("/")
        if root and (path == root or path.startswith(f"{root}/")):
            path = path[len(root) :]
        return path or "/"


class _WSGIRequest(protocols.WSGIRequest):
    """
    The view of an ``environ`` that Django serves.
    """

    __slots__ = ()

    @property
    def path(self) -> str:
        """
        ``PATH_INFO``, which Django has decoded.
        """
        return str(self.environ["PATH_INFO"])


ASGI: Final = protocols.ASGI._replace(view=_ASGIRequest)
WSGI: Final = protocols.WSGI._replace(view=_WSGIRequest)
