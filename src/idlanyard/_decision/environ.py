"""
What the middlewares write into a WSGI ``environ``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from idlanyard._binding.snapshot import Values
from idlanyard._decision.resolve import Edits
from idlanyard._policy.checked import CheckedPolicy

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def edit(environ: WSGIEnvironment, edits: Edits) -> None:
    """
    Change the request's headers as was decided.
    """
    gone, added = edits
    for key in gone:
        environ.pop(key, None)
    environ.update(added)


def publish(environ: WSGIEnvironment, policy: CheckedPolicy, values: Values) -> None:
    """
    Set the keys that access logs read, and take out those of what is absent.
    """
    for name, value in zip(policy.environ_keys, values, strict=False):
        if value is not None:
            environ[name] = value
        else:
            environ.pop(name, None)
