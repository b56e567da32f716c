"""
Sentry's logs have the IDs of where they are logged, and its conversations the session.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk import logger
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from idlanyard import Policy, require, session_context, session_spec, use_policy, user_spec
from idlanyard._failures import failures
from idlanyard._policy.policy import checked_policy
from idlanyard.integrations.sentry import log_processor
from idlanyard.testing import raise_failures


class Sent(Transport):
    """
    Keeps what Sentry would be sent, by kind.
    """

    def __init__(self) -> None:
        super().__init__()
        self.items: list[tuple[str | None, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            self.items.append((item.type, json.loads(item.payload.get_bytes())))

    def of(self, kind: str) -> list[Any]:
        """
        Return the payloads of one kind.
        """
        sentry_sdk.flush()
        return [payload for found, payload in self.items if found == kind]


@pytest.fixture
def sent() -> Iterator[Sent]:
    """
    Sentry with our processor of logs.
    """
    transport = Sent()
    sentry_sdk.init(
        transport=transport,
        before_send_log=log_processor,
        traces_sample_rate=1.0,
        default_integrations=False,
        auto_enabling_integrations=False,
        enable_backpressure_handling=False,
    )
    yield transport
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


def ids_of(sent: Sent) -> list[dict[str, Any]]:
    """
    Return the IDs of each logged item.
    """
    items = [item for payload in sent.of("log") for item in payload["items"]]
    return [
        {n: one["value"] for n, one in item["attributes"].items() if n.endswith("_id")}
        for item in items
    ]


def test_a_log_has_the_ids_in_force(sent: Sent) -> None:
    """
    Each item has the IDs of where it is logged; one of the application's own stays.
    """
    with session_context("s1", user_id="alice"):
        logger.info("an order")
        logger.info("an order", attributes={"user_id": "mine"})
    logger.info("outside")
    assert ids_of(sent) == [
        {"session_id": "s1", "user_id": "alice"},
        {"session_id": "s1", "user_id": "mine"},
        {},
    ]


def test_a_log_shows_what_the_log_sink_shows(sent: Sent) -> None:
    """
    S25: hashed and omitted IDs never reach Sentry's logs in clear.
    """
    policy = Policy(
        session=session_spec(log="omit"), user=user_spec(log="hash"), hash_keys=[("k", "k" * 32)]
    )
    undo = use_policy(policy)
    with session_context("s1", user_id="alice"):
        logger.info("an order")
    undo()
    assert ids_of(sent) == [{"user_id": checked_policy(policy).pseudonym("user_id", "alice")}]


def test_a_failure_of_ours_loses_no_log() -> None:
    """
    R14: an item that is not what it should be is sent as it is.
    """
    item: Any = {"body": "no attributes"}
    assert log_processor(item, {}) is item
    assert failures == {"sentry log processor": 1}
    with raise_failures(), pytest.raises(KeyError):
        log_processor(item, {})


def test_a_conversation_is_named_by_the_session(sent: Sent) -> None:
    """
    The recipe of the page puts the session on the spans of agents and models.
    """
    with session_context("chat-1"):
        with sentry_sdk.new_scope() as scope:
            scope.set_conversation_id(require("session_id"))
            with (
                sentry_sdk.start_transaction(op="gen_ai.invoke_agent", name="support"),
                sentry_sdk.start_span(op="gen_ai.chat", name="chat tiny"),
            ):
                pass
        with sentry_sdk.start_transaction(op="gen_ai.invoke_agent", name="another"):
            pass
    first, second = sent.of("transaction")
    (spans,) = sent.of("span")
    found = [span["attributes"]["gen_ai.conversation.id"]["value"] for span in spans["items"]]
    assert found == ["chat-1"]
    data = [one["contexts"]["trace"].get("data", {}) for one in (first, second)]
    assert [one.get("gen_ai.conversation.id") for one in data] == ["chat-1", None]
