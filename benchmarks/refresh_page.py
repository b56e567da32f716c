"""
Runs the benchmarks that docs/performance.md names, and writes what they print into it.

    python3.11 benchmarks/refresh_page.py [--only WORD] [--skip WORD] [--list]

A table is between a comment that has its Python and its command, and another::

    <!-- measured on 3.11: benchmarks/footprint.py -->
    <!-- measured until here -->

Those of the Python that runs this are refreshed, each with its command, version and date.
"""

from __future__ import annotations

import argparse
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
BLOCK = re.compile(
    r"(?P<head><!-- measured on (?P<python>[\d.]+): (?P<command>.+?) -->\n)"
    r"(?P<body>.*?)"
    r"(?P<tail><!-- measured until here -->)",
    re.DOTALL,
)


def run_block(block: re.Match[str]) -> str:
    """
    Return a block with what its command prints now.
    """
    command = [sys.executable, *shlex.split(block["command"])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{block['command']} failed:\n{done.stderr}")
    today = datetime.now(UTC).date()
    caption = (
        f"`python {block['command']}`, Python {platform.python_version()},"
        f" {today.day} {today:%B %Y}:"
    )
    return f"{block['head']}{caption}\n\n{done.stdout.strip()}\n\n{block['tail']}"


def refresh_page(page: Path, only: str, skip: str | None) -> None:
    """
    Refresh the blocks of this Python with *only* in their command, and without *skip*.

    The page is written after each, so that nothing is lost where a later one fails.
    """
    for chosen in BLOCK.finditer(page.read_text(encoding="utf-8")):
        command = chosen["command"]
        skipped = skip is not None and skip in command
        if chosen["python"] != VERSION or only not in command or skipped:
            continue
        fresh = run_block(chosen)
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(chosen[0], fresh), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--only", default="", metavar="WORD", help="commands with this in them")
    parser.add_argument("--skip", metavar="WORD", help="no commands with this in them")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--list", action="store_true", help="print each Python and command")
    options = parser.parse_args()
    if options.list:
        for block in BLOCK.finditer(options.page.read_text(encoding="utf-8")):
            print(f"{block['python']}: {block['command']}")
        return
    refresh_page(options.page, options.only, options.skip)


if __name__ == "__main__":
    main()
