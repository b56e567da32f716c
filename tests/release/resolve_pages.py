"""
Resolve what the pages install: ``python tests/release/resolve_pages.py``.

Each distinct line of pip is asked of the index, for an empty environment and in the folder that it
is written for, and so are the constraints of this project. Nothing is installed.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from page_blocks import PAGES, ROOT, find_blocks, find_installs

UV = (sys.executable, "-m", "uv")


def find_commands(folder: Path) -> dict[str, list[str]]:
    """
    Return the commands that resolve what the pages install, by their lines on the pages.

    Args:
        folder: an empty environment, which also gets the constraints.
    """
    install = [*UV, "pip", "install", "--dry-run", "--quiet", "--python", str(folder)]
    commands = {
        f"pip install {line}": [
            *install,
            *(str(ROOT) if word[0] == "~" else word for word in words),
        ]
        for line, words in find_installs().items()
    }
    for block in find_blocks(ROOT / "CONTRIBUTING.md"):
        if block.text.startswith("uv pip compile "):
            line = block.text.replace("\\\n", " ").replace(
                "constraints.txt", str(folder / "new.txt")
            )
            words = shlex.split(line)
            commands["uv pip compile"] = [*UV, *words[1:], "--quiet"]
    return commands


def main() -> int:
    """
    Try every line, print one for each, and return the exit status.
    """
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([*UV, "venv", "--quiet", "--clear", "--no-project", name], check=True)
        for line, words in find_commands(Path(name)).items():
            done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
            failed += done.returncode != 0
            print(f"{line}: {done.stderr if done.returncode else 'ok'}", flush=True)
    print(f"{failed} of the lines on {len(PAGES)} pages failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
