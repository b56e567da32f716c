"""
The guard on the work for a request counts exactly, and notices what it must.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import instructions
from lanes import CANDIDATES, OURS
from profiles import Request, Response

PAIR = "ASGI, mint: curl direct x JSON"
REQUEST = Request("one", "session", "198.51.100.7", (("host", "a"), ("x-session-id", "s1")))
RESPONSE = Response("text", (("Content-Type", "text/plain"),))


@pytest.mark.parametrize(
    ("now", "noticed"),
    [
        pytest.param(
            [1030, 100, 2000, 200], "1000 instructions before, 1030 now (+3.0%)", id="more"
        ),
        pytest.param([970, 100, 2000, 200], "1000 instructions before, 970 now (-3.0%)", id="less"),
        pytest.param([1010, 101, 2020, 202], "", id="1 % more"),
        pytest.param([990, 99, 1980, 198], "", id="1 % less"),
        pytest.param(
            [1000, 103, 2000, 200], "100 calls of C functions before, 103 now (+3.0%)", id="calls"
        ),
        pytest.param(
            [1000, 100, 2060, 200],
            "2000 instructions for the first such request before, 2060 now (+3.0%)",
            id="first",
        ),
    ],
)
def test_a_difference_of_over_two_percent_is_noticed(now: list[int], noticed: str) -> None:
    """
    Counts that are 3 % higher or lower are named with both values, and 1 % passes.
    """
    lines = instructions.compare_counts({PAIR: [1000, 100, 2000, 200]}, {PAIR: now})
    assert lines == ([f"{PAIR}: {noticed}"] if noticed else [])


def test_the_line_of_the_page_is_one_of_the_command() -> None:
    """
    The difference that docs/performance.md shows is written as the command writes it, and the
    options that it shows there are those of the command.
    """
    page = Path(__file__).parents[1].joinpath("docs", "performance.md").read_text("utf-8")
    (shown,) = re.findall(r"^ASGI, session: .*before.*$", page, re.MULTILINE)
    pair, then, now = re.findall(r"^(.*?: .*?): (\d+) instructions before, (\d+) now", shown)[0]
    before, after = [int(then), 100, 2000, 200], [int(now), 100, 2000, 200]
    assert instructions.compare_counts({pair: before}, {pair: after}) == [shown]
    assert pair.partition(": ")[2] in {" x ".join(each) for each in instructions.PAIRS}
    assert "\ntox run -e instructions -- --write\n" in page


def test_pairs_come_and_go_only_with_the_file() -> None:
    """
    A pair that is counted on one side only is a difference.
    """
    assert instructions.compare_counts({"old": [1, 1, 2, 2]}, {"new": [1, 1, 2, 2]}) == [
        "old: not counted any more",
        "new: not counted before",
    ]


def test_the_file_is_written_and_compared_by_python(tmp_path: Path) -> None:
    """
    The counts of other Pythons stay; a difference names the command that writes the file anew.
    """
    file = tmp_path / "counts.json"
    with pytest.raises(SystemExit, match=r"of no Python, not of 3\.\d+, which `python .* --write`"):
        instructions.check_counts({PAIR: [100, 10, 200, 20]}, file)
    file.write_text('{"3.0": {"old": [1, 2]}}')
    instructions.write_counts({PAIR: [100, 10, 200, 20], "other": [7, 0, 7, 0]}, file)
    assert json.loads(file.read_text()) == {
        "3.0": {"old": [1, 2]},
        instructions.MINOR: {PAIR: [100, 10, 200, 20], "other": [7, 0, 7, 0]},
    }
    instructions.check_counts({PAIR: [101, 10, 202, 20], "other": [7, 0, 7, 0]}, file)
    with pytest.raises(SystemExit) as caught:
        instructions.check_counts({PAIR: [103, 10, 200, 20], "other": [7, 1, 7, 0]}, file)
    message = str(caught.value)
    assert f"{PAIR}: 100 instructions before, 103 now (+3.0%)" in message
    assert "other: 0 calls of C functions before, 1 now" in message
    assert instructions.COMMAND in message


@pytest.mark.parametrize("protocol", CANDIDATES)
def test_more_work_is_counted_and_the_same_work_is_not(protocol: str) -> None:
    """
    A request counts the same in every run; one more call in the middleware counts as more.
    """
    middleware = CANDIDATES[protocol][OURS]

    def make_slower(app: Any) -> Any:
        inner = middleware(app)

        def slower(*arguments: Any) -> Any:
            sorted(arguments[0])
            return inner(*arguments)

        return slower

    def count(make: Any) -> list[int]:
        return instructions.count_added(protocol, make, REQUEST, RESPONSE)

    if instructions.monitoring is None:
        with pytest.raises(SystemExit, match=r"needs Python 3\.12 or newer"):
            instructions.count_pairs()
        return
    assert count(lambda app: app) == [0, 0, 0, 0]
    before = count(middleware)
    assert before == count(middleware)
    lines = instructions.compare_counts({PAIR: before}, {PAIR: count(make_slower)})
    assert [line.partition("(")[0] for line in lines if "C functions" in line]


def test_every_pair_is_counted() -> None:
    """
    The committed file has the twelve pairs by both protocols, from each of the four paths.
    """
    committed = json.loads(instructions.FILE.read_text(encoding="utf-8"))["3.13"]
    assert len(committed) == 2 * len(instructions.PAIRS) == 24
    for protocol in CANDIDATES:
        for path in ("mint", "session", "trusted", "refused"):
            assert sum(pair.startswith(f"{protocol}, {path}: ") for pair in committed) >= 2
    assert all(count > 0 for counts in committed.values() for count in counts)


def test_work_of_other_threads_is_not_counted() -> None:
    """
    A thread that works meanwhile, as those of a test runner do, adds nothing.
    """
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            sum(range(100))

    def wait() -> None:
        time.sleep(0.02)

    if instructions.monitoring is None:
        return
    alone = instructions.count_work(wait)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        beside = instructions.count_work(wait)
    finally:
        over.set()
        thread.join()
    assert beside == alone
