"""
The line that Django logs about a response of 400 or more, with the request's IDs.

Django logs ``Not Found: /x`` when the last middleware has returned, and then
nothing is bound any more. Logged by us while it is, it is the same line of the
same function, and the response says that it has been logged.
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

_ERROR: Final = 400
# Around these as well: they return the very response that they get, so that
# what is an error here is one at the end. Of others nobody knows: Django's
# CommonMiddleware, for one, redirects a 404 to the path with a slash, and
# Django logs no line then.
_HANDING_ON: Final = frozenset(
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

    They are where the class is the first line of ``MIDDLEWARE``, or the lines
    before it hand on what they get.
    """
    for line in settings.MIDDLEWARE:
        if line not in _HANDING_ON:
            return import_string(line) is middleware
    return False


def log_error(request: Any, response: Any, inner: RequestIDs) -> None:
    """
    Log the line about a response of 400 or more, unless it has been logged.

    Like an access line it has what the request's scope has, whatever the view
    has bound or cleared for itself.
    """
    if response.status_code >= _ERROR:
        with SteppedBinding(inner):
            log_response(
                "%s: %s", response.reason_phrase, request.path, response=response, request=request
            )


async def log_error_async(request: Any, response: Any, inner: RequestIDs) -> None:
    """
    Log the same line from a thread, as Django does: a handler may send mail.
    """
    if response.status_code >= _ERROR:
        await sync_to_async(log_error, thread_sensitive=False)(request, response, inner)
