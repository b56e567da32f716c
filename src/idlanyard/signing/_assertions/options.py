"""
The options of an ``Assertion``, checked when it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

from idlanyard.exceptions import PolicyError
from idlanyard.signing._assertions.fetching import parse_key_url
from idlanyard.signing._assertions.key_source import (
    FetchedKeys,
    KeySource,
    load_by_id,
    load_key_set,
)
from idlanyard.signing._assertions.keys import (
    ALGORITHMS,
    MOST_UNNAMED,
    Keys,
    KeysUnusable,
    read_key_set,
    read_pem,
)

KeysGiven: TypeAlias = str | bytes | Mapping[str, Any] | Sequence[str | bytes]
"""
The keys of an assertion: a URL, a JWKS, or public keys in PEM.
"""


def check_algorithm(algorithm: object) -> str:
    """
    Return the algorithm if it is one that has a public key.

    Raises:
        PolicyError: it is none; the message says what to write.
    """
    if isinstance(algorithm, str) and algorithm in ALGORITHMS:
        return algorithm
    secret = isinstance(algorithm, str) and algorithm.upper().startswith("HS")
    why = "signs with a secret that both sides know" if secret else "is none of these"
    raise PolicyError.about(
        "algorithm", f"{algorithm!r} {why}: write one of {', '.join(ALGORITHMS)}", algorithm
    )


def check_issuer(issuer: object, *, optional: bool) -> str | None:
    """
    Return the issuer, or ``None`` if it is empty and may be left out.

    Raises:
        PolicyError: it is none; the message says what to write.
    """
    if isinstance(issuer, str) and issuer:
        return issuer
    if issuer == "" and optional:
        return None
    raise PolicyError.about(
        "issuer",
        "is the exact iss of the tokens, such as issuer='https://login.example'",
        issuer,
    )


def check_audience(audience: object) -> frozenset[str]:
    """
    Return the audiences, of which there is at least one.

    Raises:
        PolicyError: it is none; the message says what to write.
    """
    given = [audience] if isinstance(audience, str) else _list_items(audience)
    names = [name for name in given if isinstance(name, str) and name]
    if names and len(names) == len(given):
        return frozenset(names)
    raise PolicyError.about(
        "audience",
        "names this service, since a token for another one proves nothing here: "
        "write audience='https://api.example', as it is in the aud of the tokens",
        audience,
    )


def check_seconds(option: str, seconds: object, most: int) -> float:
    """
    Return a number of seconds from 0 to *most*.

    Raises:
        PolicyError: it is none; the message says what to write.
    """
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= most:
        return float(seconds)
    raise PolicyError.about(option, f"is a number of seconds from 0 to {most}", seconds)


def check_type(typ: object) -> str | None:
    """
    Return the type of the tokens as it is compared, or ``None`` for any.

    Raises:
        PolicyError: it is none; the message says what to write.
    """
    if typ is None:
        return None
    if isinstance(typ, str) and typ:
        return typ.lower().removeprefix("application/")
    raise PolicyError.about("typ", "is the typ of the tokens, such as typ='at+jwt', or None", typ)


def check_signer(signer: object) -> str | None:
    """
    Return the signer in the header of the tokens, or ``None`` for tokens that name none there.

    Raises:
        PolicyError: it is none; the message says what to write.
    """
    if signer is None or (isinstance(signer, str) and signer):
        return signer
    raise PolicyError.about(
        "signer", "is the signer in the header of the tokens, or None if they have none", signer
    )


def open_keys(keys: object, algorithm: str, *, needs_peer: bool) -> KeySource:
    """
    Return the source of the keys that were given as a URL, a JWKS or in PEM.

    Args:
        keys: the keys, as in ``Assertion``.
        algorithm: the algorithm of the signatures.
        needs_peer: whether tokens come from trusted peers only.

    Raises:
        PolicyError: they are none of these; the message says what to write.
    """
    if isinstance(keys, str) and "://" in keys[:10]:
        url = parse_key_url(keys)
        if url is None:
            raise _keys_error("has a URL that is none of https://, without user and fragment")
        host = urlsplit(keys).netloc
        if "{kid}" in url.target:
            if not needs_peer:
                # Anybody could use up the keys of each minute, so that no real one is fetched.
                raise _keys_error("are fetched one by one for trusted peers, with peers_too=True")
            return FetchedKeys(load_by_id(url, algorithm), host, by_id=True)
        return FetchedKeys(load_key_set(url, algorithm), host)
    try:
        if isinstance(keys, Mapping):
            return KeySource(_read_pinned(cast("Mapping[str, object]", keys), algorithm))
        given = [keys] if isinstance(keys, str | bytes) else _list_items(keys)
        pems = [pem for pem in given if isinstance(pem, str | bytes)]
        if not pems or len(pems) < len(given):
            raise _keys_error("are missing")
        if len(pems) > MOST_UNNAMED:
            raise _keys_error(f"are over {MOST_UNNAMED}, each of which is tried on a token")
        return KeySource(Keys(unnamed=[read_pem(pem, algorithm) for pem in pems]))
    except KeysUnusable as error:
        raise _keys_error(f"are {error}") from None


def _read_pinned(data: Mapping[str, object], algorithm: str) -> Keys:
    found = read_key_set(data, algorithm)
    entries = _list_items(data["keys"])
    # A secret in the code is a mistake that nobody notices as long as the key verifies.
    if any(isinstance(entry, Mapping) and "d" in entry for entry in entries):
        raise KeysUnusable("a private key (d), and only its public key verifies")
    return found


def _list_items(value: object) -> list[object]:
    """
    Return the items of a list, none of anything else: the names of a mapping are no list.
    """
    is_list = isinstance(value, Iterable) and not isinstance(value, Mapping)
    return list(cast("Iterable[object]", value)) if is_list else []


def _keys_error(why: str) -> PolicyError:
    return PolicyError.about(
        "keys",
        f"{why}: write the URL of a key set, keys='https://login.example/jwks.json', "
        f"a JWKS as a dict, or public keys in PEM",
    )
