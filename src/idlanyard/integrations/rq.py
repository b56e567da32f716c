"""
RQ: ``IDLanyardJob`` runs with the IDs of the code that enqueued it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

from rq.job import Job

from idlanyard import dump
from idlanyard._binding.functions import wrap_function
from idlanyard.integrations.custom import bind_job, is_bound

__all__ = ["IDLanyardJob"]

_KEY: Final = "idlanyard"


class IDLanyardJob(Job):
    """
    A job that keeps the IDs that were current when it was enqueued.

    Queues and workers both need it: ``Queue(..., job_class=IDLanyardJob)``,
    and ``rq worker --job-class idlanyard.integrations.rq.IDLanyardJob``. The
    IDs are in ``job.meta["idlanyard"]``. The job and each of its callbacks
    have IDs of their own, and leave those around them as they were. The jobs
    that it enqueues have its IDs, and a retry has them again. A job that was
    enqueued without IDs has none in a worker; with ``is_async=False`` it has
    the IDs of its caller.
    """

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Any:
        """
        Return a new job with the current IDs, unless its *meta* has some.

        Args:
            args: as for ``rq.job.Job.create``.
            kwargs: as for ``rq.job.Job.create``.
        """
        queued: Any = super()
        job = queued.create(*args, **kwargs)
        carrier = dump()
        if carrier:
            # A new dictionary, since the old one belongs to the caller.
            job.meta = {_KEY: carrier} | job.meta
        return job

    def perform(self) -> Any:
        """
        Run the function with the IDs of the job, checked.

        An exception keeps the IDs, so that the worker's log line shows them.
        """
        # The module of the function may call use_policy, and RQ would import it in the block; an
        # import that fails does so there again.
        with suppress(Exception):
            _ = self.func
        with self._make_block():
            return super().perform()

    @property
    def success_callback(self) -> Any:
        """
        The function to call after success, with the job's IDs.
        """
        return self._bound(super().success_callback)

    @property
    def failure_callback(self) -> Any:
        """
        The function to call after failure, with the job's IDs.
        """
        return self._bound(super().failure_callback)

    @property
    def stopped_callback(self) -> Any:
        """
        The function to call after the job was stopped, with the job's IDs.
        """
        return self._bound(super().stopped_callback)

    def _bound(self, callback: Callable[..., Any] | None) -> Callable[..., Any] | None:
        if callback is None:
            return None
        return wrap_function(callback, enter=self._make_block, make_stepped=self._make_block)

    def _make_block(self) -> AbstractContextManager[object]:
        return bind_job(self.meta.get(_KEY), inherit=is_bound())
