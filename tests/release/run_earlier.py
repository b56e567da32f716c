"""
Run programs with the releases that they were written for: ``python tests/release/run_earlier.py``.

Two packages of MIGRATION.md fail with today's frameworks. Each program before is run with earlier
ones, in an environment of its own, and the program after with this package and today's.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT.joinpath("MIGRATION.md").read_text(encoding="utf-8")
# Werkzeug 2 needs names that Python 3.14 has no more.
PYTHON = ">=3.11,<3.14"
UV_RUN = (sys.executable, "-m", "uv", "run", "--no-project", "--isolated", "--python", PYTHON)
# Title of the section, what the program before needs, and the extra that the one after needs.
SECTIONS = {
    "Flask-Log-Request-ID": (
        ["flask==2.2.5", "werkzeug==2.3.8", "flask-log-request-id==0.10.1"],
        "flask",
    ),
    "The session context of the GenAI utilities": (
        ["opentelemetry-sdk==1.43.0", "splunk-otel-util-genai==0.1.15"],
        "opentelemetry",
    ),
}


def find_programs(title: str) -> list[str]:
    """
    Return the programs before and after of a section.
    """
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[:2]


def run(program: str, packages: list[str]) -> tuple[str, str]:
    """
    Run a program where these packages are installed; return its output and its errors.
    """
    words = [word for package in packages for word in ("--with", package)]
    done = subprocess.run(
        [*UV_RUN, *words, "python", "-c", program], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else "", done.stderr


def main() -> int:
    """
    Compare each pair, print a line for it, and return the exit status.
    """
    failed = 0
    for title, (packages, extra) in SECTIONS.items():
        before, after = find_programs(title)
        old, errors = run(before, packages)
        new, later_errors = run(after, [f"idlanyard[{extra}] @ {ROOT.as_uri()}"])
        is_same = bool(old) and old == new
        failed += not is_same
        print(f"{title}: {'ok' if is_same else old + errors + new + later_errors}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
