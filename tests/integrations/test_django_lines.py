"""
Django: every line that it logs about a request is its own line, once, with the request's IDs.
"""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from drive import ask_asgi, ask_wsgi, environ_of, http_scope
from idlanyard import Admission, session_context
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.integrations.django import SessionContextMiddleware
from idlanyard.integrations.logging import (
    SessionContextFilter,
    SessionContextFormatter,
)
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware
from integrations.apps.django_failing import (
    API,
    BETWEEN,
    FAILING,
    FALLING_BACK,
    RAISED,
    BadHandlers,
    Routes,
)
from integrations.apps.django_settings import OURS
from integrations.django_lines import SENT, ask, logged, printed
from integrations.sides import asking_asgi

COMMON = "django.middleware.common.CommonMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"
CORS = "corsheaders.middleware.CorsMiddleware"
WHITENOISE = "whitenoise.middleware.WhiteNoiseMiddleware"
GZIP = "django.middleware.gzip.GZipMiddleware"
FORMAT = "%(session_id)s %(message)s"
HEX = re.compile("[0-9a-f]{32}")
KNOWN = Admission(lambda _: False, unknown="refuse")
TOO_BIG = {"data": b"a=1&b=2&c=3&d=4", "content_type": "application/x-www-form-urlencoded"}
BROKEN = {"data": b"no parts", "content_type": "multipart/form-data"}
ONCE = [
    *(pytest.param(f"/return/{s}", "GET", {}, 1, id=f"returned {s}") for s in (400, 401, 403)),
    *(pytest.param(f"/return/{s}", "GET", {}, 1, id=f"returned {s}") for s in (404, 410, 418)),
    *(pytest.param(f"/return/{s}", "GET", {}, 1, id=f"returned {s}") for s in (429, 500, 503)),
    *(pytest.param(f"/return-async/{s}", "GET", {}, 1, id=f"awaited {s}") for s in (404, 503)),
    *(pytest.param(f"/raise/{e.__name__}", "GET", {}, 1, id=e.__name__) for e in RAISED),
    *(
        pytest.param(f"/raise-async/{e.__name__}", "GET", {}, 1, id=f"awaited {e.__name__}")
        for e in RAISED
    ),
    *(pytest.param(f"/api/{e.__name__}", "GET", {}, 1, id=f"API {e.__name__}") for e in API),
    pytest.param("/api/NotFound", "DELETE", {}, 1, id="API 405"),
    pytest.param("/nowhere", "GET", {}, 1, id="no such path"),
    pytest.param("/asked", "DELETE", {}, 1, id="405"),
    pytest.param("/asked-async", "DELETE", {}, 1, id="405 awaited"),
    pytest.param("/gone", "GET", {}, 1, id="410"),
    pytest.param("/protected", "POST", {}, 1, id="CSRF"),
    pytest.param("/body", "POST", TOO_BIG, 1, id="too big"),
    pytest.param("/form", "POST", TOO_BIG, 1, id="too many fields"),
    pytest.param("/form", "POST", BROKEN, 1, id="no multipart"),
    pytest.param("/forget", "GET", {}, 1, id="a view that returns nothing"),
    pytest.param("/stream", "GET", {}, 1, id="stream"),
    pytest.param("/stream-async", "GET", {}, 1, id="stream awaited"),
    *(pytest.param(f"/return/{s}", "GET", {}, 0, id=f"silent {s}") for s in (200, 302, 304)),
    pytest.param("/slash/", "GET", {}, 0, id="silent"),
]


@pytest.mark.parametrize("way", ["wsgi", "asgi"])
@pytest.mark.parametrize("below", BETWEEN.values(), ids=BETWEEN)
@pytest.mark.parametrize(("route", "method", "options", "count"), ONCE)
def test_a_line_is_djangos_own_and_has_the_ids(
    way: str, below: tuple[str, ...], route: str, method: str, options: Any, count: int
) -> None:
    """
    Promise 1: a response of 400 or more has the line that it has without us, once, and bound.
    """
    limits = {"/form": "DATA_UPLOAD_MAX_NUMBER_FIELDS", "/body": "DATA_UPLOAD_MAX_MEMORY_SIZE"}
    options = options | {"method": method, "chosen": {limits.get(route, "USE_TZ"): 3}}
    expected = [line.as_django_has_it() for line in ask(way, route, *below, **options)]
    lines = ask(way, route, OURS, *below, **options)
    assert len(expected) == count
    assert [line.as_django_has_it() for line in lines] == expected
    assert {(line.session, line.bound) for line in lines} <= {("s1", "s1")}


BOTH = pytest.mark.parametrize("way", ["wsgi", "asgi"])


@BOTH
@pytest.mark.parametrize(
    ("chosen", "below", "route"),
    [
        pytest.param({"ALLOWED_HOSTS": []}, [COMMON], "/slash/", id="a host that is refused"),
        pytest.param({"DEBUG": True}, [], "/nowhere", id="404 under DEBUG"),
        pytest.param({"DEBUG": True}, [], "/raise/LookupError", id="500 under DEBUG"),
        pytest.param({"DEBUG": True}, [], "/raise/SuspiciousOperation", id="400 under DEBUG"),
        pytest.param({"ROOT_URLCONF": BadHandlers}, [], "/nowhere", id="a page that fails"),
        pytest.param({}, [FAILING], "/slash/", id="a middleware that fails"),
        pytest.param({}, [FALLING_BACK], "/nowhere", id="a middleware that answers otherwise"),
        pytest.param({}, [COMMON], "/slash", id="a redirect for want of a slash"),
    ],
)
def test_lines_from_below_have_the_ids(way: str, chosen: Any, below: list[str], route: str) -> None:
    """
    Promise 1: so have those that other middlewares, handlers and DEBUG bring about.
    """
    expected = [line.as_django_has_it() for line in ask(way, route, *below, chosen=chosen)]
    lines = ask(way, route, OURS, *below, chosen=chosen)
    assert [line.as_django_has_it() for line in lines] == expected
    assert {(line.session, line.bound) for line in lines} <= {("s1", "s1")}


@BOTH
@pytest.mark.parametrize(
    "above",
    [
        pytest.param([SECURITY], id="security"),
        pytest.param([SECURITY, WHITENOISE, CORS, GZIP], id="several"),
        pytest.param([OURS], id="our own, twice"),
    ],
)
def test_above_us_may_stand_what_hands_responses_on(way: str, above: list[str]) -> None:
    """
    Promise 1: where those before us return what they get, our response is the last.
    """
    for route in ("/nowhere", "/return/503"):
        expected = [line.as_django_has_it() for line in ask(way, route, *above)]
        lines = ask(way, route, *above, OURS)
        assert [line.as_django_has_it() for line in lines] == expected
        assert [(line.session, line.bound) for line in lines] == [("s1", "s1")]


@BOTH
def test_above_us_may_stand_opentelemetry(way: str) -> None:
    """
    Promise 1: its instrumentation puts a middleware of its own first.
    """
    instrumentor = DjangoInstrumentor()
    with override_settings(MIDDLEWARE=[OURS]):
        instrumentor.instrument(tracer_provider=TracerProvider())
        try:
            lines = ask(way, "/nowhere", *settings.MIDDLEWARE)
        finally:
            instrumentor.uninstrument()
    assert [(line.message, line.session, line.bound) for line in lines] == [
        ("Not Found: /nowhere", "s1", "s1")
    ]


@BOTH
@pytest.mark.parametrize(
    ("above", "route"),
    [
        pytest.param(COMMON, "/slash", id="a redirect for want of a slash"),
        pytest.param(FALLING_BACK, "/nowhere", id="another answer"),
        pytest.param(COMMON, "/nowhere", id="404"),
        pytest.param(COMMON, "/return/503", id="503"),
        pytest.param(COMMON, "/raise/PermissionDenied", id="403"),
        pytest.param(BETWEEN["sync"][0], "/nowhere", id="somebody else's"),
    ],
)
def test_below_another_middleware_lines_are_djangos_own(way: str, above: str, route: str) -> None:
    """
    Promise 1: an error that a middleware around us may answer otherwise has no line of ours.
    """
    expected = [line.as_django_has_it() for line in ask(way, route, above)]
    lines = ask(way, route, above, OURS)
    assert [line.as_django_has_it() for line in lines] == expected


@BOTH
@pytest.mark.parametrize("above", [[], [COMMON]], ids=["first", "below another"])
@pytest.mark.parametrize(
    ("rules", "status", "session"),
    [
        pytest.param({"SESSION": {"ON_INVALID": "reject", "CHARSET": HEX}}, 400, HEX, id="invalid"),
        pytest.param({"USER": {"REQUIRED": True}}, 401, "s1", id="missing"),
        pytest.param({"SESSION": {"MUST_MATCH": lambda *_: False}}, 403, "s1", id="another's"),
        pytest.param({"ADMISSION": KNOWN}, 404, "-", id="not known"),
    ],
)
def test_a_request_that_we_refuse_has_its_line(
    way: str, above: list[str], rules: Any, status: int, session: Any
) -> None:
    """
    Promise 1, R8: Django's line about a refusal has the session that the refusal names.
    """
    with printed(SessionContextFormatter(FORMAT)) as said:
        lines = ask(way, "/slash/", *above, OURS, chosen={"IDLANYARD": rules})
    assert [(line.logger, line.status) for line in lines] == [("django.request", status)]
    printed_session, message = said()[0].split(" ", 1)
    assert re.fullmatch(session, printed_session)
    assert message == lines[0].message


@BOTH
@pytest.mark.parametrize(
    ("formatter", "filters"),
    [
        pytest.param(SessionContextFormatter(FORMAT), [], id="formatter"),
        pytest.param(logging.Formatter(FORMAT), [SessionContextFilter()], id="filter"),
    ],
)
def test_lines_written_after_us_find_the_ids_by_the_request(
    way: str, formatter: Any, filters: Any
) -> None:
    """
    Promise 1: below a middleware that may answer otherwise, Django's own line is printed with the
    IDs of the request that it names, where nothing is bound any more.
    """
    with printed(formatter, *filters) as said:
        lines = ask(way, "/nowhere", COMMON, OURS)
        assert said() == ["s1 Not Found: /nowhere"]
    assert [line.bound for line in lines] == [None]


class Refusing:
    """
    A request of somebody else's that raises for whatever it is asked.
    """

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)


@pytest.mark.parametrize(
    "request_in_extra",
    [
        pytest.param(None, id="none"),
        pytest.param("a text", id="text"),
        pytest.param(Refusing(), id="refuses"),
        pytest.param(SimpleNamespace(session_context="s1"), id="somebody else's"),
    ],
)
def test_any_other_request_in_a_record_says_nothing(request_in_extra: Any) -> None:
    """
    R14: only requests that have our context are asked, and none can make a line fail.
    """
    with printed(SessionContextFormatter(FORMAT), SessionContextFilter()) as said:
        logger = logging.getLogger("django.request")
        logger.warning("a line", extra={"request": request_in_extra})
        assert said() == ["- a line"]


def test_a_line_that_is_bound_is_not_completed_from_its_request() -> None:
    """
    R11: a record shows what was in force where it was made, and not who was identified since.
    """
    request = RequestFactory().get("/", headers=dict(SENT))

    def respond(request: Any) -> HttpResponse:
        with session_context("another"):
            logging.getLogger("django.request").warning("inside", extra={"request": request})
        return HttpResponse()

    with printed(SessionContextFormatter(FORMAT), SessionContextFilter()) as said:
        with override_settings(MIDDLEWARE=[OURS]):
            SessionContextMiddleware(respond)(request)
        assert said() == ["another inside"]


def test_made_by_hand_it_logs_no_line() -> None:
    """
    Promise 1: where no line of MIDDLEWARE is ours, Django knows nothing of our response.
    """
    with override_settings(MIDDLEWARE=[SECURITY]), logged() as lines:
        SessionContextMiddleware(lambda _: HttpResponse(status=404))(RequestFactory().get("/"))
    assert lines == []


@BOTH
def test_what_a_view_has_bound_for_itself_is_not_on_the_line(way: str) -> None:
    """
    R2: like the echo, the line about a response reads the scope, never an overlay.
    """
    assert [line.session for line in ask(way, "/overlay", OURS)] == ["s1"]
    assert [line.session for line in ask(way, "/overlay-async", OURS)] == ["s1"]


@BOTH
def test_inside_our_other_middleware_there_is_one_line(way: str) -> None:
    """
    R15: around the application the ASGI and WSGI middlewares have every line of Django's bound.
    """
    with override_settings(ROOT_URLCONF=Routes, MIDDLEWARE=[OURS]):
        build = get_wsgi_application if way == "wsgi" else get_asgi_application
        # It configures logging, and so comes first.
        app: Any = build()
        with logged() as lines:
            if way == "wsgi":
                ask_wsgi(WSGIMiddleware(app), environ_of(SENT, PATH_INFO="/nowhere"))
            else:
                with asking_asgi(ASGIMiddleware(app), lifespan=False) as asking:
                    asking("/nowhere", SENT)
    assert [(line.message, line.session, line.bound) for line in lines] == [
        ("Not Found: /nowhere", "s1", "s1")
    ]


@pytest.mark.parametrize(("around", "session"), [(False, None), (True, "s1")], ids=["no", "yes"])
def test_what_never_reaches_a_middleware_has_the_ids_inside_our_other_one(
    around: bool, session: str | None
) -> None:
    """
    Promise 1: Django's ASGI handler refuses a query string that is no text by itself, and logs so;
    only a middleware around the application binds anything for that.
    """
    with override_settings(ROOT_URLCONF=Routes, MIDDLEWARE=[OURS]):
        app: Any = get_asgi_application()
        with logged() as lines:
            ask_asgi(ASGIMiddleware(app) if around else app, http_scope(SENT, query_string=b"\xff"))
    assert [(line.message, line.session) for line in lines] == [
        ("Bad Request (UnicodeDecodeError)", session)
    ]
