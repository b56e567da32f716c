"""
Runs the operator's command: in this process with streams of its own, or as a process.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from idlanyard.registry._command._places import Address, Place, read_stretches
from idlanyard.registry._command._printing import Printer, Streams
from idlanyard.registry._command._run import run
from idlanyard.registry._questions import Put
from idlanyard.registry._record import Kept

COMMAND = (sys.executable, "-m", "idlanyard", "registry")


class Done(NamedTuple):
    """
    The outcome of a command.
    """

    status: int
    out: str
    err: str

    def document(self) -> Any:
        """
        Return the JSON document that it printed.
        """
        return json.loads(self.out)

    def documents(self) -> list[Any]:
        """
        Return the JSON lines that it printed.
        """
        return [json.loads(line) for line in self.out.splitlines()]


class Screen(io.StringIO):
    """
    A stream that says that it is a terminal.
    """

    encoding = "utf-8"

    def isatty(self) -> bool:
        """
        Return that it is one.
        """
        return True


class Keyboard(io.BytesIO):
    """
    The input that is typed at a terminal.
    """

    def isatty(self) -> bool:
        """
        Return that it is one.
        """
        return True


def ran(
    *words: str,
    typed: bytes | None = None,
    file: bytes = b"",
    environ: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
) -> Done:
    """
    Run a command in this process.

    Args:
        words: the command line.
        typed: what is typed at the terminal that it runs on; ``None`` is no terminal.
        file: what it reads, where there is no terminal.
        environ: its environment.
        encoding: that of its output, where there is no terminal.
    """
    streams = streams_of(typed=typed, file=file, encoding=encoding)
    status = run(words, streams, environ or {})
    return Done(status, text_of(streams.out), text_of(streams.err))


def streams_of(
    *, typed: bytes | None = None, file: bytes = b"", encoding: str = "utf-8"
) -> Streams:
    """
    Return streams in memory, of a terminal where something is typed.
    """
    if typed is not None:
        return Streams(Keyboard(typed), Screen(), Screen())
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, newline="\n") for _ in range(2))
    return Streams(io.BytesIO(file), out, err)


def text_of(stream: Any) -> str:
    """
    Return what was written to a stream of ``streams_of``.
    """
    if isinstance(stream, io.StringIO):
        return stream.getvalue()
    stream.flush()
    written: bytes = stream.buffer.getvalue()
    return written.decode(stream.encoding)


def process(*words: str, environ: Mapping[str, str] | None = None, file: bytes = b"") -> Done:
    """
    Run a command as a process of its own.
    """
    done = subprocess.run(
        [*COMMAND, *words],
        input=file,
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environ or {})},
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def place_of(url: str, *, timeout: float = 5.0, namespace: str = "idlanyard") -> Place:
    """
    Open a store as a command does.
    """
    return Place(Address(url, timeout, namespace))


def printer_of(streams: Streams) -> Printer:
    """
    Return what prints to these streams.
    """
    return Printer(streams, (), is_json=False)


def kept_in(url: str, *, namespace: str = "idlanyard") -> dict[str, Kept]:
    """
    Return everything that a store keeps of its living sessions, by their IDs.
    """
    with place_of(url, namespace=namespace) as place:
        return {kept.session_id: kept for stretch in read_stretches(place) for kept in stretch}


def put_into(url: str, sessions: Iterable[Kept], *, namespace: str = "idlanyard") -> None:
    """
    Put sessions into a store, in batches.
    """
    rest = list(sessions)
    with place_of(url, timeout=30, namespace=namespace) as place:
        for start in range(0, len(rest), 1000):
            batch = rest[start : start + 1000]
            assert place.store.ask(Put(batch)) == ["kept"] * len(batch)


def sample(number: int, *, prefix: str = "s", clients: int = 7) -> list[Kept]:
    """
    Return sessions of all kinds: with and without client, metadata, end and idempotency key.
    """
    first, hour = 1_700_000_000_000_001, 3_600_000_000
    sessions: list[Kept] = []
    for one in range(number):
        ttl = None if one % 3 == 0 else (one + 1) * hour
        client = None if one % 5 == 0 else f"client {one % clients}"
        key = one.to_bytes(32, "big") if one % 4 == 0 else None
        kept = Kept(
            f"{prefix}{one:06}{'é' * (one % 2)}",
            client,
            json.dumps({"n": one, "text": "\u2028\U0001f600"}, separators=(",", ":")),
            ttl,
            first + one,
            None if ttl is None else 3_000_000_000_000_000 + one,
            key,
            None if key is None else bytes(reversed(key)),
        )
        sessions.append(kept)
    return sessions
