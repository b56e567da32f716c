"""
IDs as text: generators, the check, and names for files.
"""

from __future__ import annotations

import re
import socket
import string
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from idlanyard import Provenance
from idlanyard._policy.id_check import IDCheck
from idlanyard.ids import safe_filename, timestamped, token, uuid4, uuid7

DEFAULT = set(string.ascii_letters + string.digits + "-_.~:@/+=|")
FIRST = set(string.ascii_letters + string.digits)
VISIBLE = {chr(code) for code in range(0x21, 0x7F)} - set(',;"\\<>')


@pytest.mark.parametrize("generator", [token, uuid4, uuid7, timestamped])
def test_generators_make_unique_ids_that_pass_the_check(generator: Callable[[], str]) -> None:
    """
    S10: 10,000 IDs are distinct, pass the default check and do not name the host.
    """
    made = {generator() for _ in range(10_000)}
    assert len(made) == 10_000
    assert all(IDCheck().reason(one) is None for one in made)
    assert not any(socket.gethostname() in one for one in made)


@pytest.mark.parametrize(
    ("generator", "shape"),
    [
        pytest.param(token, r"[0-9a-f]{32}", id="token"),
        pytest.param(
            uuid4, r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-.{12}", id="4"
        ),
        pytest.param(
            uuid7, r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-.{12}", id="7"
        ),
        pytest.param(timestamped, r"session_\d{8}_\d{6}_[0-9a-f]{16}", id="timestamped"),
    ],
)
def test_generators_have_their_shape(generator: Callable[[], str], shape: str) -> None:
    """
    R15, RFC 9562: each generator makes what its name says.
    """
    assert re.fullmatch(shape, generator())


def test_uuid7_tells_its_millisecond() -> None:
    """
    RFC 9562: the first 48 bits of a version 7 UUID are Unix milliseconds.
    """
    before = time.time_ns() // 1_000_000
    made = int(uuid7().replace("-", "")[:12], 16)
    assert before <= made <= time.time_ns() // 1_000_000


def test_timestamped_is_utc_and_takes_a_prefix() -> None:
    """
    The time is UTC, so that the IDs of all machines sort.
    """
    before = time.strftime("%Y%m%d_%H%M%S", time.gmtime())
    made = timestamped("chat")
    after = time.strftime("%Y%m%d_%H%M%S", time.gmtime())
    assert f"chat_{before}" <= made[: len("chat_YYYYMMDD_HHMMSS")] <= f"chat_{after}"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("a", None, id="one character"),
        pytest.param("x" * 255, None, id="255"),
        pytest.param("x" * 256, "too long", id="256"),
        pytest.param("-" * 60_000 + "0" * 32, "too long", id="60 KB of hyphens"),
        pytest.param("", "empty", id="empty"),
        pytest.param(" a", "character not allowed", id="space first"),
        pytest.param("abc\n", "character not allowed", id="line feed last"),
        pytest.param("a\r\nSet-Cookie: x=1", "character not allowed", id="line break"),
        pytest.param("a\x85b", "character not allowed", id="NEL"),
        pytest.param("a\xa0", "character not allowed", id="no-break space"),
        pytest.param("\xe9", "character not allowed", id="letter outside ASCII"),
        pytest.param("\u0663", "character not allowed", id="digit outside ASCII"),
        pytest.param("a\x00", "character not allowed", id="NUL"),
        pytest.param("a\x1b[31m", "character not allowed", id="escape"),
        pytest.param("a,b", "character not allowed", id="comma"),
        pytest.param("{a}", "character not allowed", id="braces"),
        pytest.param("-a", "character not allowed", id="hyphen first"),
    ],
)
def test_the_check_refuses_with_a_reason(value: str, reason: str | None) -> None:
    """
    S6: a value is taken whole or not at all, length first.
    """
    assert IDCheck().reason(value) == reason


@given(
    st.one_of(st.text(max_size=300), st.text(sorted(DEFAULT), max_size=300)), st.integers(1, 260)
)
@example("aaaaa", 4)
@example("aaaa", 4)
def test_the_check_is_its_description(value: str, most: int) -> None:
    """
    R7: the default charset is letters, digits and ten signs, the first a letter or digit.
    """
    allowed = 1 <= len(value) <= most and value[0] in FIRST and set(value) <= DEFAULT
    check = IDCheck(max_length=most)
    assert (check.reason(value) is None) is allowed
    assert bool(check.matches(value)) is allowed
    assert bool(check.matches_bytes(value.encode("utf-8"))) is allowed


@given(st.text(st.characters(max_codepoint=0x100), max_size=20))
def test_visible_is_its_description(value: str) -> None:
    """
    R7: visible is 0x21 to 0x7E without the six that delimit.
    """
    allowed = bool(value) and set(value) <= VISIBLE
    assert (IDCheck("visible").reason(value) is None) is allowed


@given(st.text(max_size=20))
def test_a_pattern_comes_on_top_of_the_floor(value: str) -> None:
    """
    S6: a pattern of one's own cannot let in what no header may carry.
    """
    check = IDCheck(re.compile(r"(?s).*"))
    assert check.reason(value) == IDCheck("visible").reason(value)
    assert check.pattern is not None
    assert IDCheck(re.compile("[0-9]+")).reason("abc") == "character not allowed"


@pytest.mark.parametrize(
    ("check", "value", "error", "sentence"),
    [
        pytest.param(
            IDCheck(), 42, TypeError, r"user_id must be a str, not int: write str", id="int"
        ),
        pytest.param(
            IDCheck(), "", ValueError, "user_id is refused, empty: write None", id="empty"
        ),
        pytest.param(
            IDCheck(), "x" * 300, ValueError, r"has 300 .* may have 255; .*max_length", id="long"
        ),
        pytest.param(
            IDCheck(),
            "#secret",
            ValueError,
            r"letters, digits .* first a letter or digit; "
            r"Policy\(user=user_spec\(charset='visible'\)\) allows",
            id="default",
        ),
        pytest.param(
            IDCheck(), "se cret", ValueError, "letters, digits .* no rule may allow", id="hopeless"
        ),
        pytest.param(
            IDCheck(), "x" * 1025, ValueError, "may have 255, and no rule may allow", id="endless"
        ),
        pytest.param(
            IDCheck("visible"), "se cret", ValueError, "allowed are visible", id="visible"
        ),
        pytest.param(
            IDCheck(re.compile("[0-9]+")), "secret", ValueError, r"match '\[0-9\]\+'", id="pattern"
        ),
    ],
)
def test_code_is_told_the_remedy_and_never_the_value(
    check: IDCheck, value: object, error: type[Exception], sentence: str
) -> None:
    """
    R7: an error names field, reason and the option that would allow it, never the value.
    """
    with pytest.raises(error, match=sentence) as caught:
        check.require("user_id", value)
    assert not isinstance(value, str) or not value or value not in str(caught.value)


def test_a_value_that_passes_is_returned() -> None:
    """
    R7: what may pass comes back as it is.
    """
    assert IDCheck().require("user_id", "alice") == "alice"


class Shouting(str):
    """
    Text that says something else of itself than it is.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return "root\r\n"


def test_what_was_checked_is_what_is_used() -> None:
    """
    R7: of a subclass of ``str`` the ID is the text that passed, whatever ``str()`` makes of it.
    """
    found = IDCheck().require("user_id", Shouting("alice"))
    assert (found, type(found)) == ("alice", str)


@pytest.mark.parametrize("name", ["test-1", "_x", "a" * 200, "Session_001"])
def test_plain_ids_are_their_own_file_names(name: str) -> None:
    """
    An ID of letters, digits, - and _ names its own file.
    """
    assert safe_filename(name) == name


@pytest.mark.parametrize(
    "id",
    [
        "test..test",
        "test@session!",
        "../../outside",
        "..%2F..%2Foutside",
        "test/../../../outside",
        "..",
        ".",
        "/etc/passwd",
        "a\\b",
        "a\x00b",
        "-rf",
        "CON",
        "lpt1",
        "a" * 201,
        "\ud800",
    ],
)
def test_other_ids_get_a_name_that_stays_in_its_folder(id: str) -> None:
    """
    No separator, no dot, no reserved name and no option comes out of an ID.
    """
    name = safe_filename(id)
    assert re.fullmatch(r"[A-Za-z0-9_]?[A-Za-z0-9_-]{0,63}~[0-9a-f]{32}", name)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_distinct_ids_have_distinct_files(one: str, other: str) -> None:
    """
    Two IDs share a file name only if they are one.
    """
    assert (safe_filename(one) == safe_filename(other)) is (one == other)


def test_what_is_no_id_names_no_file() -> None:
    """
    An empty ID is a ValueError and a number a TypeError.
    """
    with pytest.raises(ValueError, match="names no file"):
        safe_filename("")
    with pytest.raises(TypeError, match=r"write str\(\.\.\.\)"):
        safe_filename(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("provenance", list(Provenance))
def test_two_provenances_prove_nothing(provenance: Provenance) -> None:
    """
    Design, section 1: what a client or the environment says is not proven, all else is.
    """
    unproven = provenance in (Provenance.CLIENT, Provenance.ENVIRONMENT)
    assert provenance.proven is not unproven
