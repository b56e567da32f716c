"""
Whatever a message says to write is accepted.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

import idlanyard
from idlanyard import (
    EVERYONE,
    Admission,
    Baggage,
    Cookie,
    Header,
    IDSpec,
    PathPrefix,
    Policy,
    PolicyError,
    Query,
    Subdomain,
    ids,
    request_spec,
    session_spec,
    user_spec,
)
from idlanyard._policy.origins import Origins
from idlanyard._policy.settings import policy_from_settings

SECRET = "a" * 40
NAMES = {name: getattr(idlanyard, name) for name in idlanyard.__all__} | {"ids": ids, "re": re}

CODE = re.compile(r"(?:^| or |such as |as in | and )(?=\w+ ?=|[\w.]+\(|['\[{]|\d|[TF]\w+e)")
RULES = {field.name.upper() for field in dataclasses.fields(IDSpec)}
Build: TypeAlias = Callable[..., object]
Row: TypeAlias = tuple[Build, str, object]


def device(**options: Any) -> IDSpec:
    """
    Build the rules of a further ID.
    """
    return IDSpec(**({"name": "device_id", "header": "X-Device-ID"} | options))


def outgoing(*, to: Any) -> object:
    """
    Parse the origins of an outgoing call.
    """
    return Origins(to)


async def no_waiting(*_: object) -> str:
    """
    Stand for an async function, which nothing awaits.
    """
    raise AssertionError


def django(**settings: Any) -> Policy:
    """
    Build a policy from settings of Django.
    """
    return policy_from_settings(settings, written="IDLANYARD['{}']")


def flask(**settings: Any) -> Policy:
    """
    Build a policy from a configuration of Flask.
    """
    return policy_from_settings(settings, written="IDLANYARD_{}")


def written_in(message: str) -> Iterator[ast.Call]:
    """
    Yield each piece of code that a message says to write, as the arguments of a call.
    """
    _, _, advice = message.partition("write ")
    for start in CODE.finditer(advice):
        # Settings are lines of their own, or entries of a dictionary.
        piece = re.sub(r"^IDLANYARD_([A-Z_]+) = ", r"\1=", advice[start.end() :])
        form = "f(**{{{}}})" if re.match("'[A-Z_]+': ", piece) else "f({})"
        ends = [place.start() for place in re.finditer(r"(?!(?<=\w)\w)|$", piece)]
        for end in reversed(ends):
            with contextlib.suppress(SyntaxError):
                tree = ast.parse(form.format(piece[:end]), mode="eval").body
                if isinstance(tree, ast.Call):
                    yield tree
                    break


def values_of(node: ast.expr) -> list[Any]:
    """
    Return the values of code, one for each alternative in ``'a' or 'b'``.
    """
    nodes = node.values if isinstance(node, ast.BoolOp) else [node]
    return [eval(ast.unparse(each), dict(NAMES)) for each in nodes]


def ways_out(call: ast.Call, option: str, wrong: object) -> Iterator[dict[str, Any]]:
    """
    Yield the options with the suggested code in place of the wrong value.
    """
    named: dict[str, Any] = {}
    for keyword in call.keywords:
        values = values_of(keyword.value)
        named |= {keyword.arg: values[0]} if keyword.arg else values[0]
    if named:
        yield named
    for value in (value for node in call.args for value in values_of(node)):
        yield {option: [value] if isinstance(wrong, list) else value}


def rows(builds: tuple[Build, ...], option: str, *wrong: object) -> Iterator[Row]:
    """
    Yield a case for each builder and each wrong value of an option.
    """
    yield from ((build, option, value) for build in builds for value in wrong)


SPECS: tuple[Build, ...] = (session_spec, user_spec, device)
SETTINGS: tuple[Build, ...] = (django, flask)
PEERS = (
    *rows(
        (Policy,), "trusted_peers", "*", "EVERYONE", "everyone", "10.0.0.5,10.0.0.6", "10.0.0.0/8"
    ),
    *rows((Policy,), "trusted_peers", "10.0.0.5 10.0.0.6", "unix", "localhost", "testclient", ""),
    *rows((Policy,), "trusted_peers", "10.0.0.*", "[::1]:80", "http://10.0.0.5:80/", "/run/a.sock"),
    *rows((Policy,), "trusted_peers", "10.0.0.5:8080", "unix:/run/a.sock", b"10.0.0.5", 5, None),
    *rows((Policy,), "trusted_peers", ipaddress.ip_network("10.0.0.0/8")),
    *rows((Policy,), "trusted_peers", ipaddress.ip_address("::1")),
    *rows((Policy,), "trusted_peers", ["*"], ["all"], ["everyone"], ["localhost"], ["testclient"]),
    *rows((Policy,), "trusted_peers", ["10.0.0.5/8"], ["10.0.0.5, 10.0.0.6"], ["10.0.*.*"], [""]),
    *rows((Policy,), "trusted_peers", ["[::1]"], [" 10.0.0.5 "], ["unix:/run/a"], ["0.0.0.0"]),
    *rows((Policy,), "trusted_peers", ["http://10.0.0.5"], ["10.0.0.5:80"], ["nginx"], ["::"], [5]),
)
PATHS = (
    *rows((Policy,), "exclude", "/health", "health", "/a,/b", "/a, /b", "/static/*", "/static/**"),
    *rows((Policy,), "exclude", "", "*", 5, ["health"], ["/static*"], ["/static/**"], ["/*/x"]),
    *rows((Policy,), "exclude", ["/health/{id}"], ["/health.*"], ["^/health$"], ["/users/:id"]),
    *rows((Policy,), "exclude", ["/users/<int:id>"], ["/a?b=1"], ["/a%20b"], ["/a#b"], ["*"]),
    *rows((Policy,), "exclude", ["https://example.org/health"], ["**"], [".*"], [r"/\d+"]),
    *rows((Policy,), "exclude", ["/(a|b)"], [5]),
)
OTHERS = (
    *rows((Policy,), "session", "X-Request-ID", "X-User-ID", "no header", True, {}, user_spec()),
    *rows((Policy,), "user", "X-Request-ID", "X-User-ID", "no header", True, {}, session_spec()),
    *rows((Policy,), "tenant", "X-User-ID", request_spec(), user_spec(header="X-Account")),
    *rows((Policy,), "extra", request_spec(), device(), "request_id", {"name": "a"}, ["a"], 5),
    *rows((Policy,), "expose", "yes"),
    *rows((Admission,), "unknown", 5),
    *rows((Admission,), "timeout", 0, "2", True),
)
RULES_OF_ONE_ID = (
    *rows(
        SPECS, "header", "HTTP_X_REQUEST_ID", "http_x_a", "HTTP_AUTHORIZATION", "HTTP_", "X A", ""
    ),
    *rows(SPECS, "header", "X-Request-ID:", "traceparent", "tracestate", "baggage", "b3", None, 5),
    *rows(SPECS, "header", "X-Amzn-Trace-Id", "Authorization", "Cookie", "Host", "User-Agent"),
    *rows(SPECS, "header", "Origin", "Referer", "X-API-Key", "a-" * 9 + "a", Header("X-Other")),
    *rows(SPECS, "header", Header.traceparent(), Header("Cookie", parse=str)),
    *rows(SPECS, "sources", "X-A", "X-A, X-B", "HTTP_X_A", "", 5, Cookie("sid"), Query("s")),
    *rows(SPECS, "sources", Header("X-A"), Header.traceparent(), Baggage("session.id")),
    *rows(SPECS, "sources", Subdomain("a.b"), PathPrefix("/{a}"), [], (), ["HTTP_X_A"], ["Cookie"]),
    *rows(SPECS, "sources", ["traceparent"], ["baggage"], ["Host"], ["X-Amzn-Trace-Id"], ["b3"]),
    *rows(SPECS, "sources", [Header], [Cookie], [5], [None], [Header("Authorization")]),
    *rows((user_spec, device), "sources", [Cookie("sid")]),
    *rows(SPECS, "charset", "uuid", len, "[a-z]+", None, re.compile(b"a")),
    *rows(SPECS, "max_length", "255", 0),
    *rows(SPECS, "accept", "all"),
    *rows(SPECS, "required", 1),
    *rows(SPECS, "on_invalid", "ignore"),
    *rows(SPECS, "mint", "uuid4", True),
    *rows(SPECS, "echo", "no"),
    *rows(SPECS, "log", "plain", None),
    *rows((IDSpec,), "name", "Device-ID", "as_dict", "", 5),
)
SOURCES = (
    *rows((PathPrefix,), "template", "/a", "/a/*/{b}", "/a/{b:int}", "/a/<b>", 5),
    *rows((Header,), "name", "", "X A", "HTTP_X_A", "X-A:", 5),
    *rows((Cookie,), "name", "", "a b", 5),
    *rows((Query,), "name", "", 5),
    *rows((Baggage,), "key", "", "a b", 5),
    *rows((Subdomain,), "base", "", "*.app.example", "https://app.example:80/", 5),
)
ORIGINS = (
    *rows((outgoing,), "to", "*", "https://a", "https://a, https://b", "api.example", "", EVERYONE),
    *rows((outgoing,), "to", 5, None, ["*"], ["https://*"], ["api.example"], [".example"], [5]),
    *rows((outgoing,), "to", ["https://api.example/v1"], ["https://u:p@api.example"]),
    *rows((outgoing,), "to", ["api.example:8443"], ["https://api.*"]),
)
CONFIGURED = (
    *rows(SETTINGS, "SESSION", "X-Request-ID", ["X-A", "X-B"], "X-User-ID", {"NAME": "request_id"}),
    *rows(SETTINGS, "SESSION", {"HEADER": "HTTP_X_A"}, {"SOURCES": "X-A, X-B"}, user_spec()),
    *rows(SETTINGS, "USER", False, {"SOURCES": "X-A"}, {"CHARSET": "a"}, {"HEADER": "traceparent"}),
    *rows(SETTINGS, "TENANT", True),
    *rows(SETTINGS, "EXTRA", "X-Request-ID", "request_id", ["request_id"], request_spec()),
    *rows(SETTINGS, "EXTRA", {"NAME": "a_id", "HEADER": "X-A"}),
    *rows(SETTINGS, "TRUSTED_PEERS", "*", "10.0.0.5,10.0.0.6", ["10.0.0.5/8"], ["everyone"]),
    *rows(SETTINGS, "EXCLUDE", "/a,/b", ["/a/{b}"]),
)
FURTHER = (
    *rows((Policy,), "session", {"header": "X-A"}, {"HEADER": "X-A"}, ["X-A", "X-B"], [5], False),
    *rows((Policy,), "session", Header("X-A"), Header.traceparent(), session_spec, {"header": 5}),
    *rows((Policy,), "user", {"header": "X-Account"}, {"header": "X-Session-ID"}, False),
    *rows((Policy,), "extra", "X-Device-ID", "device_id", ["X-Device-ID"], "X-Session-ID", "no id"),
    *rows((Policy,), "extra", [device(), "X-Hop"], ["X-Request-ID"], "X-" + "a" * 80),
    *rows(SPECS, "must_match", "x", len, no_waiting),
    *rows(SPECS, "mint", len, no_waiting),
    *rows(SPECS, "attribute", "", " ", 5),
    *rows(SETTINGS, "EXTRA", [{"NAME": "device_id"}], [{"HEADER": "X-Device-ID"}], [{}]),
    *rows(SETTINGS, "EXTRA", [{"NAME": "Device ID"}], [{"HEADER": "Host"}], ["X-Device-ID"]),
    *rows(SETTINGS, "EXTRA", "X-Device-ID", "device_id"),
)
WRONG = [*PEERS, *PATHS, *OTHERS, *RULES_OF_ONE_ID, *SOURCES, *ORIGINS, *CONFIGURED, *FURTHER]
BASE: dict[Build, dict[str, Any]] = {
    IDSpec: {"header": "X-Device-ID"},
    Admission: {"known": len},
}


@pytest.mark.parametrize(
    ("build", "option", "wrong"),
    [
        pytest.param(build, option, wrong, id=f"{number} {build.__name__} {option}")
        for number, (build, option, wrong) in enumerate(WRONG)
    ],
)
def test_a_suggestion_is_accepted(build: Build, option: str, wrong: object) -> None:
    """
    R14: code that a message says to write is accepted.
    """
    base = BASE.get(build, {})
    with pytest.raises(PolicyError) as caught:
        build(**(base | {option: wrong}))
    message = str(caught.value)
    ways = [way for call in written_in(message) for way in ways_out(call, option, wrong)]
    assert ways or "write " not in message
    for way in ways:
        inner = build in (django, flask) and way.keys() & RULES
        # A source says how it is itself written, not what is in its place.
        if not isinstance(way.get(option), build if isinstance(build, type) else ()):
            build(**(base | ({option: way} if inner else way)))


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        pytest.param("Policy(heder='X-A')", "session=session_spec(header='X-A')", id="a rule"),
        pytest.param("Policy(header='X-A')", "session_spec(header='X-A')", id="one of an ID"),
        pytest.param("Policy(user_header='X-A')", "user=user_spec(header='X-A')", id="of the user"),
        pytest.param(
            "Policy(tenant_required=True)", "tenant=tenant_spec(required=True)", id="bool"
        ),
        pytest.param("Policy(user_header=b'X-A')", "give header to user_spec", id="of no use"),
        pytest.param("Policy(user_mint=ids.token)", "give mint to user_spec", id="no literal"),
        pytest.param("Policy(trusted_proxies=['::1'])", "'trusted_peers'", id="elsewhere"),
        pytest.param("Policy(trusted_peer=['::1'])", "'trusted_peers'", id="singular"),
        pytest.param("Policy(session_id='s1')", "'session'", id="an ID"),
        pytest.param("Policy(customer_id=None)", "'tenant'", id="an alias"),
        pytest.param("Policy(ignore_urls=['/a'])", "'exclude'", id="django-guid"),
        pytest.param("Policy(qqq=1)", "it has session, user, tenant", id="nothing near"),
        pytest.param("Policy('10.0.0.5')", "by name only", id="by position"),
        pytest.param("session_spec(requird=True)", "session_spec has no option", id="a helper"),
        pytest.param("session_spec(requird=True)", "'required'", id="a letter"),
        pytest.param("session_spec(validator=len)", "'charset'", id="asgi-correlation-id"),
        pytest.param(
            "session_spec(expose_header=True)", "give expose to Policy", id="of the policy"
        ),
        pytest.param("session_spec(qqq=1)", "it has name, header", id="helper, nothing near"),
        pytest.param("session_spec('X-A')", "session_spec(header='X-A')", id="helper by position"),
        pytest.param("user_spec('X A')", "user_spec(header='X-User-ID')", id="no header"),
        pytest.param("user_spec(Cookie('a'))", "user_spec(header='X-User-ID')", id="a source"),
        pytest.param("session_spec(name='a_id')", "IDSpec(name='device_id'", id="a fixed name"),
        pytest.param("IDSpec(nam='a_id', header='X-A')", "'name'", id="a spec"),
        pytest.param("IDSpec('a_id', 'X-A')", "IDSpec(name='a_id', header='X-A')", id="in order"),
        pytest.param("IDSpec('a_id')", "IDSpec(name='a_id', header='X-A-ID')", id="half in order"),
        pytest.param("IDSpec(5)", "by name only", id="a number"),
        pytest.param("Admission(len, unkown='mint')", "'unknown'", id="an admission"),
        pytest.param("Admission(len, 'mint')", "1 argument by position", id="admission in order"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(call: str, meant: str) -> None:
    """
    An option that does not exist is a PolicyError and a TypeError that names the one meant.
    """
    with pytest.raises(PolicyError) as caught:
        eval(call, dict(NAMES))
    message = str(caught.value)
    assert meant in message
    assert isinstance(caught.value, TypeError)
    _, write, code = message.partition("write ")
    assert not write or eval(f"dict({code})" if "=" in code.split("(")[0] else code, dict(NAMES))


@pytest.mark.parametrize("name", ["HTTP_X_REQUEST_ID", "http_x_request_id", "HTTP_HOST"])
def test_a_key_of_meta_is_no_header(name: str) -> None:
    """
    A header's name that is spelled as a key of META or environ is refused.
    """
    with pytest.raises(PolicyError):
        session_spec(header=name)
    with pytest.raises(PolicyError, match="key of META"):
        Header(name)
