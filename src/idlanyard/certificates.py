"""
Client certificates: parse functions for the lines in which servers and proxies describe them.

None of these functions verifies a certificate. The server that ended TLS has done so, and the
source that the function belongs to says why that server is believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from idlanyard.exceptions import PolicyError

__all__ = ["forwarded_certificate", "subject_field"]

# The names of one attribute type (RFC 4514, RFC 4519, OpenSSL), so that none hides another.
_TYPES: Final = (
    ("cn", "commonname", "2.5.4.3"),
    ("serialnumber", "2.5.4.5"),
    ("c", "countryname", "2.5.4.6"),
    ("l", "localityname", "2.5.4.7"),
    ("st", "s", "stateorprovincename", "2.5.4.8"),
    ("street", "streetaddress", "2.5.4.9"),
    ("o", "organizationname", "2.5.4.10"),
    ("ou", "organizationalunitname", "2.5.4.11"),
    ("userid", "uid", "0.9.2342.19200300.100.1.1"),
    ("uniqueidentifier", "0.9.2342.19200300.100.1.44"),
    ("dc", "domaincomponent", "0.9.2342.19200300.100.1.25"),
    ("emailaddress", "email", "e", "1.2.840.113549.1.9.1"),
)
_CANONICAL: Final = {name: names[0] for names in _TYPES for name in names}
_TYPE: Final = r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+"
_CONTROL: Final = r"\x00-\x1f\x7f"
# A space at either end would have to be escaped, and "#" begins a value in hexadecimal digits.
_VALUE: Final = (
    r"(?![ #])"
    rf'(?:\\(?:[ "#+,;<=>\\]|[0-9A-Fa-f]{{2}})|[^{_CONTROL} "+,;<>\\]| +(?![ ,+]|\Z))*'
)
_PART: Final = re.compile(rf"({_TYPE})=({_VALUE})(, *|\Z)")
_ANY_PART: Final = rf"(?:{_TYPE})=(?:#(?:[0-9A-Fa-f]{{2}})+|{_VALUE})"
_SUBJECT: Final = re.compile(rf"{_ANY_PART}(?:(?:\+|, *){_ANY_PART})*")
_ESCAPE: Final = re.compile(r"\\([0-9A-Fa-f]{2}|.)")
_LINE_PART: Final = re.compile(rf"({_TYPE})=([^{_CONTROL}]*)")
_LONGEST_LINE: Final = 8192
_KEYS: Final = ("URI", "DNS", "Hash", "Subject")
# In the order in which Envoy writes them. Values of the other keys are not quoted, so a quotation
# mark there is a part of a name, and would hide where an element ends.
_ORDER: Final = ("by", "hash", "cert", "chain", "subject", "uri", "dns")
_QUOTED: Final = ("cert", "chain", "subject")
_ENCODED: Final = re.compile(r"[A-Za-z0-9%._~-]*")
_PAIR: Final = re.compile(
    r"([A-Za-z]+)="
    rf'(?:"((?:\\[^{_CONTROL}]|[^{_CONTROL}"\\])*)"|([^{_CONTROL}\x80-\U0010ffff ",;=\\]*))'
    r"(;|[ \t]*,[ \t]*|\Z)"
)


def subject_field(field: str, *, one_line: bool = False) -> Callable[[str], str | None]:
    """
    Return the parse function that finds one field in the subject of a certificate.

    A subject in which the field is not there exactly once has none, nor has
    one that is not written as RFC 4514 says, has several values at one
    level (``CN=a+UID=b``), or is longer than 8,192 characters.

    Args:
        field: the attribute type, as ``"CN"``, ``"UID"`` or ``"emailAddress"``, in
            any case. Only ``uid`` in lower case is another type than ``UID``:
            OpenSSL's name of a unique identifier.
        one_line: whether subjects are written as ``/C=DE/CN=alice``. Not every
            server escapes ``/`` there, so a field that the certificate's owner
            may choose could hold another one: only for an authority that
            checks every field.

    Raises:
        PolicyError: *field* is no attribute type; the message says what to write.
    """
    if not isinstance(field, str) or not re.fullmatch(_TYPE, field):
        raise PolicyError(
            f"subject_field({field!r}) is no attribute type: write subject_field('CN')",
            option="parse",
            value=field,
        )
    if field == "uid":
        raise PolicyError(
            "subject_field('uid') is OpenSSL's name of a unique identifier, and others' of a user: "
            "write subject_field('UID') for the user, or subject_field('uniqueIdentifier')",
            option="parse",
            value=field,
        )
    return SubjectField(field, one_line=one_line)


def forwarded_certificate(
    key: str, field: str | None = None, *, last: bool = False
) -> Callable[[str], str | None]:
    """
    Return the parse function that finds a value in an ``X-Forwarded-Client-Cert`` header.

    The header has one element for each proxy that has added one. With more
    than one the header has no ID, since all but the last may be the client's
    words, unless *last* is set. A header that Envoy would not write is
    malformed and has no ID: one with keys of others, or in another order than
    ``By``, ``Hash``, ``Cert``, ``Chain``, ``Subject``, ``URI``, ``DNS``; with a
    subject that is not written as RFC 4514 says; with quotation marks around
    another value; or with more than 8,192 characters.

    Args:
        key: ``"URI"``, ``"DNS"`` or ``"Hash"``, of which the element may have one;
            or ``"Subject"``, which needs *field*. A name (``"DNS"``) does not
            count beside a URI, of which it may be a part.
        field: the field of the subject, as for ``subject_field``.
        last: whether the last of several elements counts, which the nearest
            proxy has added, and not only a single one. A URI or a name with a
            comma is two elements, so the owner of such a certificate could be
            anybody: only for an authority that signs none.

    Raises:
        PolicyError: there is no such key, or *field* is wrong; the message says
            what to write.
    """
    if key not in _KEYS:
        raise PolicyError(
            f"forwarded_certificate({key!r}) is no key of the client's certificate: write "
            f"forwarded_certificate('URI'), 'DNS', 'Hash', or ('Subject', 'CN')",
            option="parse",
            value=key,
        )
    if (key == "Subject") is not (field is not None):
        written = "'Subject', 'CN'" if key == "Subject" else repr(key)
        raise PolicyError(
            f"forwarded_certificate({key!r}, {field!r}): only a subject has fields, and has to be "
            f"read by one: write forwarded_certificate({written})",
            option="parse",
            value=field,
        )
    if field is not None:
        subject_field(field)
    return ForwardedCertificate(key, field, last=last)


@dataclass(frozen=True)
class SubjectField:
    """
    The parse function of ``subject_field``.
    """

    field: str
    one_line: bool = False

    @property
    def finds(self) -> str:
        """
        The words for what it finds.
        """
        return f"the {self.field} of the client certificate"

    def __call__(self, subject: str) -> str | None:
        if len(subject) > _LONGEST_LINE:
            return None
        parts = _split_line(subject) if self.one_line else _split_subject(subject)
        own = _name_type(self.field)
        values = [value for name, value in parts if _name_type(name) == own]
        return _unescape(values[0], is_escaped=not self.one_line) if len(values) == 1 else None


@dataclass(frozen=True)
class ForwardedCertificate:
    """
    The parse function of ``forwarded_certificate``.
    """

    key: str
    field: str | None = None
    last: bool = False

    @property
    def finds(self) -> str:
        """
        The words for what it finds.
        """
        return f"the {self.field or self.key} of the {'last' if self.last else 'only'} certificate"

    def __call__(self, line: str) -> str | None:
        elements = [] if len(line) > _LONGEST_LINE else _split_elements(line)
        if not elements or (len(elements) > 1 and not self.last):
            return None
        values = [value for key, value in elements[-1] if key == self.key.lower()]
        uris = [value for key, value in elements[-1] if key == "uri"]
        # A URI may be written as it is in the certificate, and names come after it: what looks
        # like a name may be the end of a URI with a semicolon.
        if len(values) != 1 or (self.key == "DNS" and any(uris)):
            return None
        (value,) = values
        if self.field is None:
            return _unescape(value, is_escaped=False)
        # An escaped quotation mark may be one of the subject, or of a subject in which values are
        # quoted: it is inside a value in one case, and ends it in the other.
        return None if '\\"' in value else SubjectField(self.field)(value)


def _name_type(name: str) -> str:
    # OpenSSL 3.5 tells these two apart by nothing but the case: "UID" is a user.
    if name == "uid":
        return "uniqueidentifier"
    return _CANONICAL.get(name.lower(), name.lower())


def _unescape(value: str, *, is_escaped: bool) -> str | None:
    """
    Return a value without its escapes; ``None`` if it is empty, or has hexadecimal ones.
    """
    escapes = _ESCAPE.findall(value)
    if not value or ("\\" in value and not is_escaped) or any(len(one) > 1 for one in escapes):
        return None
    return _ESCAPE.sub(r"\1", value)


def _split_subject(subject: str) -> list[tuple[str, str]]:
    """
    Return the types and values in a subject (RFC 4514), none if it is malformed.
    """
    parts: list[tuple[str, str]] = []
    end = 0
    while match := _PART.match(subject, end):
        parts.append((match[1], match[2]))
        end = match.end()
        if not match[3]:
            return parts
    return []


def _split_line(subject: str) -> list[tuple[str, str]]:
    """
    Return the types and values in a subject as ``/C=DE/CN=alice``, none if it is malformed.
    """
    # OpenSSL 3.0 escapes a slash and a plus inside a value and no backslash before one, older ones
    # neither. A plus may separate two fields of one level.
    if "\\/" in subject or "+" in subject:
        return []
    first, *texts = subject.split("/")
    matches = [_LINE_PART.fullmatch(text) for text in texts]
    parts = [(match[1], match[2]) for match in matches if match is not None]
    return parts if not first and len(parts) == len(matches) else []


def _split_elements(line: str) -> list[list[tuple[str, str]]]:
    """
    Return the keys, in lower case, and values in each element of a header, none if it is malformed.
    """
    elements: list[list[tuple[str, str]]] = [[]]
    end = 0
    while match := _PAIR.match(line, end):
        key, quoted, plain, separator = match.groups()
        if not _is_sound(key.lower(), quoted):
            return []
        elements[-1].append((key.lower(), plain if quoted is None else quoted))
        end = match.end()
        if not separator:
            return elements if all(map(_is_ordered, elements)) else []
        if separator != ";":
            elements.append([])
    return []


def _is_sound(key: str, quoted: str | None) -> bool:
    """
    Return whether a key is one of Envoy's, and a quoted value such as it writes for that key.

    An element that a client begins and does not end, as ``Subject="``, would
    otherwise hold the beginning of the next one as a value.
    """
    if quoted is None:
        return key in _ORDER
    if key == "subject":
        return not quoted or _SUBJECT.fullmatch(quoted) is not None
    return key in _QUOTED and _ENCODED.fullmatch(quoted) is not None


def _is_ordered(element: list[tuple[str, str]]) -> bool:
    places = [_ORDER.index(key) for key, _ in element]
    return places == sorted(places)
