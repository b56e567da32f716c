"""
Run one command: open its stores, handle signals, return the exit status.
"""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NoReturn

from idlanyard.registry._command import _exports, _moving, _sessions
from idlanyard.registry._command._parser import PROGRAM, Line, parse_line, split_words
from idlanyard.registry._command._places import (
    VARIABLE,
    Address,
    Place,
    check_different,
    check_file_exists,
    read_url,
)
from idlanyard.registry._command._printing import Printer, Streams
from idlanyard.registry._command._statuses import (
    BROKEN_PIPE,
    FAULTS,
    FINE,
    SIGNALLED,
    USAGE,
    Failed,
    Interrupted,
    Undone,
    UsageError,
)

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.DOTALL)
_MAKES_FILE: Final = ("check", "import")


def main(arguments: Sequence[str]) -> int:
    """
    Run ``python -m idlanyard registry`` with these arguments, and return its exit status.
    """
    # A stream that the caller has closed is None.
    closed = io.StringIO
    file = sys.stdin.buffer if sys.stdin else io.BytesIO()
    streams = Streams(file, sys.stdout or closed(), sys.stderr or closed())
    try:
        status = run(arguments, streams, os.environ)
        streams.out.flush()
        return status
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except OSError as error:
        _drop_output()
        streams.err.write(f"the output cannot be written: {error.strerror}\n")
        return FAULTS


def _drop_output() -> None:
    # Python would try to flush the rest at exit, and print another error.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def run(arguments: Sequence[str], streams: Streams, environ: Mapping[str, str]) -> int:
    """
    Run one command, and return its exit status.

    Args:
        arguments: the command line, from the command on.
        streams: the streams that it reads and writes.
        environ: the environment.

    Raises:
        OSError: the output cannot be written.
        Exception: a defect, in Python's development mode.
    """
    named = (word.removeprefix("env:") for word in arguments if word.startswith("env:"))
    urls = [url for name in (VARIABLE, *named) if (url := environ.get(name))]
    urls += [match[0] for word in arguments if (match := _URL.search(word))]
    printer = Printer(streams, urls, is_json="--json" in arguments)
    try:
        with _silenced(), _interruptible():
            line = parse_line(arguments)
            return FINE if line is None else _run_line(line, streams, printer, environ)
    except UsageError as error:
        printer.say(f"{PROGRAM}: {error}")
        return USAGE
    except Undone as error:
        printer.say(str(error))
        return FAULTS
    except Failed as failed:
        printer.say(failed.sentence())
        return failed.status
    except Interrupted as interrupted:
        printer.say("stopped: run it again to complete it")
        return SIGNALLED + interrupted.signal
    except Exception as error:
        if isinstance(error, OSError) or sys.flags.dev_mode:
            raise
        printer.say(
            f"unexpected {type(error).__name__}: {error} (a defect: report it with what "
            "python -X dev -m idlanyard registry ... prints)"
        )
        return FAULTS


def _run_line(line: Line, streams: Streams, printer: Printer, environ: Mapping[str, str]) -> int:
    """
    Run the command of a command line.
    """
    first, last = split_words(line)
    options = line.options
    source = Address(read_url(first, environ), options.timeout, options.namespace)
    if line.command == "move":
        url = read_url(last, environ)
        target = Address(url, options.timeout, options.to_namespace or options.namespace)
        check_different(source, target)
    else:
        target = None
    if line.command not in _MAKES_FILE:
        check_file_exists(source.url)
    with Place(source) as place:
        if target is None:
            return _run_on_one(line, place, printer, streams, last)
        with Place(target) as other:
            return _moving.move(
                place,
                other,
                printer,
                timeout=options.timeout,
                is_copy=options.copy,
                copied_at=options.copied_at,
            )


def _run_on_one(
    line: Line, place: Place, printer: Printer, streams: Streams, session_id: str | None
) -> int:
    """
    Run a command on one store.
    """
    match line.command:
        case "check":
            return _sessions.check(place, printer)
        case "count":
            return _sessions.count(place, printer)
        case "list":
            return _sessions.list_sessions(place, printer, line)
        case "show":
            return _sessions.show(place, printer, session_id or "")
        case "end":
            return _sessions.end(place, printer, line, session_id)
        case "purge":
            return _sessions.purge(place, printer)
        case "export":
            return _exports.export(place, printer, streams.out)
        case _:
            return _exports.import_sessions(place, printer, streams.input)


@contextmanager
def _silenced() -> Generator[None, None, None]:
    """
    Silence logs of drivers and stores, unless logging is configured.
    """
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


@contextmanager
def _interruptible() -> Generator[None, None, None]:
    """
    Raise ``Interrupted`` at the first signal to end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    # nohup ignores SIGHUP: leave that so.
    numbers = [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]

    def interrupt(number: int, _: object) -> NoReturn:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
