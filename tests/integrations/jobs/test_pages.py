"""
Queues without a module of ours: the contract on what their pages say to write.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, ClassVar

from arq import create_pool

from drive import using
from idlanyard import dump, session_context
from integrations.jobs.broker import working
from integrations.jobs.contract import RetryingContract, fresh
from integrations.jobs.work import NEW_KEY, OLD_KEY, POLICY, wait


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


def test_a_worker_believes_a_queue_that_it_trusts(broker: str, tmp_path: Path) -> None:
    """
    S27: with trusted_queue a worker believes what nobody has signed, and what is signed by a key
    that it does not know only if it has no keys itself.
    """
    from integrations.jobs import on_consumer

    unsigned: dict[str, Any] = {"user_id": ["u1", "peer"]}
    with using(queue_keys=[NEW_KEY]), session_context(user_id="u1"):
        signed = dump()
    for keys, expected in ({}, ["peer", "code"]), ({"queue_keys": [OLD_KEY]}, ["peer", "client"]):
        variables = {POLICY: json.dumps({"trusted_queue": True} | keys)}
        hows: list[str] = []
        with working(*TestConsumer.command, output=tmp_path / "output", **variables):
            for carrier in (unsigned, signed):
                key = fresh()
                on_consumer.put({"operation": "look", "key": key, "ids": carrier})
                hows.append(wait(key)["how"]["user_id"])
        assert hows == expected


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
