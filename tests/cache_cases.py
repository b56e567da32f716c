"""
The cases of R9 about caches: one response each, and what becomes of it.
"""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass

from drive import Line

SOON = email.utils.formatdate(time.time() + 86_400, usegmt=True)
LATE = email.utils.formatdate(time.time() - 86_400, usegmt=True)

BARE = "bare"
ECHOED = "echoed"
PRIVATE = "private"


@dataclass(frozen=True, kw_only=True)
class Case:
    """
    One response and its end.

    Attributes:
        headers: what the application says.
        end: ``BARE``: no ID, all else as it was; ``ECHOED``: an ID, all else as
            it was; ``PRIVATE``: an ID, and kept from caches.
        method: of the request.
        status: of the response.
        says: header names in lower case, and what they say instead, where it
            is not that ``Cache-Control: private`` was added.
        once: whether each name stands there at most once.
    """

    headers: tuple[Line, ...]
    end: str
    method: str = "GET"
    status: int = 200
    says: tuple[Line, ...] = (("cache-control", "private"),)

    @property
    def once(self) -> bool:
        """
        Return whether every header is one line, as a mapping holds it.
        """
        names = [name.lower() for name, _ in self.headers]
        return len({*names}) == len(names)


def _control(*lines: str) -> tuple[Line, ...]:
    return tuple(("Cache-Control", line) for line in lines)


def _bare(*lines: str) -> Case:
    return Case(headers=_control(*lines), end=BARE)


def _echoed(*lines: str) -> Case:
    return Case(headers=_control(*lines), end=ECHOED)


def _private(line: str, says: str) -> Case:
    return Case(headers=_control(line), end=PRIVATE, says=(("cache-control", says),))


CONTROL = {
    "public": _bare("public"),
    "public in capitals": _bare("PUBLIC"),
    "public, max-age": _bare("public, max-age=60"),
    "public and private": _bare("public, private"),
    "s-maxage": _bare("s-maxage=60"),
    "private, s-maxage": _bare("private, s-maxage=60"),
    "max-age": _bare("max-age=60"),
    "max-age, spaced": _bare("  Max-Age = 60 "),
    "max-age, quoted": _bare('max-age="60"'),
    "max-age=0 and another": _bare("max-age=0, max-age=60"),
    "max-age and then 0": _bare("max-age=60, max-age=0"),
    "max-age of no number": _bare("max-age=soon"),
    "max-age and immutable": _bare("max-age=60, immutable"),
    "private with fields, max-age": _bare('private="set-cookie", max-age=60'),
    "two lines, the second public": _bare("max-age=0", "public"),
    "public where a cache knows no quotes": _bare('x="a, public"'),
    "private": _echoed("private"),
    "private, max-age": _echoed("private, max-age=60"),
    "private, no-cache": _echoed("no-cache, PRIVATE"),
    "no-store": _echoed("no-store"),
    "no-store, max-age": _echoed("no-store, max-age=60"),
    "public, no-store": _echoed("public, no-store"),
    "two lines, the second private": _echoed("max-age=60", "private"),
    "two lines, the second no-store": _echoed("public", "no-store"),
    "max-age=0": _private("max-age=0", "max-age=0, private"),
    "max-age=00": _private("max-age=00", "max-age=00, private"),
    "max-age=0, quoted": _private('max-age="0"', 'private, max-age="0"'),
    "max-age below 0": _private("max-age=-1", "max-age=-1, private"),
    "max-age without a number": _private("max-age", "max-age, private"),
    "no-cache": _private("no-cache", "no-cache, private"),
    "no-cache with fields": _private('no-cache="set-cookie"', 'private, no-cache="set-cookie"'),
    "must-revalidate": _private("must-revalidate,", "must-revalidate, private"),
    "stale-while-revalidate": _private("stale-if-error=60", "stale-if-error=60, private"),
    "immutable": _private("immutable", "immutable, private"),
    "an unknown directive": _private("x-public=1", "x-public=1, private"),
    "private with fields": _private('private="set-cookie"', 'private, private="set-cookie"'),
    "private between quotes": _private('x="a, private, b"', 'private, x="a, private, b"'),
    "no-store behind an open quote": _private('x="a, no-store', 'private, x="a, no-store'),
    "a quote escaped": _private(r'x="\", no-store, \""', r'private, x="\", no-store, \""'),
    "no-store with an argument": _private('no-store="x"', 'private, no-store="x"'),
    "empty": _private("", "private"),
    "only commas": _private(" , ,", "private"),
    "two lines that say nothing": Case(
        headers=_control("no-cache", "must-revalidate"),
        end=PRIVATE,
        says=(("cache-control", "no-cache, private"), ("cache-control", "must-revalidate")),
    ),
    "nothing": Case(headers=(), end=PRIVATE),
    "Pragma": Case(headers=(("Pragma", "no-cache"),), end=PRIVATE),
    "a cookie": Case(headers=(("Set-Cookie", "a=1"),), end=PRIVATE),
    "Vary": Case(headers=(("Vary", "X-Session-ID"),), end=PRIVATE),
}


def _stated(end: str, *headers: Line, **more: tuple[Line, ...]) -> Case:
    return Case(headers=headers, end=end, **more)  # type: ignore[arg-type]


CDN = "CDN-Cache-Control"
NO_STORE = ("Cache-Control", "no-store")

CDNS = {
    "CDN: max-age beside no-store": _stated(BARE, NO_STORE, (CDN, "max-age=600")),
    "CDN: max-age alone": _stated(BARE, (CDN, "max-age=600")),
    "CDN: public beside private": _stated(BARE, ("Cache-Control", "private"), (CDN, "public")),
    "CDN: a vendor's": _stated(BARE, NO_STORE, ("Cloudflare-CDN-Cache-Control", "max-age=600")),
    "CDN: another's": _stated(BARE, NO_STORE, ("Vercel-CDN-Cache-Control", "s-maxage=9")),
    "CDN: a third's": _stated(BARE, NO_STORE, ("Netlify-CDN-Cache-Control", "public, durable")),
    "CDN: one without CDN in its name": _stated(
        BARE, NO_STORE, ("Akamai-Cache-Control", "max-age=600")
    ),
    "CDN: of several one allows": _stated(
        BARE, NO_STORE, (CDN, "no-store"), ("Vercel-CDN-Cache-Control", "max-age=9")
    ),
    "CDN: on a POST": Case(headers=(NO_STORE, (CDN, "max-age=600")), end=BARE, method="POST"),
    "CDN: no-store beside no-store": _stated(ECHOED, NO_STORE, (CDN, "no-store")),
    "CDN: private beside no-store": _stated(ECHOED, NO_STORE, (CDN, "private")),
    "CDN: two lines as one": _stated(ECHOED, NO_STORE, (CDN, "max-age=9"), (CDN, "private")),
    "CDN: no-store alone, which other caches do not read": _stated(PRIVATE, (CDN, "no-store")),
    "CDN: no-store beside max-age for the others": _stated(
        BARE, ("Cache-Control", "max-age=60"), (CDN, "no-store")
    ),
    "CDN: says nothing beside no-store": _stated(
        PRIVATE,
        NO_STORE,
        (CDN, "max-age=0"),
        says=(("cache-control", "no-store"), ("cdn-cache-control", "max-age=0, private")),
    ),
    "CDN: says nothing": _stated(
        PRIVATE,
        (CDN, "must-revalidate"),
        says=(("cache-control", "private"), ("cdn-cache-control", "must-revalidate, private")),
    ),
    "CDN: says nothing on a POST": Case(
        headers=(NO_STORE, (CDN, "no-cache")), end=ECHOED, method="POST"
    ),
    "surrogate: max-age": _stated(BARE, NO_STORE, ("Surrogate-Control", "max-age=600")),
    "surrogate: max-age for one": _stated(
        BARE, NO_STORE, ("Surrogate-Control", 'max-age=600;varnish, content="ESI/1.0"')
    ),
    "surrogate: no-store": _stated(ECHOED, NO_STORE, ("Surrogate-Control", "no-store")),
    "surrogate: no-store alone": _stated(PRIVATE, ("Surrogate-Control", "no-store")),
    "surrogate: says nothing, which lifts private on Varnish": _stated(
        PRIVATE,
        ("Cache-Control", "private"),
        ("Surrogate-Control", 'content="ESI/1.0"'),
        says=(
            ("cache-control", "private"),
            ("surrogate-control", 'no-store, content="ESI/1.0"'),
        ),
    ),
    "surrogate: private, which Varnish does not know": _stated(
        PRIVATE,
        ("Surrogate-Control", "private"),
        says=(("cache-control", "private"), ("surrogate-control", "private, no-store")),
    ),
    "surrogate: no-store in the second line, which Varnish does not read": _stated(
        PRIVATE,
        NO_STORE,
        ("Surrogate-Control", "max-age=0"),
        ("Surrogate-Control", "no-store"),
        says=(
            ("cache-control", "no-store"),
            ("surrogate-control", "max-age=0, no-store"),
            ("surrogate-control", "no-store"),
        ),
    ),
    "edge: max-age in days": _stated(BARE, NO_STORE, ("Edge-Control", "max-age=1d")),
    "edge: cache-maxage": _stated(BARE, NO_STORE, ("Edge-Control", "cache-maxage=1h")),
    "edge: not no-store": _stated(BARE, NO_STORE, ("Edge-Control", "!no-store")),
    "edge: no-store": _stated(ECHOED, NO_STORE, ("Edge-Control", "no-store")),
    "nginx: seconds": _stated(BARE, NO_STORE, ("X-Accel-Expires", "60")),
    "nginx: a moment": _stated(BARE, NO_STORE, ("X-Accel-Expires", "@4102444800")),
    "nginx: 0": _stated(PRIVATE, ("X-Accel-Expires", "0")),
    "nginx: 0 beside private": _stated(
        ECHOED, ("Cache-Control", "private"), ("X-Accel-Expires", "0")
    ),
    "nginx: not understood": _stated(ECHOED, NO_STORE, ("X-Accel-Expires", "off")),
}

EXPIRES = {
    "expires in the future": _stated(BARE, ("Expires", SOON)),
    "expires in the future, no-cache": _stated(
        BARE, ("Expires", SOON), ("Cache-Control", "no-cache")
    ),
    "expires in the future, public": _stated(BARE, ("Expires", SOON), ("Cache-Control", "public")),
    "expires in the future, private": _stated(
        ECHOED, ("Expires", SOON), ("Cache-Control", "private")
    ),
    "expires in the future, no-store": _stated(ECHOED, ("Expires", SOON), NO_STORE),
    "expires in the future, max-age=0": _stated(
        PRIVATE,
        ("Expires", SOON),
        ("Cache-Control", "max-age=0"),
        says=(("expires", SOON), ("cache-control", "max-age=0, private")),
    ),
    "expires in the future, as a POST": Case(headers=(("Expires", SOON),), end=BARE, method="POST"),
    "expires twice, once in the future": _stated(BARE, ("Expires", LATE), ("Expires", SOON)),
    "expires in an older way": _stated(BARE, ("Expires", "Friday, 01-Jan-66 00:00:00 GMT")),
    "expires in the past": _stated(PRIVATE, ("Expires", LATE)),
    "expires 0": _stated(PRIVATE, ("Expires", "0")),
    "expires -1": _stated(PRIVATE, ("Expires", "-1")),
    "expires at no date": _stated(PRIVATE, ("Expires", "Thu, 32 Foo 2099 00:00:00 GMT")),
    "expires after all years": _stated(PRIVATE, ("Expires", "Thu, 01 Jan 99999 00:00:00 GMT")),
    "expires at great length": _stated(PRIVATE, ("Expires", SOON + " " * 100)),
    "expires empty": _stated(PRIVATE, ("Expires", "")),
}

LAST_MODIFIED = ("Last-Modified", LATE)
ETAG = ("ETag", '"1"')

FILES = {
    "file: modified": _stated(BARE, LAST_MODIFIED),
    "file: tagged": _stated(BARE, ETAG),
    "file: tagged weakly, in lower case": _stated(BARE, ("etag", 'W/"1"')),
    "file: no-cache": _stated(BARE, ETAG, ("Cache-Control", "no-cache")),
    "file: max-age=0": _stated(BARE, ETAG, ("Cache-Control", "max-age=0")),
    "file: private": _stated(ECHOED, ETAG, ("Cache-Control", "private")),
    "file: no-store": _stated(ECHOED, LAST_MODIFIED, NO_STORE),
    "file: private, and nothing for CDNs": _stated(
        BARE, ETAG, ("Cache-Control", "private"), (CDN, "no-cache")
    ),
    "file: as a POST": Case(headers=(ETAG,), end=ECHOED, method="POST"),
    "file: as an error": Case(headers=(ETAG,), end=ECHOED, status=500),
    "file: not found": Case(headers=(ETAG,), end=BARE, status=404),
}

METHODS = {
    f"method: {method}": Case(headers=(), end=end, method=method)
    for method, end in {
        "HEAD": PRIVATE,
        "POST": ECHOED,
        "PUT": ECHOED,
        "PATCH": ECHOED,
        "DELETE": ECHOED,
        "OPTIONS": ECHOED,
    }.items()
} | {
    "method: POST, no-cache": Case(headers=_control("no-cache"), end=ECHOED, method="POST"),
    "method: POST, max-age": Case(headers=_control("max-age=60"), end=BARE, method="POST"),
}

STORED = (200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 421, 451, 501)
UNSTORED = (201, 202, 205, 303, 400, 401, 403, 409, 418, 422, 429, 500, 502, 503, 504)

STATUSES = (
    {f"status: {code}": Case(headers=(), end=PRIVATE, status=code) for code in STORED}
    | {f"status: {code}": Case(headers=(), end=ECHOED, status=code) for code in UNSTORED}
    | {
        f"status: {code}, {line}": Case(headers=_control(line), end=BARE, status=code)
        for code in (206, 304)
        for line in ("private", "no-store", "no-cache")
    }
    | {
        "status: 206": Case(headers=(("Content-Range", "bytes 0-1/2"),), end=BARE, status=206),
        "status: 304": Case(headers=(ETAG,), end=BARE, status=304),
        "status: 500, public": Case(headers=_control("public"), end=BARE, status=500),
        "status: 302, max-age": Case(headers=_control("max-age=60"), end=BARE, status=302),
    }
)

CASES: dict[str, Case] = {**CONTROL, **CDNS, **EXPIRES, **FILES, **METHODS, **STATUSES}


def expected(case: Case, echo: list[Line], *, mark_private: bool = True) -> list[Line]:
    """
    Return the lines that the response must have, names in lower case, sorted.

    Args:
        case: which.
        echo: the IDs' own lines, where there are any.
        mark_private: as the policy says.
    """
    said = [(name.lower(), value.strip()) for name, value in case.headers]
    if case.end == BARE or (case.end == PRIVATE and not mark_private):
        return sorted(said)
    if case.end == PRIVATE:
        rewritten = {name for name, _ in case.says}
        said = [line for line in said if line[0] not in rewritten] + [*case.says]
    return sorted([*said, *echo])
