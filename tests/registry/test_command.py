"""
The operator's command on one store: looking, ending, exporting, importing, and how it ends.
"""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from idlanyard.__main__ import main
from idlanyard.registry import RegistryMisconfigured, RegistryUnavailable, SessionRegistry
from idlanyard.registry._command._printing import Printer
from idlanyard.registry._command._run import run
from idlanyard.registry._command._sessions import _deduplicate, _take_first, check
from idlanyard.registry._command._statuses import Failed
from idlanyard.registry._command._text import escape_text, hide_secrets, scrub_text
from idlanyard.registry._memory import MemoryStore
from idlanyard.registry._questions import Question
from ports import free_port
from registry.commanding import (
    COMMAND,
    Done,
    kept_in,
    place_of,
    process,
    put_into,
    ran,
    sample,
    streams_of,
    text_of,
)
from registry.naming import DEADLINE, eventually

HOUR = 3_600_000_000


@pytest.fixture
def url(tmp_path: Path) -> str:
    """
    Return the URL of a file with ten sessions.
    """
    url = f"sqlite:///{tmp_path}/sessions.db"
    put_into(url, sample(10))
    return url


@contextmanager
def silent() -> Iterator[int]:
    """
    Listen on a port, and answer nothing.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# Looking at sessions.


def test_count(url: str) -> None:
    """
    ``count`` prints how many sessions live.
    """
    assert ran("count", url) == Done(0, "10\n", "")
    assert ran("count", url, "--json").document() == {"sessions": 10}


def test_show(url: str) -> None:
    """
    ``show`` prints every field of a session; the moment of its creation is that of ``end``.
    """
    [kept] = [kept for kept in sample(10) if kept.session_id == "s000001é"]
    with SessionRegistry.open(url) as registry:
        record = registry.get(kept.session_id)
    shown = ran("show", url, kept.session_id, "--json")
    assert shown.document() == {
        "session_id": "s000001é",
        "client_id": "client 1",
        "metadata": dict(record.metadata),
        "created_at": "2023-11-14T22:13:20.000002Z",
        "expires_at": "2065-01-24T05:20:00.000001Z",
    }
    lines = ran("show", url, "s000000").out.splitlines()
    assert lines[0] == "field\tvalue"
    assert "client_id\t" in lines
    assert "expires_at\tnever" in lines


def test_show_of_what_is_not_there(url: str) -> None:
    """
    A session that is not there is one sentence and the status 1.
    """
    done = ran("show", url, "nobody")
    assert (done.status, done.out) == (1, "")
    assert done.err == "there is no session 'nobody': it has ended, expired or never existed\n"


def listed(url: str, *words: str) -> list[str]:
    """
    Return the numbers of the sessions that a list has, in its order.
    """
    done = ran("list", url, "--json", *words)
    assert done.status == 0
    return [document["session_id"][1:7].lstrip("0") or "0" for document in done.documents()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--oldest"], "0 1 2 3 4 5 6 7 8 9", id="oldest"),
        pytest.param(["--newest", "--limit", "3"], "9 8 7", id="newest"),
        pytest.param(["--expiring"], "1 2 4 5 7 8", id="expiring"),
        pytest.param(["--expiring", "--limit", "2"], "1 2", id="soonest"),
        pytest.param(["--expiring-within", "1h"], "", id="within an hour"),
        pytest.param(["--expiring-within", "5200w"], "1 2 4 5 7 8", id="within a century"),
        pytest.param(["--client", "client 2", "--newest"], "9 2", id="client"),
        pytest.param(["--client", "nobody"], "", id="unknown client"),
        pytest.param(["--without-client", "--oldest"], "0 5", id="without client"),
    ],
)
def test_list(url: str, words: list[str], expected: str) -> None:
    """
    ``list`` has the sessions that were asked for, in the order that was asked for.
    """
    assert " ".join(listed(url, *words)) == expected


def test_a_list_that_is_cut_says_so(url: str) -> None:
    """
    Without an order a list stops at its limit, and says that there are more.
    """
    for words in ([], ["--oldest"]):
        done = ran("list", url, "--limit", "4", *words)
        assert len(done.out.splitlines()) == 5
        assert done.err == (
            "there are more than 4 sessions: write a larger --limit, or use export\n"
        )
        assert ran("list", url, "--limit", "10", *words).err == ""


def test_a_list_of_a_client_has_many_pages(tmp_path: Path) -> None:
    """
    A client with more sessions than a page holds is listed to the last one.
    """
    url = f"sqlite:///{tmp_path}/x.db"
    put_into(url, [kept._replace(client_id="one") for kept in sample(1001)])
    assert len(listed(url, "--client", "one", "--limit", "2000")) == 1001


def test_a_session_is_listed_once() -> None:
    """
    A session that a walk meets in two of its parts is listed once.
    """
    rows = [kept.row() for kept in sample(5)]
    assert list(_deduplicate(rows * 2)) == rows
    assert _take_first(rows * 2, 10, lambda row: row.created) == rows
    assert _take_first(rows, 2, lambda row: -row.created) == rows[:1:-1]


# What must not act on a terminal.

AWKWARD = "[red]x\N{RIGHT-TO-LEFT OVERRIDE}abc\N{LINE SEPARATOR}"


@pytest.mark.parametrize("typed", [None, b""], ids=["plain", "a table"])
def test_no_id_acts_on_the_terminal(tmp_path: Path, typed: bytes | None) -> None:
    """
    Markup in an ID is text; what turns the direction of writing is escaped.
    """
    url = f"sqlite:///{tmp_path}/x.db"
    put_into(
        url, [sample(1)[0]._replace(session_id=AWKWARD, client_id="[/]", metadata='{"a":"é"}')]
    )
    for words in (("list", url), ("show", url, AWKWARD)):
        done = ran(*words, typed=typed)
        assert done.status == 0
        assert "[red]x" in done.out
        assert "[/]" in done.out
        assert "\u202e" not in done.out
    shown = ran("show", url, AWKWARD, typed=typed).out
    assert "[red]x\\u202eabc\\u2028" in shown
    assert "\u202e" not in ran("show", url, f"{AWKWARD}?", typed=typed).err


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a\x1b[31mb", "a\\x1b[31mb", id="escape"),
        pytest.param("a\x9bb", "a\\x9bb", id="C1"),
        pytest.param("a\u2066b", "a\\u2066b", id="isolate"),
        pytest.param("a\U000e0001b", "a\\U000e0001b", id="tag"),
        pytest.param("a\ud800b", "a\\ud800b", id="surrogate"),
        pytest.param("a b é 漢", "a b é 漢", id="text"),
    ],
)
def test_text_is_shown_safely(text: str, shown: str) -> None:
    """
    Characters that act on a terminal are written as Python writes them, and all others as they are.
    """
    assert escape_text(text) == shown
    assert escape_text("é漢", "ascii") == "\\xe9\\u6f22"


def test_a_terminal_of_ascii_gets_ascii(url: str) -> None:
    """
    Under cron, where the encoding may be ASCII, other characters are escaped.
    """
    done = ran("list", url, encoding="ascii")
    assert done.status == 0
    assert "s000001\\xe9" in done.out


# Passwords.


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param("postgresql://u:p@h:1/db?x=1", "postgresql://h:1/db", id="user"),
        pytest.param("postgresql://u:p@q?w/@h/db", "postgresql://h/db", id="not encoded"),
        pytest.param("redis://:p@h/0", "redis://h/0", id="no user"),
        pytest.param("redis://h?password=p", "redis://h", id="query"),
        pytest.param("sqlite:////srv/a@b.db", "sqlite:////srv/a@b.db", id="file"),
        pytest.param("nonsense", "nonsense", id="no URL"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    """
    A printed URL has no part that could be a secret.
    """
    assert hide_secrets(url) == shown


def test_a_password_is_scrubbed_from_causes() -> None:
    """
    A password in what a driver says is hidden, encoded or not; a word of the URL is not one.
    """
    url = "postgresql://lanyard:s3%2Fcret@host/db?sslpassword=other"
    said = f"cannot follow {url}: s3/cret and s3%2Fcret and other at host"
    assert scrub_text(said, [url]) == (
        "cannot follow postgresql://host/db: *** and *** and *** at host"
    )
    assert scrub_text("no database host", ["postgresql://u:host@host/db"]) == "no database host"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["count", "{}", "{}"], id="one too many"),
        pytest.param(["{}"], id="no command"),
        pytest.param(["count", "--nonsense={}"], id="unknown option"),
        pytest.param(["list", "--limit", "{}"], id="a limit"),
        pytest.param(["count", "{}"], id="unavailable"),
        pytest.param(["check", "{}", "--json"], id="check"),
        pytest.param(["move", "{}", "{}"], id="the same place"),
        pytest.param(["count", "{}?pool_size=x"], id="an option of the URL"),
        pytest.param(["count", "x{}"], id="a scheme"),
    ],
)
@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
def test_no_password_is_printed(words: list[str], scheme: str) -> None:
    """
    The password of a URL is in no line of the output, for any error.
    """
    url = f"{scheme}://user:hunter2@127.0.0.1:{free_port()}/0"
    done = ran(*(word.format(url) for word in words), "--timeout", "2")
    assert done.status in (2, 3)
    assert "hunter2" not in done.out + done.err


# Where the store is.


def test_the_url_may_come_from_the_environment(url: str) -> None:
    """
    Without a URL the command asks the store of IDLANYARD_REGISTRY_URL, or of a variable named.
    """
    assert ran("count", environ={"IDLANYARD_REGISTRY_URL": url}).out == "10\n"
    assert ran("count", "env:MINE", environ={"MINE": url}).out == "10\n"
    shown = ran("show", "s000000", "--json", environ={"IDLANYARD_REGISTRY_URL": url})
    assert shown.document()["session_id"] == "s000000"


def test_an_id_may_begin_with_a_dash(tmp_path: Path) -> None:
    """
    Behind two dashes there are IDs and no options; options may stand between the words.
    """
    url = f"sqlite:///{tmp_path}/x.db"
    put_into(url, [sample(1)[0]._replace(session_id="-x")])
    assert ran("show", url, "--json", "--", "-x").document()["session_id"] == "-x"
    environ = {"IDLANYARD_REGISTRY_URL": url}
    assert ran("end", "--", "-x", environ=environ) == Done(0, "ended 1 session\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["count"], "no store is named", id="no URL"),
        pytest.param(["count", "env:NONE"], "variable NONE", id="no variable"),
        pytest.param(["show", "memory://", "a", "b"], "takes [URL] ID, not 3 words", id="words"),
        pytest.param(["end", "memory://", "--client", "c", "i"], "takes", id="ID and client"),
        pytest.param(["nonsense"], "invalid choice", id="no command"),
        pytest.param(["count", "mysql://x"], "url begins with one of", id="scheme"),
        pytest.param(["count", "memory://", "--timeout", "0"], "timeout is a number", id="timeout"),
        pytest.param(["count", "memory://", "--timeout", "x"], "invalid float", id="no number"),
        pytest.param(["count", "memory://", "--namespace", "X"], "namespace is", id="namespace"),
        pytest.param(["list", "memory://", "--limit", "0"], "write 1 to 100000", id="limit"),
        pytest.param(["list", "memory://", "--oldest", "--newest"], "not allowed", id="two orders"),
        pytest.param(["list", "memory://", "--expiring-within", "soon"], "write 90s", id="time"),
        pytest.param(["list", "memory://", "--client", ""], "client is empty", id="no client"),
        pytest.param(["end", "memory://", "x", "--created-at", "x"], "no moment", id="moment"),
        pytest.param(
            ["end", "memory://", "x", "--created-at", "2026-01-01"], "time zone", id="no zone"
        ),
        pytest.param(["show", "memory://", "a\tb"], "control character", id="no ID"),
        pytest.param(["count", "sqlite:///no/such.db"], "there is no file", id="no file"),
        pytest.param(["count", "sqlite:///x%00"], "NUL", id="NUL"),
        pytest.param(["count", "sqlite:///\ud800"], "no file name can have", id="no file's name"),
    ],
)
def test_a_wrong_command_line_says_what_to_write(words: list[str], said: str) -> None:
    """
    A wrong command line is answered by a sentence and the status 2.
    """
    done = ran(*words)
    assert (done.status, done.out) == (2, "")
    assert said in done.err


def test_a_moment_is_for_one_session() -> None:
    """
    ``end`` of all of a client's sessions takes no moment of creation.
    """
    words = ["--client", "c", "--created-at", "2026-01-01T00:00:00Z"]
    assert ran("end", "memory://", *words).status == 2


@pytest.mark.parametrize("words", [[], ["--help"], ["list", "--help"], ["move", "-h"]])
def test_help_is_fine(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    Asking for help prints it, with the exit statuses, and is no fault.
    """
    assert main(["registry", *words]) == 0
    assert "waiting will not mend this" in capsys.readouterr().out


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    """
    A command that only looks makes no file where none is.
    """
    assert ran("purge", f"sqlite:///{tmp_path}/none.db").status == 2
    assert list(tmp_path.iterdir()) == []


# Ending sessions.


def test_end(url: str) -> None:
    """
    ``end`` forgets one session, and says where there is none.
    """
    assert ran("end", url, "s000000") == Done(0, "ended 1 session\n", "")
    done = ran("end", url, "s000000", "--json")
    assert (done.status, done.out) == (1, "")
    assert "nothing was ended" in done.err


def test_end_of_one_moment(url: str) -> None:
    """
    With a moment of creation the session of another moment is left alone.
    """
    moment = ran("show", url, "s000000", "--json").document()["created_at"]
    other = moment.replace("2023", "2022")
    assert ran("end", url, "s000000", "--created-at", other).status == 1
    assert ran("end", url, "s000000", "--created-at", moment).status == 0


def test_end_of_a_client(url: str) -> None:
    """
    ``end --client`` ends every session of a client, and nobody else's.
    """
    done = ran("end", url, "--client", "client 2", "--yes", "--json")
    assert done.document() == {"ended": 2}
    assert len(kept_in(url)) == 8
    assert ran("end", url, "--client", "client 2").out == "ended 0 sessions\n"


@pytest.mark.parametrize(
    ("typed", "status", "left"),
    [
        pytest.param(b"y\n", 0, 8, id="yes"),
        pytest.param(b"n\n", 1, 10, id="no"),
        pytest.param(b"", 1, 10, id="nothing"),
        pytest.param(None, 2, 10, id="no terminal"),
    ],
)
def test_ending_a_clients_sessions_asks(
    url: str, typed: bytes | None, status: int, left: int
) -> None:
    """
    On a terminal ``end --client`` asks first; without one it wants ``--yes``.
    """
    done = ran("end", url, "--client", "client 2", typed=typed)
    assert (done.status, len(kept_in(url))) == (status, left)
    asked = "End 2 sessions of client 'client 2' at sqlite:///"
    assert (asked in done.err) == (typed is not None)
    assert ("write --yes" in done.err) == (typed is None)


def test_purge(url: str) -> None:
    """
    ``purge`` gives up what has expired, and says how many those were.
    """
    with SessionRegistry.open(url) as registry:
        for name in ("x", "y"):
            registry.create(name, ttl=0.05)
        eventually(lambda: not registry.exists("y"))
    assert ran("purge", url).out in ("purged 1 session\n", "purged 2 sessions\n")
    assert ran("purge", url, "--json").document() == {"purged": 0}


# Sessions in a file.


def test_an_export_is_imported_as_it_was(url: str, tmp_path: Path) -> None:
    """
    An import keeps every field of an export; importing again is harmless.
    """
    file = ran("export", url).out.encode()
    target = f"sqlite:///{tmp_path}/other.db"
    assert ran("import", target, file=file).out == (
        "kept 10 sessions (0 same, 0 taken, 0 expired, 0 wrong)\n"
    )
    assert kept_in(target) == kept_in(url)
    again = ran("import", target, "--json", file=file)
    assert again.document() == {
        "kept": 0, "same": 10, "taken": 0, "expired": 0, "wrong": 0, "whole": True
    }  # fmt: skip
    assert ran("export", target).out == file.decode()


def test_the_lines_of_an_export(url: str) -> None:
    """
    An export begins with its version and ends with its number; its fields have stable names.
    """
    documents = ran("export", url).documents()
    assert documents[0] == {"idlanyard_sessions": 1}
    assert documents[-1] == {"sessions": 10}
    [four] = [one for one in documents[1:-1] if one["session_id"] == "s000004"]
    assert four == {
        "session_id": "s000004",
        "client_id": "client 4",
        "metadata": {"n": 4, "text": "\u2028\U0001f600"},
        "ttl_microseconds": 5 * HOUR,
        "created_at": "2023-11-14T22:13:20.000005Z",
        "expires_at": "2065-01-24T05:20:00.000004Z",
        "idempotency": "0" * 63 + "4",
        "request": "04" + "0" * 62,
    }


def test_many_sessions_go_through_a_file(tmp_path: Path) -> None:
    """
    More sessions than fit into one question are exported and imported whole.
    """
    url, target = (f"sqlite:///{tmp_path}/{name}.db" for name in "ab")
    put_into(url, sample(1203))
    assert ran("import", target, file=ran("export", url).out.encode()).status == 0
    assert kept_in(target) == kept_in(url)


def test_an_import_takes_nothing_from_others(url: str, tmp_path: Path) -> None:
    """
    An ID that another session has is reported with its line, and an expired session is not kept.
    """
    lines = ran("export", url).documents()
    lines[1]["created_at"] = "2024-01-01T00:00:00Z"
    lines[2]["session_id"] = "late"
    lines[2]["expires_at"] = "2024-01-01T00:00:00Z"
    done = ran("import", url, file=written(lines))
    assert done.status == 1
    assert done.out == "kept 0 sessions (8 same, 1 taken, 1 expired, 0 wrong)\n"
    name = lines[1]["session_id"]
    assert done.err == (
        f"line 2: {name!r} is not kept: another session has its ID or its idempotency key\n"
    )


def written(lines: list[Any]) -> bytes:
    """
    Return lines as a file has them.
    """
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


GOOD: dict[str, Any] = {
    "session_id": "x",
    "client_id": None,
    "metadata": {},
    "ttl_microseconds": None,
    "created_at": "2026-01-01T00:00:00.000001Z",
    "expires_at": None,
    "idempotency": None,
    "request": None,
}
MOMENT = "is no moment with a time zone"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"session_id": ""}, "session_id is empty", id="no ID"),
        pytest.param({"session_id": 7}, "session_id must be a str", id="a number for an ID"),
        pytest.param({"client_id": "a\nb"}, "client_id is refused", id="client"),
        pytest.param({"metadata": []}, "metadata must be a mapping", id="metadata"),
        pytest.param({"metadata": {"x": "y" * 17000}}, "may have 16384", id="long metadata"),
        pytest.param({"ttl_microseconds": 0}, "no time to live", id="ttl"),
        pytest.param({"ttl_microseconds": 1.5}, "no time to live", id="a fraction"),
        pytest.param({"ttl_microseconds": True}, "no time to live", id="true"),
        pytest.param({"created_at": None}, "created_at is null", id="never created"),
        pytest.param({"created_at": 7}, f"created_at {MOMENT}", id="number"),
        pytest.param({"created_at": "2026-01-01T00:00:00"}, f"created_at {MOMENT}", id="no zone"),
        pytest.param({"expires_at": "soon"}, f"expires_at {MOMENT}", id="end"),
        pytest.param({"idempotency": "00" * 32}, "go together", id="half a key"),
        pytest.param({"idempotency": "00", "request": "00"}, "64 hexadecimal", id="short"),
        pytest.param({"idempotency": "x", "request": 7}, "64 hexadecimal", id="no hex"),
        pytest.param({"request": 7, "idempotency": None}, "64 hexadecimal", id="no text"),
        pytest.param({"more": 1}, "more fields", id="more"),
    ],
)
def test_a_wrong_line_is_told_with_its_number(change: dict[str, Any], said: str) -> None:
    """
    A line that is no session is reported, and the others are kept.
    """
    lines = [{"idlanyard_sessions": 1}, GOOD | change, GOOD, {"sessions": 2}]
    done = ran("import", "memory://", file=written(lines))
    assert done.status == 1
    assert done.out == "kept 1 session (0 same, 0 taken, 0 expired, 1 wrong)\n"
    assert done.err.startswith("line 2: ")
    assert said in done.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param(b"{", "it is not JSON", id="no JSON"),
        pytest.param(b"[" * 100_000, "it is not JSON", id="deep"),
        pytest.param(b"[]", "it is no JSON object", id="no object"),
        pytest.param(b"{}", "session_id is missing", id="empty"),
        pytest.param(b'{"a": "\xff"}', "it is not UTF-8", id="Latin-1"),
        pytest.param(b"x" * 3_000_000, "it is longer than", id="long"),
    ],
)
def test_a_line_of_something_else_is_told(line: bytes, said: str) -> None:
    """
    A line that is no JSON object is reported with its number, and the rest is read.
    """
    file = b"%s\n\n%s\n%s\n" % (b'{"idlanyard_sessions": 1}', line, json.dumps(GOOD).encode())
    done = ran("import", "memory://", file=file + b'{"sessions": 2}')
    assert done.err.startswith(f"line 3: {said}")
    assert done.out == "kept 1 session (0 same, 0 taken, 0 expired, 1 wrong)\n"


def test_an_export_that_was_cut_is_told() -> None:
    """
    Without its last line an export is not whole: what is there is kept, and the status is 1.
    """
    done = ran("import", "memory://", file=written([{"idlanyard_sessions": 1}, GOOD]))
    assert done.status == 1
    assert done.out.startswith("kept 1 session ")
    assert done.err == "the export is not whole: its last line is missing, so export again\n"


@pytest.mark.parametrize("file", [b"", b"\n", b"not an export\n", b'{"idlanyard_sessions": 2}\n'])
def test_another_file_is_refused(file: bytes) -> None:
    """
    A file that is no export, or one of another version, is refused before anything is kept.
    """
    done = ran("import", "memory://", file=file)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith('line 1 is not {"idlanyard_sessions": 1}')


def test_an_export_of_nothing_is_imported() -> None:
    """
    An export of an empty store is whole.
    """
    done = ran("import", "memory://", file=ran("export", "memory://").out.encode())
    assert done == Done(0, "kept 0 sessions (0 same, 0 taken, 0 expired, 0 wrong)\n", "")


def test_a_session_that_stands_twice_in_a_file() -> None:
    """
    A store's walk may meet a session twice: importing it twice is harmless.
    """
    lines = [{"idlanyard_sessions": 1}, GOOD, GOOD, {"sessions": 2}]
    done = ran("import", "memory://", file=written(lines))
    assert (done.status, done.out) == (
        0, "kept 1 session (1 same, 0 taken, 0 expired, 0 wrong)\n"
    )  # fmt: skip


# Whether all is well.


class Faulty(MemoryStore):
    """
    A store that answers a check as it was told to.
    """

    def __init__(self, answer: list[str] | Exception) -> None:
        super().__init__()
        self.answer = answer

    def ask(self, question: Question[Any]) -> Any:
        """
        Answer as told.
        """
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def checked(answer: list[str] | Exception, *, is_json: bool) -> Done:
    """
    Return what a check says of a store that answers so.
    """
    streams = streams_of()
    with place_of("memory://") as place:
        place.store = Faulty(answer)
        try:
            status = check(place, Printer(streams, (), is_json=is_json))
        except Failed as failed:
            status = failed.status
            streams.err.write(failed.sentence())
    return Done(status, text_of(streams.out), text_of(streams.err))


@pytest.mark.parametrize(
    ("answer", "status", "name"),
    [
        pytest.param([], 0, "fine", id="fine"),
        pytest.param(["it evicts: write noeviction"], 1, "faults", id="faults"),
        pytest.param(RegistryUnavailable("memory"), 3, "unavailable", id="unavailable"),
        pytest.param(
            RegistryMisconfigured("memory", "no rights"), 4, "misconfigured", id="misconfigured"
        ),
    ],
)
def test_check(answer: Any, status: int, name: str) -> None:
    """
    ``check`` tells faults, an outage and what waiting will not mend by its status.
    """
    assert checked(answer, is_json=False).status == status
    done = checked(answer, is_json=True)
    document = done.document()
    assert (done.status, document["status"]) == (status, name)
    assert (document["store"], document["url"]) == ("memory", "memory://")
    assert (document["faults"] == []) == (status == 0)


def test_check_in_words() -> None:
    """
    A check prints the store's sentences, or that all is well.
    """
    assert checked([], is_json=False).out == "memory:// is fine\n"
    assert checked(["a", "b"], is_json=False).out == "a\nb\n"
    assert "waiting will not mend this: no rights" in (
        checked(RegistryMisconfigured("memory", "no rights"), is_json=False).err
    )
    outage = RegistryUnavailable("memory")
    outage.__cause__ = OSError("no route\nand more")
    assert checked(outage, is_json=False).err == (
        "memory:// does not answer (OSError: no route); waiting may mend this"
    )


# Real processes.


@pytest.mark.parametrize(
    ("words", "status"),
    [
        pytest.param(["count", "{url}"], 0, id="fine"),
        pytest.param(["show", "{url}", "nobody"], 1, id="not there"),
        pytest.param(["count"], 2, id="usage"),
        pytest.param(["count", "{garbage}"], 4, id="misconfigured"),
        pytest.param(["count", "redis://:hunter2@127.0.0.1:{port}/0"], 3, id="unavailable"),
        pytest.param(["count", "postgresql://u:hunter2@127.0.0.1:{port}/x"], 3, id="PostgreSQL"),
    ],
)
def test_exit_statuses(url: str, tmp_path: Path, words: list[str], status: int) -> None:
    """
    A process ends with the documented status, without a traceback and without a password.
    """
    tmp_path.joinpath("garbage.db").write_text("no database, but some text " * 10)
    names = {"url": url, "garbage": f"sqlite:///{tmp_path}/garbage.db", "port": free_port()}
    done = process(*(word.format(**names) for word in words), "--timeout", "5")
    assert done.status == status
    assert len(done.err.splitlines()) == (status > 0)
    assert "hunter2" not in done.err


def test_the_password_need_not_be_in_the_command_line(url: str) -> None:
    """
    A process finds its store by its environment.
    """
    done = process("count", "--json", environ={"IDLANYARD_REGISTRY_URL": url})
    assert done.document() == {"sessions": 10}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_process_in_order(number: signal.Signals) -> None:
    """
    A command that is stopped says so, and its status names the signal.
    """
    with silent() as port:
        words = [*COMMAND, "count", f"redis://127.0.0.1:{port}/0", "--timeout", "60"]
        # A process that nohup or a shell's "&" has started ignores some, and its children do.
        before = signal.signal(number, signal.SIG_DFL)
        try:
            started = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        finally:
            signal.signal(number, before)
        with started as running:
            eventually(lambda: connected(running.pid, port))
            running.send_signal(number)
            _, err = running.communicate(timeout=DEADLINE)
    assert running.returncode == 128 + number
    assert err == b"stopped: run it again to complete it\n"


def connected(pid: int, port: int) -> bool:
    """
    Return whether a process has a connection to a port.
    """
    table = Path(f"/proc/{pid}/net/tcp").read_text()
    return f"0100007F:{port:04X} 01" in table


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    """
    ``export | head -1`` ends with the status of a broken pipe, and in silence.
    """
    url = f"sqlite:///{tmp_path}/x.db"
    put_into(url, sample(2000))
    words = [*COMMAND, "export", url]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr is not None
        err = running.stderr.read()
    assert (running.returncode, err) == (141, b"")


def test_a_full_disk_is_told(url: str) -> None:
    """
    An export that cannot be written is a sentence and the status 1.
    """
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "export", url], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr == b"the output cannot be written: No space left on device\n"


def test_a_terminal_shows_a_table(url: str) -> None:
    """
    On a real terminal a list is a table.
    """
    leader, follower = pty.openpty()
    with subprocess.Popen([*COMMAND, "list", url], stdout=follower, stderr=follower) as running:
        os.close(follower)
        shown = b""
        while chunk := read_terminal(leader):
            shown += chunk
    os.close(leader)
    assert running.returncode == 0
    assert "┃" in shown.decode()


def read_terminal(leader: int) -> bytes:
    """
    Return what a terminal shows next; nothing when its programs are gone.
    """
    try:
        return os.read(leader, 65536)
    except OSError:
        return b""


@contextmanager
def without_rich() -> Iterator[None]:
    """
    Hide Rich for a block.
    """
    gone = [name for name in sys.modules if name.split(".")[0] == "rich"]
    kept = {name: sys.modules.pop(name) for name in gone}
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["rich"]
        sys.modules.update(kept)


def test_without_rich_there_are_lines(url: str) -> None:
    """
    On a terminal without Rich a list is lines with tabs, and JSON is as ever.
    """
    with without_rich():
        assert ran("list", url, typed=b"").out.startswith("session_id\tclient_id\t")
        assert ran("count", url, "--json", typed=b"").document() == {"sessions": 10}
        assert ran("export", url, typed=b"").status == 0


def test_long_work_shows_how_far_it_is(url: str) -> None:
    """
    On a terminal an export has a bar beside it; for a program there is none.
    """
    assert "exporting" in ran("export", url, typed=b"").err
    assert ran("export", url, "--json", typed=b"").err == ""


def test_the_command_runs_in_any_thread(url: str) -> None:
    """
    In a thread, where no signal can be caught, a command works as well.
    """
    done: list[Done] = []
    thread = threading.Thread(target=lambda: done.append(ran("count", url)))
    thread.start()
    thread.join()
    assert done == [Done(0, "10\n", "")]


class Broken(io.BytesIO):
    """
    A file that fails in a way that nobody reckoned with.
    """

    def readline(self, size: int | None = -1, /) -> bytes:
        """
        Fail.
        """
        raise KeyError("hunter2")


def test_a_defect_is_a_sentence() -> None:
    """
    No error prints a traceback or a password.
    """
    streams = streams_of()._replace(input=Broken())
    environ = {"IDLANYARD_REGISTRY_URL": "memory://", "OTHER": "redis://:hunter2@h"}
    if sys.flags.dev_mode:
        with pytest.raises(KeyError):
            run(["import"], streams, environ)
        return
    assert run(["import"], streams, environ) == 1
    assert text_of(streams.err).startswith("unexpected KeyError: ")


def test_closed_streams_are_no_traceback(url: str) -> None:
    """
    A command whose streams are closed does what it can.
    """
    words = [*COMMAND, "count", url]
    for closed in ("<&-", ">&-", "2>&-"):
        done = subprocess.run(
            ["bash", "-c", f'"$@" {closed}', "bash", *words], capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_file_that_may_not_be_seen_is_the_stores_to_tell(tmp_path: Path) -> None:
    """
    A path that cannot be looked at is told by the store, and is no traceback.
    """
    done = ran("count", f"sqlite:///{tmp_path}/{'x' * 300}.db")
    assert done.status in (2, 3, 4)
    assert len(done.err.splitlines()) == 1


def test_nothing_of_it_stays_installed(url: str) -> None:
    """
    Signals and logging are as before when a command is done.
    """
    before = signal.getsignal(signal.SIGTERM), list(logging.getLogger().handlers)
    ran("count", url)
    assert (signal.getsignal(signal.SIGTERM), list(logging.getLogger().handlers)) == before


def test_main_is_the_process(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``python -m idlanyard registry`` and the script ``idlanyard registry`` are one function.
    """
    assert main(["registry", "count", url]) == 0
    assert capsys.readouterr().out == "10\n"
