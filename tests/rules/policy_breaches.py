"""
The breaches of the rules by which a policy is built: see ``breaches``.
"""

from __future__ import annotations

from rules.breaches import Breach

POLICY = "tests/test_policy.py::"
PEERS = "tests/test_peers.py::"
SUGGESTIONS = "tests/test_suggestions.py::"
PARSED = "tests/test_parsed_headers.py::"

POLICY_BREACHES = [
    Breach(
        "R6",
        "networks that hold every public address do not warn",
        "_policy/peers.py",
        "self.everyone or cover_everybody(networks)",
        "self.everyone",
        POLICY + "test_everyone_warns[network]",
    ),
    Breach(
        "R6",
        "only one network that is everybody counts, and no union",
        "_policy/peers.py",
        "        if first > end:\n",
        "        if first >= end > 0:\n",
        PEERS + "test_networks_that_are_everybody_are_known_for_it[halves]",
    ),
    Breach(
        "R6",
        "a header that others own leaves with an ID that nobody vouches for",
        "_decision/plan.py",
        "((spec.needs_proof or header.verify is not None) and key not in kept)",
        "(spec.needs_proof or header.verify is not None)",
        PARSED + "test_a_header_of_others_stays[stranger-Authorization]",
    ),
    Breach(
        "R6",
        "a header that others own leaves with an alias beside it",
        "_decision/claims.py",
        "        self.removed -= plan.kept\n",
        "",
        PARSED + "test_a_header_of_others_stays_whatever_stands_beside_it[an alias]",
    ),
    Breach(
        "S19",
        "an ID that is read out of a forwarding header hides it from the judge of senders",
        "_decision/plan.py",
        "        self.hop_keys = frozenset(map(key, _HOPS)) - aliases\n",
        "        self.hop_keys = frozenset(map(key, _HOPS)) - self.watched_names\n",
        PARSED
        + "test_a_forwarding_header_that_is_read_still_tells_of_a_rewritten_peer[X-Forwarded-For]",
    ),
    Breach(
        "R14",
        "a string for a list is taken apart by nobody",
        "_policy/peers.py",
        '    return f"trusted_peers={entries!r}"\n',
        '    return f"trusted_peers={[text]!r}"\n',
        SUGGESTIONS + "test_a_suggestion_is_accepted[3 Policy trusted_peers]",
    ),
    Breach(
        "R14",
        "an option that does not exist is answered by the dataclass",
        "_policy/options.py",
        "            if name not in names:\n",
        "            if name is None:\n",
        SUGGESTIONS + "test_a_wrong_name_is_answered_with_the_right_one[elsewhere]",
    ),
    Breach(
        "R14",
        "an async must_match is taken, whose coroutine lets every ID pass",
        "_policy/callables.py",
        "    if is_generator or (not awaited and _is_kind(fn, inspect.iscoroutinefunction)):\n",
        "    if fn is None:\n",
        "tests/test_functions.py::test_a_function_is_told_from_what_is_none[async]",
    ),
    Breach(
        "R6",
        "a misspelt parameter of bind is left to clients, and nobody is told",
        "_binding/functions.py",
        "    _warn_of_similar_names(fn, signature, known)\n",
        "",
        "tests/test_bind.py::test_a_misspelt_parameter_is_said[a letter]",
    ),
    Breach(
        "R8",
        "a coroutine of must_match lets every ID pass",
        "_decision/resolve.py",
        "    if inspect.iscoroutine(answer):\n",
        "    if answer is None:\n",
        "tests/test_refusals.py::test_a_refusal_is_a_problem[a match that nobody awaits-asgi]",
    ),
    Breach(
        "R8",
        "the access line of a refused request over WSGI has no IDs",
        "wsgi.py",
        "    publish_ids(environ, inner.policy, inner.values)\n    start_response(f",
        "    start_response(f",
        "tests/test_refusals.py::test_the_access_line_of_a_refusal_has_its_ids",
    ),
    Breach(
        "R8",
        "the access line of a refused request over ASGI has no IDs",
        "asgi.py",
        "    await _send_in(send, start, inner)\n",
        "    await send(start)\n",
        "tests/test_refusals.py::test_the_server_logs_a_refusal_with_its_ids[http]",
    ),
    Breach(
        "R6",
        "the line that says why an ID was dropped has no IDs",
        "_decision/reporting.py",
        "    token = bound.set(inner)\n",
        "    token = bound.set(bound.get())\n",
        "tests/test_refusals.py::test_what_is_told_of_a_request_is_told_with_its_ids[wsgi]",
    ),
    Breach(
        "R6",
        "an endpoint asks for IDs, no middleware binds any, and nobody is told",
        "integrations/fastapi/_parameters.py",
        "    if not is_bound():\n",
        "    if get_binding() is None:\n",
        "tests/integrations/test_fastapi.py::test_a_forgotten_install_is_said_once[required]",
    ),
    Breach(
        "R14",
        "a header's name as Django spells keys is taken",
        "_policy/header_names.py",
        'if name.upper().startswith("HTTP_"):',
        'if name == "HTTP_":',
        SUGGESTIONS + "test_a_key_of_meta_is_no_header",
    ),
    Breach(
        "R14",
        "a variable that nobody reads is not told of",
        "_policy/policy.py",
        "        for name, meant in find_misspelt_variables(environ):\n",
        "        for name, meant in ():\n",
        "tests/test_environment.py::test_a_misspelt_variable_is_told[singular]",
    ),
    Breach(
        "S1",
        "a message about the shared secret's header repeats what stands there",
        "_policy/checks.py",
        '"has a header whose name is none: use',
        'f"has a header {header!r} whose name is none: use',
        POLICY + "test_no_message_repeats_a_secret[2]",
    ),
    Breach(
        "S24",
        "a prefix leaves out what merely begins like it",
        "_policy/paths.py",
        "tuple(entry[:-1] for",
        "tuple(entry[:-2] for",
        "tests/test_paths.py::test_a_path_is_left_out_as_it_is_written[a longer word]",
    ),
    Breach(
        "S24",
        "over WSGI a path is compared byte by byte",
        "_decision/protocols.py",
        '        return path.encode("latin-1", "replace").decode("utf-8", "replace")\n',
        "        return path\n",
        "tests/test_paths.py::test_letters_of_a_path_are_the_same_on_both_protocols",
    ),
]
