"""
The command line: ``python -m idlanyard demo``, ``doctor`` and ``registry``.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from typing import Final

from idlanyard import __version__

_MISSING: Final = 2
_PORT: Final = 8765
_ABOUT: Final = "Session, user and tenant IDs that travel with a request. Pages: docs/index.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one command and return its exit status.

    Args:
        arguments: the command line without the program; left out, the
            process's own.
    """
    parser = argparse.ArgumentParser(prog="python -m idlanyard", description=_ABOUT)
    parser.add_argument("--version", action="version", version=f"idlanyard {__version__}")
    commands = parser.add_subparsers(dest="command")
    demo = commands.add_parser("demo", help="a page that shows requests travel, or a table")
    _add_demo_options(demo)
    commands.add_parser("doctor", help="check an application of yours", add_help=False)
    commands.add_parser("registry", help="look after the sessions of a registry", add_help=False)
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["registry"]:
        from idlanyard.registry._command import _run

        return _run.main(words[1:])
    if words[:1] == ["doctor"]:
        from idlanyard._doctor import _command

        return _command.main(words[1:])
    options = parser.parse_args(words)
    if options.command is None:
        parser.print_help()
        return 0
    return _demo(options)


def _add_demo_options(demo: argparse.ArgumentParser) -> None:
    shown = demo.add_mutually_exclusive_group()
    shown.add_argument(
        "--tour",
        action="store_true",
        help="serve the page of the tour until Ctrl-C, as without options at a terminal",
    )
    shown.add_argument(
        "--table",
        action="store_true",
        help="start two servers, send requests, show what came back, as without a terminal",
    )
    shown.add_argument("--serve", action="store_true", help="keep the servers up, to try with curl")
    demo.add_argument(
        "--port", type=int, default=_PORT, help="of the page (%(default)s); 0 for a free one"
    )


def _demo(options: argparse.Namespace) -> int:
    # Without a terminal nobody can press Ctrl-C.
    tour = options.tour or not (options.table or options.serve or not sys.stdin.isatty())
    try:
        if tour:
            from idlanyard._demo.tour import command

            command.check_needed()
            return command.run_tour(options.port)
        from idlanyard._demo import run
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"The demo needs {error.name}: install it from the checkout with "
            f"pip install '.[demo]'\n"
        )
        return _MISSING
    return run.keep_serving(threading.Event().wait) if options.serve else run.run_demo()


if __name__ == "__main__":
    sys.exit(main())
