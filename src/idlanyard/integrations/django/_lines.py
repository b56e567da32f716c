"""
The line that Django logs about a response of 400 or more, with the request's IDs.

Django logs ``Not Found: /x`` when the last middleware has returned, and then no
IDs are bound any more. The middleware logs the same line earlier, by the same
function, which marks the response as logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils.log import log_response
from django.utils.module_loading import import_string

from idlanyard._binding.functions import SteppedBinding

if TYPE_CHECKING:
    from idlanyard._binding.state import RequestIDs

ERROR: Final = 400
"""
The lowest status that Django logs a line about.
"""
# These return the response that they get, so that an error inside is an error at the end. Another
# middleware may not: Django's CommonMiddleware redirects a 404 to the path with a slash, and then
# Django logs no line.
_PASSING_ON: Final = frozenset(
    {
        "corsheaders.middleware.CorsMiddleware",
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "opentelemetry.instrumentation.django.middleware.otel_middleware._DjangoMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
    }
)


def answers_last(middleware: type) -> bool:
    """
    Return whether the responses of *middleware* are those that Django sends.

    They are if the class is the first line of ``MIDDLEWARE``, or if the lines
    before it return the response that they get.
    """
    for line in settings.MIDDLEWARE:
        if line not in _PASSING_ON:
            return import_string(line) is middleware
    return False


def log_error(request: Any, response: Any, inner: RequestIDs) -> None:
    """
    Log the line about a response of ``ERROR`` or more, unless it has been logged.

    Like an access line it has the IDs of the request, also if the view has
    bound or cleared some for itself.
    """
    with SteppedBinding(inner):
        log_response(
            "%s: %s", response.reason_phrase, request.path, response=response, request=request
        )


async def log_error_async(request: Any, response: Any, inner: RequestIDs) -> None:
    """
    Log the same line in a thread, as Django does, since a handler may send mail.
    """
    await sync_to_async(log_error, thread_sensitive=False)(request, response, inner)
