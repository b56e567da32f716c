"""
``manage.py runserver`` as it is without us, with the IDs on its access lines.
"""

from __future__ import annotations

from typing import Any

from idlanyard.integrations.django._runserver import command_behind, with_ids

_Behind: Any = command_behind("idlanyard")


class Command(_Behind):  # type: ignore[misc]
    """
    The ``runserver`` of the application behind ours in ``INSTALLED_APPS``, or Django's own.
    """

    server_cls = with_ids(_Behind.server_cls)
