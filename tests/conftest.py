"""
What holds for every test: no skip where none is allowed, a sentence for each.
"""

from __future__ import annotations

import inspect
import os
import sysconfig
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import idlanyard
from idlanyard._binding import UNBOUND, bound, current, forced
from idlanyard._events import failures, subscribers
from idlanyard._snapshot import DEFAULT_POLICY

NO_SKIPS = bool(os.environ.get("IDLANYARD_NO_SKIPS"))

# Shared machines stall: a deadline would measure the machine, not the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def pytest_configure() -> None:
    """
    Refuse to test the source tree where the built wheel was asked for.
    """
    if not os.environ.get("IDLANYARD_TEST_WHEEL"):
        return
    home = Path(idlanyard.__file__).resolve().parent
    site_packages = Path(sysconfig.get_path("purelib")).resolve()
    if home.parent != site_packages:
        raise pytest.UsageError(
            f"idlanyard comes from {home}, not from the wheel in {site_packages}"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Refuse tests that do not say in a sentence what is true.
    """
    silent = sorted({item.nodeid.partition("[")[0] for item in items if _is_silent(item)})
    if silent:
        raise pytest.UsageError("tests without a docstring: " + ", ".join(silent))


def _is_silent(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and item.cls is None and not inspect.getdoc(item.obj)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """
    Fail the test that leaves something bound, forced, subscribed or in use (R3).
    """
    failures.clear()
    yield
    left = (current(), dict(forced), dict(subscribers), current().policy)
    bound.set(UNBOUND)
    assert left == (UNBOUND, {}, {}, DEFAULT_POLICY)


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
