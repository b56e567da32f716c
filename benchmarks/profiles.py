"""
Lists of requests and responses: header lines as proxies, clients and frameworks write them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

PATHS = ("mint", "session", "trusted", "refused")
BUILT_IN = Path(__file__).with_name("real_requests.json")

Lines = tuple[tuple[str, str], ...]
Item = TypeVar("Item", "Request", "Response")


class ProfileError(ValueError):
    """
    A list that is not as it should be; the message says what to write instead.
    """


class Request(NamedTuple):
    """
    A request.

    Attributes:
        name: how tables call it.
        path: which target it belongs to, one of ``PATHS``.
        client: the address that it comes from, a proxy's or the client's.
        headers: its header lines.
    """

    name: str
    path: str
    client: str
    headers: Lines


class Response(NamedTuple):
    """
    A response's name and header lines.
    """

    name: str
    headers: Lines


class Profiles(NamedTuple):
    """
    The requests and responses of which every pair is measured.
    """

    requests: tuple[Request, ...]
    responses: tuple[Response, ...]


def load_profiles(file: Path) -> Profiles:
    """
    Return the lists of a JSON file; a list that is not in it is the built-in one.

    Raises:
        ProfileError: the file is missing, no JSON, or not a list of such requests.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProfileError(f"{file}: {error}") from error
    try:
        check_keys("the file", content, optional=("requests", "responses"))
        requests = read_list(content, "requests", read_request)
        responses = read_list(content, "responses", read_response)
    except ProfileError as error:
        raise ProfileError(f"{file}: {error}") from None
    if requests and responses:
        return Profiles(requests, responses)
    built_in = load_profiles(BUILT_IN)
    return Profiles(requests or built_in.requests, responses or built_in.responses)


def read_list(content: Any, key: str, read: Callable[[str, Any], Item]) -> tuple[Item, ...]:
    """
    Return the items of one list, which may be left out.
    """
    items = content.get(key)
    if items is None:
        return ()
    if not isinstance(items, list) or not items:
        raise ProfileError(f'"{key}" is a list with at least one item, not {shown(items)}')
    found = tuple(read(f"{key}[{number}]", item) for number, item in enumerate(items))
    names = [item.name for item in found]
    for name in names:
        if names.count(name) > 1:
            raise ProfileError(f'"{key}" has two items of the name "{name}": give each its own')
    return found


def read_request(where: str, item: Any) -> Request:
    """
    Return one request.
    """
    check_keys(where, item, ("name", "path", "client", "headers"))
    name = read_text(where, item, "name")
    if item["path"] not in PATHS:
        wanted = ", ".join(PATHS)
        raise ProfileError(f'{where}: "path" is one of {wanted}, not {shown(item["path"])}')
    client = read_text(where, item, "client")
    try:
        ip_address(client)
    except ValueError:
        raise ProfileError(f'{where}: "client" is an IP address, not {shown(client)}') from None
    return Request(name, item["path"], client, tuple(read_lines(where, item)))


def read_response(where: str, item: Any) -> Response:
    """
    Return one response.
    """
    check_keys(where, item, ("name", "headers"))
    return Response(read_text(where, item, "name"), tuple(read_lines(where, item)))


def read_lines(where: str, item: Any) -> Iterator[tuple[str, str]]:
    """
    Yield the header lines of a request or response.
    """
    if not isinstance(item["headers"], list):
        raise ProfileError(f'{where}: "headers" is a list of pairs, not {shown(item["headers"])}')
    for line in item["headers"]:
        match line:
            case [str(name), str(value)] if name and is_line(name + value) and ":" not in name:
                yield name, value
            case _:
                raise ProfileError(
                    f"{where}: a header is a pair of texts in latin-1 without line breaks,"
                    f' as in ["x-session-id", "s1"], not {shown(line)}'
                )


def is_line(text: str) -> bool:
    """
    Return whether a header line can have this text.
    """
    return all(character < "\u0100" and character not in "\r\n\0" for character in text)


def read_text(where: str, item: Any, key: str) -> str:
    """
    Return a text that is not empty.
    """
    value = item[key]
    if not isinstance(value, str) or not value:
        raise ProfileError(f'{where}: "{key}" is a text, not {shown(value)}')
    return value


def check_keys(
    where: str, item: Any, needed: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> None:
    """
    Check that an object has the keys that it needs, and no others.
    """
    known = ", ".join(f'"{key}"' for key in needed or optional)
    if not isinstance(item, dict):
        raise ProfileError(f"{where} is an object with {known}, not {shown(item)}")
    for key in needed:
        if key not in item:
            raise ProfileError(f'{where} has no "{key}": it needs {known}')
    for key in item:
        if key not in needed and key not in optional:
            raise ProfileError(f'{where} has "{key}", which is none of {known}')


def shown(value: Any) -> str:
    """
    Return a value as it is written in JSON, cut where it is long.
    """
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
