"""
Client certificates: one field of what a server or a proxy says about them, or nothing.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from drive import PROXY, STRANGER, Line, ask_asgi_at_once, ask_wsgi, environ_of, http_scope
from idlanyard import (
    Environ,
    Header,
    Policy,
    PolicyError,
    Provenance,
    Scope,
    asgi,
    get_session_context,
    user_spec,
    wsgi,
)
from idlanyard.certificates import forwarded_certificate, subject_field

SUBJECTS: dict[str, tuple[str, str | None]] = {
    "alone": ("CN=alice", "alice"),
    "first": ("CN=alice,O=Acme,C=DE", "alice"),
    "last": ("C=DE,O=Acme,CN=alice", "alice"),
    "spaces after commas": ("O=Acme, CN=alice", "alice"),
    "a space inside": ("CN=Alice Smith,O=Acme", "Alice Smith"),
    "in another case": ("cn=alice", "alice"),
    "by its long name": ("commonName=alice", "alice"),
    "by its number": ("2.5.4.3=alice", "alice"),
    "an escaped sign": (r"CN=alice\+crm,O=Acme", "alice+crm"),
    "an escaped backslash": (r"CN=a\\,O=Acme", "a\\"),
    "an equals sign": ("CN=a=b", "a=b"),
    "an empty field beside": ("O=,CN=alice", "alice"),
    "other escapes beside": (r"O=\C3\A4,CN=alice", "alice"),
    "bytes beyond ASCII beside": ("O=Ãcme,CN=alice", "alice"),
    "not there": ("O=Acme", None),
    "nothing": ("", None),
    "empty": ("CN=,O=Acme", None),
    "twice": ("CN=x,CN=admin", None),
    "twice the same": ("CN=admin,CN=admin", None),
    "twice under two names": ("CN=x,commonName=admin", None),
    "twice by number": ("CN=x,2.5.4.3=admin", None),
    "beside another at one level": ("CN=x+OU=y", None),
    "behind another at one level": ("OU=y+CN=admin,O=Acme", None),
    "as a user in another field": ("UID=admin", None),
    "in another field, quoted": ('O="a,CN=admin"', None),
    "in another field, escaped": (r"O=a\,CN=admin", None),
    "in another field, in hexadecimal": (r"O=a\2CCN=admin", None),
    "in another field, without a comma": ("O=CN=admin", None),
    "quoted itself": ('CN="alice"', None),
    "in hexadecimal": (r"CN=\61lice", None),
    "in bytes": ("CN=#0c05616c696365", None),
    "a semicolon": ("O=a;CN=admin", None),
    "NUL": ("CN=admin\x00.example", None),
    "NUL beside": ("O=\x00,CN=admin", None),
    "a line feed at the end": ("CN=admin\n", None),
    "a line feed between": ("O=a\nCN=admin", None),
    "a space before": ("CN= admin", None),
    "a space behind": ("CN=admin ", None),
    "a space before the comma": ("CN=admin ,O=a", None),
    "spaces around the sign": ("CN = admin", None),
    "a comma at the end": ("CN=admin,", None),
    "a comma before": (",CN=admin", None),
    "a backslash at the end": ("CN=admin\\", None),
    "another text at the end": ("CN=admin,junk", None),
    "in one line": ("/O=Acme/CN=admin", None),
}


@pytest.mark.parametrize("case", SUBJECTS)
def test_a_subject_has_one_field_of_a_name_or_none(case: str) -> None:
    """
    S1: a field is read whole, and never out of another one.
    """
    subject, value = SUBJECTS[case]
    assert subject_field("CN")(subject) == value


ONE_LINE: dict[str, tuple[str, str | None]] = {
    "a field": ("/C=DE/O=Acme/CN=alice", "alice"),
    "a comma inside": ("/O=Acme, CN=admin/CN=alice", "alice"),
    "twice": ("/CN=x/CN=admin", None),
    "a slash in another field": ("/O=a/b/CN=alice", None),
    "an escape": ("/CN=a\\x00b", None),
    "an escaped slash in another field": (r"/O=x\/CN=admin", None),
    "a backslash at the end of another field": (r"/O=y/CN=admin/O=x\/CN=alice", None),
    "several values at one level": ("/OU=x+CN=admin/CN=alice", None),
    "another value at its level": ("/CN=alice+OU=operations", None),
    "an escaped plus, or a backslash before one": (r"/O=x\+CN=admin/CN=alice", None),
    "an escape in another field": (r"/O=\xC3\x84cme/CN=alice", "alice"),
    "nothing before the first field": ("x/CN=admin", None),
    "with commas": ("O=Acme,CN=admin", None),
    "empty": ("/CN=", None),
    "nothing": ("", None),
    "a slash": ("/", None),
    "a line feed": ("/CN=admin\n", None),
}


@pytest.mark.parametrize("case", ONE_LINE)
def test_a_subject_in_one_line_is_read_where_it_is_asked_for(case: str) -> None:
    """
    S1: as OpenSSL writes it, for authorities that check each field.
    """
    subject, value = ONE_LINE[case]
    assert subject_field("CN", one_line=True)(subject) == value


SUBJECT = r'By=spiffe://mesh/api;Hash=ab01;Subject="CN=alice,O=Acme\, Inc.";URI=spiffe://mesh/web'
FORWARDED: dict[str, tuple[str, str | None]] = {
    "alone": ("URI=spiffe://mesh/web", "spiffe://mesh/web"),
    "among others": (SUBJECT, "spiffe://mesh/web"),
    "quoted": ('Hash=ab;URI="spiffe://mesh/web"', None),
    "a subject with several values at one level": ('Subject="CN=a+OU=b";URI=x', "x"),
    "a subject in bytes": ('Subject="CN=#0c0161,O=a";URI=x', "x"),
    "an empty subject": ('Subject="";URI=x', "x"),
    "a certificate": ('Cert="-----BEGIN%20CERTIFICATE-----%0Aab";Chain="";URI=x', "x"),
    "every key": ('By=a;By=b;Hash=ab;Cert="";Chain="";Subject="";URI=x;DNS=b;DNS=c', "x"),
    "a key of others": ("Hash=ab;Issuer=x;URI=admin", None),
    "out of order": ("URI=admin;Hash=ab", None),
    "a subject in one line": ('Subject="/CN=a";URI=admin', None),
    "a semicolon in a subject": ('Subject="O=a;CN=b";URI=admin', None),
    "in another case": ("uri=spiffe://mesh/web", "spiffe://mesh/web"),
    "nothing": ("", None),
    "empty": ("Hash=ab;URI=", None),
    "empty and quoted": ('Hash=ab;URI=""', None),
    "not there": ("Hash=ab", None),
    "twice": ("URI=x;URI=admin", None),
    "twice in two cases": ("URI=x;uri=admin", None),
    "two elements": ("URI=admin,URI=x", None),
    "two elements and a space": ("URI=admin, URI=x", None),
    "an element that is empty": (",URI=admin", None),
    "in another value": ('Subject="a;URI=admin"', None),
    "in another value, after an escape": (r'Subject="a\";URI=admin"', None),
    "an escape inside": (r'URI="a\"b"', None),
    "a quotation mark that is not closed": ('URI="admin', None),
    "a quotation mark in the middle": ('URI=ad"min', None),
    "a text after a quotation mark": ('URI="admin"x', None),
    "a sign in a value that is not quoted": ("By=a=URI=admin", None),
    "a space": ("URI=ad min", None),
    "a space before": ("Hash=ab; URI=admin", None),
    "a semicolon at the end": ("URI=admin;", None),
    "no key": ("=admin", None),
    "no sign": ("URI", None),
    "NUL": ("URI=admin\x00", None),
    "NUL in quotation marks": ('URI="admin\x00"', None),
    "a line feed at the end": ("URI=admin\n", None),
    "a letter beyond ASCII": ("URI=é", None),
}


@pytest.mark.parametrize("case", FORWARDED)
def test_a_forwarded_certificate_has_one_value_or_none(case: str) -> None:
    """
    S1: a value is read whole, out of the only element, and never out of another value.
    """
    line, value = FORWARDED[case]
    assert forwarded_certificate("URI")(line) == value


OTHER_KEYS: dict[str, tuple[Any, str, str | None]] = {
    "a hash": (forwarded_certificate("Hash"), SUBJECT, "ab01"),
    "a name": (forwarded_certificate("DNS"), "Hash=ab;DNS=a.example", "a.example"),
    "a name beside no URI": (forwarded_certificate("DNS"), "URI=;DNS=a.example", "a.example"),
    "a name that may be of a URI": (
        forwarded_certificate("DNS"),
        "Hash=ab;URI=https://x/;DNS=admin.example",
        None,
    ),
    "two names": (forwarded_certificate("DNS"), "DNS=a.example;DNS=b.example", None),
    "a field": (forwarded_certificate("Subject", "CN"), SUBJECT, "alice"),
    "another field": (forwarded_certificate("Subject", "O"), SUBJECT, "Acme, Inc."),
    "no subject": (forwarded_certificate("Subject", "CN"), 'Subject=""', None),
    "a subject that is the end of a URI": (
        forwarded_certificate("Subject", "CN"),
        'By=b;Hash=ab;URI=u;Subject="CN=admin"',
        None,
    ),
    "a name before a URI": (forwarded_certificate("DNS"), "DNS=admin.example;URI=", None),
    "a subject with another quoted field": (
        forwarded_certificate("Subject", "CN"),
        r'Subject="O=\"a,CN=admin,L=b\""',
        None,
    ),
    "a backslash at the end of a subject": (
        forwarded_certificate("Subject", "CN"),
        r'Subject="CN=a\\";URI=u',
        "a\\",
    ),
    "the last": (forwarded_certificate("URI", last=True), "URI=admin,Hash=ab;URI=x", "x"),
    "the last has none": (forwarded_certificate("URI", last=True), "URI=admin,Hash=ab", None),
    "a fault before the last": (forwarded_certificate("URI", last=True), "URI=a;,URI=x", None),
    "one is the last": (forwarded_certificate("URI", last=True), "URI=x", "x"),
}


@pytest.mark.parametrize("case", OTHER_KEYS)
def test_each_key_is_read_in_its_way(case: str) -> None:
    """
    S1: the hash, names and fields of the subject, also of the last of several elements.
    """
    parse, line, value = OTHER_KEYS[case]
    assert parse(line) == value


OWN_URI = ",By=spiffe://mesh/api;Hash=ab;URI="


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "sent", ["X", "By", "URI", "DNS", "Hash", "Subject", "subject", "Cert", "Chain", "Subject-"]
)
def test_a_quotation_mark_in_a_uri_ends_no_value(sent: str, last: bool) -> None:
    """
    S1: Envoy quotes no URI, so a client cannot begin a value that its own URI ends.
    """
    parse = forwarded_certificate("URI", last=last)
    assert parse(f'{sent}="{OWN_URI}";URI=spiffe://mesh/admin') is None
    assert parse(f'{sent}="CN=a{OWN_URI}";URI=spiffe://mesh/admin') is None


LONG: dict[str, tuple[Any, str]] = {
    "a subject": (subject_field("CN"), "CN="),
    "a subject in one line": (subject_field("CN", one_line=True), "/CN="),
    "a URI": (forwarded_certificate("URI"), "URI="),
}


@pytest.mark.parametrize("case", LONG)
def test_a_long_line_is_not_read(case: str) -> None:
    """
    S29: a line has up to 8,192 characters, so that none keeps the server busy.
    """
    parse, start = LONG[case]
    value = "a" * (8192 - len(start))
    assert parse(start + value) == value
    assert parse(f"{start}{value}a") is None


def test_a_unique_identifier_is_no_user() -> None:
    """
    S1: OpenSSL writes ``uid`` for one and ``UID`` for the other, and LDAP any case for the user.
    """
    assert subject_field("UID")("CN=mallory,uid=admin") is None
    assert subject_field("UID")("uid=admin,UID=mallory") == "mallory"
    assert subject_field("uniqueIdentifier")("uid=admin,UID=mallory") == "admin"
    assert subject_field("userId")("Uid=mallory") == "mallory"


@pytest.mark.parametrize(
    "parse", [subject_field("CN"), forwarded_certificate("URI"), partial(subject_field("CN"))]
)
def test_a_function_that_only_reads_does_not_verify(parse: Any) -> None:
    """
    S1: a header that any client can write is no signature, whatever is read out of it.
    """
    with pytest.raises(PolicyError) as told:
        Header("X-Client-DN", verify=parse)
    assert "verifies nothing, so any client could be anybody" in str(told.value)
    assert "write Header('X-Client-DN', parse=...)" in str(told.value)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(lambda: subject_field("uid"), "write subject_field('UID')", id="lower case"),
        pytest.param(lambda: subject_field("CN="), "write subject_field('CN')", id="a sign"),
        pytest.param(lambda: subject_field(""), "write subject_field('CN')", id="no name"),
        pytest.param(lambda: subject_field(None), "write subject_field('CN')", id="none"),  # type: ignore[arg-type]
        pytest.param(
            lambda: forwarded_certificate("By"), "write forwarded_certificate('URI')", id="ours"
        ),
        pytest.param(
            lambda: forwarded_certificate("Subject"),
            "write forwarded_certificate('Subject', 'CN')",
            id="a subject without a field",
        ),
        pytest.param(
            lambda: forwarded_certificate("URI", "CN"),
            "write forwarded_certificate('URI')",
            id="a URI with a field",
        ),
        pytest.param(
            lambda: forwarded_certificate("Subject", "CN,"),
            "write subject_field('CN')",
            id="a wrong field",
        ),
    ],
)
def test_a_wrong_name_says_what_to_write(build: Any, said: str) -> None:
    """
    R14: a function that would never find anything is a ``PolicyError`` when it is made.
    """
    with pytest.raises(PolicyError) as told:
        build()
    assert said in str(told.value)


def test_equal_functions_are_equal() -> None:
    """
    Two policies that read the same field are equal, and say in their text which.
    """
    assert subject_field("CN") == subject_field("CN") != subject_field("O")
    assert repr(forwarded_certificate("URI")).startswith("ForwardedCertificate(key='URI'")


TYPES = st.sampled_from(["CN", "cn", "O", "OU", "commonName", "2.5.4.3", "emailAddress", "X-1"])
SIGNS = st.sampled_from(',+"\\<>;=# /') | st.characters(min_codepoint=0x20, max_codepoint=0xFF)
VALUES = st.text(SIGNS, max_size=6).filter(lambda text: not re.search(r"[\x00-\x1f\x7f]", text))
PIECES = ["CN=", "commonName=", "O=", "URI=", "Hash=", 'Subject="', '"', '\\"', "\\", "\\2C"]
LIKELY = st.sampled_from([*PIECES, *",;+/=# é\x00\n", "admin", "x"])
TEXTS = st.lists(LIKELY | st.text(max_size=2), max_size=12).map("".join)


def escape(value: str) -> str:
    """
    Return a value as RFC 4514 has it in a subject.
    """
    escaped = re.sub(r'([,+"\\<>;])', r"\\\1", value)
    escaped = re.sub(r"^([ #])", r"\\\1", escaped)
    return re.sub(r"(?<!\\) $", r"\\ ", escaped)


@given(st.lists(st.tuples(TYPES, VALUES), min_size=1, max_size=4))
def test_any_subject_comes_back(parts: list[tuple[str, str]]) -> None:
    """
    S1: the field that an authority has signed is found, and no other text.
    """
    subject = ",".join(f"{name}={escape(value)}" for name, value in parts)
    own = [value for name, value in parts if name.lower() in ("cn", "commonname", "2.5.4.3")]
    assert subject_field("CN")(subject) == (own[0] if len(own) == 1 and own[0] else None)


FIELDS = st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.USER_ID])


@given(st.lists(st.tuples(FIELDS, VALUES.filter(bool)), min_size=1, max_size=4))
def test_any_subject_of_another_writer_comes_back(parts: list[tuple[Any, str]]) -> None:
    """
    S1: a subject as a library for certificates writes it is read as it was signed.
    """
    subject = x509.Name([x509.NameAttribute(field, value) for field, value in parts])
    own = [value for field, value in parts if field is NameOID.COMMON_NAME]
    expected = own[0] if len(own) == 1 else None
    assert subject_field("CN")(subject.rfc4514_string()) == expected


@given(TEXTS)
@example('O="a,CN=admin"')
def test_any_text_is_read_or_is_none(text: str) -> None:
    """
    R14: no text raises, and what is found stands in it.
    """
    for parse in (
        subject_field("CN"),
        subject_field("CN", one_line=True),
        forwarded_certificate("URI", last=True),
        forwarded_certificate("Subject", "CN"),
    ):
        found = parse(text)
        assert found is None or found in re.sub(r"\\(.)", r"\1", text)


# A comma in a URI is what no reader can tell from the end of an element.
URIS = TEXTS.filter(lambda text: "," not in text)


@given(TEXTS, st.lists(st.tuples(TYPES, VALUES), max_size=3), URIS)
@example('URI=admin;Subject="', [], "spiffe://mesh/web")
@example('URI=admin;Subject="', [("CN", ";URI=admin")], "spiffe://mesh/web")
@example('URI=admin;Subject="\\', [("O", "x")], "spiffe://mesh/web")
@example('Subject="CN=a\\', [], '";URI=admin')
@example('Cert="', [], '";URI=admin')
def test_a_client_cannot_write_the_last_element(
    sent: str, parts: list[tuple[str, str]], uri: str
) -> None:
    """
    S1: whatever precedes what the nearest proxy appends, only that is found, or nothing.
    """
    subject = ",".join(f"{name}={escape(value)}" for name, value in parts)
    line = f'{sent},Hash=ab;Subject="{subject}";URI={uri}'
    found = forwarded_certificate("URI", last=True)(line)
    assert found in (None, uri.partition(";")[0])


class Seen:
    """
    The users that applications of both protocols have seen, with their provenance.
    """

    def __init__(self, source: Any) -> None:
        self.users: list[Any] = []
        policy = Policy(user=user_spec(sources=[source]), trusted_peers=[PROXY])
        self.doors = (
            asgi.SessionContextMiddleware(self.asgi_app, policy),
            wsgi.SessionContextMiddleware(self.wsgi_app, policy),
        )

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        self.note(b"x-forwarded-client-cert" in dict(scope["headers"]))

    def wsgi_app(self, environ: Any, start_response: Any) -> list[bytes]:
        self.note("HTTP_X_FORWARDED_CLIENT_CERT" in environ)
        start_response("200 OK", [])
        return []

    def note(self, has_header: bool) -> None:
        context = get_session_context()
        self.users.append((context.user_id, context.provenance("user_id"), has_header))

    def ask_asgi(self, lines: list[Line] | None = None, **more: Any) -> Any:
        """
        Return what an ASGI application sees.
        """
        ask_asgi_at_once(self.doors[0], http_scope(lines or [], **more))
        return self.users[-1]

    def ask_wsgi(self, lines: list[Line] | None = None, **more: Any) -> Any:
        """
        Return what a WSGI application sees.
        """
        more = {"SERVER_SOFTWARE": "gunicorn/23.0.0", **more}
        ask_wsgi(self.doors[1], environ_of(lines or [], **more))
        return self.users[-1]


NOBODY = (None, None, False)
XFCC = "X-Forwarded-Client-Cert"
LISTS: dict[str, tuple[bool, list[Line], str, Any]] = {
    "one element": (False, [(XFCC, "URI=spiffe://a")], PROXY, "spiffe://a"),
    "two elements": (False, [(XFCC, "URI=spiffe://a,URI=spiffe://b")], PROXY, None),
    "the last of two": (True, [(XFCC, "URI=spiffe://a,URI=spiffe://b")], PROXY, "spiffe://b"),
    "a stranger": (True, [(XFCC, "URI=spiffe://a")], STRANGER, None),
}


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize("case", LISTS)
def test_the_header_of_a_trusted_proxy_is_believed(case: str, protocol: str) -> None:
    """
    S1: a list reaches the function whole, and the header of anybody else leaves the request.
    """
    last, lines, peer, user = LISTS[case]
    seen = Seen(Header(XFCC, parse=forwarded_certificate("URI", last=last)))
    ask = seen.ask_asgi if protocol == "asgi" else seen.ask_wsgi
    expected = NOBODY if user is None else (user, Provenance.PEER, True)
    assert ask(lines, peer=peer) == expected


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_two_lines_are_none(protocol: str) -> None:
    """
    S4: a line beside that of the proxy makes both of them nothing, also where a server joins them.
    """
    seen = Seen(Header(XFCC, parse=forwarded_certificate("URI")))
    ask = seen.ask_asgi if protocol == "asgi" else seen.ask_wsgi
    lines = [(XFCC, "URI=spiffe://admin"), (XFCC, "URI=spiffe://a")]
    assert ask(lines, peer=PROXY) == NOBODY


def tls(**more: Any) -> dict[str, Any]:
    """
    Return the part of a scope that describes a client certificate.
    """
    return {"extensions": {"tls": {"client_cert_name": "CN=alice,O=Acme", **more}}}


@pytest.mark.parametrize(
    ("more", "user"),
    [
        pytest.param({}, "alice", id="no word of an error"),
        pytest.param({"client_cert_error": None}, "alice", id="no error"),
        pytest.param({"client_cert_error": ""}, "alice", id="an empty error"),
        pytest.param({"client_cert_error": "expired"}, None, id="an error"),
    ],
)
def test_a_certificate_that_the_asgi_server_did_not_verify_is_none(
    more: dict[str, Any], user: str | None
) -> None:
    """
    S1: a server that lets such a connection in names the subject all the same.
    """
    seen = Seen(Scope("extensions.tls.client_cert_name", parse=subject_field("CN")))
    expected = NOBODY if user is None else (user, Provenance.CODE, False)
    assert seen.ask_asgi(**tls(**more)) == expected


@pytest.mark.parametrize("key", ["SSL_CLIENT_S_DN", "SSL_CLIENT_S_DN_CN"])
@pytest.mark.parametrize(
    ("more", "user"),
    [
        pytest.param({}, "alice", id="no word of it"),
        pytest.param({"SSL_CLIENT_VERIFY": "SUCCESS"}, "alice", id="verified"),
        pytest.param({"SSL_CLIENT_VERIFY": "GENEROUS"}, None, id="not verified"),
        pytest.param({"SSL_CLIENT_VERIFY": "FAILED:expired"}, None, id="refused"),
        pytest.param({"SSL_CLIENT_VERIFY": "NONE"}, None, id="none"),
    ],
)
def test_a_certificate_that_the_web_server_did_not_verify_is_none(
    key: str, more: dict[str, str], user: str | None
) -> None:
    """
    S1: a web server that asks for a certificate and takes any says so in another variable.
    """
    parse = subject_field("CN") if key == "SSL_CLIENT_S_DN" else None
    value = "CN=alice" if parse else "alice"
    seen = Seen(Environ(key, parse=parse))
    expected = NOBODY if user is None else (user, Provenance.CODE, False)
    held: dict[str, Any] = {key: value, **more}
    assert seen.ask_wsgi(**held) == expected


def test_other_variables_are_not_about_a_certificate() -> None:
    """
    A login by password counts whatever became of the certificate.
    """
    seen = Seen(Environ("REMOTE_USER"))
    user, *_ = seen.ask_wsgi(REMOTE_USER="alice", SSL_CLIENT_VERIFY="NONE")
    assert user == "alice"
