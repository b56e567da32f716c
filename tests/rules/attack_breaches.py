"""
Breaches of the security rules, for ``tests/attacks/test_table.py``, which asks for one of each.
"""

from __future__ import annotations

from rules.breaches import Breach, table

ORIGINS = "tests/test_origins.py::test_an_origin_covers_exactly_itself"
BAGGAGE = "tests/test_baggage.py::"
REFUSALS = "tests/test_refusals.py::test_a_refusal_is_a_problem"
FOLLOWS = "::test_the_callers_header_does_not_follow_a_redirect_elsewhere"

ATTACK_BREACHES = [
    Breach(
        "S6",
        "an ID may be a character longer than it may be",
        "_policy/id_check.py",
        '        shape = f"[{first}][{rest}]{{0,{max_length - 1}}}"\n',
        '        shape = f"[{first}][{rest}]{{0,{max_length}}}"\n',
        "tests/test_ids.py::test_the_check_is_its_description",
    ),
    Breach(
        "S10",
        "an ID has 16 random bits",
        "ids.py",
        "    return _entropy(16).hex()\n",
        "    return _entropy(2).hex() * 8\n",
        "tests/test_ids.py::test_generators_make_unique_ids_that_pass_the_check[token]",
    ),
    Breach(
        "S25",
        "the hash of a user is that of a session of the same text",
        "_policy/checked_policy.py",
        "f'{name}:{value}'.encode(), 'sha256'",
        "value.encode(), 'sha256'",
        "tests/test_policy.py::test_a_hash_is_keyed_by_field_and_key",
    ),
    Breach(
        "S25",
        "an ID that a sink omits is shown",
        "_policy/checked_policy.py",
        ' if how == "hash" else None\n',
        ' if how == "hash" else value\n',
        "tests/test_access.py::test_a_snapshot_shows_what_the_sinks_allow",
    ),
    Breach(
        "S12",
        "the names that the application exposes are replaced",
        "_decision/response.py",
        '    before = ",".join(_read_header(plan, headers, "Access-Control-Expose-Headers"))\n',
        '    before = ""\n',
        "tests/test_echo.py::test_expose_merges_our_names[merged-asgi]",
    ),
    Breach(
        "S12",
        "names are exposed to origins that may not read the response",
        "_decision/response.py",
        'if not pairs or not _read_header(plan, headers, "Access-Control-Allow-Origin"):',
        "if not pairs:",
        "tests/test_echo.py::test_expose_merges_our_names[no origin allowed-wsgi]",
    ),
    Breach(
        "S13",
        "a host that ends like a listed one is a subdomain of it",
        "_policy/origins.py",
        'return other.host.endswith(f".{self.host}")',
        "return other.host.endswith(self.host)",
        f"{ORIGINS}[no label boundary]",
    ),
    Breach(
        "S13",
        "the port of a listed host does not matter",
        "_policy/origins.py",
        "        if (self.scheme, self.port) != (other.scheme, other.port):\n",
        "        if self.scheme != other.scheme:\n",
        f"{ORIGINS}[other port]",
    ),
    Breach(
        "S13",
        "a URL that clients read in different ways is an origin",
        "_policy/origins.py",
        "    if _ODD.search(url):\n        return None\n",
        "",
        f"{ORIGINS}[backslash]",
    ),
    Breach(
        "S13",
        "a host may have characters that clients encode",
        "_policy/origins.py",
        "not _HOST.fullmatch(host)",
        "not host",
        f"{ORIGINS}[no letter of a host]",
    ),
    Breach(
        "S14",
        "a hop of a redirect is not compared with the list",
        "_binding/outgoing.py",
        "    if not origins.allow(url):\n        return {}\n    added = _headers_to_add",
        "    added = _headers_to_add",
        "tests/integrations/test_aiohttp.py::TestAiohttp::test_a_redirect_elsewhere_loses_the_ids",
    ),
    Breach(
        "S14",
        "a header of the caller's follows a redirect of httpx elsewhere",
        "integrations/httpx.py",
        "    if mark is not None and origin != first and origin not in origins:\n",
        "    if mark is None and origin != first:\n",
        f"tests/integrations/test_httpx.py::TestHttpx{FOLLOWS}",
    ),
    Breach(
        "S14",
        "a header of the caller's follows a redirect of requests elsewhere",
        "integrations/requests.py",
        "        if isinstance(name, _CallersName) and name.origin != origin:\n",
        "        if name is None:\n",
        f"tests/integrations/test_requests.py::TestRequests{FOLLOWS}",
    ),
    Breach(
        "S16",
        "the limit of baggage counts for each line",
        "_policy/sources.py",
        "sum(map(len, lines)) + len(lines) - 1 > _MOST_BYTES",
        "max(map(len, lines)) > _MOST_BYTES",
        BAGGAGE + "test_limits_count_over_all_lines",
    ),
    Breach(
        "S16",
        "all members of baggage are read",
        "_policy/sources.py",
        "    for member in members[:_MOST_MEMBERS]:\n",
        "    for member in members:\n",
        BAGGAGE + "test_members_beyond_the_64th_are_dropped_whole",
    ),
    Breach(
        "S16",
        "baggage may name the user, who needs a proof",
        "_policy/proofs.py",
        "        if find_proof(source) is Proof.NONE:\n",
        "        if find_proof(source) is None:\n",
        BAGGAGE + "test_baggage_proves_nothing",
    ),
    Breach(
        "S17",
        "a span is named after an ID",
        "integrations/opentelemetry/_processors.py",
        "    there = span.attributes or {}\n",
        "    there = span.attributes or {}\n    span.update_name(' '.join(attributes.values()))\n",
        "tests/integrations/test_opentelemetry_records.py::test_no_id_is_on_a_metric_or_in_a_name",
    ),
    Breach(
        "S18",
        "an ID that does not match the request is let in",
        "_decision/resolve.py",
        " else Refusal(403, spec.name, UNMATCHED)\n",
        " else None\n",
        f"{REFUSALS}[no match-asgi]",
    ),
    Breach(
        "S18",
        "a comparison that fails has been passed",
        "_decision/resolve.py",
        '        _failures.report_failure(f"must_match of {spec.name}", error)\n        return False\n',
        '        _failures.report_failure(f"must_match of {spec.name}", error)\n        return True\n',
        f"{REFUSALS}[a match that fails-wsgi]",
    ),
    Breach(
        "R14",
        "a path that looks like a URL and is none is another error than PolicyError",
        "_policy/paths.py",
        '        _, slash, path = entry.partition("://")[2].partition("/")\n',
        '        __import__("urllib.parse").parse.urlsplit(entry)\n'
        '        _, slash, path = entry.partition("://")[2].partition("/")\n',
        "tests/attacks/test_parsers.py::test_any_path_is_excluded_or_refused_with_one_to_write",
    ),
    Breach(
        "S19",
        "an address is not looked for in lists where a unix socket is assumed",
        "_decision/trust.py",
        "    assumed = peer == UNIX and plan.policy.assume_unix\n",
        "    assumed = plan.policy.assume_unix\n",
        table("an address that stands in a list, where a unix socket is assumed"),
    ),
    Breach(
        "S20",
        "a list in doubt makes a unix socket one that is not trusted",
        "_decision/trust.py",
        "    if peer is None or (peer == UNIX and plan.binary and not policy.assume_unix):\n",
        "    if peer is None:\n",
        table("a unix socket, proven by its path, and a list in doubt"),
    ),
    Breach(
        "S29",
        "a list of forwarding headers is read to its end, however long",
        "_decision/trust.py",
        "        length += len(value)\n",
        "",
        "tests/test_forwarding.py::test_lists_are_read_up_to_their_bound[one line]",
    ),
    Breach(
        "S19",
        "any character may stand between brackets and a port",
        "_decision/forwarding.py",
        '    return text.startswith(":") and _PORT',
        "    return _PORT",
        "tests/test_forwarding.py::test_a_peer_that_a_list_may_have_set_is_rewritten"
        "[in doubt, something before the port]",
    ),
]
