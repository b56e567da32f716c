"""
``identify`` without a request, in loops and greenlets of others.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import pytest
import trio

from idlanyard import get_user_id, identify

LOST = "found no request"


def test_tasks_of_trio_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """
    R2.3: a loop of trio counts as one of asyncio does.
    """

    async def task() -> str | None:
        identify(user_id="u")
        return get_user_id()

    found: list[str | None] = []
    looping = threading.Thread(target=lambda: found.append(trio.run(task)))
    plain = threading.Thread(target=lambda: identify(user_id="u"))
    with caplog.at_level(logging.WARNING, "idlanyard"):
        looping.start()
        looping.join()
        assert (found, caplog.messages) == (["u"], [])
        plain.start()
        plain.join()
        assert [LOST in line for line in caplog.messages] == [True]


def test_greenlets_of_the_main_thread_are_not_warned_of() -> None:
    """
    R2.3: under gevent a greenlet has an ident of its own, and is in the main thread all the same.
    """
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import gevent, logging, threading, contextvars\n"
        "logging.basicConfig()\n"
        "from idlanyard import identify\n"
        "gevent.spawn(identify, user_id='u').get()\n"
        "gevent.get_hub().threadpool.apply(identify, kwds={'user_id': 'u'})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr.count(LOST) == 1, done.stderr
