"""
A policy from the settings of a framework, and the messages for wrong settings.
"""

from __future__ import annotations

from typing import Any

import pytest

from idlanyard import EVERYONE, IDSpec, Policy, PolicyError, request_spec, session_spec, user_spec
from idlanyard._policy.settings import policy_from_settings

DJANGO = "IDLANYARD['{}']"
FLASK = "IDLANYARD_{}"


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        pytest.param({}, Policy(), id="none"),
        pytest.param({"SESSION": None}, Policy(session=None), id="left out"),
        pytest.param({"SESSION": session_spec(log="omit")}, None, id="a ready spec"),
        pytest.param(
            {"SESSION": {"LOG": "omit"}}, Policy(session=session_spec(log="omit")), id="a mapping"
        ),
        pytest.param(
            {"TRUSTED_PEERS": "Everyone"}, Policy(trusted_peers=EVERYONE), id="everyone, as a word"
        ),
        pytest.param(
            {"EXTRA": [{"NAME": "request_id", "HEADER": "X-Request-ID"}]},
            Policy(extra=[request_spec()]),
            id="a request ID, from its defaults",
        ),
        pytest.param(
            {"EXTRA": [{"NAME": "request_id"}]}, Policy(extra=[request_spec()]), id="and no more"
        ),
        pytest.param({"EXTRA": (request_spec(),)}, Policy(extra=[request_spec()]), id="ready"),
        pytest.param(
            {"EXTRA": [{"NAME": "device_id", "HEADER": "X-Device-ID"}]},
            Policy(extra=[IDSpec(name="device_id", header="X-Device-ID")]),
            id="another ID, which needs proof",
        ),
    ],
)
@pytest.mark.parametrize("written", [DJANGO, FLASK], ids=["django", "flask"])
def test_settings_describe_a_policy(
    settings: dict[str, Any], policy: Policy | None, written: str
) -> None:
    """
    Keys are the options in capitals, and values may be an IDSpec.
    """
    expected = policy or Policy(session=session_spec(log="omit"))
    assert policy_from_settings(settings, written=written) == expected


@pytest.mark.parametrize(
    ("settings", "django", "flask"),
    [
        pytest.param(
            {"SESSION": "X-Request-ID"},
            "IDLANYARD['SESSION'] is str: write 'SESSION': {'HEADER': 'X-Request-ID'}",
            "IDLANYARD_SESSION is str: write IDLANYARD_SESSION = {'HEADER': 'X-Request-ID'}",
            id="a header for rules",
        ),
        pytest.param(
            {"SESSION": {"NAME": "request_id"}},
            "IDLANYARD['SESSION']['NAME'] is fixed: leave it out",
            "IDLANYARD_SESSION['NAME'] is fixed: leave it out",
            id="a name that is fixed",
        ),
        pytest.param(
            {"TRUSTED_PEERS": "10.0.0.5,10.0.0.6"},
            "write 'TRUSTED_PEERS': ['10.0.0.5', '10.0.0.6']",
            "write IDLANYARD_TRUSTED_PEERS = ['10.0.0.5', '10.0.0.6']",
            id="text for a list",
        ),
        pytest.param(
            {"USER": {"SOURCES": []}},
            "or 'USER': None for none",
            "or IDLANYARD_USER = None for none",
            id="no source",
        ),
        pytest.param(
            {"SESSION": {"HEADER": "X-User-ID"}},
            "IDLANYARD: the header 'X-User-ID' serves session_id and user_id",
            "IDLANYARD: the header 'X-User-ID' serves session_id and user_id",
            id="one header for two",
        ),
        pytest.param(
            {"SESSION": {"RETURN_HEADER": True}},
            "['RETURN_HEADER'] is no option: write IDLANYARD['SESSION']['ECHO']",
            "write IDLANYARD_SESSION['ECHO']",
            id="django-guid: echo",
        ),
        pytest.param(
            {"SESSION": {"EXPOSE_HEADER": True}},
            "write IDLANYARD['EXPOSE']",
            "write IDLANYARD_EXPOSE",
            id="django-guid: expose",
        ),
        pytest.param(
            {"SESSION": {"GUID_HEADER_NAME": "X-A"}},
            "write IDLANYARD['SESSION']['HEADER']",
            "write IDLANYARD_SESSION['HEADER']",
            id="django-guid: header",
        ),
        pytest.param(
            {"GUID_HEADER_NAME": "X-A"},
            "write IDLANYARD['SESSION']['HEADER']",
            "write IDLANYARD_SESSION['HEADER']",
            id="django-guid: header, outside",
        ),
        pytest.param(
            {"SESSION": {"VALIDATE_GUID": False}},
            "write IDLANYARD['SESSION']['CHARSET']",
            "write IDLANYARD_SESSION['CHARSET']",
            id="django-guid: shape",
        ),
        pytest.param(
            {"IGNORE_URLS": ["health"]},
            "write IDLANYARD['EXCLUDE']",
            "write IDLANYARD_EXCLUDE",
            id="django-guid: paths",
        ),
        pytest.param(
            {"USER_HEADER": "X-A"},
            "write IDLANYARD['USER']['HEADER']",
            "write IDLANYARD_USER['HEADER']",
            id="a rule of the user",
        ),
        pytest.param(
            {"QQQ": 1}, "write one of SESSION, USER", "write one of SESSION, USER", id="no option"
        ),
        pytest.param(
            {"USER": {"QQQ": 1}}, "write one of NAME, HEADER", "write one of NAME,", id="no rule"
        ),
        pytest.param(
            {"EXTRA": [{"NAME": "device_id"}]},
            "IDLANYARD['EXTRA'][...]['NAME'] and IDLANYARD['EXTRA'][...]['HEADER'] are both needed",
            "IDLANYARD_EXTRA[...]['NAME'] and IDLANYARD_EXTRA[...]['HEADER'] are both needed",
            id="half a spec",
        ),
        pytest.param(
            {"SESSION": user_spec()},
            "write 'SESSION': {}",
            "write IDLANYARD_SESSION = {}",
            id="rules of another ID",
        ),
    ],
)
def test_a_message_is_written_as_the_settings_are(
    settings: dict[str, Any], django: str, flask: str
) -> None:
    """
    R14: a message says what to write as settings of Django or of Flask are written.
    """
    for written, message in ((DJANGO, django), (FLASK, flask)):
        with pytest.raises(PolicyError) as caught:
            policy_from_settings(settings, written=written)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        pytest.param("X-Device-ID", "device_id", id="a header"),
        pytest.param("device_id", "device_id", id="a name"),
        pytest.param("X-Request-ID", "request_id", id="the header of a request"),
        pytest.param([{"HEADER": "X-Device-ID"}], "device_id", id="without a name"),
        pytest.param([{"NAME": "device_id"}], "device_id", id="without a header"),
    ],
)
def test_a_further_id_is_told_whole(given: object, name: str) -> None:
    """
    R14: for a further ID with only a name or a header, the message has both.
    """
    with pytest.raises(PolicyError) as caught:
        policy_from_settings({"EXTRA": given}, written="IDLANYARD_{}")
    written = str(caught.value).partition("write IDLANYARD_EXTRA = ")[2]
    policy = policy_from_settings({"EXTRA": eval(written)}, written="IDLANYARD_{}")
    header = "X-Request-ID" if name == "request_id" else "X-Device-ID"
    assert [(spec.name, spec.header) for spec in policy.extra] == [(name, header)]
