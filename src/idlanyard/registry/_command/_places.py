"""
Stores that a command line names: opening them, asking them, reading all their sessions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar
from urllib.parse import unquote_to_bytes

from idlanyard.exceptions import PolicyError
from idlanyard.registry._checks import make_key
from idlanyard.registry._command._statuses import Failed, UsageError
from idlanyard.registry._command._text import hide_secrets
from idlanyard.registry._exceptions import (
    MissingExtra,
    RegistryMisconfigured,
    RegistryUnavailable,
)
from idlanyard.registry._questions import Page, Question, Store, Walk
from idlanyard.registry._record import Kept, Row
from idlanyard.registry._urls import open_store

T = TypeVar("T")

VARIABLE: Final = "IDLANYARD_REGISTRY_URL"
_FROM_ENVIRONMENT: Final = "env:"
_FILE: Final = "sqlite:///"
SAME: Final = "both URLs name the same place: write the store to move from, then the one to move to"
BATCH: Final = 500
LEASE_ID: Final = "idlanyard.registry.move"
"""
The session that a running move keeps in its target. No command shows it.
"""


class Address(NamedTuple):
    """
    The address of a store.

    Attributes:
        url: its URL.
        timeout: the most seconds that one question may take.
        namespace: the prefix of its tables and keys.
    """

    url: str
    timeout: float
    namespace: str


class Place:
    """
    An open store that a command works on. Threads may share it.

    Args:
        address: its address.

    Attributes:
        store: the store; ``ask`` asks it.
        kind: the kind of store.
        shown: its URL, without secrets.

    Raises:
        UsageError: the address is wrong.
    """

    def __init__(self, address: Address) -> None:
        try:
            opened = open_store(address.url, timeout=address.timeout, namespace=address.namespace)
        except (PolicyError, MissingExtra) as error:
            raise UsageError(str(error)) from None
        self.store: Store = opened.store
        self.kind = opened.name
        self.shown = hide_secrets(address.url)

    def ask(self, question: Question[T]) -> T:
        """
        Return the store's answer to a question.

        Raises:
            Failed: the store does not answer, or is misconfigured.
        """
        try:
            return self.store.ask(question)
        except (RegistryUnavailable, RegistryMisconfigured) as error:
            raise Failed(self.shown, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.store.close()


def read_url(word: str | None, environ: Mapping[str, str]) -> str:
    """
    Return the URL in a word of the command line.

    Args:
        word: the URL, or ``env:NAME`` for the value of an environment
            variable; ``None`` is ``IDLANYARD_REGISTRY_URL``.
        environ: the environment.

    Raises:
        UsageError: there is no URL.
    """
    if word is None:
        url = environ.get(VARIABLE)
        if not url:
            raise UsageError(
                "no store is named: write its URL, such as sqlite:///sessions.db, "
                f"or set {VARIABLE}"
            )
        return url
    if not word.startswith(_FROM_ENVIRONMENT):
        return word
    name = word.removeprefix(_FROM_ENVIRONMENT)
    url = environ.get(name)
    if not url:
        raise UsageError(f"there is no environment variable {name}: set it to the store's URL")
    return url


def check_file_exists(url: str) -> None:
    """
    Check that the file of a store exists, since opening it would make an empty one.

    Raises:
        UsageError: there is no such file.
    """
    path = _parse_file(url)
    try:
        is_missing = path is not None and not path.exists()
    except OSError:
        # The store's own error says more.
        return
    if is_missing:
        raise UsageError(f"there is no file {path}: write the path of the registry's file")


def check_different(source: Address, target: Address) -> None:
    """
    Check that a move has two addresses; a lease finds two names of one store.

    Raises:
        UsageError: the addresses are the same.
    """
    if source.url == target.url and source.namespace == target.namespace:
        raise UsageError(SAME)


def _parse_file(url: str) -> Path | None:
    """
    Return the path of a store's file; ``None`` if the URL names no file.
    """
    if not url.startswith(_FILE):
        return None
    try:
        name = os.fsdecode(unquote_to_bytes(os.fsencode(url.removeprefix(_FILE))))
    except UnicodeEncodeError:
        return None
    return None if "\x00" in name else Path(name)


def read_stretches(place: Place) -> Iterator[list[Kept]]:
    """
    Yield the living sessions of a store in parts; no part has a session twice.
    """
    after: str | None = None
    while True:
        stretch = place.ask(Walk(after, BATCH))
        yield list({kept.session_id: kept for kept in stretch.sessions}.values())
        after = stretch.after
        if after is None:
            return


def read_rows(place: Place, client_id: str | None) -> Iterator[Row]:
    """
    Yield the living sessions of a store, or those of one client.

    Raises:
        UsageError: the client's ID is none.
    """
    if client_id is None:
        for stretch in read_stretches(place):
            yield from (kept.row() for kept in stretch if kept.session_id != LEASE_ID)
        return
    key, after = parse_key("client", client_id), None
    while True:
        page = place.ask(Page(key, after, BATCH))
        yield from page
        if len(page) < BATCH:
            return
        after = page[-1].session_id


def parse_key(name: str, text: str) -> bytes:
    """
    Return the key of an ID on the command line.

    Raises:
        UsageError: the text is no ID.
    """
    try:
        return make_key(name, text)
    except ValueError as error:
        raise UsageError(str(error)) from None
