"""
Breaks each rule once, in a copy of ``src/``, and requires that its test fails.

A check that cannot fail is a defect. Run it from a checkout in which the
tests themselves pass: ``python tests/rules/break_rules.py [RULE ...]``. It
exits 0 only if every breach is noticed by the test named beside it, as a
failure of that test and not as an error while importing or collecting it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from breaches import BREACHES, Breach
from integration_breaches import INTEGRATION_BREACHES
from registry_breaches import REGISTRY_BREACHES

ROOT = Path(__file__).parents[2]
TESTS_FAILED = 1


def broken_copy(breach: Breach, folder: Path) -> Path:
    """
    Copy ``src/`` with the breach's one hunk applied.

    Raises:
        ValueError: the hunk is not there exactly once.
    """
    source = shutil.copytree(ROOT / "src", folder / "src")
    file = source / "idlanyard" / breach.file
    text = file.read_text(encoding="utf-8")
    if text.count(breach.old) != 1:
        raise ValueError(
            f"{breach.rule}: {breach.file} has the hunk {text.count(breach.old)} times"
        )
    file.write_text(text.replace(breach.old, breach.new), encoding="utf-8")
    return source


def run(source: Path, test: str) -> subprocess.CompletedProcess[str]:
    """
    Run one test against the package in *source*.
    """
    environment = os.environ | {"PYTHONPATH": str(source)}
    environment.pop("IDLANYARD_TEST_WHEEL", None)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "--tb=line", test]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:randomly"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def verdict(breach: Breach) -> str | None:
    """
    Return what is wrong with the check of one rule, or ``None`` where it holds.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            source = broken_copy(breach, Path(folder))
        except ValueError as error:
            return str(error)
        result = run(source, breach.test)
    if result.returncode == TESTS_FAILED and "failed" in result.stdout.splitlines()[-1]:
        return None
    return f"{breach.rule}: {breach.test} ended with {result.returncode}:\n{result.stdout[-800:]}"


def main(rules: list[str]) -> int:
    """
    Check every breach, or those of the rules given.
    """
    every = [*BREACHES, *INTEGRATION_BREACHES, *REGISTRY_BREACHES]
    chosen = [breach for breach in every if not rules or breach.rule in rules]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        verdicts = list(pool.map(verdict, chosen))
    for breach, wrong in zip(chosen, verdicts, strict=True):
        print(f"{'ok  ' if wrong is None else 'FAIL'} {breach.rule:4} {breach.what}")
    faults = [wrong for wrong in verdicts if wrong is not None]
    print(*faults, sep="\n")
    print(f"{len(chosen) - len(faults)} of {len(chosen)} breaches noticed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
