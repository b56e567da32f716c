"""
What holds for the HTTP API through every face, asked over real sockets.

A subclass says how its face is mounted and served, and a kind which registry
and which functions are behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idlanyard import EVERYONE, Policy
from registry.http_site import JSON, Kind, Site, error_of, fresh, moment

MOST = 65_536
SENTENCE = (
    "Session ID '{}' already exists. Please use a different ID or omit it for auto-generation."
)
POLICY = Policy(trusted_peers=["127.0.0.1"])
FOUR_BYTES = "\N{GRINNING FACE}"

IDS = {
    "plain": "crm_user_12345",
    "slash": "crm/user/1",
    "slash first": "/etc/passwd",
    "slash last": "folder/",
    "slashes": "//a//b//",
    "only slash": "/",
    "percent": "100%",
    "percent-encoded": "a%2Fb%252F%00",
    "space": "a b",
    "only spaces": "   ",
    "trailing space": "a ",
    "non-ASCII": "s\u00e9ance-\u4f1a\u8bdd-\U0001f600",
    "replacement character": "a\ufffdb",
    "right to left": "\u202eabc",
    "line separator": "a\u2028b",
    "delimiters": "a?b=c&d#e;f:g@h!$'()*+,[]",
    "quotes": 'it\'s "quoted" \\ `here` <b>',
    "create": "create",
    "input": "input",
    "like a route": "x/input",
    "like a route twice": "create/input/input",
    "dot": ".",
    "dots": "..",
    "dots inside": "a/../../b/./c",
    "longest": FOUR_BYTES * 256,
}

NO_IDS = {
    "tab": "a\tb",
    "line end": "a\r\nSet-Cookie: x=1",
    "NUL": "a\x00",
    "DEL": "a\x7f",
    "C1": "a\x85",
    "too long": "x" * 1025,
    "too long in bytes": FOUR_BYTES * 256 + "x",
}

NO_BODIES = {
    "not JSON": b"session_id=x",
    "cut off": b'{"session_id": "x"',
    "a list": b'[{"session_id": "x"}]',
    "a string": b'"x"',
    "null": b"null",
    "a number": b"1",
    "two objects": b'{"session_id": "x"}{"session_id": "y"}',
    "not UTF-8": b'{"session_id": "\xff"}',
    "UTF-16": '{"session_id": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"session_id": "x"}',
    "NaN": b'{"metadata": {"x": NaN}}',
    "an infinity": b'{"metadata": {"x": -Infinity}}',
    "a number too large": b'{"metadata": {"x": 1e999}}',
    "a number of 5,000 digits": b'{"metadata": {"x": ' + b"9" * 5000 + b"}}",
    "a name twice": b'{"session_id": "x", "session_id": "y"}',
    "a name twice inside": b'{"metadata": {"x": 1, "x": 2}}',
    "deep": b"[" * 60_000,
    "deep and whole": b'{"x":' * 10_000 + b"1" + b"}" * 10_000,
    "a lone surrogate": b'{"session_id": "\\ud800"}',
    "a lone surrogate inside": b'{"metadata": {"\\uDFFF": 1}}',
    "a control character": b'{"session_id": "a\nb"}',
    "NUL": b"\x00",
    "spaces": b"   ",
}

WRONG_TYPES: dict[str, dict[str, Any]] = {
    "a number": {"session_id": 123},
    "zero": {"session_id": 0},
    "a fraction": {"session_id": 1.5},
    "true": {"session_id": True},
    "false": {"session_id": False},
    "a list": {"session_id": ["x"]},
    "an object": {"session_id": {"x": 1}},
    "a client that is a number": {"client_id": 123},
    "a client that is a list": {"client_id": []},
    "metadata that is text": {"metadata": "x"},
    "metadata that is a list": {"metadata": []},
    "metadata that is a number": {"metadata": 0},
    "a time to live that is text": {"ttl": "60"},
    "a time to live that is true": {"ttl": True},
    "a time to live that is a list": {"ttl": [60]},
    "no time to live": {"ttl": 0},
    "a time to live that is over": {"ttl": -1},
    "a time to live of ages": {"ttl": 1e11},
    "a time to live of more than ages": {"ttl": 10**40},
    "metadata of 9 levels": {"metadata": json.loads('{"x":' * 9 + "1" + "}" * 9)},
    "metadata over 16 KiB": {"metadata": {"x": "y" * (16 * 1024)}},
}

UNKNOWN: dict[str, tuple[str, str]] = {
    "a letter is missing": ("sesion_id", "'session_id'"),
    "in capitals": ("SESSION_ID", "'session_id'"),
    "as JavaScript writes it": ("clientId", "'client_id'"),
    "with a dash": ("client-id", "'client_id'"),
    "plural": ("metadatas", "'metadata'"),
    "one letter too many": ("ttls", "'ttl'"),
    "nothing near": ("x", "session_id, client_id, metadata and ttl"),
    "empty": ("", "session_id, client_id, metadata and ttl"),
    "the server's own": ("created_at", "session_id, client_id, metadata and ttl"),
    "a quotation mark": ("'", "session_id, client_id, metadata and ttl"),
    "long": ("x" * 60_000, "session_id, client_id, metadata and ttl"),
    "long and near": ("session_id" * 6_000, "session_id, client_id, metadata and ttl"),
}

KEYS = {
    "a UUID": "8e03978e-40d5-43dd-bc93-6894a57f9324",
    "quoted": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
    "one character": "!",
    "a space": "a b",
    "escapes": r'"a\"b\\c"',
    "a quoted comma": '"a,b"',
    "colons": "order:17;try=1",
    "longest": "k" * 255,
    "longest, quoted": f'"{"k" * 255}"',
}

NO_KEYS = {
    "empty": b"",
    "spaces": b"   ",
    "empty quotes": b'""',
    "too long": b"k" * 256,
    "too long, quoted": b'"' + b"k" * 256 + b'"',
    "a tab": b"a\tb",
    "a quoted tab": b'"a\tb"',
    "non-ASCII": "s\u00e9ance".encode(),
    "Latin-1": b"s\xe9ance",
    "a comma": b"a,b",
    "joined": b"a, b",
    "joined and quoted": b'"a", "b"',
    "joined and quoted and close": b'"a","b"',
    "a quote that is not closed": b'"a',
    "a quote that is not opened": b'a"',
    "a quote inside": b'a"b',
    "an escape of something else": rb'"a\b"',
    "an escape of the end": b'"a\\"',
    "parameters": b'"a"; x=1',
}

NO_TYPES = {
    "none": None,
    "a form": "application/x-www-form-urlencoded",
    "a form with files": "multipart/form-data; boundary=x",
    "text": "text/plain",
    "text that says it is JSON": "text/plain; application/json",
    "like JSON": "application/jsonp",
    "joined": "application/json, text/plain",
    "empty": "",
}

TYPES = {
    "JSON": "application/json",
    "JSON in UTF-8": "application/json; charset=utf-8",
    "in capitals": "APPLICATION/JSON",
    "structured": "application/vnd.crm+json",
}


def named(table: Mapping[str, Any]) -> list[Any]:
    """
    Return the rows of a table as cases.
    """
    return [pytest.param(row, id=name) for name, row in table.items()]


class HTTPBasics:
    """
    Behaviour of every face, on every store and server.
    """

    kind: ClassVar[Kind]
    options_status: ClassVar[int] = 405

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls) -> str:
        """
        Return the URL of the store.
        """
        return "memory://"

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, url: str) -> Iterator[Site]:
        """
        Serve the face once for all its tests.
        """
        with cls.served(url) as port:
            yield Site(port)

    @classmethod
    def served(cls, url: str) -> AbstractContextManager[int]:
        """
        Serve the face, mounted.
        """
        raise NotImplementedError

    @classmethod
    def options(cls) -> dict[str, dict[str, Any]]:
        """
        Return what each mount is built with, besides its registry.
        """
        kind = cls.kind
        return {
            "/api/v1": {"on_input": kind.on_input, "authorize": EVERYONE},
            "/guarded": {"on_input": kind.on_input, "authorize": kind.authorize},
            "/silent": {"authorize": EVERYONE},
            "/granted": {"on_input": kind.on_input, "authorize": kind.grant},
        }

    @pytest.mark.parametrize("fields", [{}, {"session_id": None}, {"session_id": ""}])
    def test_no_id_mints(self, site: Site, fields: dict[str, Any]) -> None:
        """
        Absent, null and "" mint a sortable ID with 64 random bits.
        """
        ids = {site.create(**fields).json["session_id"] for _ in range(5)}
        assert len(ids) == 5
        assert all(re.fullmatch(r"session_\d{8}_\d{6}_[0-9a-f]{16}", one) for one in ids)

    @pytest.mark.parametrize("body", [None, b""])
    def test_no_body_mints(self, site: Site, body: bytes | None) -> None:
        """
        A session can be created by a request without a body.
        """
        answer = site.ask("POST", "/api/v1/session/create", body)
        assert (answer.status, answer.json["session_id"][:8]) == (200, "session_")

    def test_the_reply_to_create(self, site: Site) -> None:
        """
        Create replies the session's fields and the end of its time; neither the
        client nor metadata is returned.
        """
        name = fresh()
        answer = site.create(session_id=name, client_id="c1", metadata={"platform": "mobile"})
        assert (answer.status, answer.is_ours()) == (200, True)
        created = moment(answer.json["created_at"])
        assert abs(created - datetime.now(UTC)) < timedelta(minutes=5)
        assert answer.json == {
            "session_id": name,
            "created_at": answer.json["created_at"],
            "expires_at": site.at("GET", name).json["expires_at"],
            "status": "active",
            "message": "Session created successfully.",
        }
        assert moment(answer.json["expires_at"]) > created

    def test_the_reply_to_get(self, site: Site) -> None:
        """
        A session is shown without its client and its metadata.
        """
        name = fresh()
        made = site.create(session_id=name, client_id="c1", metadata={"a": 1}).json
        answer = site.at("GET", name)
        assert (answer.status, answer.is_ours()) == (200, True)
        assert moment(answer.json["expires_at"]) > moment(made["created_at"])
        assert answer.json == {
            "session_id": name,
            "created_at": made["created_at"],
            "expires_at": answer.json["expires_at"],
            "status": "active",
        }

    def test_the_reply_to_delete(self, site: Site) -> None:
        """
        An ended session says so, without its client and its metadata.
        """
        name = fresh()
        site.create(session_id=name, client_id="c1", metadata={"a": 1})
        answer = site.at("DELETE", name)
        assert (answer.status, answer.is_ours()) == (200, True)
        message = "Session ended successfully."
        assert answer.json == {"session_id": name, "status": "ended", "message": message}

    def test_a_time_to_live_is_taken(self, site: Site) -> None:
        """
        A create may say for how many seconds, fractions too.
        """
        for ttl in (90, 90.5, 1e3):
            made = site.create(ttl=ttl).json
            lasts = moment(made["expires_at"]) - moment(made["created_at"])
            assert abs(lasts.total_seconds() - ttl) < 0.001

    def test_the_reply_to_an_update(self, site: Site) -> None:
        """
        An update without changes is a touch, with a ttl it is another end,
        and it replies as GET does.
        """
        name = fresh()
        made = site.create(session_id=name, client_id="c1", metadata={"a": 1}).json
        touched = site.update(name)
        assert (touched.status, touched.is_ours()) == (200, True)
        assert touched.json.keys() == {"session_id", "created_at", "expires_at", "status"}
        assert touched.json == site.at("GET", name).json
        assert touched.json["created_at"] == made["created_at"]
        assert moment(touched.json["expires_at"]) > moment(made["expires_at"])
        shorter = site.update(name, ttl=60, metadata={"b": 2})
        assert moment(shorter.json["expires_at"]) < moment(made["expires_at"])
        # The time to live stays, for touches and for input.
        for again in (site.update(name, metadata=None, ttl=None), site.input(name)):
            assert again.status == 200
            seen = site.at("GET", name).json
            assert moment(seen["expires_at"]) < moment(made["expires_at"])

    def test_a_retry_is_answered_as_the_first_time(self, site: Site) -> None:
        """
        The same key and request answer the first reply again, byte for byte,
        however the request is spelled, and whatever has touched the session since.
        """
        name, key = fresh("it's"), fresh("key")
        fields: dict[str, Any] = {"session_id": name, "client_id": "c1", "metadata": {"a": [1]}}
        first = site.keyed(key, ttl=90, **fields)
        assert (first.status, first.json["session_id"]) == (200, name)
        site.update(name, ttl=500, metadata={"b": 2})
        site.input(name)
        spelled = (
            json.dumps({"ttl": 90.0, **dict(reversed(fields.items()))}).replace("[1]", "[1.0]"),
            json.dumps({**fields, "ttl": 9e1}, indent=3),
            json.dumps({**fields, "ttl": 90}).replace("it's", "\\u0069t\\u0027s"),
        )
        headers = JSON | {"Idempotency-Key": f'"{key}"'}
        for body in spelled:
            again = site.ask("POST", "/api/v1/session/create", body.encode(), headers)
            assert (again.status, again.body) == (200, first.body)

    def test_a_retry_mints_no_second_id(self, site: Site) -> None:
        """
        Absent, null and "" are the same request, and get the ID of the first.
        """
        key = fresh("key")
        first = site.keyed(key)
        nothing: dict[str, Any] = {"session_id": "", "client_id": None, "metadata": None}
        assert site.keyed(key, **nothing).body == first.body
        assert site.keyed(key, client_id="", metadata={}, ttl=None).body == first.body
        headers = {"Idempotency-Key": key}
        assert site.ask("POST", "/api/v1/session/create", None, headers).body == first.body
        assert site.create().body != first.body

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param({}, id="no ID"),
            pytest.param({"session_id": "other"}, id="another ID"),
            pytest.param({"metadata": {"a": 1}}, id="metadata"),
            pytest.param({"ttl": 90}, id="a time to live"),
        ],
    )
    def test_another_request_with_the_key_is_refused(
        self, site: Site, other: dict[str, Any]
    ) -> None:
        """
        A key is for one request; another one with it creates nothing.
        """
        name, key = fresh(), fresh("key")
        assert site.keyed(key, session_id=name).status == 200
        session_id = {} if not other else {"session_id": other.get("session_id", name)}
        answer = site.keyed(key, **{**other, **session_id})
        message = error_of(answer, 422, "RequestValidationError")
        assert message.startswith("This idempotency key has been used for another request")
        assert name not in message
        assert site.at("GET", "other").status == 404

    def test_a_key_lives_with_its_session(self, site: Site) -> None:
        """
        When the session has ended its key is free, and without a key, or
        with another one, a taken ID is 409 as before.
        """
        name, key = fresh(), fresh("key")
        first = site.keyed(key, session_id=name)
        assert site.create(session_id=name).status == 409
        assert site.keyed(fresh("key"), session_id=name).status == 409
        assert site.keyed(key, session_id=name).body == first.body
        site.at("DELETE", name)
        second = site.keyed(key, session_id=name)
        assert second.status == 200
        assert second.json["created_at"] != first.json["created_at"]

    def test_of_many_retries_one_creates(self, site: Site) -> None:
        """
        One of twenty simultaneous retries creates, and all get the same answer.
        """
        key = fresh("key")
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: site.keyed(key), range(20)))
        assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}

    def test_a_key_is_its_client_s_own(self, site: Site) -> None:
        """
        Nobody sees another client's session by its key, whatever the body
        says, and authorize is asked about every retry.
        """
        key, at = fresh("key"), "/granted"
        alice = site.keyed(key, at, "alice", metadata={"a": 1})
        assert alice.status == 200
        assert site.keyed(key, at, "alice", metadata={"a": 1}).body == alice.body
        for claimed in ({}, {"client_id": "alice"}):
            mallory = site.keyed(key, at, "mallory", metadata={"a": 1}, **claimed)
            assert mallory.status == 200
            assert mallory.json["session_id"] != alice.json["session_id"]
            # The next round is another request of her own.
            site.at("DELETE", mallory.json["session_id"], at, "mallory")
        error_of(site.keyed(key, at, None, metadata={"a": 1}), 403)
        error_of(site.keyed(key, "/guarded", None, metadata={"a": 1}), 403)

    def test_the_server_s_grant_wins(self, site: Site) -> None:
        """
        Owner, time to live and metadata are the server's where it says so.
        """
        name, at = fresh(), "/granted"
        made = site.create(at, "alice", session_id=name, client_id="bob", ttl=9_999, metadata={})
        assert made.status == 200
        lasts = moment(made.json["expires_at"]) - moment(made.json["created_at"])
        assert lasts == timedelta(seconds=60)
        error_of(site.at("GET", name, at, "bob"), 403)
        assert site.at("GET", name, at, "alice").status == 200
        assert site.update(name, at, "alice").status == 200
        error_of(site.update(name, at, "bob"), 403)

    def test_a_duplicate_is_refused(self, site: Site) -> None:
        """
        The second create of an ID is 409 with the guide's sentence and shape.
        """
        name = fresh("it's")
        assert site.create(session_id=name).status == 200
        assert error_of(site.create(session_id=name), 409) == SENTENCE.format(name)

    def test_ids_are_case_sensitive(self, site: Site) -> None:
        """
        Session_001 is not session_001.
        """
        name = fresh("Session")
        assert site.create(session_id=name).status == 200
        assert site.at("GET", name.lower()).status == 404
        assert site.create(session_id=name.lower()).status == 200

    def test_an_ended_id_is_free(self, site: Site) -> None:
        """
        After deletion the ID can be used again.
        """
        name = fresh()
        site.create(session_id=name)
        assert site.create(session_id=name).status == 409
        site.at("DELETE", name)
        assert site.create(session_id=name).status == 200

    def test_an_unknown_session_is_not_found(self, site: Site) -> None:
        """
        Unknown is 404 in the API's shape for every verb, and nothing is created.
        """
        name = fresh()
        for answer in (site.at("GET", name), site.at("DELETE", name), site.input(name, x=1)):
            assert error_of(answer, 404) == f"Session ID '{name}' not found."
        assert error_of(site.update(name, ttl=1), 404) == f"Session ID '{name}' not found."
        assert site.at("GET", name).status == 404
        assert site.create(session_id=name).status == 200

    def test_input_touches(self, site: Site) -> None:
        """
        Input lets the session live on; looking at it does not.
        """
        name = fresh()
        site.create(session_id=name)
        before = moment(site.at("GET", name).json["expires_at"])
        assert moment(site.at("GET", name).json["expires_at"]) == before
        site.input(name)
        assert moment(site.at("GET", name).json["expires_at"]) > before

    def test_the_session_is_bound_and_echoed(self, site: Site) -> None:
        """
        R2, R9: on_input runs with the session bound, and the whole request has it.
        """
        name = fresh()
        site.create(session_id=name)
        answer = site.input(name)
        assert answer.json == {"body": {}, "bound": name, "record": name}
        assert answer.headers["x-session-id"] == name

    def test_the_owner_may(self, site: Site) -> None:
        """
        Authorize sees whose session it is.
        """
        name, at = fresh(), "/guarded"
        site.create(at, "alice", session_id=name, client_id="alice")
        assert site.at("GET", name, at, "alice").json["session_id"] == name
        assert site.input(name, at, "alice", x=1).json["body"] == {"x": 1}
        assert site.at("DELETE", name, at, "alice").json["status"] == "ended"

    def test_one_of_many_creates(self, site: Site) -> None:
        """
        One of twenty simultaneous creates of an ID succeeds, and the others get 409.
        """
        name = fresh()
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: site.create(session_id=name).status, range(20)))
        assert sorted(answers) == [200] + [409] * 19


class HTTPContract(HTTPBasics):
    """
    Odd requests to a face: IDs, bodies, types and paths, and who may do what.
    """

    @pytest.mark.parametrize("name", named(IDS))
    def test_an_id_comes_back_and_is_reached(self, site: Site, name: str) -> None:
        """
        Any ID comes back byte for byte, and by path it is read, given input, ended.
        """
        made = site.create(session_id=name)
        assert (made.status, made.json["session_id"]) == (200, name)
        assert site.at("GET", name).json["session_id"] == name
        assert site.update(name).json["session_id"] == name
        assert site.input(name, x=1).json["record"] == name
        assert site.at("DELETE", name).json["session_id"] == name
        assert site.at("GET", name).status == 404

    @pytest.mark.parametrize("name", named(IDS))
    def test_slashes_need_no_encoding(self, site: Site, name: str) -> None:
        """
        A slash in the path is a slash, encoded or not.
        """
        site.create(session_id=name)
        target = f"/api/v1/session/{quote(name, safe='/')}"
        assert site.ask("POST", f"{target}/input", b"{}", JSON).json["record"] == name
        assert site.ask("DELETE", target).json["session_id"] == name

    @pytest.mark.parametrize("name", named(IDS))
    def test_an_ordinary_client_reaches_an_id(self, site: Site, name: str) -> None:
        """
        Httpx reaches every ID percent-encoded, but for dots, which clients take away.
        """
        if set(name.split("/")) & {".", ".."}:
            return
        base = f"http://127.0.0.1:{site.port}/api/v1"
        # A loaded machine may pause for longer than a server keeps an idle connection.
        once = {"Connection": "close"}
        with httpx.Client(base_url=base, headers=once, trust_env=False, timeout=30) as client:
            client.post("/session/create", json={"session_id": name})
            path = f"/session/{quote(name, safe='')}"
            assert client.get(path).json()["session_id"] == name
            assert client.post(f"{path}/input", json={}).json()["record"] == name
            assert client.delete(path).json()["session_id"] == name

    def test_any_id_goes_around(self, site: Site) -> None:
        """
        Every text that is an ID is created, read back and ended.
        """

        @settings(max_examples=50)
        @given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200))
        def goes_around(name: str) -> None:
            made = site.create(session_id=name)
            assert (made.status, made.json["session_id"]) == (200, name)
            assert site.at("GET", name).json["session_id"] == name
            assert site.at("DELETE", name).json["session_id"] == name

        goes_around()

    @pytest.mark.parametrize("name", named(NO_IDS))
    def test_what_is_no_id_is_refused(self, site: Site, name: str) -> None:
        """
        An ID that the registry refuses is 422 in a body, and 404 in a path.
        """
        error_of(site.create(session_id=name), 422, "RequestValidationError")
        error_of(site.create(client_id=name), 422, "RequestValidationError")
        assert site.at("GET", name).status == 404

    @pytest.mark.parametrize("fields", named(WRONG_TYPES))
    def test_wrong_types_are_refused(self, site: Site, fields: dict[str, Any]) -> None:
        """
        A number for an ID, and anything else of a wrong type or size, is 422.
        """
        message = error_of(site.create(**fields), 422, "RequestValidationError")
        assert message.startswith(next(iter(fields)))

    def test_what_may_be_null(self, site: Site) -> None:
        """
        Null is the same as absent for each field.
        """
        fields: dict[str, Any] = dict.fromkeys(("session_id", "client_id", "metadata", "ttl"))
        answer = site.create(**fields)
        assert (answer.status, answer.json["session_id"][:8]) == (200, "session_")
        assert site.create(client_id="", metadata={}).status == 200

    @pytest.mark.parametrize("row", named(UNKNOWN))
    def test_unknown_fields_are_refused(self, site: Site, row: tuple[str, str]) -> None:
        """
        A field that is not known is 422, and the nearest that is is named.
        """
        name, meant = row
        session_id = fresh()
        for fields in ({name: "y", "session_id": session_id}, {"session_id": session_id, name: 1}):
            message = error_of(site.create(**fields), 422, "RequestValidationError")
            assert message.startswith(f"Unknown field '{name[:64]}")
            assert message.endswith(f"{meant}.")
            assert len(message) < 200
        assert site.create(session_id=session_id).status == 200
        if name not in ("metadatas", "ttls"):
            changes: dict[str, Any] = {name: 1}
            message = error_of(site.update(session_id, **changes), 422, "RequestValidationError")
            assert message.endswith("the fields are ttl and metadata.")

    def test_the_suggestion_works(self, site: Site) -> None:
        """
        A request that follows the message of a refusal is accepted.
        """
        name = fresh()
        message = error_of(site.create(sesion_id=name), 422, "RequestValidationError")
        (meant,) = re.findall("write '(.*)'", message)
        assert site.create(**{meant: name}).json["session_id"] == name

    @pytest.mark.parametrize("fields", named(WRONG_TYPES))
    def test_wrong_changes_are_refused(self, site: Site, fields: dict[str, Any]) -> None:
        """
        An update takes what a create takes, and changes nothing otherwise.
        """
        name = fresh()
        made = site.create(session_id=name).json
        error_of(site.update(name, **fields), 422, "RequestValidationError")
        assert site.at("GET", name).json["expires_at"] == made["expires_at"]

    @pytest.mark.parametrize("key", named(KEYS))
    def test_keys(self, site: Site, key: str) -> None:
        """
        1 to 255 characters of ASCII are a key, in quotes or without.
        """
        client = fresh()
        first = site.keyed(key, client_id=client)
        assert first.status == 200
        assert site.keyed(key, client_id=client).body == first.body

    @pytest.mark.parametrize("key", named(NO_KEYS))
    def test_what_is_no_key_is_refused(self, site: Site, key: bytes) -> None:
        """
        Such a header is 422 and creates nothing; it is never cut or mended.
        """
        name = fresh()
        body = json.dumps({"session_id": name}).encode()
        headers: dict[str, Any] = JSON | {"Idempotency-Key": key}
        answer = site.ask("POST", "/api/v1/session/create", body, headers)
        message = error_of(answer, 422, "RequestValidationError")
        assert message.startswith("Idempotency-Key is refused: ")
        assert site.at("GET", name).status == 404

    def test_two_keys_are_none(self, site: Site) -> None:
        """
        S4: two lines of the header are refused, by the server or here, even if they are the same.
        """
        name = fresh()
        body = json.dumps({"session_id": name}).encode()
        head = b"POST /api/v1/session/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        for second in (b"k", b"other", b""):
            lines = b"Idempotency-Key: k\r\nidempotency-key: " + second + b"\r\n\r\n"
            assert site.raw(head + lines + body, hang_up=False) in ([400], [422])
        assert site.at("GET", name).status == 404

    def test_input_needs_no_session_in_the_body(self, site: Site) -> None:
        """
        Input is handed on as it is; a session in the body may be there if it is the same.
        """
        name = fresh()
        site.create(session_id=name)
        sent = {"user_input": "I want to feel calm"}
        assert site.input(name, **sent).json["body"] == sent
        for same in (name, None, ""):
            assert site.input(name, session_id=same).json["body"] == {"session_id": same}

    @pytest.mark.parametrize("other", ["other", 0, False, [], {}, 1.5])
    def test_another_session_in_the_body_is_refused(self, site: Site, other: object) -> None:
        """
        An input whose body and path name different sessions is refused.
        """
        name = fresh()
        site.create(session_id=name)
        error_of(site.input(name, session_id=other), 422, "RequestValidationError")

    @pytest.mark.parametrize("target", ["/sessions", "/session", "/session/", "/session/list/"])
    def test_nothing_is_enumerable(self, site: Site, target: str) -> None:
        """
        There is no listing; what is no route has the framework's own 404.
        """
        site.create(session_id=fresh())
        answer = site.ask("GET", f"/api/v1{target}")
        nowhere = site.ask("GET", "/api/v1/nowhere")
        assert (answer.status, nowhere.status, nowhere.is_ours()) == (404, 404, False)
        assert target == "/session/list/" or answer.body == nowhere.body

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("HEAD", "/session/x"),
            ("OPTIONS", "/session/x"),
            ("PUT", "/session/x"),
            ("PUT", "/session/create"),
            ("PUT", "/session/x/input"),
            ("HEAD", "/session/create"),
            ("POST", "/session/x"),
            ("POST", "/session/create/"),
            ("POST", "/session/x/input/"),
            ("POST", "/session//input"),
        ],
    )
    def test_other_methods_have_the_framework_s_own_answer(
        self, site: Site, method: str, target: str
    ) -> None:
        """
        A method that is no route is the framework's 405, whose Allow
        names every method of the path.
        """
        answer = site.ask(method, f"/api/v1{target}")
        status = self.options_status if method == "OPTIONS" else 405
        assert (answer.status, answer.is_ours()) == (status, False)
        posts = target in ("/session/create", "/session/x/input")
        allowed = {"DELETE", "GET", "PATCH", *(["POST"] if posts else [])}
        assert set(answer.headers["allow"].split(", ")) - {method} == allowed - {method}

    def test_without_on_input_there_is_no_such_route(self, site: Site) -> None:
        """
        An API without on_input has no route for input.
        """
        name = fresh()
        site.create("/silent", session_id=name)
        assert site.at("GET", name, "/silent").status == 200
        answer = site.input(name, "/silent")
        assert (answer.status, answer.is_ours()) == (405, False)
        assert sorted(answer.headers["allow"].split(", ")) == ["DELETE", "GET", "PATCH"]

    @pytest.mark.parametrize("body", named(NO_BODIES))
    def test_what_is_no_json_object_is_refused(self, site: Site, body: bytes) -> None:
        """
        A body that is not one plain JSON object is 422, never a 5xx.
        """
        name = fresh()
        site.create(session_id=name)
        for target in ("create", f"{name}/input"):
            answer = site.ask("POST", f"/api/v1/session/{target}", body, JSON)
            message = error_of(answer, 422, "RequestValidationError")
            assert message.startswith("The body ")

    def test_input_needs_a_body(self, site: Site) -> None:
        """
        No input is no JSON object.
        """
        name = fresh()
        site.create(session_id=name)
        answer = site.ask("POST", f"/api/v1/session/{name}/input")
        error_of(answer, 422, "RequestValidationError")

    @pytest.mark.parametrize("kind", named(NO_TYPES))
    def test_what_browsers_send_unasked_is_refused(self, site: Site, kind: str | None) -> None:
        """
        A body must be JSON by its type: a form of another site cannot create or send anything.
        """
        name = fresh()
        headers = {} if kind is None else {"Content-Type": kind}
        body = json.dumps({"session_id": name}).encode()
        answer = site.ask("POST", "/api/v1/session/create", body, headers)
        assert "Content-Type" in error_of(answer, 422, "RequestValidationError")
        assert site.at("GET", name).status == 404
        site.create(session_id=name)
        answer = site.ask("POST", f"/api/v1/session/{name}/input", b"{}", headers)
        error_of(answer, 422, "RequestValidationError")

    def test_an_empty_form_is_refused(self, site: Site) -> None:
        """
        A form of another site cannot mint either.
        """
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = site.ask("POST", "/api/v1/session/create", b"", headers)
        error_of(answer, 422, "RequestValidationError")

    @pytest.mark.parametrize("kind", named(TYPES))
    def test_types_of_json(self, site: Site, kind: str) -> None:
        """
        application/json and whatever ends in +json is JSON.
        """
        name = fresh()
        body = json.dumps({"session_id": name}).encode()
        answer = site.ask("POST", "/api/v1/session/create", body, {"Content-Type": kind})
        assert answer.json["session_id"] == name

    def test_a_body_may_be_as_long_as_the_limit(self, site: Site) -> None:
        """
        65,536 bytes are taken, in one piece or in chunks, and one more is 413.
        """
        fits = b"{}".ljust(MOST)
        for body, status in ((fits, 200), (fits + b" ", 413)):
            for sent in (body, iter([body[:5], body[5:]])):
                answer = site.ask("POST", "/api/v1/session/create", sent, JSON)
                assert (answer.status, answer.is_ours()) == (status, True)

    def test_a_body_over_the_limit_is_not_handed_on(self, site: Site) -> None:
        """
        Neither what is declared too long, nor what only proves to be.
        """
        name = fresh()
        body = json.dumps({"session_id": name, "x": "y" * 200_000}).encode()
        for sent in (body, iter([body])):
            error_of(site.ask("POST", "/api/v1/session/create", sent, JSON), 413)
        assert site.at("GET", name).status == 404

    def test_chunks_are_read(self, site: Site) -> None:
        """
        A body in chunks is the same body.
        """
        name = fresh()
        pieces = iter([b'{"session', b'_id": "', name.encode(), b'"}'])
        answer = site.ask("POST", "/api/v1/session/create", pieces, JSON)
        assert answer.json["session_id"] == name

    def test_the_application_may_identify(self, site: Site) -> None:
        """
        R2: what on_input identifies reaches the response, from whatever thread or loop it runs in.
        """
        name = fresh()
        site.create(session_id=name)
        answer = site.input(name, identify="alice")
        assert (answer.headers["x-session-id"], answer.headers["x-user-id"]) == (name, "alice")

    def test_what_r7_does_not_allow_is_not_bound(self, site: Site) -> None:
        """
        R7: such an ID is stored, found and handed over in the record, but not bound.
        """
        name = fresh("s\u00e9ance ")
        site.create(session_id=name)
        answer = site.input(name)
        assert answer.json["record"] == name
        assert answer.json["bound"] == answer.headers["x-session-id"] != name

    @pytest.mark.parametrize(
        ("what", "value"), [("text", "x"), ("list", [1, None]), ("null", None)]
    )
    def test_any_json_may_be_replied(self, site: Site, what: str, value: object) -> None:
        """
        The result of on_input is the reply.
        """
        name = fresh()
        site.create(session_id=name)
        answer = site.input(name, **{"return": what})
        assert (answer.status, answer.json, answer.is_ours()) == (200, value, True)

    @pytest.mark.parametrize("told", [{"raise": 1}, {"return": "set"}, {"return": "nan"}])
    def test_an_application_s_error_is_its_own(self, site: Site, told: dict[str, Any]) -> None:
        """
        An error of on_input, and a result that is no JSON, is the framework's 500.
        """
        name = fresh()
        site.create(session_id=name)
        answer = site.input(name, **told)
        assert (answer.status, answer.is_ours()) == (500, False)

    def test_only_who_may_sees_what_there_is(self, site: Site) -> None:
        """
        403 says nothing of what exists; 404 and 409 are for who may ask.
        """
        name, at = fresh(), "/guarded"
        error_of(site.create(at, session_id=name), 403)
        assert site.create(at, "alice", session_id=name, client_id="alice").status == 200
        refused = error_of(site.create(at, session_id=name), 403)
        for user in ("bob", None):
            for known in (name, fresh()):
                assert error_of(site.at("GET", known, at, user), 403) == refused
                assert error_of(site.at("DELETE", known, at, user), 403) == refused
                assert error_of(site.input(known, at, user), 403) == refused
                assert error_of(site.update(known, at, user), 403) == refused
        error_of(site.create(at, "bob", session_id=name), 409)
        error_of(site.at("GET", fresh(), at, "admin"), 404)
        error_of(site.at("DELETE", fresh(), at, "admin"), 404)
        error_of(site.input(fresh(), at, "admin"), 404)
        error_of(site.update(fresh(), at, "admin"), 404)

    def test_nobody_owns_what_is_nobody_s(self, site: Site) -> None:
        """
        A session without a client is not everybody's.
        """
        name, at = fresh(), "/guarded"
        site.create(at, "alice", session_id=name)
        error_of(site.at("GET", name, at), 403)

    @pytest.mark.parametrize(
        "target",
        [
            b"/session/%FF",
            b"/session/%C3%28",
            b"/session/%ED%A0%80",
            b"/session/%00",
            b"/session/a%0D%0ASet-Cookie:%20x=1",
            b"/session/%0A",
            b"/session/%",
            b"/session/%zz",
            b"/session/%2",
            b"/session/%u0041",
            b"/session//",
            b"//session/x",
            b"/session/..%2f..%2f..%2fetc%2fpasswd",
            b"/session/..;/create",
            b"/session/" + b"a" * 5_000,
            b"/session/" + b"%2F" * 5_000,
            b"/session/" + b"/" * 5_000,
            b"/session/x?" + b"\xff" * 10,
            b"/session/\xff\xfe",
            b"/session/\xc3\xa9",
            b"/session/x\x00y",
            b"/session/x#y",
        ],
    )
    def test_hostile_paths(self, site: Site, target: bytes) -> None:
        """
        S29: no bytes in a path cause a 5xx, or reach a session.
        """
        for method in (b"GET", b"PATCH", b"DELETE", b"POST"):
            request = method + b" /api/v1" + target + b" HTTP/1.1\r\nHost: x\r\n"
            statuses = site.raw(request + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
            assert set(statuses) <= {400, 404, 405, 414, 422, 431}
        assert site.alive()

    @pytest.mark.parametrize("code", ["%FF", "%FE", "%ED%A0%80", "%C3"])
    def test_broken_text_is_no_other_s_id(self, site: Site, code: str) -> None:
        """
        Bytes that are no UTF-8 reach no session, though servers write U+FFFD for them.
        """
        for name in ("\ufffd", "\ufffd\ufffd", "\ufffd\ufffd\ufffd"):
            site.create(session_id=name)
        assert site.ask("DELETE", f"/api/v1/session/{code}").status in {400, 404}
        assert site.at("DELETE", "\ufffd").status == 200

    def test_a_line_end_is_part_of_the_path(self, site: Site) -> None:
        """
        An ID and a line end behind it is not that ID.
        """
        name = fresh()
        site.create(session_id=name)
        for end in ("%0A", "%0D%0A", "%00", "%20"):
            assert site.ask("DELETE", f"/api/v1/session/{name}{end}").status == 404
            target = f"/api/v1/session/{name}{end}/input"
            assert site.ask("POST", target, b"{}", JSON).status in {404, 405}
        for target in ("%0A", f"{name}%0A", f"{name}%0Ax", f"%0A{name}", "create%0A"):
            assert not site.ask("GET", f"/api/v1/session/{target}").is_ours()
        assert site.ask("POST", "/api/v1/session/create%0A").status in {404, 405}
        assert site.at("GET", name).status == 200

    @pytest.mark.parametrize(
        "lines",
        [
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            b"Content-Length: 5\r\nContent-Length: 40\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: 5, 40\r\n",
            b"Content-Length: " + b"9" * 30 + b"\r\n",
            b"Content-Length: \xb2\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
            b"Transfer-Encoding: \x0bchunked\r\n",
            b"Transfer-Encoding: chunked\r\n",
        ],
    )
    def test_lengths_that_lie(self, site: Site, lines: bytes) -> None:
        """
        S29: a body whose end is in doubt creates nothing and hides no other request.
        """
        name, victim = fresh(), fresh()
        site.create(session_id=victim)
        hidden = f"DELETE /api/v1/session/{victim} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        body = json.dumps({"session_id": name}).encode()
        head = b"POST /api/v1/session/create HTTP/1.1\r\nHost: x\r\n" + lines
        site.raw(head + b"Content-Type: application/json\r\n\r\n0\r\n\r\n" + body)
        assert site.at("GET", name).status == 404
        statuses = site.raw(head + b"\r\n" + b"zz\r\n" + hidden)
        assert all(status < 500 or status == 501 for status in statuses)
        assert site.at("GET", victim).status == 200

    def test_half_a_body_is_none(self, site: Site) -> None:
        """
        A client that goes away amid its body has created nothing, though what came is JSON.
        """
        name = fresh()
        body = json.dumps({"session_id": name}).encode()
        head = (
            b"POST /api/v1/session/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        )
        for declared in (
            b"Content-Length: 100\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n64\r\n",
        ):
            statuses = site.raw(head + declared + body)
            assert set(statuses) <= {400}
            assert site.at("GET", name).status == 404

    def test_two_types_are_none(self, site: Site) -> None:
        """
        S4: a second Content-Type does not get a form in.
        """
        name = fresh()
        body = json.dumps({"session_id": name}).encode()
        lines = [b"Content-Type: text/plain", b"Content-Type: application/json"]
        for pair in (lines, lines[::-1]):
            head = b"POST /api/v1/session/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            length = b"Content-Length: %d\r\n\r\n" % len(body)
            assert site.raw(head + b"\r\n".join(pair) + b"\r\n" + length + body) in ([400], [422])
        assert site.at("GET", name).status == 404

    def test_the_next_request_on_the_connection_is_not_misread(self, site: Site) -> None:
        """
        S29: after a body that was refused unread, its rest is never taken for a request.
        """
        victim = fresh()
        site.create(session_id=victim)
        hidden = f"DELETE /api/v1/session/{victim} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        body = hidden * (200_000 // len(hidden))
        for type_ in (b"application/json", b"text/plain"):
            for method, target in ((b"POST", b"create"), (b"DELETE", b"nobody"), (b"PUT", b"x")):
                head = (
                    method + b" /api/v1/session/" + target + b" HTTP/1.1\r\nHost: x\r\n"
                    b"Content-Type: " + type_ + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
                )
                site.raw(head + body)
        assert site.at("GET", victim).status == 200
