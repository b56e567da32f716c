"""
Exchanges in the words of a finding: by their purpose, their place, their instructions to caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from idlanyard._decision.caches import NO_CHANGE, STORED_METHODS, Caches, choose_stored_statuses
from idlanyard._decision.protocols import WSGI
from idlanyard._doctor._observations import IN_PROCESS, Exchange, Observations, Rules

# WSGI has headers as text, as they are here.
_CACHES: Final = Caches(WSGI)


def list_labelled(observations: Observations, label: str) -> list[Exchange]:
    """
    Return the exchanges of one purpose.
    """
    return [one for one in observations.exchanges if one.probe.label == label]


def describe_place(exchange: Exchange) -> str:
    """
    Return the request of an exchange and its outcome in words.
    """
    probe = exchange.probe
    method = "WebSocket" if probe.websocket else probe.method
    return f"{method} {probe.path} ({exchange.lane}): {exchange.status or exchange.fault}"


def count_by_lane(exchanges: Sequence[Exchange]) -> str:
    """
    Return the number of responses in each lane, in words.
    """
    lanes = [one.lane for one in exchanges]
    return ", ".join(f"{lanes.count(lane)} {_describe_lane(lane)}" for lane in dict.fromkeys(lanes))


def _describe_lane(lane: str) -> str:
    return lane if lane == IN_PROCESS else f"under {lane}"


def forbids_echo(exchange: Exchange, rules: Rules) -> bool:
    """
    Return whether a response allows shared caches to store it, so that it may have no ID.
    """
    found = _CACHES.read_instructions(exchange.headers)
    stores = _is_stored(exchange, rules)
    if found.is_dated and _CACHES.is_fresh(exchange.headers):
        return True
    return (found.stored if stores else found.otherwise) is None


def _is_stored(exchange: Exchange, rules: Rules) -> bool:
    """
    Return whether caches store such a response if it says nothing about them.
    """
    statuses = choose_stored_statuses(is_signed=rules.is_signed)
    return exchange.probe.method in STORED_METHODS and exchange.status in statuses


def may_be_stored(exchange: Exchange, rules: Rules) -> bool:
    """
    Return whether shared caches may store a response: by its words, or since it has none.
    """
    found = _CACHES.read_instructions(exchange.headers)
    stores = _is_stored(exchange, rules)
    return forbids_echo(exchange, rules) or (stores and found.stored != NO_CHANGE)
