"""
The parameters of a function, also where its annotations cannot be evaluated.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Final

# From Python 3.14 on annotations are evaluated when they are asked for; what
# cannot be, as a name under TYPE_CHECKING, is left as a reference, or as text.
_FORMATS: Final = tuple(getattr(sys.modules.get("annotationlib"), "Format", ()))
_WAYS: Final[tuple[dict[str, Any], ...]] = (
    {"eval_str": True},
    *({"annotation_format": form} for form in _FORMATS),
    {},
)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """
    Return the signature of *fn*, its annotations resolved where they can be.

    A framework would look for the names of an unresolved one in our module.

    Raises:
        ValueError: a built-in function tells no signature.
        Exception: whatever else keeps it from being read.
    """
    for way in _WAYS[:-1]:
        try:
            return inspect.signature(fn, **way)
        except Exception:  # noqa: S112 - resolving runs annotations, which may raise anything
            continue
    return inspect.signature(fn, **_WAYS[-1])
