"""
``manage.py runserver`` as it is without us, with the IDs on its access lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from idlanyard.integrations.django._runserver import command_with_ids

if TYPE_CHECKING:
    from django.core.management.base import BaseCommand

Command: type[BaseCommand] = command_with_ids("idlanyard", __name__)
"""
The ``runserver`` of the application behind ours in ``INSTALLED_APPS``, or Django's own.
"""
