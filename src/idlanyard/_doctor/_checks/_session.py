"""
Checks of the session ID: minted, read, and echoed by every kind of response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from idlanyard._doctor._checks._exchanges import (
    count_by_lane,
    describe_place,
    forbids_echo,
    list_labelled,
)
from idlanyard._doctor._checks._finding import GIVE_A_PATH, INSTALL, Finding
from idlanyard._doctor._observations import IN_PROCESS, Exchange, Observations, Rules
from idlanyard._doctor._probes import DUPLICATE, MINT, PREFLIGHT, READ, WEBSOCKET
from idlanyard._policy.paths import Paths

_NOT_ECHOED = frozenset({206, 304})


def judge_mint(observations: Observations) -> Finding:
    """
    Judge the response to a request without an ID: it must have a fresh session ID.
    """
    rules = observations.rules
    if not rules.is_minted:
        return Finding.not_applicable(f"the policy mints no ID for {rules.session}")
    if not rules.is_echoed:
        return Finding.not_applicable(f"the policy echoes no {rules.session}")
    for exchange in list_labelled(observations, MINT):
        if not any(exchange.values(rules.session)):
            return _red_echo(observations, f"{describe_place(exchange)}: no {rules.session}")
    made = list_labelled(observations, MINT)[0].values(rules.session)[0]
    return Finding.ok(f"a request without IDs got {rules.session}: {made}")


def judge_read(observations: Observations) -> Finding:
    """
    Judge the response to a request with a session ID: it must have that very ID.
    """
    rules = observations.rules
    if not rules.is_read:
        return Finding.not_applicable(f"the policy does not read {rules.session} from any client")
    if not rules.is_echoed:
        return Finding.not_applicable(f"the policy echoes no {rules.session}")
    for exchange in list_labelled(observations, READ):
        found = exchange.values(rules.session)
        if found != [exchange.probe.session]:
            shown = ", ".join(found) or f"no {rules.session}"
            return _red_echo(
                observations,
                f"{describe_place(exchange)}: sent {exchange.probe.session}, got {shown}",
            )
    return Finding.ok(f"{rules.session} of the request came back")


def judge_status(status: int) -> Callable[[Observations], Finding]:
    """
    Return the check of the echo on responses of one status.
    """
    words = {
        200: "is answered 200",
        404: "is answered 404",
        405: "takes GET only",
        500: "fails with an error that nothing handles",
    }

    def judge(observations: Observations) -> Finding:
        found = [
            one
            for one in observations.exchanges
            if one.status == status and one.probe.label != PREFLIGHT
        ]
        unanswered = _find_unanswered(observations) if status == 500 else None
        if unanswered is not None:
            return Finding.not_applicable(
                f"{unanswered.probe.path} raised an error and no response was begun: the server "
                f"writes that 500, so that only its log line can have the ID"
            )
        if not found:
            return Finding.not_tried(f"no response was {status}", GIVE_A_PATH.format(words[status]))
        return _judge_echo(observations, found)

    return judge


def judge_stream(observations: Observations) -> Finding:
    """
    Judge the echo on responses whose body came in parts.
    """
    found = [one for one in observations.exchanges if one.parts > 1]
    if not found:
        return Finding.not_tried("no body came in parts", GIVE_A_PATH.format("streams"))
    return _judge_echo(observations, found)


def judge_websocket(observations: Observations) -> Finding:
    """
    Judge the echo on accepted WebSockets.
    """
    if observations.application.kind == "wsgi":
        return Finding.not_applicable("WSGI has no WebSockets")
    found = [one for one in list_labelled(observations, WEBSOCKET) if one.status == 101]
    if not found:
        return Finding.not_tried("no WebSocket was accepted", GIVE_A_PATH.format("is a WebSocket"))
    return _judge_echo(observations, found)


def judge_doubled(observations: Observations) -> Finding:
    """
    Judge whether any response has a header of ours twice.
    """
    rules = observations.rules
    names = [rules.session, *rules.identities]
    for exchange in observations.exchanges:
        for name in names:
            found = exchange.values(name)
            if len(found) > 1:
                return Finding.red(
                    f"{describe_place(exchange)}: {len(found)} lines of {name}: {', '.join(found)}",
                    f"let nothing outside of the middleware write {name}: put the middleware "
                    f"outermost, whose echo replaces such a line",
                )
    if not any(exchange.values(name) for exchange in observations.exchanges for name in names):
        return Finding.not_applicable("no response has a header of ours")
    return Finding.ok("no header of ours is on a response twice")


def judge_duplicates(observations: Observations) -> Finding:
    """
    Judge a request that has the session ID twice: neither may be taken.
    """
    rules = observations.rules
    for exchange in list_labelled(observations, DUPLICATE):
        sent = [value for name, value in exchange.probe.headers if name == rules.session]
        arrived = [
            value for name, value in exchange.received if name.lower() == rules.session.lower()
        ]
        taken = [*exchange.values(rules.session), *arrived]
        joined = ", ".join(taken)
        if any(value in joined for value in sent):
            return Finding.red(
                f"{describe_place(exchange)}: two lines of {rules.session} arrive as {joined}",
                INSTALL if not observations.is_installed else "put the middleware outermost",
            )
    return Finding.ok(f"of two lines of {rules.session}, neither was taken")


def _find_unanswered(observations: Observations) -> Exchange | None:
    """
    Return a request whose error left the application without a response, if there is one.
    """
    return next(
        (
            one
            for one in observations.exchanges
            if one.lane == IN_PROCESS and one.fault and not one.status and not one.probe.websocket
        ),
        None,
    )


def _judge_echo(observations: Observations, exchanges: Iterable[Exchange]) -> Finding:
    """
    Judge whether every one of these responses has the session ID of its request.
    """
    rules = observations.rules
    if not rules.is_echoed:
        return Finding.not_applicable(f"the policy echoes no {rules.session}")
    echoed: list[Exchange] = []
    spared = ""
    for exchange in exchanges:
        place = describe_place(exchange)
        if exchange.values(rules.session):
            echoed.append(exchange)
        elif observations.is_installed and _is_spared(exchange, rules):
            spared = f"{place}: no echo, as a shared cache may store it, or by exclude"
        else:
            return _red_echo(observations, f"{place}: no {rules.session}")
    if not echoed:
        return Finding.not_applicable(spared)
    return Finding.ok(
        f"{rules.session} on {count_by_lane(echoed)}, as on {describe_place(echoed[0])}"
    )


def _is_spared(exchange: Exchange, rules: Rules) -> bool:
    """
    Return whether a response has no echo by the rules.
    """
    path = exchange.probe.path.partition("?")[0]
    if path in Paths(rules.excluded) or exchange.status in _NOT_ECHOED:
        return True
    return forbids_echo(exchange, rules)


def _red_echo(observations: Observations, seen: str) -> Finding:
    if not observations.is_installed:
        return Finding.red(seen, INSTALL)
    return Finding.red(seen, "put the middleware outermost: see the check order")
