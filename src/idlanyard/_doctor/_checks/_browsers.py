"""
Checks of what browsers and caches in between make of the responses.
"""

from __future__ import annotations

from idlanyard._doctor._checks._exchanges import describe_place, list_labelled, may_be_stored
from idlanyard._doctor._checks._finding import Finding
from idlanyard._doctor._observations import Exchange, Observations
from idlanyard._doctor._probes import CORS, PREFLIGHT

_ALLOWED = "Access-Control-Allow-Origin"
_EXPOSED = "Access-Control-Expose-Headers"
_ALLOWED_HEADERS = "Access-Control-Allow-Headers"
_NO_CORS = "no response allows the origin of another page (--origin names one)"
_USUAL = ("X-Request-ID", "X-Correlation-ID")


def judge_exposure(observations: Observations) -> Finding:
    """
    Judge whether scripts of pages that may read a response may read the session ID on it.
    """
    name = observations.rules.session
    found = [one for one in list_labelled(observations, CORS) if one.values(_ALLOWED)]
    if not found:
        return Finding.not_applicable(_NO_CORS)
    for exchange in found:
        if not _has_word(exchange, _EXPOSED, name):
            return Finding.red(
                f"{describe_place(exchange)}: no {name} in {_EXPOSED}",
                f"Policy(expose=True), or expose_headers=[{name!r}] of your CORS middleware",
            )
    return Finding.ok(f"{name} in {_EXPOSED}")


def judge_preflight(observations: Observations) -> Finding:
    """
    Judge whether scripts of pages that may send a request may send the session ID with it.
    """
    rules = observations.rules
    preflights = list_labelled(observations, PREFLIGHT)
    if not any(one.values(_ALLOWED) for one in [*preflights, *list_labelled(observations, CORS)]):
        return Finding.not_applicable(_NO_CORS)
    if not rules.is_read:
        return Finding.not_applicable(f"no client sends {rules.session}")
    for exchange in preflights:
        if exchange.status >= 400 or not _has_word(exchange, _ALLOWED_HEADERS, rules.session):
            return Finding.red(
                f"{describe_place(exchange)}: a script may not send {rules.session}",
                f"allow_headers=[{rules.session!r}] of your CORS middleware; or --skip preflight "
                f"if no script sends it",
            )
    return Finding.ok(f"a script may send {rules.session}")


def judge_caches(observations: Observations) -> Finding:
    """
    Judge whether a response with an ID may be stored by caches that serve others, too.
    """
    carrying = [one for one in observations.exchanges if _find_ids(one, observations)]
    if not carrying:
        return Finding.not_applicable("no response has an ID")
    for exchange in carrying:
        if exchange.status != 101 and may_be_stored(exchange, observations.rules):
            names = ", ".join(_find_ids(exchange, observations))
            return Finding.red(
                f"{describe_place(exchange)}: {names} on a response that a shared cache may store",
                "let the response say Cache-Control: private"
                + (", or drop echo='always'" if observations.is_installed else ""),
            )
    return Finding.ok("no shared cache may store a response with an ID")


def _find_ids(exchange: Exchange, observations: Observations) -> list[str]:
    """
    Return the response headers that have an ID.
    """
    rules, session = observations.rules, exchange.probe.session
    known = {name.lower() for name in (rules.session, *rules.identities, *_USUAL)}
    return [
        name
        for name, value in exchange.headers
        if name.lower() in known or (session and session in value)
    ]


def _has_word(exchange: Exchange, header: str, name: str) -> bool:
    words = {word.strip().lower() for value in exchange.values(header) for word in value.split(",")}
    return bool(words & {name.lower(), "*"})
