"""
Origins: the allow-list of outgoing calls.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import PolicyError
from idlanyard._policy.origins import Origins, origin_of


@pytest.mark.parametrize(
    ("allowed", "url", "covered"),
    [
        pytest.param("https://api.internal", "https://api.internal/v1?q=1", True, id="itself"),
        pytest.param("https://api.internal", "https://API.internal./", True, id="upper case, dot"),
        pytest.param("https://api.internal", "https://api.internal:443/", True, id="its own port"),
        pytest.param(
            "https://api.internal", "https://user@api.internal/", True, id="user before it"
        ),
        pytest.param("https://api.internal", "https://api.internal.evil.com/", False, id="prefix"),
        pytest.param(
            "https://api.internal", "https://evil.com/api.internal", False, id="in the path"
        ),
        pytest.param(
            "https://api.internal", "https://evil.com/?q=api.internal", False, id="in query"
        ),
        pytest.param(
            "https://api.internal", "https://api.internal@evil.com/", False, id="as a user"
        ),
        pytest.param("https://api.internal", "http://api.internal/", False, id="http"),
        pytest.param("https://api.internal", "https://api.internal:8443/", False, id="other port"),
        pytest.param(
            "https://api.internal", "https://evil.com\\@api.internal/", False, id="backslash"
        ),
        pytest.param("https://api.internal", "https://api.int\nernal/", False, id="line feed"),
        pytest.param("https://api.internal", " https://api.internal/", False, id="space first"),
        pytest.param("https://api.internal", "//api.internal/", False, id="no scheme"),
        pytest.param("https://api.internal", "https:///v1", False, id="no host"),
        pytest.param("https://api.internal", "https://api.internal:x/", False, id="no port"),
        pytest.param("https://api.internal", "https://%61pi.internal/", False, id="percent"),
        pytest.param("https://*.internal", "https://api.internal/", True, id="subdomain"),
        pytest.param("https://*.internal", "https://a.b.internal/", True, id="deeper"),
        pytest.param("https://*.internal", "https://internal/", False, id="the base itself"),
        pytest.param("https://*.internal", "https://a<.internal/", False, id="no letter of a host"),
        pytest.param("https://*.internal", "https://my_api.internal/", True, id="underscore"),
        pytest.param("https://*.internal", "https://evilinternal/", False, id="no label boundary"),
        pytest.param(
            "https://b\xfccher.example", "https://xn--bcher-kva.example/", True, id="IDNA"
        ),
        pytest.param(
            "https://b\xfccher.example", "https://b\xfccher.example\u3002/", True, id="IDNA dot"
        ),
        pytest.param("https://strasse.example", "https://stra\xdfe.example/", False, id="sharp s"),
        pytest.param("https://ab.example", "https://a\u200db.example/", False, id="joiner"),
        pytest.param("https://a.example", "https://a.example/\xdf?q=\xdf", True, id="in the path"),
        pytest.param("http://[::1]:8000", "http://[::1]:8000/", True, id="IPv6"),
        pytest.param("https://[::1]", "https://[::1]443443", False, id="more after an IPv6"),
        pytest.param("https://[::1]", "https://api.internal[::1]/", False, id="before an IPv6"),
        pytest.param("https://[::1]", "https://[::1]x:443/", False, id="between IPv6 and port"),
        pytest.param("https://[::1]", "https://u:p@[::1]:443/", True, id="user and IPv6"),
    ],
)
def test_an_origin_covers_exactly_itself(allowed: str, url: str, covered: bool) -> None:
    """
    S13: scheme, host and port decide, subdomains by label, and doubt means no.
    """
    assert Origins([allowed]).allow(url) is covered


@pytest.mark.parametrize(
    "entry",
    [
        "api.internal",
        "https://api.internal/v1",
        "https://u@api.internal",
        "https://*",
        "*",
        "",
        "ftp://a",
        "https://a?b",
        "https://a#b",
        "https://a.*.b",
        "https://stra\xdfe.example",
    ],
)
def test_what_is_no_origin_is_refused(entry: str) -> None:
    """
    S13: an entry that is no origin raises and says what to write.
    """
    with pytest.raises(PolicyError, match="write scheme, host and port only"):
        Origins([entry])


def test_a_text_is_no_list() -> None:
    """
    R12: a single text in place of a list says so.
    """
    with pytest.raises(PolicyError, match="write to="):
        Origins("https://api.internal")


def test_lists_of_the_same_origins_are_equal() -> None:
    """
    Lists of the same origins are equal, and hash alike, however they are spelled.
    """
    spellings = ["https://api.example", "https://API.example:443"]
    assert len({Origins([spelling]) for spelling in spellings}) == 1
    assert Origins(spellings) != Origins(spellings[:1])


@given(st.text(max_size=60))
def test_no_url_raises(url: str) -> None:
    """
    S13: no text raises, whatever it is.
    """
    origin_of(url)
    origin_of(f"https://{url}")
