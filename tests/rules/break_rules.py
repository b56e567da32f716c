"""
Breaks each rule once, in a copy of ``src/``, and requires that its test fails.

A check that cannot fail is a defect. Run it from a checkout in which the
tests themselves pass: ``python tests/rules/break_rules.py [RULE ...]``. It
exits 0 only if every breach is noticed by the test named beside it, as a
failure of that test and not as an error while importing or collecting it.
"""

from __future__ import annotations

import compileall
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings

sys.path.insert(0, str(Path(__file__).parents[1]))

from rules.assertion_breaches import ASSERTION_BREACHES
from rules.attack_breaches import ATTACK_BREACHES
from rules.breaches import BREACHES, Breach
from rules.carrier_breaches import CARRIER_BREACHES
from rules.command_breaches import COMMAND_BREACHES
from rules.cookie_breaches import COOKIE_BREACHES
from rules.doctor_breaches import DOCTOR_BREACHES
from rules.integration_breaches import INTEGRATION_BREACHES
from rules.policy_breaches import POLICY_BREACHES
from rules.postgresql_breaches import POSTGRESQL_BREACHES
from rules.redis_breaches import REDIS_BREACHES
from rules.registry_breaches import REGISTRY_BREACHES
from rules.request_breaches import REQUEST_BREACHES
from rules.signing_breaches import SIGNING_BREACHES
from rules.sqlite_breaches import SQLITE_BREACHES
from rules.verified_breaches import VERIFIED_BREACHES

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

ROOT = Path(__file__).parents[2]
TESTS_FAILED = "1"
# Not "1 error in 0.10s". A thread of the tested package may still write below this line.
SUMMARY_OF_FAILED = re.compile(r"\d+ failed\b.* in \d")
SECONDS = 300


def every_breach() -> list[Breach]:
    """
    Return all breaches, of the core, the policy, the integrations and the registry.
    """
    return [
        *BREACHES,
        *POLICY_BREACHES,
        *REQUEST_BREACHES,
        *INTEGRATION_BREACHES,
        *REGISTRY_BREACHES,
        *POSTGRESQL_BREACHES,
        *REDIS_BREACHES,
        *COMMAND_BREACHES,
        *SIGNING_BREACHES,
        *SQLITE_BREACHES,
        *ASSERTION_BREACHES,
        *VERIFIED_BREACHES,
        *ATTACK_BREACHES,
        *COOKIE_BREACHES,
        *CARRIER_BREACHES,
        *DOCTOR_BREACHES,
    ]


def hunk_fault(breach: Breach) -> str | None:
    """
    Return what is wrong with the hunk of a breach: it must be in its file exactly once.
    """
    text = (ROOT / "src" / "idlanyard" / breach.file).read_text(encoding="utf-8")
    if (times := text.count(breach.old)) == 1:
        return None
    return f"{breach.rule}: {breach.file} has the hunk {times} times: {breach.old!r}"


def compiled_copy(folder: Path) -> Path:
    """
    Copy ``src/`` and compile it, once for all breaches.
    """
    sound = shutil.copytree(ROOT / "src", folder / "sound")
    compileall.compile_dir(sound, quiet=1)
    return sound


def broken_copy(sound: Path, breach: Breach, folder: Path) -> Path:
    """
    Link a copy of ``src/``, with the breach's one hunk applied.
    """
    source = Path(shutil.copytree(sound, folder / "src", copy_function=os.link))
    file = source / "idlanyard" / breach.file
    text = file.read_text(encoding="utf-8")
    for linked in [file, *file.parent.glob(f"__pycache__/{file.stem}.*")]:
        linked.unlink()
    file.write_text(text.replace(breach.old, breach.new), encoding="utf-8")
    return source


class FirstExample:
    """
    A plugin for pytest: Hypothesis stops at the first example that fails.
    """

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """
        Spare the search for a smaller example, once conftest.py has chosen its settings.
        """
        phases = set(Phase) - {Phase.shrink, Phase.explain}
        settings.register_profile("first example", settings(), phases=phases)
        settings.load_profile("first example")


def run_test(source: Path, test: str, output: Path, status: Path) -> None:
    """
    Write pytest's status of one test, run against the package in *source*, into a file.
    """
    with output.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.pop("IDLANYARD_TEST_WHEEL", None)
    # A failing example that is kept would be tried first the next time, in tests of sound code.
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(source.parent)
    # None of the plugins that are installed is needed here, and importing them is slow.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["PYTHONPATH"] = str(source)
    sys.path.insert(0, str(source))
    os.chdir(ROOT)
    arguments = ["-q", "-x", "--no-header", "--tb=line", "-p", "no:cacheprovider", test]
    ended = pytest.main(arguments, plugins=[FirstExample()])
    status.write_text(str(int(ended)), encoding="utf-8")


def verdict(sound: Path, breach: Breach, context: SpawnContext | ForkServerContext) -> str | None:
    """
    Return what is wrong with the check of one rule, or ``None`` where it holds.
    """
    with tempfile.TemporaryDirectory(dir=sound.parent) as folder:
        source = broken_copy(sound, breach, Path(folder))
        output, status = Path(folder, "output"), Path(folder, "status")
        # Python 3.13's Process.exitcode is 255 at times: start() in another thread polls every
        # child, and of two that poll one at the same moment the second finds the pipe empty.
        status.write_text("unfinished", encoding="utf-8")
        process = context.Process(target=run_test, args=(source, breach.test, output, status))
        process.start()
        process.join(SECONDS)
        process.kill()
        process.join()
        lines = output.read_text(encoding="utf-8").splitlines()
        ended = status.read_text(encoding="utf-8")
    if ended == TESTS_FAILED and any(map(SUMMARY_OF_FAILED.match, lines)):
        return None
    said = "\n".join(lines[-20:])
    return f"{breach.rule}: {breach.test} ended with {ended}:\n{said}"


def process_context() -> SpawnContext | ForkServerContext:
    """
    Return how to start a process that has imported what is heavy, where the platform can fork.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    os.environ["PYTHONPATH"] = str(ROOT / "tests")
    context.set_forkserver_preload(["rules.preloaded"])
    return context


def main(rules: list[str]) -> int:
    """
    Check every breach, or those of the rules given.
    """
    chosen = [breach for breach in every_breach() if not rules or breach.rule in rules]
    if faults := [fault for breach in chosen if (fault := hunk_fault(breach))]:
        print(*faults, sep="\n")
        return 1
    context = process_context()
    # Many of them wait, for servers or for a timeout.
    workers = 3 * (os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        sound = compiled_copy(Path(folder))
        verdicts = list(pool.map(lambda breach: verdict(sound, breach, context), chosen))
    for breach, wrong in zip(chosen, verdicts, strict=True):
        print(f"{'ok  ' if wrong is None else 'FAIL'} {breach.rule:4} {breach.what}")
    faults = [wrong for wrong in verdicts if wrong is not None]
    print(*faults, sep="\n")
    print(f"{len(chosen) - len(faults)} of {len(chosen)} breaches noticed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
