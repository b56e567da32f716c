"""
What a policy's own options must look like to be followed, each check with a
sentence that says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from idlanyard._admission import Admission
from idlanyard._sources import Header
from idlanyard._spec import IDSpec, check_header
from idlanyard.exceptions import PolicyError

if TYPE_CHECKING:
    from idlanyard._policy import Policy

_LEAST_SECRET: Final = 32
_STANDARD: Final = ("session_id", "user_id", "tenant_id")


def parse_extra(extra: Iterable[IDSpec]) -> tuple[IDSpec, ...]:
    """
    Return the further IDs as a tuple.
    """
    if isinstance(extra, str | Mapping):
        raise PolicyError.about("extra", "is a list of IDSpec: write extra=[request_spec()]")
    specs = tuple(_iterate(extra, "extra"))
    if not all(isinstance(spec, IDSpec) for spec in specs):
        raise PolicyError.about("extra", "is a list of IDSpec: write extra=[request_spec()]")
    return specs


def _iterate(value: Any, option: str) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise PolicyError.about(option, f"is a list: write {option}=[...]", value) from None


def _is_pair(given: object) -> bool:
    return isinstance(given, tuple | list) and len(cast("Sequence[object]", given)) == 2


def parse_paths(exclude: Iterable[str]) -> tuple[str, ...]:
    """
    Return the excluded paths as a tuple.
    """
    if isinstance(exclude, str):
        raise PolicyError.about(
            "exclude", f"is a list of paths: write exclude=[{exclude!r}]", exclude
        )
    paths = tuple(_iterate(exclude, "exclude"))
    for path in paths:
        if not isinstance(path, str) or not path.startswith("/"):
            raise PolicyError.about(
                "exclude", f"has {path!r}: write exact paths, as in '/health'", path
            )
    return paths


def parse_secret(given: Any) -> tuple[str, tuple[bytes, ...]] | None:
    """
    Return the header and the secrets as bytes; no message repeats a secret.
    """
    if given is None:
        return None
    if not _is_pair(given):
        raise PolicyError.about("shared_secret", "is (header, secret) or (header, [new, old])")
    header, secrets = cast("tuple[object, Any]", given)
    check_header(header, "shared_secret")
    one = isinstance(secrets, str | bytes)
    several: list[Any] = [secrets] if one else _iterate(secrets, "shared_secret")
    keys = tuple(key.encode() if isinstance(key, str) else key for key in several)
    if not keys or not all(isinstance(key, bytes) for key in keys):
        raise PolicyError.about("shared_secret", "takes text or bytes as secrets")
    if min(map(len, keys)) < _LEAST_SECRET:
        raise PolicyError.about(
            "shared_secret",
            f"needs secrets of at least {_LEAST_SECRET} bytes: make one with "
            f'python -c "import secrets; print(secrets.token_urlsafe(32))"',
        )
    return str(header), keys


def parse_hash_keys(given: Any) -> tuple[tuple[str, bytes], ...]:
    """
    Return the keys of the hash sinks; no message repeats a key.
    """
    if isinstance(given, str | bytes | Mapping):
        raise PolicyError.about("hash_keys", "is a list of pairs: write hash_keys=[('k1', key)]")
    pairs: list[tuple[str, bytes]] = []
    for pair in _iterate(given, "hash_keys"):
        if not _is_pair(pair):
            raise PolicyError.about(
                "hash_keys", "is a list of pairs: write hash_keys=[('k1', key)]"
            )
        key_id, key = pair
        key = key.encode() if isinstance(key, str) else key
        if not isinstance(key_id, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", key_id):
            raise PolicyError.about(
                "hash_keys", "names each key in up to 32 letters and digits, as 'k1'"
            )
        if not isinstance(key, bytes) or len(key) < _LEAST_SECRET:
            raise PolicyError.about("hash_keys", f"needs keys of at least {_LEAST_SECRET} bytes")
        pairs.append((key_id, key))
    return tuple(pairs)


def check_policy(policy: Policy) -> dict[str, IDSpec]:
    """
    Check the rules against each other and return the specs by name.
    """
    specs: dict[str, IDSpec] = {}
    for name, spec in _named(policy):
        if not isinstance(spec, IDSpec) or (name is not None and spec.name != name):
            option = (name or "extra").removesuffix("_id")
            raise PolicyError.about(option, f"takes {option}_spec(...) or None")
        if spec.name in specs or (name is None and spec.name in _STANDARD):
            raise PolicyError.about("extra", f"declares {spec.name} twice: name each ID once")
        specs[spec.name] = spec
    _check_headers(policy, specs)
    for option in ("expose", "mark_private", "assume_unix", "unsafe_server_ok", "enabled"):
        if type(getattr(policy, option)) is not bool:
            raise PolicyError.about(option, "is True or False", getattr(policy, option))
    _check_admission(policy)
    hashed = [spec.name for spec in specs.values() if "hash" in (spec.log, spec.span)]
    if hashed and not policy.hash_keys:
        raise PolicyError.about(
            "hash_keys",
            f"is empty and {hashed[0]} is hashed: a hash without a key can be guessed, "
            f"write hash_keys=[('k1', key)]",
        )
    return specs


def _check_admission(policy: Policy) -> None:
    if policy.admission is None:
        return
    if not isinstance(policy.admission, Admission):
        raise PolicyError.about(
            "admission", "is an Admission: write Admission(registry.exists)", policy.admission
        )
    if policy.session is None:
        raise PolicyError.about("admission", "asks about sessions: leave session in")


def _named(policy: Policy) -> list[tuple[str | None, Any]]:
    standard: list[tuple[str | None, Any]] = [
        ("session_id", policy.session),
        ("user_id", policy.user),
        ("tenant_id", policy.tenant),
    ]
    further = [(None, spec) for spec in policy.extra]
    return [(name, spec) for name, spec in standard if spec is not None] + further


def _check_headers(policy: Policy, specs: Mapping[str, IDSpec]) -> None:
    """
    Refuse one header, under any of its spellings, in two roles.
    """
    owners: dict[str, str] = {}
    roles = [
        (header.name, spec.name)
        for spec in specs.values()
        for header in (Header(spec.header), *spec.read_from)
        if isinstance(header, Header)
    ]
    if policy.shared_secret is not None:
        roles.append((policy.shared_secret[0], "shared_secret"))
    for header, role in roles:
        owner = owners.setdefault(header.lower().replace("_", "-"), role)
        if owner != role:
            raise PolicyError(
                f"the header {header!r} serves {owner} and {role}: give each its own",
                option="header",
                value=header,
            )
