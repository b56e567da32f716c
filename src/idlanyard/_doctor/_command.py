"""
``python -m idlanyard doctor``: its command line, and the way from there to the report.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Sequence
from typing import Final, NoReturn, TextIO

from idlanyard._doctor import _report
from idlanyard._doctor._checks._every import CHECKS
from idlanyard._doctor._checks._finding import Check
from idlanyard._doctor._children import observe_in_child
from idlanyard._doctor._observations import Observations
from idlanyard._doctor._options import Options
from idlanyard._doctor._over_server import observe_server
from idlanyard._doctor._servers import NAMES, find_server
from idlanyard._doctor._target import KINDS, CannotRun

CANNOT_RUN: Final = 2
INTERRUPTED: Final = 130

_PROGRAM: Final = "python -m idlanyard doctor"
_ABOUT: Final = """\
Check an application with real requests: in process, and over a real server on
127.0.0.1. It calls made-up paths, which begin with /idlanyard-doctor-, and the
paths that --path names; no other, also not /. Nothing is sent off this machine
by the doctor.
"""
_STATUSES: Final = """\
TARGET is module:app, module:create_app() or a Django settings module.

exit status:
  0  no check is red
  1  a check is red
  2  the application could not be checked, or the command line is wrong
  130  it was interrupted by Ctrl-C
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CannotRun(f"{message}\n{self.format_usage().strip()}")


def main(arguments: Sequence[str], out: TextIO | None = None, err: TextIO | None = None) -> int:
    """
    Run the command and return its exit status.

    Args:
        arguments: the command line after ``doctor``.
        out: the stream of the report; left out, the process's own.
        err: the stream of messages; left out, the process's own.
    """
    report_to: TextIO = sys.stdout if out is None else out
    messages_to: TextIO = sys.stderr if err is None else err
    target, is_json = "", "--json" in arguments
    try:
        line = make_parser().parse_args(arguments)
        target = line.target
        checks = choose_checks(line.only, line.skip)
        observations = observe_line(line)
    except CannotRun as error:
        if is_json:
            _report.write_failure(target, str(error), report_to)
        messages_to.write(f"{_PROGRAM}: {error}\n")
        return CANNOT_RUN
    except KeyboardInterrupt:
        messages_to.write(f"{_PROGRAM}: interrupted, and the application is stopped\n")
        return INTERRUPTED
    report = _report.Report(
        target, observations, [(check, check.judge(observations)) for check in checks]
    )
    write = _report.write_json if is_json else _report.write_text
    try:
        write(report, report_to)
        report_to.flush()
    except BrokenPipeError:
        # Python would try to flush the rest at exit, and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return report.status


def observe_line(line: argparse.Namespace) -> Observations:
    """
    Return the observations that a command line asks for.

    Raises:
        CannotRun: the application cannot be imported, started or served.
    """
    options = Options(
        target=line.target,
        kind=line.kind,
        token=secrets.token_hex(4),
        paths=line.path,
        headers=line.header,
        host=line.host,
        origin=line.origin,
        timeout=line.timeout,
    )
    observations = observe_in_child(options)
    server = find_server(observations.application.kind, line.server)
    if server is None:
        return observations
    return observe_server(observations, server, options, port=line.port, more=line.server_options)


def choose_checks(only: Sequence[str], skip: Sequence[str]) -> list[Check]:
    """
    Return the checks to make.

    Raises:
        CannotRun: there is no check of a name.
    """
    known = [check.name for check in CHECKS]
    for name in (*only, *skip):
        if name not in known:
            raise CannotRun(f"there is no check {name}: write one of {', '.join(known)}")
    return [
        check for check in CHECKS if (not only or check.name in only) and check.name not in skip
    ]


def make_parser() -> argparse.ArgumentParser:
    """
    Return the parser of the command line.
    """
    parser = _Parser(
        prog=_PROGRAM,
        description=_ABOUT,
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="TARGET", help="the application")
    parser.add_argument("--json", action="store_true", help="write JSON")
    _add_choices(parser)
    _add_requests(parser)
    return parser


def _add_choices(parser: argparse.ArgumentParser) -> None:
    """
    Add the options that choose the kind of application, the checks and the server.
    """
    add = parser.add_argument
    add("--kind", choices=KINDS, help="what TARGET is; detected if left out")
    add(
        "--only",
        action="extend",
        default=[],
        type=_parse_names,
        metavar="NAMES",
        help="make these checks only, as in mint,read",
    )
    add(
        "--skip",
        action="extend",
        default=[],
        type=_parse_names,
        metavar="NAMES",
        help="leave these checks out",
    )
    add("--server", choices=NAMES, help="the server; if left out, the first that is installed")
    add(
        "--server-options",
        default="",
        metavar="WORDS",
        help="further words for the server's command line",
    )
    add("--port", type=int, help="the server's port; if left out, a free one")


def _add_requests(parser: argparse.ArgumentParser) -> None:
    """
    Add the options that say what the requests are like.
    """
    add = parser.add_argument
    add(
        "--path",
        action="append",
        default=[],
        type=_parse_path,
        help="a path that may be called; repeat it for more",
    )
    add(
        "--header",
        action="append",
        default=[],
        type=_parse_header,
        metavar="LINE",
        help="a header of the requests for these paths, as in 'Authorization: Bearer ...'",
    )
    add("--host", default="", help="the Host of the requests, if the application accepts no other")
    add("--origin", default="", help="the Origin of a page that may call the application (CORS)")
    add(
        "--timeout",
        type=_parse_seconds,
        default=10.0,
        metavar="SECONDS",
        help="the most that a request may take (10)",
    )


def _parse_path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError("a path begins with /, and is percent-encoded")
    return text


def _parse_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable() or not text.isascii():
        raise argparse.ArgumentTypeError("a header is written 'Name: value'")
    return name.strip(), value.strip()


def _parse_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise argparse.ArgumentTypeError("a number of seconds, above 0")
    return seconds
