"""
The command line: its commands, their words and their options.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, NoReturn

from idlanyard.registry._checks import convert_datetime
from idlanyard.registry._command._places import VARIABLE
from idlanyard.registry._command._statuses import UsageError

PROGRAM: Final = "python -m idlanyard registry"
MOST_LISTED: Final = 100_000
_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_STATUSES: Final = f"""\
exit status:
  0  done, and all is well
  1  something was found or is left: a setting that breaks a promise, a session
     that does not exist or could not be moved, a line that is wrong
  2  the command line is wrong
  3  a store does not answer: waiting may mend this
  4  a store is misconfigured: waiting will not mend this
  128 plus the signal's number, if a signal ended it (130: Ctrl-C)

URL is one of sqlite:///sessions.db, sqlite:////var/lib/sessions.db,
postgresql://user@host/database, redis://host:6379/0 and so on. If it is left
out, it is read from the environment variable {VARIABLE};
env:NAME names another variable. That keeps passwords out of the process list.
"""


class _Command(NamedTuple):
    """
    One command, for the parser.

    Attributes:
        words: its words, as help shows them.
        line: one line of description.
        about: the whole description.
    """

    words: str
    line: str
    about: str


COMMANDS: Final[Mapping[str, _Command]] = {
    "check": _Command(
        "[URL]",
        "check whether the store can keep what the registry promises",
        "Print a sentence for each setting that breaks a promise, with the setting to write "
        "instead. The exit status tells a misconfigured store (4) from one that does not "
        "answer (3).",
    ),
    "list": _Command(
        "[URL]",
        "show sessions",
        "Show living sessions: a table on a terminal, else lines with tabs between the fields. "
        "Memory is bounded by --limit, however many sessions there are.",
    ),
    "count": _Command("[URL]", "count the living sessions", "Print the number of living sessions."),
    "show": _Command("[URL] ID", "show one session", "Show every field of one session."),
    "end": _Command(
        "[URL] [ID]",
        "end one session, or all of a client's",
        "End the session ID, or with --client every session of a client. Its ID is free again.",
    ),
    "purge": _Command(
        "[URL]",
        "free the space of expired sessions",
        "Free the space of expired sessions, and print their number. Nobody sees them without "
        "this, too; it is for the disk.",
    ),
    "export": _Command(
        "[URL]",
        "write all sessions as JSON lines",
        "Write every living session with every field to the output, one JSON object per line.",
    ),
    "import": _Command(
        "[URL]",
        "keep the sessions of an export",
        "Read the output of export from the input, and keep its sessions. Running it again is "
        "harmless.",
    ),
    "move": _Command(
        "[FROM] TO",
        "move all sessions to another store",
        "Move every living session with every field: each is put into TO, then deleted from "
        "FROM. It may be stopped at any moment: nothing is lost, and running it again "
        "completes it.",
    ),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


class Line(NamedTuple):
    """
    A parsed command line.

    Attributes:
        command: the command.
        words: its words; the first may be a URL.
        options: its options.
    """

    command: str
    words: list[str]
    options: argparse.Namespace


def parse_line(arguments: Sequence[str]) -> Line | None:
    """
    Return a parsed command line; ``None`` if it asked for help, which was printed.

    Raises:
        UsageError: the command line is wrong.
    """
    overview, parsers = _parsers()
    if not arguments:
        overview.print_help()
        return None
    command = arguments[0]
    try:
        if command not in parsers:
            overview.parse_args(arguments[:1])
        # An ID may begin with a dash: words after -- are no options.
        rest = list(arguments[1:])
        mark = rest.index("--") if "--" in rest else len(rest)
        options = parsers[command].parse_intermixed_args(rest[:mark])
    except SystemExit:
        return None
    return Line(command, [*options.words, *rest[mark + 1 :]], options)


def split_words(line: Line) -> tuple[str | None, str | None]:
    """
    Return the URL of a command line, and the word after it.

    Raises:
        UsageError: there are too many words, or too few.
    """
    words, options = line.words, line.options
    needs = line.command in ("show", "move") or (line.command == "end" and not options.client)
    if not needs <= len(words) <= needs + 1:
        shown = COMMANDS[line.command].words
        raise UsageError(
            f"{line.command} takes {shown}, not {len(words)} words: "
            f"write {PROGRAM} {line.command} {shown}"
        )
    last = words[-1] if needs else None
    return (words[0] if len(words) > needs else None), last


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    raw = argparse.RawDescriptionHelpFormatter
    overview = _Parser(
        prog=PROGRAM,
        description="Operate the sessions of a registry.",
        epilog=_STATUSES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    group = overview.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    parsers: dict[str, _Parser] = {}
    for name, command in COMMANDS.items():
        parser = group.add_parser(
            name,
            help=command.line,
            description=textwrap.fill(command.about, 78),
            usage=f"{PROGRAM} {name} [OPTION ...] {command.words}",
            epilog=_STATUSES,
            formatter_class=raw,
            allow_abbrev=False,
        )
        parser.add_argument(
            "words", nargs="*", metavar=command.words, help="see the end of this help"
        )
        _add_common(parser)
        parsers[name] = parser
    _add_listing(parsers["list"])
    _add_ending(parsers["end"])
    _add_moving(parsers["move"])
    return overview, parsers


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")
    parser.add_argument(
        "--timeout",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="the most seconds that one question to a store may take (5)",
    )
    parser.add_argument(
        "--namespace",
        default="idlanyard",
        metavar="NAME",
        help="the prefix of the store's tables and keys (idlanyard)",
    )


def _add_listing(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--client", metavar="CLIENT", help="only the sessions of this client")
    whose.add_argument(
        "--without-client", action="store_true", help="only sessions without a client"
    )
    order = parser.add_mutually_exclusive_group()
    order.add_argument("--oldest", action="store_true", help="the oldest first")
    order.add_argument("--newest", action="store_true", help="the newest first")
    order.add_argument("--expiring", action="store_true", help="the first to expire first")
    order.add_argument(
        "--expiring-within",
        type=_parse_span,
        metavar="TIME",
        help="only sessions that expire within this time, as in 90s, 15m, 1h or 2d, the first "
        "to expire first",
    )
    parser.add_argument(
        "--limit",
        type=_parse_limit,
        default=100,
        metavar="N",
        help=f"the most sessions to show, 1 to {MOST_LISTED} (100)",
    )


def _add_ending(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--client", metavar="CLIENT", help="every session of this client")
    parser.add_argument(
        "--created-at",
        type=_parse_moment,
        metavar="MOMENT",
        help="only a session created at this moment, as show prints it",
    )
    parser.add_argument(
        "--yes", action="store_true", help="do not ask before ending a client's sessions"
    )


def _add_moving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--copy", action="store_true", help="keep the sessions in FROM, too")
    parser.add_argument(
        "--copied-at",
        type=_parse_moment,
        metavar="MOMENT",
        help="after a --copy that began at this moment, with TO in use since: keep changes and "
        "ends in TO",
    )
    parser.add_argument(
        "--to-namespace", metavar="NAME", help="the namespace in TO, if it is another one"
    )


def _parse_span(text: str) -> int:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90s, 15m, 1h or 2d")
    return round(float(match[1]) * _SECONDS[match[2]] * 1_000_000)


def _parse_limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_LISTED):
        raise argparse.ArgumentTypeError(f"{text!r} is no limit: write 1 to {MOST_LISTED}")
    return int(text)


def _parse_moment(text: str) -> int:
    try:
        return convert_datetime(datetime.fromisoformat(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no moment with a time zone: write 2026-01-31T12:00:00.000000Z"
        ) from None
