"""
Requests that are almost right: the head of one in which names, values and line ends are random.
"""

from __future__ import annotations

from random import Random

from servers.mounts import SECRET

# Most requests get as far as the middleware, so what no server lets through is rare.
OURS = [
    b"X-Session-ID",
    b"X-User-ID",
    b"X-Tenant-ID",
    b"x_user_id",
    b"X-User_ID",
    b"X-Proxy-Secret",
]
NAMES = [
    *OURS * 8,
    *(b"Connection", b"Forwarded", b"X-Forwarded-For", b"baggage", b"traceparent", b"Cookie"),
    *(b"Authorization", b"Content-Length", b"Transfer-Encoding", b"Expect", b"Upgrade", b"Host"),
    *(b"Content-Type", b"X-Auth-Request-User", b"X-Login-Tenant", b"Origin", b"Range"),
    *(b"X-Forwarded-Client-Cert", b"x_forwarded_client_cert"),
]
VALUES = [
    *[b"mallory", b"", b"a,mallory", b"mallory;x", b"\xff\xfe", b"\x85mallory", b"URI=mallory"] * 6,
    *[SECRET.encode(), b"Bearer mallory.mallory.mallory", b"mallory" * 40, b"a" * 255] * 4,
    *(b"\x00", b"%", b" ", b"a\rSet-Cookie: s=mallory", b"a\nSet-Cookie: s=mallory"),
    *(b"a\r\n Set-Cookie: mallory", b"close, X-User-ID", b"close", b"keep-alive", b"for=[::1"),
    *(b"X-Proxy-Secret", b"10.0.0.5", b"chunked", b"0", b"99999999999999999999", b"-1"),
    *(b"100-continue", b"h2c", b"websocket", b"mallory" * 1500),
]
PATHS = [
    *[b"/closed/", b"/trusting/", b"/demanding/", b"/excluding/health", b"/matching/"] * 6,
    *[b"/bearing/", b"/meshed/", b"/appended/", b"/exposing/", b"/fallback/"] * 6,
    b"*",
    *(b"/exposing/%00%ff", b"http://mallory/trusting/", b"//mallory", b"/fallback/\xff", b""),
]
METHODS = [*[b"GET"] * 40, b"POST", b"HEAD", b"OPTIONS", b"get", b"X" * 40, b""]
ENDS = [b"\r\n"] * 200 + [b"\n", b"\r", b"\r\n ", b""]


def _pick(chance: Random, likely: list[bytes]) -> bytes:
    """
    Return one of the likely texts, or random bytes at times.
    """
    if chance.random() < 0.98:
        return chance.choice(likely)
    return chance.randbytes(chance.randrange(20))


def random_request(chance: Random) -> bytes:
    """
    Return a request head, and a few bytes after it at times.
    """
    version = chance.choice([b"HTTP/1.1"] * 60 + [b"HTTP/1.0", b"HTTP/9", b""])
    lines = [b" ".join([_pick(chance, METHODS), _pick(chance, PATHS), version])]
    if chance.random() < 0.98:
        lines.append(b"Host: x")
    for _ in range(chance.randrange(8)):
        colon = chance.choice([b": "] * 90 + [b":", b" : ", b""])
        lines.append(_pick(chance, NAMES) + colon + _pick(chance, VALUES))
    head = b"".join(line + chance.choice(ENDS) for line in lines)
    body = chance.randbytes(chance.randrange(30)) if chance.random() < 0.2 else b""
    return head + b"Connection: close\r\n\r\n" + body
