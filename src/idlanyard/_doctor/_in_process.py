"""
The child process that imports an application and sends it requests without a server.

It writes its observations, or the reason why there are none, into a file: the
output is the application's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from idlanyard._binding.events import subscribe
from idlanyard._doctor._driving_asgi import drive_asgi, run_lifespan
from idlanyard._doctor._driving_wsgi import drive_wsgi
from idlanyard._doctor._inspection import inspect_application
from idlanyard._doctor._observations import (
    Application,
    Exchange,
    Observations,
    Probe,
    Rules,
    dump_observations,
)
from idlanyard._doctor._options import VARIABLE, Options, load_options
from idlanyard._doctor._policies import Caught, make_sessions, read_rules
from idlanyard._doctor._probes import UNKNOWN_ORIGIN, list_probes
from idlanyard._doctor._target import CannotRun, Target, load_target

FAILED: Final = "cannot run"
"""
The key under which the file has the reason why there are no observations.
"""

_FOR_SERVER: Final = 100


def name_step_file(file: Path) -> Path:
    """
    Return the file that names the current step, for the case that it hangs.
    """
    return file.with_suffix(".step")


def main(arguments: list[str]) -> int:
    """
    Observe the application that the environment names; the file is the only argument.
    """
    options, file = load_options(os.environ[VARIABLE]), Path(arguments[0])
    try:
        text = dump_observations(
            observe_application(options, partial(_write_file, name_step_file(file)))
        )
    except CannotRun as error:
        text = json.dumps({FAILED: str(error)})
    _write_file(file, text)
    return 0


def _write_file(file: Path, text: str) -> None:
    # In one step, since another process reads it.
    written = file.with_suffix(".new")
    written.write_text(text, encoding="utf-8")
    written.replace(file)


def observe_application(options: Options, begin: Callable[[str], None]) -> Observations:
    """
    Import an application, send it requests, and return the observations.

    Args:
        options: the application, and how to ask it.
        begin: called with each step, in words, before it is taken.

    Raises:
        CannotRun: the application cannot be imported or started, or does not answer.
    """
    begin(f"the import of {options.target}")
    target = load_target(options.target, options.kind)
    caught = Caught()
    undo = subscribe("bind", caught.keep)
    try:
        if target.kind == "asgi":
            return asyncio.run(_observe_asgi(target, options, caught, begin))
        return _Observer(target, options, caught, begin).observe_wsgi()
    finally:
        undo()


class _Observer:
    """
    The requests to one application, and what came of them.
    """

    def __init__(
        self, target: Target, options: Options, caught: Caught, begin: Callable[[str], None]
    ) -> None:
        self.target = target
        self._begin = begin
        self.options = options
        self.caught = caught
        self.application = inspect_application(target)
        self.host = options.host or self.application.host or "localhost"
        self.exchanges: list[Exchange] = []

    def list_probes(self) -> list[Probe]:
        """
        Return the requests under the policy that is known so far.
        """
        origins = [self.options.origin, *self.application.origins, UNKNOWN_ORIGIN]
        return list_probes(
            self.rules,
            kind=self.target.kind,
            sessions=make_sessions(self.caught.policy),
            token=self.options.token,
            paths=self.options.paths,
            headers=self.options.headers,
            origin=next(filter(None, origins)),
        )

    @property
    def rules(self) -> Rules:
        """
        The policy that is known so far.
        """
        return read_rules(self.caught.policy)

    def keep(self, exchange: Exchange) -> None:
        """
        Keep an exchange, with the IDs that were bound in it.
        """
        if not self.exchanges and not exchange.status:
            remedy = "start what it waits for, or raise --timeout"
            if not exchange.is_late:
                remedy = "let it answer 404 to a path that does not exist"
            fault = exchange.fault or "its call ended without a response"
            raise CannotRun(f"the application does not answer: {fault}: {remedy}")
        self.exchanges.append(replace(exchange, bound=self.caught.bound))
        self.caught.bound = {}

    def take_probes(self) -> Iterator[Probe]:
        """
        Return the requests one by one; the first shows the policy.
        """
        probes = self.list_probes()[:1]
        for probe in probes:
            self._begin(f"{probe.method} {probe.path} in process")
            yield probe
            if len(self.exchanges) == 1:
                probes += self.list_probes()[1:]

    def observe_wsgi(self) -> Observations:
        """
        Send every request.
        """
        for probe in self.take_probes():
            limit = self.options.timeout
            self.keep(drive_wsgi(self.target.app, probe, host=self.host, limit=limit))
        return self.finish(self.application)

    def finish(self, application: Application) -> Observations:
        """
        Return the observations.
        """
        return Observations(
            application=application,
            rules=self.rules,
            is_installed=self.caught.policy is not None,
            exchanges=self.exchanges,
            server_sessions=[*islice(make_sessions(self.caught.policy), _FOR_SERVER)],
        )


async def _observe_asgi(
    target: Target, options: Options, caught: Caught, begin: Callable[[str], None]
) -> Observations:
    limit = options.timeout
    begin("the start of its lifespan")
    async with run_lifespan(target.app, limit) as state:
        observer = _Observer(target, options, caught, begin)
        host = observer.host
        for probe in observer.take_probes():
            observer.keep(await drive_asgi(target.app, probe, host=host, limit=limit, state=state))
        # Some frameworks build their middlewares with the first request.
        return observer.finish(inspect_application(target))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
