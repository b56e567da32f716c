"""
Header names that count the work they are for.
"""

from __future__ import annotations


class Name(str):
    """
    A header's name that counts how often it is compared.
    """

    __slots__ = ()

    compared = 0

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__
