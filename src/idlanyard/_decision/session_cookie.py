"""
The session cookie: whether a response sets or deletes it, and the line that does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from idlanyard import _failures
from idlanyard._binding.snapshot import Values
from idlanyard._binding.state import RequestIDs
from idlanyard._decision.compiled_spec import CompiledSpec
from idlanyard._decision.protocols import Dialect, Pair
from idlanyard._policy.sources import Cookie
from idlanyard.ids import Provenance

ATTRIBUTES: Final = "Path=/; Secure; HttpOnly; SameSite=Lax"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


class SessionCookie:
    """
    The session cookie of a policy, for one protocol.

    Args:
        spec: the rules of the session.
        name: the name of the cookie.
        dialect: the protocol.

    Attributes:
        name: the name of the cookie.
        header: the name of the header that sets it.
    """

    __slots__ = ("_deletion", "_dialect", "_source", "_spec", "header", "name")

    def __init__(self, spec: CompiledSpec, name: str, dialect: Dialect) -> None:
        self.name = name
        self.header: Any = dialect.echo("Set-Cookie")
        self._spec = spec
        self._source = Cookie(name)
        self._dialect = dialect
        deletion = dialect.encode(f"{name}=; {ATTRIBUTES}; Max-Age=0")
        self._deletion: Pair = (self.header, deletion)

    def note_arrival(self, inner: RequestIDs, raw: Any) -> None:
        """
        Note the session that a request brings, for which its response sets no cookie; ``""``
        for none.

        Args:
            inner: the IDs of the request, decided.
            raw: the ``scope`` or ``environ``.
        """
        session = inner.values[self._spec.index]
        is_fresh = inner.values[self._spec.provenance_index] is Provenance.MINTED
        inner.held = "" if is_fresh and not self._may_be_withheld(inner, raw) else session

    def _may_be_withheld(self, inner: RequestIDs, raw: Any) -> bool:
        """
        Return whether the browser may have left out its cookie, as ``SameSite=Lax`` says.

        It accepts one from the response to a form that another site has posted: a fresh
        session would replace that of the user.
        """
        if self._dialect.find_method(raw) in _SAFE_METHODS:
            return False
        headers = self._dialect.view(raw, inner.policy).headers
        return "cross-site" in headers.lines("Sec-Fetch-Site")

    def has_brought(self, inner: RequestIDs, raw: Any) -> bool:
        """
        Return whether the session of a request is in its cookie, and not in a header alone.
        """
        found = self._source.read(self._dialect.view(raw, inner.policy))
        return found == [inner.values[self._spec.index]]

    def note_start(self, inner: RequestIDs, headers: Collection[Pair]) -> None:
        """
        Note that the response begins, and warn once if the browser keeps a session that the
        application has replaced or removed.

        Args:
            inner: the IDs of the request.
            headers: the headers of its response.
        """
        inner.begun = True
        values = inner.values
        # A session that an Admission has replaced is replaced again in the next request.
        if not inner.held or values[self._spec.provenance_index] is Provenance.MINTED:
            return
        lines = self.make_lines(inner, values)
        if lines and lines[0] not in headers:
            _failures.warn_once(
                "session cookie lost",
                "idlanyard: a response that caches may store does not replace or delete the "
                "cookie %s, so the browser keeps the session from before: answer a login or "
                "logout with Cache-Control: no-store, and not with 206 or 304",
                self.name,
            )

    def make_lines(self, inner: RequestIDs, values: Values) -> list[Pair]:
        """
        Return the header that sets or deletes the cookie, in a list, which is else empty.

        Args:
            inner: the IDs of the request.
            values: those that the other headers of the response are made of.
        """
        session = values[self._spec.index]
        if session == inner.held:
            return []
        if session is None:
            return [self._deletion]
        dialect = self._dialect
        if not self._spec.fits(dialect.encode(session)):
            _failures.warn_once(
                "session cookie",
                "idlanyard: code has set a session ID without a signature, so the cookie %s "
                "stays as it is: write identify(session_id=new_session_id())",
                self.name,
            )
            return []
        return [(self.header, dialect.encode(f"{self.name}={session}; {ATTRIBUTES}"))]

    def remove_others(self, headers: list[Pair]) -> list[Pair]:
        """
        Return *headers* without those by which the application sets this cookie itself.
        """
        name, decode = self.header.lower(), self._dialect.decode
        return [
            pair
            for pair in headers
            if pair[0].lower() != name or read_cookie_name(decode(pair[1])) != self.name
        ]


def read_cookie_name(line: str) -> str:
    """
    Return the name of the cookie that a ``Set-Cookie`` header sets.
    """
    return line.partition(";")[0].partition("=")[0].strip(" \t")
