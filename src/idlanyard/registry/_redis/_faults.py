"""
Errors of the servers: which of them decide what is asked next, and which are faults of the setup.

A fault of the setup is one that waiting does not mend: each has a sentence that
says what is wrong and what to write instead. Pure.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import TimeoutError as TooLate

from idlanyard.registry._redis._url import Kind

FAILURES: Final = (RedisError, OSError)
"""
Everything by which a question to a server fails.
"""
WRONG_SERVER: Final = (ReadOnlyError, BusyLoadingError, MasterDownError)
"""
Refusals by a server that was demoted or does not serve yet. Nothing was done.
"""
IN_MOTION: Final = (TryAgainError, ClusterDownError)
"""
Refusals by a cluster whose slots are being moved or belong to no node at the moment.
"""

OVER: Final = "the time for this question is over"
_CROWDED: Final = "max number of clients"
_LOGINS: Final = {
    "without any password": "the server has no password: leave it out of the URL, "
    "as in redis://host:6379/0",
    "required": "the server asks for a password and the URL has none: "
    "write redis://user:password@host:6379/0",
    "": "the server refuses the user or the password of the URL: correct them, "
    "with what is special percent-encoded",
}
_REFUSALS: Final = {
    "DB index": "the server has no database of that number: end the URL in another, as in /0",
    "SELECT is not allowed": "a cluster has database 0 only: end the URL in /0",
    "unknown command 'SENTINEL'": "what the URL names is no Sentinel but a server: "
    "write redis://host:6379/0",
    "unknown command": "the server lacks a command that the registry needs. If it is a Sentinel, "
    "write redis+sentinel://host:26379/service/0; else it is to be Redis 6.2 or later, or Valkey",
    "DENIED": "the server is in protected mode and answers its own machine only: "
    "give it a user and a password",
}
_MISMATCHES: Final = frozenset({62, 64})
_EXPIRED: Final = 10
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})


class Over(TooLate):
    """
    Error of a question that has no time left.
    """


class Full(RedisError):
    """
    Error of a question that got no connection, since all stayed in use.
    """


class Misdirected(RedisError):
    """
    Error of a URL that leads to something else than it says.

    Args:
        fault: what is wrong, and what to write instead.
    """

    def __init__(self, fault: str) -> None:
        super().__init__(fault)  # pyright: ignore[reportUnknownMemberType]
        self.fault = fault


def is_crowded(error: BaseException) -> bool:
    """
    Return whether a server may have refused a connection because it has too many.

    The server sends that error and hangs up; asyncio may notice the second first.
    """
    hung_up = isinstance(error.__context__, ConnectionResetError | BrokenPipeError)
    return isinstance(error, Lost) and (hung_up or _CROWDED in str(error))


def fault_of(error: BaseException, kind: Kind) -> str | None:
    """
    Return the sentence about a fault of the setup, without anything that may be secret.

    Args:
        error: the error of a question.
        kind: the kind of connection.

    Returns:
        The sentence; ``None`` if waiting may help.
    """
    if isinstance(error, Misdirected):
        return error.fault
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError):
        return _sentence_for(_LOGINS, str(error))
    # The text is "Protocol error" with hiredis and "Protocol Error" without.
    if isinstance(error, InvalidResponse) and str(error).lower().startswith("protocol error"):
        return "what answers at this port is not Redis: write the host and the port of a Redis"
    if isinstance(error, MovedError):
        return (
            "the server is part of a cluster, and the user of the URL may not ask whether it is: "
            "give it +info and +cluster|slots"
        )
    for one in _chain(error):
        fault = _connecting_fault(one, kind)
        if fault is not None:
            return fault
    return _sentence_for(_REFUSALS, str(error)) if isinstance(error, ResponseError) else None


def sentinel_fault_of(error: BaseException, kind: Kind) -> str | None:
    """
    Return the sentence about a fault of the setup for an error of a Sentinel.
    """
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError):
        return (
            "the Sentinels refuse the login: what they want is sentinel_username and "
            "sentinel_password in the URL's query, and nothing where they have no password"
        )
    if isinstance(error, NoPermissionError):
        return "the Sentinels' user may not ask who the primary is: give it +sentinel"
    return fault_of(error, kind)


def unknown_service_fault(known: Sequence[str]) -> str:
    """
    Return the sentence about a service that the Sentinels do not know.
    """
    which = f"write one of {', '.join(known)}" if known else "they know none yet"
    return f"the Sentinels do not know the service that the URL names: {which}"


def may_be_other_scheme(error: BaseException, kind: Kind) -> bool:
    """
    Return whether the server may speak TLS although the URL does not say so, or the reverse.

    A server with TLS closes a connection without; a server without TLS waits
    for the end of a line that never comes.
    """
    if any(isinstance(one, ConnectionRefusedError | socket.gaierror) for one in _chain(error)):
        return False
    if kind == "tls":
        return isinstance(error, Lost | TooLate | TimeoutError)
    return kind == "tcp" and isinstance(error, Lost | InvalidResponse)


def other_scheme_fault(scheme: str, kind: Kind) -> str:
    """
    Return the sentence about a URL that asks for TLS where the server does not, or the reverse.
    """
    name, plus, rest = scheme.partition("+")
    if kind == "tls":
        right = f"{name[:-1]}{plus}{rest}"
        return f"the server does not speak TLS at this port: write {right}://"
    return f"the server speaks TLS at this port: write {name}s{plus}{rest}://"


def _connecting_fault(error: BaseException, kind: Kind) -> str | None:
    """
    Return the sentence about a file, a socket or a certificate.
    """
    if kind == "unix" and isinstance(error, PermissionError):
        return "this process may not use the socket: give its user the right to write there"
    if kind != "tls":
        return None
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return "a file that ssl_ca_certs, ssl_certfile or ssl_keyfile names is not there"
    if isinstance(error, PermissionError):
        return "a file that ssl_ca_certs, ssl_certfile or ssl_keyfile names may not be read"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_fault(error.verify_code)
    is_cut = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    return _tls_fault(error.reason) if isinstance(error, ssl.SSLError) and not is_cut else None


def _certificate_fault(code: int) -> str:
    if code in _MISMATCHES:
        return "the server's certificate is for another name: write the name that is in it"
    if code == _EXPIRED:
        return "the server's certificate has expired: give it a new one"
    return (
        "nobody whom this machine trusts has signed the server's certificate: "
        "name the file of its CA, as in ?ssl_ca_certs=/etc/ssl/redis-ca.pem"
    )


def _tls_fault(reason: str | None) -> str:
    if reason in _NO_TLS:
        return "the server does not speak TLS at this port: write redis://"
    if "ALERT" in (reason or ""):
        return (
            "the server ends the TLS handshake: if it asks for a certificate of the client's, "
            "name the files as ?ssl_certfile=/path/to/cert.pem&ssl_keyfile=/path/to/key.pem"
        )
    return (
        "TLS cannot be set up: check that the files of ssl_ca_certs, ssl_certfile and "
        "ssl_keyfile are certificates and a key, in PEM, that belong together"
    )


def _sentence_for(sentences: dict[str, str], text: str) -> str | None:
    return next((sentence for mark, sentence in sentences.items() if mark in text), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__
