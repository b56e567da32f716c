"""
Rules that are built by keywords: a name that is none is answered with the one
that is meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any, Final, Self

from idlanyard.exceptions import PolicyError

_OTHERS: Final = {
    "customer": "tenant",
    "customer_id": "tenant",
    "exclude_paths": "exclude",
    "excluded_paths": "exclude",
    "excluded_urls": "exclude",
    "expose_header": "expose",
    "generator": "mint",
    "guid_header_name": "header",
    "header_key": "header",
    "header_name": "header",
    "ignore_paths": "exclude",
    "ignore_urls": "exclude",
    "pattern": "charset",
    "proxies": "trusted_peers",
    "regex": "charset",
    "request": "extra",
    "return_header": "echo",
    "secret": "shared_secret",
    "transformer": "sources",
    "trusted_hosts": "trusted_peers",
    "trusted_ips": "trusted_peers",
    "trusted_proxies": "trusted_peers",
    "trusted_proxy": "trusted_peers",
    "update_request_header": "forward",
    "validate_guid": "charset",
    "validator": "charset",
}


class UnknownOption(PolicyError, TypeError):
    """
    A rule was called with an option that it does not have.
    """


class Options:
    """
    The base of the rules: dataclasses that answer a wrong call in a sentence.
    """

    __slots__ = ()

    def __new__(cls, *args: object, **options: object) -> Self:
        known = options_of(cls)
        places = [field.name for field in known if not field.kw_only]
        if len(args) > len(places):
            raise UnknownOption(cls._refuse_positions(args, places))
        names = [field.name for field in known]
        for name, value in options.items():
            if name not in names:
                raise UnknownOption(cls._refuse_name(name, value, names), option=name)
        return super().__new__(cls)

    @classmethod
    def _refuse_positions(cls, _args: tuple[object, ...], places: list[str], /) -> str:
        """
        Return the sentence for arguments that stand where none is taken.
        """
        taken = f"{len(places)} argument by position" if places else "its options by name only"
        return f"{cls.__name__} takes {taken}"

    @classmethod
    def _refuse_name(cls, name: str, _value: object, names: list[str], /) -> str:
        """
        Return the sentence for an option that does not exist.
        """
        return answer_unknown(cls.__name__, name, names)


def answer_unknown(rule: str, name: str, names: list[str]) -> str:
    """
    Return the sentence for an option that *rule* does not have.
    """
    meant = find_meant(name, names)
    hint = f"did you mean {meant!r}?" if meant else f"it has {', '.join(names)}"
    return f"{rule} has no option {name!r}: {hint}"


def options_of(rule: Any) -> list[Field[Any]]:
    """
    Return the fields of a rule that are given when it is built.
    """
    return [field for field in fields(rule) if field.init and not field.name.startswith("_")]


def find_meant(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """
    Return the one of *names* that *name* probably stands for, ``None`` where none is near.

    Known as well are the names that other packages use.

    Args:
        name: what was written.
        names: what there is, in one case of letters.
        cutoff: how near a name must be, from 0 to 1.
    """
    import difflib

    lower = {known.lower(): known for known in names}
    wanted = name.lower()
    if wanted in _OTHERS:
        return lower.get(_OTHERS[wanted])
    close = difflib.get_close_matches(wanted, lower, n=1, cutoff=cutoff)
    return lower[close[0]] if close else None
