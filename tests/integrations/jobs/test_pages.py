"""
Queues without a module of ours: the contract on what their pages say to write.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from arq import create_pool

from idlanyard import dump
from integrations.jobs.contract import RetryingContract


class PageContract(RetryingContract):
    """
    The contract where ``restore(None)`` leaves the environment's static IDs in force.
    """

    environment: ClassVar[dict[str, str]] = {}


class TestConsumer(PageContract):
    """
    The contract on a plain consumer of messages, in one thread.
    """

    command = ("integrations.jobs.on_consumer",)
    kinds = ("sync",)

    def send(self, operation: str, key: str, *, kind: str = "sync") -> None:
        from integrations.jobs import on_consumer

        on_consumer.send(operation, key)

    def send_with(self, carrier: object, key: str) -> None:
        from integrations.jobs import on_consumer

        on_consumer.put({"operation": "look", "key": key, "ids": carrier})


class TestHuey(PageContract):
    """
    The contract on Huey's consumer, in one thread.
    """

    command = ("huey.bin.huey_consumer", "integrations.jobs.on_huey.HUEY", "--workers", "1")
    kinds = ("sync",)

    def send(self, operation: str, key: str, *, kind: str = "sync") -> None:
        from integrations.jobs import on_huey

        task = on_huey.RETRY if operation == "retry" else on_huey.DO
        task(operation, key, ids=dump())

    def send_with(self, carrier: object, key: str) -> None:
        from integrations.jobs import on_huey

        on_huey.DO("look", key, ids=carrier)


class TestArq(PageContract):
    """
    The contract on arq's worker.
    """

    command = ("arq", "integrations.jobs.on_arq.WorkerSettings")
    kinds = ("async",)

    def send(self, operation: str, key: str, *, kind: str = "async") -> None:
        asyncio.run(enqueue(operation, key, dump()))

    def send_with(self, carrier: object, key: str) -> None:
        asyncio.run(enqueue("look", key, carrier))


async def enqueue(operation: str, key: str, carrier: object) -> None:
    """
    Enqueue a job over a connection of its own, since each loop needs its own.
    """
    from integrations.jobs import on_arq

    pool = await create_pool(on_arq.SETTINGS)
    await pool.enqueue_job("do", operation, key, ids=carrier)
    await pool.aclose()
