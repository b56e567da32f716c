"""
Checks of what a request claims: users, aliases, trailers, the peer; and of the policy about it.
"""

from __future__ import annotations

from idlanyard._doctor._checks._exchanges import list_labelled
from idlanyard._doctor._checks._finding import INSTALL, Finding
from idlanyard._doctor._observations import IN_PROCESS, Exchange, Observations
from idlanyard._doctor._probes import ALIAS, SPOOF, SPOOFED, TRAILER

_NO_SERVER = Finding.not_tried(
    "no server was started", "leave out --server none, and install one, such as uvicorn or waitress"
)
_PEER_OPTIONS = {
    "uvicorn": "start uvicorn with --no-proxy-headers, or prove the proxy by a shared secret",
    "gunicorn": 'start gunicorn with --forwarded-allow-ips "", or use a shared secret',
}


def judge_spoofed_user(observations: Observations) -> Finding:
    """
    Judge a request of a stranger that claims a user: the application must not see the claim.
    """
    rules = observations.rules
    if not rules.identities:
        return Finding.not_applicable("the policy has no ID that needs a proof")
    faults: list[str] = []
    for exchange in _in_process(observations, SPOOF):
        believed = [name for name, (value, _) in exchange.bound.items() if value == SPOOFED]
        faults += [f"{name} of a stranger is believed" for name in believed]
        faults += [
            f"a stranger's {name} reaches the application"
            for name in _find_spoofs(exchange, rules.identities)
        ]
    write = INSTALL
    if observations.is_installed:
        write = "name your proxies in trusted_peers, or put the middleware outermost"
    names = ", ".join(rules.identities)
    return Finding.red_if(
        faults, write, otherwise=f"a stranger's {names}: removed from the request"
    )


def judge_aliases(observations: Observations) -> Finding:
    """
    Judge a request that spells headers with underscores: the application must not see those.
    """
    rules = observations.rules
    if observations.application.kind == "wsgi":
        return Finding.not_applicable("under WSGI the server decides: see the check conflation")
    aliases = [name.replace("-", "_") for name in (rules.session, *rules.identities)]
    faults = [
        f"{name} reaches the application"
        for exchange in _in_process(observations, ALIAS)
        for name in _find_spoofs(exchange, aliases)
    ]
    write = "put the middleware outermost" if observations.is_installed else INSTALL
    return Finding.red_if(
        faults, write, otherwise=f"{', '.join(aliases)}: removed from the request"
    )


def judge_trailers(observations: Observations) -> Finding:
    """
    Judge header lines after the body: the application must not read them as headers.
    """
    server, rules = observations.server, observations.rules
    if observations.application.kind == "wsgi":
        return Finding.not_applicable("under WSGI the headers are complete before the body")
    if observations.is_installed:
        faults = [
            f"{name} after the body reaches the application"
            for exchange in _in_process(observations, TRAILER)
            for name in _find_spoofs(exchange, rules.identities)
        ]
        return Finding.red_if(
            faults,
            "put the middleware outermost",
            otherwise="what a server adds after the body is not seen by the application",
        )
    if server is None:
        return _NO_SERVER
    if server.merges_trailers:
        return Finding.red(f"{server.name} adds the lines after the body to the headers", INSTALL)
    return Finding.ok(f"{server.name} drops header lines after the body")


def judge_peer(observations: Observations) -> Finding:
    """
    Judge whether the server lets a forwarding header replace the address of the peer.
    """
    server, rules = observations.server, observations.rules
    if server is None:
        return _NO_SERVER
    if not server.rewrites_peer:
        return Finding.ok(f"{server.name} leaves the peer's address alone")
    seen = f"{server.name} puts X-Forwarded-For of this machine in the place of the peer's address"
    if observations.is_installed and rules.trusts_addresses and not rules.has_secret:
        write = _PEER_OPTIONS.get(server.name, "start it without that, or use a shared secret")
        return Finding.red(f"{seen}, and trusted_peers goes by that address", write)
    return Finding.ok(f"{seen}, by which nothing is believed")


def judge_conflation(observations: Observations) -> Finding:
    """
    Judge whether the server passes an alias of a header as the header itself.
    """
    server, rules = observations.server, observations.rules
    if server is None:
        return _NO_SERVER
    if not server.conflates:
        return Finding.ok(f"{server.name} does not pass X_User_ID as X-User-ID")
    seen = f"{server.name} passes X_User_ID as X-User-ID"
    write = "serve by gunicorn or waitress, or let the proxy drop header names with underscores"
    if not observations.is_installed:
        return Finding.red(f"{seen}: a proxy that sets one lets the other pass", write)
    if rules.trusts_addresses or rules.has_secret:
        return Finding.red(f"{seen}: no user or tenant is believed there", write)
    return Finding.ok(f"{seen}, and the policy believes neither")


def judge_policy(observations: Observations) -> Finding:
    """
    Judge whom the policy believes, and put it into words.
    """
    if not observations.is_installed:
        reason = "no request reached the middleware of idlanyard"
        return Finding.red(f"the application has no policy: {reason}", INSTALL)
    said = "\n".join(observations.rules.lines)
    if observations.rules.believes_anybody:
        return Finding.red(said, "name your proxies in trusted_peers in place of everyone")
    return Finding.ok(said)


def _in_process(observations: Observations, label: str) -> list[Exchange]:
    return [one for one in list_labelled(observations, label) if one.lane == IN_PROCESS]


def _find_spoofs(exchange: Exchange, names: list[str]) -> list[str]:
    """
    Return those of the headers that reached the application with the value of the spoof.
    """
    there = {name.lower() for name, value in exchange.received if value == SPOOFED}
    return [name for name in names if name.lower() in there]
