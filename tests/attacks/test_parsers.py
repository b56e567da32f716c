"""
Any text at the parsers that no other file gives any text to (S29, R14).

``fuzz.py`` gives all of them, here and in the other files, as much as there is time for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import yarl
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from idlanyard import Policy, PolicyError, SessionContext, extract
from idlanyard._policy.environment import (
    find_misspelt_variables,
    read_context_variable,
    read_options,
)
from idlanyard._policy.id_check import IDCheck
from idlanyard._policy.origins import Origin, origin_of
from idlanyard._policy.paths import find_path_fault, suggest_paths
from idlanyard._policy.peers import TrustedPeers, parse_address
from idlanyard._policy.settings import policy_from_settings
from idlanyard.registry import MissingExtra, SessionRegistry
from idlanyard.registry._http._body import idempotency_key, parse_body
from idlanyard.signing._assertions.fetching import parse_key_url

PASSWORD = "correct-horse-battery"


def texts(*likely: str, most: int = 8) -> st.SearchStrategy[str]:
    """
    Return texts that are made of likely pieces, and of any other.
    """
    piece = st.sampled_from(likely) | st.text(max_size=3)
    return st.lists(piece, max_size=most).map("".join)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=9,
)
PEERS = texts(
    *("10.0.0.5", "10.0.0.0", "/8", "/32", "/", ".", ":", "::", "fe80::1", "%eth0", "[", "]", ","),
    *("unix", "everyone", "*", "localhost", "::ffff:", "http://", " ", "256", "0", "1e1", "\x00"),
)
URLS = texts(
    *("https://", "http://", "//", "/", "api.internal", "evil.example", "@", ":", "443", "8443"),
    *(
        "\\",
        "?",
        "#",
        ".",
        "[::1]",
        "[",
        "]",
        "%2e",
        "%00",
        "\t",
        " ",
        "\u3002",
        "xn--a",
        "*.",
        "&",
    ),
    most=10,
)
STORES = texts(
    *(
        "redis",
        "rediss",
        "valkey+sentinel",
        "postgresql",
        "sqlite",
        "memory",
        "unix",
        "://",
        ":///",
    ),
    *("localhost", ":6379", f":{PASSWORD}@", "/", "0", "?", "&", "=", "pool_size=1", "db=1", ","),
    *("sslmode=require", "%2F", "[::1]", "#", "a.db", "namespace=", "host=", "\x00", "\u0663"),
)
BODIES = texts(
    *(
        '{"session_id":',
        '"a"',
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "1e999",
        "NaN",
        "-0",
        "null",
        "\\ud800",
    ),
    *("1" * 40, '"ttl":', '"metadata":', "\\u0000", "\ufeff", "true", " "),
    most=12,
)
PATHS = texts("/", "health", "*", "/*", "?", "#", "^", "$", "(", "%2f", "http://", ",", " ", "..")


def told(function: Callable[..., object], *args: object, **more: object) -> str:
    """
    Return the error that says what to write, with its value, or "" if there is none.
    """
    try:
        function(*args, **more)
    except (PolicyError, MissingExtra) as error:
        return f"{error}{getattr(error, 'value', '')}"
    return ""


@given(PEERS)
def test_any_peer_is_trusted_or_refused(text: str) -> None:
    """
    R14: a list of any text is trusted peers or a PolicyError; a text in its place is always one.
    """
    for given_peers in ([text], [text.encode()], text):
        try:
            peers = TrustedPeers(given_peers)
        except PolicyError:
            continue
        assert given_peers is not text
        assert not peers.trusts(None)
        assert "/" in text or not peers.anybody


@given(PEERS)
def test_an_address_is_one_way_to_write_it(text: str) -> None:
    """
    S21: an address that is read is the same one if its own text is read.
    """
    address = parse_address(text)
    assert address is None or parse_address(str(address)) == address


@given(
    st.dictionaries(
        st.sampled_from(["SESSION", "USER", "EXTRA", "TRUSTED_PEERS", "EXCLUDE", "SHARED_SECRET"])
        | st.text(max_size=9),
        JSON | st.dictionaries(st.sampled_from(["HEADER", "SOURCES", "LOG", "NAME"]), JSON),
        max_size=3,
    )
)
def test_any_settings_are_a_policy_or_refused(settings: dict[str, Any]) -> None:
    """
    R14: settings of any names and values are a policy, or a PolicyError with its setting.
    """
    message = told(policy_from_settings, settings, written="IDLANYARD['{}']")
    assert not message or "IDLANYARD" in message


@given(PEERS, texts("X-Proxy-Secret", ":", ",", "s" * 32, " "), st.text(max_size=5))
def test_any_environment_is_a_policy_or_refused(peers: str, secret: str, enabled: str) -> None:
    """
    R14, S8: variables of any values are a policy, or a PolicyError that repeats no secret.
    """
    environ = {
        "IDLANYARD_TRUSTED_PEERS": peers,
        "IDLANYARD_SHARED_SECRET": secret,
        "IDLANYARD_ENABLED": enabled,
        f"IDLANYARD_{enabled}": peers,
    }
    find_misspelt_variables(environ)
    assert "s" * 32 not in told(lambda: Policy(**read_options(environ)))


@given(st.dictionaries(st.just("session_id"), JSON).map(json.dumps) | st.text())
@example("[" * 2_000)
@example('{"session_id": []}')
def test_any_variable_of_a_parent_has_a_text_or_nothing(text: str) -> None:
    """
    R14: what a parent process may write for its child names an ID, or none, and raises nothing.
    """
    found = read_context_variable(text, "session_id")
    assert found is None or json.dumps(found) in text


@given(st.dictionaries(st.sampled_from(["session_id", "user_id", "X-User-ID"]), JSON) | JSON)
def test_any_message_is_a_carrier_or_a_mistake(message: Any) -> None:
    """
    S27: what JSON may be has valid IDs or none, and what it cannot be is a TypeError.
    """
    try:
        context = extract(message)
    except TypeError:
        assert not isinstance(message, dict | list)
        return
    assert isinstance(context, SessionContext)
    assert all(map(IDCheck().matches, context.as_dict().values()))


@given(STORES)
def test_any_url_opens_a_registry_or_is_refused(url: str) -> None:
    """
    R14, S8: a URL of any text is one of a store, or a sentence that does not repeat its password.
    """
    assert f":{PASSWORD}@" not in told(lambda: SessionRegistry.open(url).close())


@given(BODIES, st.sampled_from(["application/json", "application/json; charset=utf-8", "text/x"]))
def test_any_body_is_an_object_or_refused(text: str, content_type: str) -> None:
    """
    S29: a body of any bytes is a JSON object that can be written again, or a ValueError.
    """
    for body in (text.encode("utf-8", "surrogatepass"), text.encode("utf-16", "surrogatepass")):
        try:
            fields = parse_body(body, content_type, may_be_empty=True)
        except ValueError:
            continue
        json.dumps(fields, allow_nan=False).encode()


@given(texts('"', "\\", "a", ",", " ", "\t", "\x7f", "\u00e9", "k" * 255))
def test_any_idempotency_key_is_one_or_refused(value: str) -> None:
    """
    S29: a header of any text is a key of 1 to 255 characters of ASCII, or a ValueError.
    """
    try:
        key = idempotency_key({"idempotency-key": value}, {})
    except ValueError:
        return
    assert key is not None
    assert re.fullmatch(r"[ -~]{1,255}", key.key)


@given(URLS)
def test_keys_come_from_a_safe_url_or_none(text: str) -> None:
    """
    S23: a URL that keys are fetched from is of https or of this machine, and what clients read.
    """
    parts = parse_key_url(text)
    if parts is None:
        return
    assert parts.secure or parts.host in ("localhost", "127.0.0.1", "::1")
    assert text.isascii()
    assert parts.target.isprintable()
    assert " " not in parts.target


def read_by_clients(url: str) -> set[tuple[str, str, int | None]]:
    """
    Return scheme, host and port of a URL as the HTTP clients read it that send it at all.
    """
    found = set()
    ports = {"http": 80, "https": 443}
    try:
        one = httpx.URL(url)
        found.add((one.scheme, one.raw_host.decode(), one.port or ports.get(one.scheme)))
    except (httpx.InvalidURL, UnicodeError, ValueError):
        pass
    try:
        other = yarl.URL(url)
        if other.raw_host:
            found.add((other.scheme, other.raw_host, other.port))
    except ValueError:
        pass
    try:
        third = parse_url(url)
        if third.scheme and third.host:
            host = third.host.strip("[]")
            found.add((third.scheme, host, third.port or ports.get(third.scheme)))
    except (LocationParseError, UnicodeError):
        pass
    return found


@given(URLS)
@example("https://<")
@example("https://[::1]443443")
@example("https://a[::1]")
@example("https://[::1]a:80")
@example("https://xn--a\u3002")
def test_an_origin_is_what_every_client_reads(url: str) -> None:
    """
    S13: httpx, requests and aiohttp send a request to the origin that we have compared, or none.
    """
    origin = origin_of(url)
    if origin is None or not origin.host.isascii():
        return
    for scheme, host, port in read_by_clients(url):
        # A dot at the end of a host makes no difference.
        assert Origin(scheme.lower(), host.lower().rstrip("."), port or 0) == origin


@given(PATHS)
@example("http://[")
def test_any_path_is_excluded_or_refused_with_one_to_write(text: str) -> None:
    """
    R14: an entry of any text is a path, or a fault; each path that is suggested is one.
    """
    fault = find_path_fault(text)
    assert all(find_path_fault(path) is None for path in suggest_paths(text))
    try:
        Policy(exclude=[text])
    except PolicyError:
        assert fault is not None
    else:
        assert fault is None
