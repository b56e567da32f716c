"""
Backends of Django's tasks that carry IDs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from django_tasks_db import DatabaseBackend

from idlanyard.integrations.django_tasks import CarryingBackendMixin
from integrations.jobs.django_settings import HERE

if TYPE_CHECKING:
    from django.tasks import task
    from django.tasks.backends.immediate import ImmediateBackend
else:
    home = "django.tasks" if HERE else "django_tasks"
    task = import_module(home).task
    ImmediateBackend = import_module(f"{home}.backends.immediate").ImmediateBackend

__all__ = ["AtOnce", "InDatabase", "task"]


class InDatabase(CarryingBackendMixin, DatabaseBackend):
    """
    Stores its tasks for a worker.
    """


class AtOnce(CarryingBackendMixin, ImmediateBackend):
    """
    Runs its tasks where they are enqueued.
    """
