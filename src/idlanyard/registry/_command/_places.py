"""
The stores that a command line names, and asking them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar
from urllib.parse import unquote_to_bytes

from idlanyard.exceptions import PolicyError
from idlanyard.registry._command._showing import url_shown
from idlanyard.registry._command._statuses import Failed, UsageError
from idlanyard.registry._exceptions import (
    MissingExtra,
    RegistryMisconfigured,
    RegistryUnavailable,
)
from idlanyard.registry._opening import open_store
from idlanyard.registry._questions import Question, Store

T = TypeVar("T")

VARIABLE: Final = "IDLANYARD_REGISTRY_URL"
_FROM_ENVIRONMENT: Final = "env:"
_FILE: Final = "sqlite:///"


class Address(NamedTuple):
    """
    Where a store is.

    Attributes:
        url: its URL.
        timeout: the most seconds that one question may take.
        namespace: what its tables and keys begin with.
    """

    url: str
    timeout: float
    namespace: str


class Place:
    """
    One store that a command works on. Threads may share it.

    Args:
        address: where it is.

    Attributes:
        store: the store; ``ask`` asks it.
        kind: the kind of store.
        shown: its URL, as it may be shown.

    Raises:
        UsageError: there can be no such store.
    """

    def __init__(self, address: Address) -> None:
        try:
            opened = open_store(address.url, timeout=address.timeout, namespace=address.namespace)
        except (PolicyError, MissingExtra) as error:
            raise UsageError(str(error)) from None
        self.store: Store = opened.store
        self.kind = opened.name
        self.shown = url_shown(address.url)

    def ask(self, question: Question[T]) -> T:
        """
        Return the store's answer to a question.

        Raises:
            Failed: it does not answer, or cannot.
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


def url_of(word: str | None, environ: Mapping[str, str]) -> str:
    """
    Return the URL that a word of the command line names.

    Args:
        word: the URL, or ``env:NAME`` for the value of an environment
            variable; ``None`` is ``IDLANYARD_REGISTRY_URL``.
        environ: the environment.

    Raises:
        UsageError: it names none.
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


def refuse_missing_file(url: str) -> None:
    """
    Refuse a file that is not there: asking it would make an empty one.

    Raises:
        UsageError: there is no such file.
    """
    path = _path_of(url)
    try:
        is_missing = path is not None and not path.exists()
    except OSError:
        # The store says it better.
        return
    if is_missing:
        raise UsageError(f"there is no file {path}: write the path of the registry's own")


def refuse_same(source: Address, target: Address) -> None:
    """
    Refuse to move from a place to itself; by another name it is found out by looking.

    Raises:
        UsageError: they are the same.
    """
    if source.url == target.url and source.namespace == target.namespace:
        raise UsageError(SAME)


SAME: Final = "both URLs name the same place: write the store to move from, then the one to move to"


def _path_of(url: str) -> Path | None:
    """
    Return the path of a file, ``None`` where the URL names none.
    """
    if not url.startswith(_FILE):
        return None
    try:
        name = os.fsdecode(unquote_to_bytes(os.fsencode(url.removeprefix(_FILE))))
    except UnicodeEncodeError:
        return None
    return None if "\x00" in name else Path(name)
