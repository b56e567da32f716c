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
    ("uid", "userid", "0.9.2342.19200300.100.1.1"),
    ("dc", "domaincomponent", "0.9.2342.19200300.100.1.25"),
    ("emailaddress", "email", "e", "1.2.840.113549.1.9.1"),
)
_CANONICAL: Final = {name: names[0] for names in _TYPES for name in names}
_TYPE: Final = r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+"
_CONTROL: Final = r"\x00-\x1f\x7f"
# A space at either end would have to be escaped, and "#" begins a value in hexadecimal digits.
_PART: Final = re.compile(
    rf"({_TYPE})=(?![ #])"
    rf'((?:\\(?:[ "#+,;<=>\\]|[0-9A-Fa-f]{{2}})|[^{_CONTROL} "+,;<>\\]| +(?![ ,]|\Z))*)'
    r"(, *|\Z)"
)
_ESCAPE: Final = re.compile(r"\\([0-9A-Fa-f]{2}|.)")
_LINE_PART: Final = re.compile(rf"({_TYPE})=([^{_CONTROL}]*)")
_KEYS: Final = ("URI", "DNS", "Hash", "Subject")
_PAIR: Final = re.compile(
    r"([A-Za-z]+)="
    rf'(?:"((?:\\[^{_CONTROL}]|[^{_CONTROL}"\\])*)"|([^{_CONTROL}\x80-\U0010ffff ",;=\\]*))'
    r"(;|[ \t]*,[ \t]*|\Z)"
)


def subject_field(field: str, *, one_line: bool = False) -> Callable[[str], str | None]:
    """
    Return the parse function that finds one field in the subject of a certificate.

    A subject in which the field is not there exactly once has none, nor has
    one that is not written as RFC 4514 says, or has several values at one
    level (``CN=a+UID=b``).

    Args:
        field: the attribute type, as ``"CN"``, ``"UID"`` or ``"emailAddress"``.
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
    return SubjectField(field, one_line=one_line)


def forwarded_certificate(
    key: str, field: str | None = None, *, last: bool = False
) -> Callable[[str], str | None]:
    """
    Return the parse function that finds a value in an ``X-Forwarded-Client-Cert`` header.

    The header has one element for each proxy that has added one. With more
    than one the header has no ID, since all but the last may be the client's
    words, unless *last* is set.

    Args:
        key: ``"URI"``, ``"DNS"`` or ``"Hash"``, of which the element may have one;
            or ``"Subject"``, which needs *field*. A name (``"DNS"``) does not
            count beside a URI, of which it may be a part.
        field: the field of the subject, as for ``subject_field``.
        last: whether the last of several elements counts, which the nearest
            proxy has added, and not only a single one.

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
        elements = _split_elements(line)
        if not elements or (len(elements) > 1 and not self.last):
            return None
        values = [value for key, value in elements[-1] if key.lower() == self.key.lower()]
        uris = [value for key, value in elements[-1] if key.lower() == "uri"]
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
    # OpenSSL 3.0 escapes a slash inside a value and no backslash before one, older ones neither.
    if "\\/" in subject:
        return []
    first, *texts = subject.split("/")
    matches = [_LINE_PART.fullmatch(text) for text in texts]
    parts = [(match[1], match[2]) for match in matches if match is not None]
    return parts if not first and len(parts) == len(matches) else []


def _split_elements(line: str) -> list[list[tuple[str, str]]]:
    """
    Return the keys and values in each element of a header, none if it is malformed.
    """
    elements: list[list[tuple[str, str]]] = [[]]
    end = 0
    while match := _PAIR.match(line, end):
        elements[-1].append((match[1], match[3] if match[2] is None else match[2]))
        end = match.end()
        if not match[4]:
            return elements
        if match[4] != ";":
            elements.append([])
    return []
