"""
Install every extra alone, on every Python: ``python tests/release/install_extras.py FOLDER``.

Each is installed from the wheel of a folder into an empty environment, and what
it enables is imported there, with warnings as errors.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
UV = (sys.executable, "-m", "uv")
INTEGRATION = "import idlanyard.integrations.{}"
OPEN = "from idlanyard.registry import SessionRegistry as R; R.open('{}').close()"
ENABLES = {
    "": "import idlanyard.asgi, idlanyard.wsgi, idlanyard.registry",
    "cli": "import idlanyard.registry._command._run",
    "demo": "import idlanyard._demo.run",
    "django": "import idlanyard.integrations.django, idlanyard.registry.django",
    "doctor": "import idlanyard._doctor._command, uvicorn, waitress",
    "fastapi": "import idlanyard.integrations.fastapi, idlanyard.registry.fastapi",
    "flask": "import idlanyard.integrations.flask, idlanyard.registry.flask",
    "httpx2": "import httpx2; import idlanyard.integrations.httpx",
    "jwt": "from idlanyard.signing import Assertion",
    "opentelemetry": "import idlanyard.integrations.opentelemetry",
    "postgres": OPEN.format("postgresql://127.0.0.1:1/d"),
    "redis": OPEN.format("redis://127.0.0.1:1/0"),
    "signing": "from idlanyard.signing import Signer; Signer(keys=['k' * 32])",
    "werkzeug": "import idlanyard.registry.http, werkzeug",
}
"""
The program that shows what an extra enables; by default it imports an integration of that name.
"""


def find_pythons() -> list[str]:
    """
    Return the supported Pythons that are there, as uv finds them.
    """
    found = []
    for version in PYTHONS:
        words = [*UV, "python", "find", "--no-project", "--system", version]
        answer = subprocess.run(words, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            found.append(answer.stdout.strip())
    return found


def list_extras() -> list[str]:
    """
    Return the extras of the project, with an empty one for none.
    """
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))
    return ["", *sorted(project["project"]["optional-dependencies"])]


def try_extra(python: str, extra: str, wheel: Path) -> str | None:
    """
    Install one extra into an empty environment and use it; return the output of a failure.
    """
    wanted = f"idlanyard[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
    program = ENABLES.get(extra, INTEGRATION.format(extra.replace("-", "_")))
    home = Path(tempfile.mkdtemp())
    inside = home / "bin" / "python"
    steps = (
        [*UV, "venv", "--quiet", "--no-project", "--python", python, str(home)],
        [*UV, "pip", "install", "--quiet", "--python", str(inside), wanted],
        [*UV, "pip", "check", "--quiet", "--python", str(inside)],
        [str(inside), "-I", "-W", "error:::idlanyard", "-c", program],
    )
    try:
        for words in steps:
            done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=home)
            if done.returncode:
                return f"{' '.join(words)}\n{done.stderr}"
        return None
    finally:
        shutil.rmtree(home)


def main(folder: Path) -> int:
    """
    Try every extra on every Python, print one line for each, and return the exit status.
    """
    [wheel] = folder.resolve().glob("*.whl")
    failed = 0
    for python, extra in product(find_pythons(), list_extras()):
        fault = try_extra(python, extra, wheel)
        failed += fault is not None
        print(f"{python} {extra or '(none)'}: {fault or 'ok'}", flush=True)
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
