"""
The broker and the worker that the tests of this folder share.
"""

from __future__ import annotations

from integrations.jobs.broker import broker, worker

__all__ = ["broker", "worker"]
