"""
``Options``: dataclasses of options that answer an unknown option with the nearest known one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any, Final, Self

from idlanyard.exceptions import PolicyError

# Names of options in other packages, and ours with the same effect.
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
    "trusted": "trusted_peers",
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
    An option that does not exist, or one that was not given by name.
    """


class Options:
    """
    The base of dataclasses whose options are checked by name when one is built.
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
        Return the message for more positional arguments than the class takes.
        """
        taken = f"{len(places)} argument by position" if places else "its options by name only"
        return f"{cls.__name__} takes {taken}"

    @classmethod
    def _refuse_name(cls, name: str, _value: object, names: list[str], /) -> str:
        """
        Return the message for an option that does not exist.
        """
        return explain_unknown(cls.__name__, name, names)


def explain_unknown(rule: str, name: str, names: list[str]) -> str:
    """
    Return the message for an option that *rule* does not have.
    """
    meant = find_meant(name, names)
    hint = f"did you mean {meant!r}?" if meant else f"it has {', '.join(names)}"
    return f"{rule} has no option {name!r}: {hint}"


def options_of(rule: Any) -> list[Field[Any]]:
    """
    Return the fields of a class of options that callers may give.
    """
    return [field for field in fields(rule) if field.init and not field.name.startswith("_")]


def find_meant(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """
    Return the name out of *names* that *name* was probably meant to be, or ``None``.

    The option names of some other packages are translated as well.

    Args:
        name: a name that is not in *names*.
        names: the known names, all upper-case or all lower-case.
        cutoff: the least similarity, from 0 to 1.
    """
    import difflib

    lower = {known.lower(): known for known in names}
    wanted = name.lower()
    if wanted in _OTHERS:
        return lower.get(_OTHERS[wanted])
    close = difflib.get_close_matches(wanted, lower, n=1, cutoff=cutoff)
    return lower[close[0]] if close else None
