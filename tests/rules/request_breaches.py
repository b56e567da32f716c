"""
The breaches of the rules by which requests are judged and responses written: see ``breaches``.
"""

from __future__ import annotations

from rules.breaches import ASGI, Breach, table

GROWTH = "tests/test_growth.py::"
NESTING = "tests/test_nesting.py::"
WARNINGS = "tests/test_warnings.py::"
FORWARDED = "tests/test_forwarding.py::test_a_peer_that_forwarded_may_have_set_is_rewritten"

REQUEST_BREACHES = [
    Breach(
        "S19",
        "what stands in quotes is one parameter to every server",
        "_decision/forwarding.py",
        "        elif _FOR_IN_QUOTES.search(value):\n            yield None\n",
        "",
        FORWARDED + "[the peer, in the quotes of another]",
    ),
    Breach(
        "S20",
        "a peer that is called unix is a unix socket",
        "_decision/protocols.py",
        "        return None if host == UNIX else host\n",
        "        return host\n",
        table("a peer of that name is no unix socket"),
    ),
    Breach(
        "S20",
        "an empty line makes no peer without an address",
        "_decision/trust.py",
        "        if name not in keys or (not value and not assumed):\n",
        "        if name not in keys or not value:\n",
        table("a unix socket, assumed, and an empty line"),
    ),
    Breach(
        "S20",
        "an empty host is a unix socket whatever a list says",
        "_decision/trust.py",
        "(peer == UNIX and plan.binary and not policy.assume_unix)",
        "(peer == UNIX and not policy.assume_unix)",
        table("a unix socket by an empty host that a list may have made", "wsgi"),
    ),
    Breach(
        "S21",
        "an IPv4 address may have a zone",
        "_policy/peers.py",
        "    return None if zone else address\n",
        "    return address\n",
        table("IPv4 has no zone"),
    ),
    Breach(
        "S8",
        "the zone of a peer is printed",
        "_decision/reporting.py",
        "        shown = str(address)\n",
        "        shown = peer\n",
        WARNINGS + "test_the_zone_of_a_peer_is_never_printed",
    ),
    Breach(
        "R6",
        "what a nested middleware refuses is not explained",
        "asgi.py",
        "            report_rejections(plan, scope, inner, rejected)\n",
        "            pass\n",
        NESTING + "test_a_nested_refusal_is_explained[absent-asgi]",
    ),
    Breach(
        "R6",
        "an unknown session is dropped in silence",
        "_decision/reporting.py",
        "    UNKNOWN: (\n",
        "    '': (\n",
        "tests/test_admission.py::test_an_unknown_session_is_explained_once[mint-wsgi]",
    ),
    Breach(
        "R15",
        "a copy of a request's scope goes on when the request is over",
        "_binding/state.py",
        "    def __deepcopy__(self, memo: object) -> RequestIDs:\n",
        "    def never_called(self, memo: object) -> RequestIDs:\n",
        NESTING + "test_a_copy_of_a_request_is_the_same_request",
    ),
    Breach(
        "S28",
        "a pushed request begins inside the binding of the one that pushes it",
        "asgi.py",
        '        "http.response.push",\n',
        "",
        ASGI
        + "test_the_servers_code_never_runs_inside_the_binding[a push, which begins another request]",
    ),
    Breach(
        "S29",
        "each line for caches is copied with every one that follows",
        "_decision/caches.py",
        '            text = ",\\n".join([self._decode(value) for _, value in pairs])\n',
        "            text = self._decode(pairs[0][1])\n"
        "            for pair in pairs[1:]:\n"
        "                text = text + self._decode(pair[1])\n",
        GROWTH + "test_lines_for_caches_are_joined_once[cache-control]",
    ),
    Breach(
        "S29",
        "every silent header is looked for among all of them",
        "_decision/response.py",
        "            place = lines.index(old, place)\n        except",
        "            place = lines.index(old)\n        except",
        GROWTH + "test_each_header_that_is_silent_is_looked_for_once",
    ),
    Breach(
        "S29",
        "each header of Django's response is looked for among all of them",
        "integrations/django/_responses.py",
        "            if pair != earlier\n",
        "            if pair not in affecting\n",
        "tests/integrations/test_django_caches.py::"
        "test_the_echo_of_a_response_with_many_headers_is_linear",
    ),
    Breach(
        "S3",
        "an application of ASGI is believed whatever WSGI server is behind it",
        "_decision/protocols.py",
        "    conflates=_asgi_conflates,\n",
        "    conflates=lambda _: False,\n",
        NESTING
        + "test_an_asgi_application_is_judged_by_the_wsgi_server_behind_it[the last spelling]",
    ),
    Breach(
        "S19",
        "an application of ASGI is not told of the PROXY protocol",
        "_decision/protocols.py",
        "    relayed=_asgi_relayed,\n",
        "    relayed=lambda _: False,\n",
        NESTING + "test_an_asgi_application_is_judged_by_the_wsgi_server_behind_it[relayed]",
    ),
    Breach(
        "R6",
        "threads that meet a reason at once leave it to one another",
        "_decision/reporting.py",
        "    if next(plan.warnings.setdefault(key, count())):\n",
        "    plan.warnings[key] = count(next(plan.warnings.get(key, count())) + 1)\n    if next(plan.warnings[key]) > 1:\n",
        WARNINGS + "test_requests_at_once_are_warned_of_once[asgi]",
    ),
    Breach(
        "R14",
        "an echo that fails takes the headers of a response along",
        "asgi.py",
        "            if lines.__class__ is not list:\n",
        "            if not message:\n",
        ASGI + "test_headers_that_are_read_once_survive_an_echo_that_fails",
    ),
    Breach(
        "R5",
        "an ID is minted before another one's absence raises a question",
        "_decision/compiled_resolve.py",
        "        always_asks=any(spec.quick_mint is None for spec in plan.always_settled),\n",
        "        always_asks=all(spec.quick_mint is None for spec in plan.always_settled),\n",
        "tests/test_resolve.py::test_an_id_is_minted_once",
    ),
    Breach(
        "S3",
        "the second of two lines counts in the decision that is written out",
        "_decision/compiled_resolve.py",
        'yield f"    if id_{number} is not None or not fits_{number}(value):"\n',
        'yield f"    if not fits_{number}(value):"\n',
        table("the same line twice"),
    ),
    Breach(
        "S5",
        "the decision that is written out does not read Connection",
        "_decision/compiled_resolve.py",
        'yield "    if length > LONGEST or naming[value]:"\n',
        'yield "    if length > LONGEST:"\n',
        table("Connection names the user"),
    ),
    Breach(
        "S5",
        "the decision that is written out for WSGI does not read Connection",
        "_decision/compiled_resolve.py",
        "(len(value) > LONGEST or naming[value])",
        "len(value) > LONGEST",
        table("Connection names the user", "wsgi"),
    ),
    Breach(
        "S1",
        "the decision that is written out for WSGI overlooks the other headers",
        "_decision/compiled_resolve.py",
        "    for key in shape.others:\n",
        "    for key in ():\n",
        table("the secret twice", "wsgi"),
    ),
    Breach(
        "S2",
        "the decision that is written out believes every sender",
        "_decision/compiled_resolve.py",
        'yield "    if verdict:"\n',
        'yield "    if False:"\n',
        table("a stranger names nobody"),
    ),
    Breach(
        "S30",
        "the decision that is written out knows no override",
        "_decision/compiled_resolve.py",
        'yield "if forced:"\n',
        'yield "if False:"\n',
        "tests/test_testing.py::test_an_override_reaches_requests_in_other_threads",
    ),
    Breach(
        "R14",
        "a response whose values are bytearrays has no echo",
        "_decision/effects.py",
        "            return self._known[(*map(bytes, parts),)]\n",
        "            raise\n",
        ASGI + "test_values_may_be_bytearrays",
    ),
    Breach(
        "S1",
        "trailers that come while an admission is awaited are headers",
        "asgi.py",
        '            headers = scope["headers"] = [*headers]\n            inner, edits, refusal',
        "            inner, edits, refusal",
        "tests/test_admission.py::test_trailers_that_come_meanwhile_are_no_headers",
    ),
    Breach(
        "S11",
        "an iterator of headers is read twice in WSGI",
        "wsgi.py",
        "                if headers.__class__ is not list:\n",
        "                if not headers:\n",
        "tests/test_wsgi.py::test_headers_that_are_read_once_reach_the_server",
    ),
    Breach(
        "S5",
        "thousands of Connection lines that name nothing name everything",
        "_decision/claims.py",
        "[line for line in lines if line not in plan.nameless_connections]",
        "[*lines]",
        "tests/test_resolve.py::test_lines_that_name_nothing_are_not_too_many",
    ),
]
