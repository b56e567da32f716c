"""
The checks of the options of ``Policy``; each message says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from idlanyard._policy.admission import Admission
from idlanyard._policy.callables import describe_finding
from idlanyard._policy.default_specs import (
    request_spec,
    session_spec,
    suggest_header,
    tenant_spec,
    user_spec,
)
from idlanyard._policy.header_names import (
    derive_header,
    derive_name,
    find_plain_header_fault,
    fold_header,
    is_owned,
)
from idlanyard._policy.keys import LEAST_SECRET, encode_secret, may_be_key, show_value
from idlanyard._policy.options import explain_unknown, find_meant, options_of
from idlanyard._policy.paths import find_path_fault, suggest_paths
from idlanyard._policy.sources import Header
from idlanyard._policy.spec import STANDARD, IDSpec, sources_of
from idlanyard.exceptions import PolicyError

_PAIRS: Final = "is a list of pairs, as in hash_keys=[('k1', os.environ['ID_HASH_KEY'])]"
_CERTIFICATE_HEADER: Final = "x-forwarded-client-cert"
_BUILDERS: Final = {"session": session_spec, "user": user_spec, "tenant": tenant_spec}


def parse_extra(extra: Iterable[IDSpec]) -> tuple[IDSpec, ...]:
    """
    Return the rules of further IDs as a tuple.
    """
    if isinstance(extra, IDSpec):
        code = f"IDSpec(name={extra.name!r}, header={extra.header!r})"
        code = "request_spec()" if extra.name == "request_id" else code
        raise PolicyError.about("extra", f"is a list: write extra=[{code}]", extra)
    specs: tuple[object, ...] = (extra,)
    if not isinstance(extra, str | Mapping):
        specs = tuple(_list_entries(extra, "extra", "request_spec()"))
        if all(isinstance(spec, IDSpec) for spec in specs):
            return cast("tuple[IDSpec, ...]", specs)
    wrong = next(spec for spec in specs if not isinstance(spec, IDSpec))
    raise PolicyError.about("extra", f"is a list of IDSpec: write extra=[{_suggest_spec(wrong)}]")


def _suggest_spec(given: object) -> str:
    """
    Return the code of a further ID of which only a name or a header was given.
    """
    if not isinstance(given, str):
        return "request_spec()"
    name = derive_name(given)
    header = given if "-" in given else derive_header(name)
    if name == "request_id" or suggest_header("extra", header) is None:
        return "request_spec()"
    try:
        IDSpec(name=name, header=header)
    except PolicyError:
        return "request_spec()"
    return f"IDSpec(name={name!r}, header={header!r})"


def _list_entries(value: Any, option: str, entry: str) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise PolicyError.about(option, f"is a list: write {option}=[{entry}]", value) from None


def _is_pair(given: object) -> bool:
    return isinstance(given, tuple | list) and len(cast("Sequence[object]", given)) == 2


def parse_paths(exclude: Iterable[str]) -> tuple[str, ...]:
    """
    Return the excluded paths as a tuple.
    """
    if isinstance(exclude, str):
        raise PolicyError.about(
            "exclude",
            f"is a list of paths: write exclude={suggest_paths(exclude)!r}",
            exclude,
        )
    paths = tuple(_list_entries(exclude, "exclude", "'/health'"))
    for path in paths:
        fault = find_path_fault(path)
        if fault is not None:
            raise PolicyError.about("exclude", f"has {path!r}, {fault}", path)
    return paths


def parse_secret(given: Any) -> tuple[str, tuple[bytes, ...]] | None:
    """
    Return the header and the secrets as bytes; no message repeats a secret.
    """
    if given is None:
        return None
    if not _is_pair(given):
        colon = isinstance(given, str) and ":" in given
        more = ", and not one text with a colon as in the environment" if colon else ""
        raise _secret_error(
            f"is (header, secret) or (header, [new, old]){more}: write "
            f"shared_secret=('X-Proxy-Secret', os.environ['PROXY_SECRET'])"
        )
    header, secrets = cast("tuple[object, Any]", given)
    several: list[Any] = [secrets]
    if not isinstance(secrets, str | bytes) and secrets is not None:
        several = _list_entries(secrets, "shared_secret", "header, secret")
    _check_secret_header(header, several[0] if several else None)
    if not several:
        raise _secret_error("takes text or bytes as secrets, at least one")
    return str(header), tuple(encode_secret(secret, "shared_secret") for secret in several)


def _check_secret_header(header: object, secret: object) -> None:
    """
    Refuse a wrong header of the shared secret; by mistake it may be the secret itself.
    """
    if header is None or header == "":
        raise _secret_error(f"has no header, {header!r}: is the variable set?")
    if not isinstance(header, str):
        raise _secret_error(f"takes the header's name as text, not {type(header).__name__}")
    fault = find_plain_header_fault(header)
    if len(header) >= LEAST_SECRET and isinstance(secret, str) and len(secret) < LEAST_SECRET:
        raise _secret_error("is (header, secret), and the header stands second: turn them around")
    if fault is not None and (header.startswith("HTTP_") or is_owned(header)):
        raise _secret_error(
            f"has the header {header!r}, which {fault.why}: "
            f"use {fault.instead or 'X-Proxy-Secret'!r}"
        )
    if fault is not None:
        raise _secret_error("has a header whose name is none: use 'X-Proxy-Secret'")


def _secret_error(sentence: str) -> PolicyError:
    return PolicyError.about("shared_secret", sentence)


def parse_hash_keys(given: Any) -> tuple[tuple[str, bytes], ...]:
    """
    Return the keys of the ``"hash"`` sinks; no message repeats a key.
    """
    pairs: list[tuple[str, bytes]] = []
    if isinstance(given, str | bytes | Mapping):
        raise PolicyError.about("hash_keys", _PAIRS)
    try:
        entries: list[Any] = list(given)
    except TypeError:
        raise PolicyError.about("hash_keys", _PAIRS) from None
    for pair in entries:
        if not _is_pair(pair):
            raise PolicyError.about("hash_keys", _PAIRS)
        key_id, key = pair
        if not isinstance(key_id, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", key_id):
            raise PolicyError.about(
                "hash_keys", "names each key in up to 32 letters and digits, as 'k1'"
            )
        pairs.append((key_id, encode_secret(key, "hash_keys")))
    if len({key_id for key_id, _ in pairs}) < len(pairs):
        raise PolicyError.about("hash_keys", "gives two keys one name: name each differently")
    return tuple(pairs)


def explain_unknown_option(name: str, value: object, names: list[str]) -> str:
    """
    Return the message for an option that ``Policy`` does not have.
    """
    rules = [field.name for field in options_of(IDSpec)]
    owner, _, rest = name.partition("_")
    if name not in rules and f"{owner}_id" in STANDARD:
        rule = find_meant(rest, rules, cutoff=0.75) if rest and rest != "id" else None
    else:
        owner, rule = "session", None if find_meant(name, names) else find_meant(name, rules)
    if rule is None:
        return explain_unknown("Policy", name, names)
    return (
        f"Policy has no option {name!r}, since {rule} is an option of one ID: "
        f"{_suggest_spec_option(owner, rule, value)}"
    )


def _suggest_spec_option(owner: str, rule: str, value: object) -> str:
    change: Any = {rule: value}
    try:
        _BUILDERS[owner](**change)
    except PolicyError:
        return f"give {rule} to {owner}_spec"
    if not isinstance(value, str | bool | int | None) or len(str(value)) >= LEAST_SECRET:
        return f"give {rule} to {owner}_spec"
    return f"write {owner}={owner}_spec({rule}={value!r})"


def collect_specs(standard: Mapping[str, object], further: Iterable[IDSpec]) -> dict[str, IDSpec]:
    """
    Return the rules of every ID by name, the standard IDs first.

    Args:
        standard: the given rules of each standard ID; ``None`` leaves it out.
        further: the rules of further IDs.
    """
    specs: dict[str, IDSpec] = {}
    for name, given in standard.items():
        if given is None:
            continue
        if not isinstance(given, IDSpec) or given.name != name:
            raise _spec_error(name.removesuffix("_id"), given)
        specs[name] = given
    for spec in further:
        if spec.name in specs or spec.name in STANDARD:
            raise PolicyError.about("extra", f"declares {spec.name} twice: name each ID once")
        specs[spec.name] = spec
    return specs


def check_switches(options: Mapping[str, object]) -> None:
    """
    Refuse anything but ``True`` and ``False`` for the options of that kind.
    """
    for option, given in options.items():
        if type(given) is not bool:
            evidence = None if may_be_key(given) else given
            raise PolicyError.about(option, f"is True or False, not {show_value(given)}", evidence)


def check_hashing(specs: Iterable[IDSpec], keys: Sequence[object]) -> None:
    """
    Refuse rules by which a sink hashes an ID without a key.
    """
    hashed = [spec.name for spec in specs if "hash" in (spec.log, spec.span)]
    if hashed and not keys:
        raise PolicyError.about(
            "hash_keys",
            f"is empty and {hashed[0]} is hashed: a hash without a key can be guessed, "
            f"give it one as in hash_keys=[('k1', os.environ['ID_HASH_KEY'])]",
        )


def _spec_error(option: str, given: object) -> PolicyError:
    """
    Return the error for something else than the rules of the session, user or tenant ID.
    """
    written = "None" if given is False else f"{option}_spec({_suggest_changes(option, given)})"
    # A mapping may hold keys.
    evidence = None if isinstance(given, Mapping) else given
    return PolicyError.about(
        option, f"takes {option}_spec(...) or None: write {option}={written}", evidence
    )


def _suggest_changes(option: str, given: object) -> str:
    """
    Return the arguments of the default spec that *given* was probably meant to be, or ``""``.
    """
    if isinstance(given, list | tuple):
        entries = [entry for entry in cast("list[object]", given) if suggest_header(option, entry)]
        return f"sources={entries!r}" if entries else ""
    if isinstance(given, Mapping):
        rules = {str(name).lower(): value for name, value in cast("Any", given).items()}
        given = rules.get("header")
    if isinstance(given, IDSpec):
        given = given.header
    elif isinstance(given, Header) and given.reader is None:
        given = given.name
    header = suggest_header(option, given)
    return f"header={header!r}" if header else ""


def check_admission(admission: object, specs: Mapping[str, IDSpec]) -> None:
    """
    Refuse something else than an ``Admission``, and one in a policy without sessions.
    """
    if admission is None:
        return
    if not isinstance(admission, Admission):
        raise PolicyError.about(
            "admission", "is an Admission, as in Admission(registry.exists)", admission
        )
    if "session_id" not in specs:
        raise PolicyError.about("admission", "asks about sessions: leave session in")


def check_headers(specs: Iterable[IDSpec], secret_header: str | None) -> None:
    """
    Refuse a header that two IDs, or an ID and the shared secret, use in any spelling.

    Several IDs may read one header that all of them verify.
    """
    owners: dict[str, tuple[str, bool]] = {}
    roles = [
        (header.name, spec.name, header.verify is not None)
        for spec in specs
        for header in (Header(spec.header), *sources_of(spec))
        if isinstance(header, Header)
    ]
    siblings = [
        (sibling, spec.name)
        for spec in specs
        for header in sources_of(spec)
        if isinstance(header, Header)
        for sibling in header.siblings
    ]
    if secret_header is not None:
        roles.append((secret_header, "shared_secret", False))
    for header, role, is_verified in roles:
        owner, is_shared = owners.setdefault(fold_header(header), (role, is_verified))
        if owner != role and not (is_verified and is_shared):
            raise PolicyError(
                f"the header {header!r} serves {owner} and {role}: give each its own",
                option="header",
                value=header,
            )
    for sibling, role in siblings:
        owner, _ = owners.get(fold_header(sibling), (role, False))
        if owner != role:
            raise PolicyError(
                f"Header(siblings=...) of {role} has {sibling!r}, the header of {owner}, which "
                f"would leave every request: leave it out, or give {owner} another header",
                option="siblings",
                value=sibling,
            )


def find_unproven_certificates(specs: Iterable[IDSpec]) -> list[tuple[str, str]]:
    """
    Return the name of each ID that anyone may set by a header about a certificate, and the header.
    """
    return [
        (spec.name, source.name)
        for spec in specs
        if spec.accept == "anyone"
        for source in sources_of(spec)
        if isinstance(source, Header) and _is_about_certificate(source)
    ]


def _is_about_certificate(header: Header) -> bool:
    """
    Return whether a header is about a client certificate: by its name, or by who reads it.
    """
    finds = describe_finding(header.reader) or ""
    return fold_header(header.name) == _CERTIFICATE_HEADER or finds.endswith("certificate")


def explain_undeclared(name: str, names: Sequence[str]) -> str:
    """
    Return the message for the name of an ID that the policy does not declare.

    Args:
        name: the name that code asked for.
        names: the IDs that are declared, the three standard ones first.
    """
    if not isinstance(cast("object", name), str):
        return f"an ID is named by text, not {type(name).__name__}: write 'user_id'"
    said = f"{name!r} is not a declared ID ({', '.join(names)})"
    meant = _find_declared(name, [*names, "customer_id"])
    if meant is not None:
        return f"{said}: write {meant}"
    spec = _write_spec(name)
    if spec is None:
        return f"{said}, and no ID may be called so: write lower-case, as in 'device_id'"
    if len(names) > len(STANDARD):
        return f"{said}: add {spec} to the extra=[...] of your policy"
    return (
        f"{said}: write use_policy(Policy(extra=[{spec}])), and for requests give that policy to "
        f"the middleware"
    )


def _find_declared(name: str, names: list[str]) -> str | None:
    """
    Return the declared ID that *name* was probably meant to be, or ``None``.
    """
    from difflib import get_close_matches

    plain = {_strip_signs(declared): declared for declared in names}
    for spelled in (_strip_signs(name), _strip_signs(name) + "id"):
        if spelled in plain:
            return plain[spelled]
    close = get_close_matches(name.lower(), names, n=1, cutoff=0.75)
    return close[0] if close else None


def _strip_signs(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _write_spec(name: str) -> str | None:
    """
    Return the code that declares an ID, or ``None`` if no ID may have this name.
    """
    if _strip_signs(name) in ("request", "requestid"):
        return f"{request_spec.__name__}()"
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower()
    words = ("ID" if word == "id" else word.capitalize() for word in snake.split("_"))
    header = "-".join(["X", *words])
    if not name.isascii():
        return None
    try:
        IDSpec(name=snake, header=header)
    except PolicyError:
        return None
    return f"IDSpec(name={snake!r}, header={header!r})"
