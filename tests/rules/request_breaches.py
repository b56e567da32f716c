"""
The breaches of the rules by which requests are judged and responses written: see ``breaches``.
"""

from __future__ import annotations

from breaches import Breach, table

WARNINGS = "tests/test_warnings.py::"
FORWARDED = "tests/test_forwarding.py::test_a_peer_that_forwarded_may_have_set_is_rewritten"

REQUEST_BREACHES = [
    Breach(
        "S19",
        "what stands in quotes is one parameter to every server",
        "_forwarding.py",
        "        elif _FOR_IN_QUOTES.search(value):\n            yield None\n",
        "",
        FORWARDED + "[the peer, in the quotes of another]",
    ),
    Breach(
        "S20",
        "a peer that is called unix is a unix socket",
        "_wires.py",
        "    return None if host == UNIX else host\n",
        "    return host\n",
        table("a peer of that name is no unix socket"),
    ),
    Breach(
        "S20",
        "an empty line makes no peer without an address",
        "_trust.py",
        "        if value or empty:\n",
        "        if value:\n",
        table("a unix socket, assumed, and an empty line"),
    ),
    Breach(
        "S20",
        "an empty host is a unix socket whatever a list says",
        "_trust.py",
        "(peer == UNIX and plan.binary and not policy.assume_unix)",
        "(peer == UNIX and not policy.assume_unix)",
        table("a unix socket by an empty host that a list may have made", "wsgi"),
    ),
    Breach(
        "S21",
        "an IPv4 address may have a zone",
        "_peers.py",
        "    return None if zone else address\n",
        "    return address\n",
        table("IPv4 has no zone"),
    ),
    Breach(
        "S8",
        "the zone of a peer is printed",
        "_notices.py",
        "        shown = str(address)\n",
        "        shown = peer\n",
        WARNINGS + "test_the_zone_of_a_peer_is_never_printed",
    ),
]
