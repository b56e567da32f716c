"""
What holds for every test: no skip where none is allowed, a sentence for each, and how often.
"""

from __future__ import annotations

import gc
import inspect
import logging
import os
import sysconfig
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

import idlanyard
from idlanyard._binding.events import subscribers
from idlanyard._binding.inheritance import INHERITS
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._binding.state import UNBOUND, bound, forced, get_binding
from idlanyard._failures import failures, warned

TESTS = Path(__file__).parent
# The tests of these files hold on every Python if they hold on one: `once` runs them, and no
# other environment does.
ONCE = (
    "assertions/test_assertions_page.py",
    "attacks/",
    "doctor/test_page.py",
    "doctor/test_servers.py",
    "integrations/jobs/test_pages.py",
    "integrations/test_by_hand.py",
    "integrations/test_genai_examples.py",
    "registry/test_command_page.py",
    "registry/test_command_scale.py",
    "registry/test_guide.py",
    "registry/test_http_page.py",
    "registry/test_kill.py",
    "registry/test_metrics_page.py",
    "registry/test_race.py",
    "registry/test_redis_failovers.py",
    "registry/test_redis_gaps",
    "rules/",
    "servers/test_behind_caches.py",
    "servers/test_certificates_page.py",
    "servers/test_machine.py",
    "servers/test_proxies_page.py",
    "servers/test_tutorials.py",
    "test_benchmarks",
    "test_caches_page.py",
    "test_comparison.py",
    "test_docs.py",
    "test_examples.py",
    "test_growth.py",
    "test_import.py",
    "test_memory.py",
    "test_migration.py",
    "test_page_blocks.py",
    "test_platforms.py",
    "test_public_api.py",
    "test_readme.py",
    "test_reference.py",
    "test_rules_page.py",
    "test_settings_page.py",
    "test_shape.py",
    "test_site.py",
    "test_troubleshooting.py",
    "test_watching.py",
    "tour/test_page.py",
)
# Other processes answer in the tests of these files, as they would for any Python: the oldest and
# the newest show that ours asks them well, and the Pythons in between leave these out.
ENDS = (
    "assertions/test_fetching.py",
    "assertions/test_key_source.py",
    "doctor/",
    "integrations/jobs/",
    "registry/test_command",
    "registry/test_http_serving.py",
    "registry/test_http_threads.py",
    "registry/test_pgbouncer.py",
    "registry/test_postgresql",
    "registry/test_redis",
    "servers/",
    "signing/test_clients.py",
    "tour/test_tour.py",
)
SELECTIONS = {
    "once": {"once"},
    "not once": {"ends", ""},
    "not once and not ends": {""},
}
pytest_plugins = ("watching",)
NO_SKIPS = bool(os.environ.get("IDLANYARD_NO_SKIPS"))

# Shared machines stall: a deadline would measure the machine, not the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def pytest_configure() -> None:
    """
    Refuse to test the source tree where the built wheel was asked for.
    """
    logging.getLogger("asyncio").addFilter(is_about_the_code)
    if not os.environ.get("IDLANYARD_TEST_WHEEL"):
        return
    home = Path(idlanyard.__file__).resolve().parent
    site_packages = Path(sysconfig.get_path("purelib")).resolve()
    if home.parent != site_packages:
        raise pytest.UsageError(
            f"idlanyard comes from {home}, not from the wheel in {site_packages}"
        )


def is_about_the_code(record: logging.LogRecord) -> bool:
    """
    Return whether a line of asyncio's is about the code that is tested.

    In dev mode asyncio also reports each step of a task that took over 0.1
    seconds, which on a busy machine any step may take.
    """
    return record.msg != "Executing %s took %.3f seconds"


def mark_of(path: Path) -> str:
    """
    Return the mark of the tests of a file, or nothing: ``once`` and ``ends`` run on fewer Pythons.
    """
    if not path.is_relative_to(TESTS):
        return ""
    file = path.relative_to(TESTS).as_posix()
    if file.startswith(ONCE):
        return "once"
    return "ends" if file.startswith(ENDS) else ""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """
    Spare the import of files whose tests the ``-m`` of an environment would deselect.
    """
    wanted = SELECTIONS.get(config.getoption("markexpr"))
    if wanted is None or not collection_path.name.startswith("test_"):
        return None
    return None if mark_of(collection_path) in wanted else True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """
    Collect no garbage while tests are collected, and never look at them for garbage again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Mark tests that run on fewer Pythons, and refuse tests without a docstring.
    """
    for item in items:
        if mark := mark_of(item.path):
            item.add_marker(mark)
    silent = sorted({item.nodeid.partition("[")[0] for item in items if _is_silent(item)})
    if silent:
        raise pytest.UsageError("tests without a docstring: " + ", ".join(silent))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """
    Save at once what a worker of xdist covered: on a busy machine it is killed while it ends.
    """
    if hasattr(session.config, "workerinput") and (running := Coverage.current()):
        running.save()


def _is_silent(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and item.cls is None and not inspect.getdoc(item.obj)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """
    Return two workers for each core: servers, brokers and databases are waited for.
    """
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """
    Fail the test that leaves something bound, forced, subscribed or in use (R3).
    """
    failures.clear()
    warned.clear()
    if INHERITS:
        warned.add("threads that inherit")
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    # Litestar 2 configures the root logger for good when an application is made: the next test
    # would find the lines of others among its own.
    root.setLevel(level)
    root.handlers[:] = handlers
    left = (get_binding(), list(forced), dict(subscribers), get_binding().policy)
    bound.set(UNBOUND)
    assert left == (UNBOUND, [], {}, DEFAULT_POLICY)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """
    Count a skipped test as a failed one where nothing may be skipped.
    """
    report = yield
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"no test may be skipped here: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """
    Count a skipped module as a failed one where nothing may be skipped.
    """
    report = yield
    if NO_SKIPS and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"no module may be skipped here: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
