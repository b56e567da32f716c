"""
One breach for each rule: a hunk of the source, and the test that must notice.
"""

from __future__ import annotations

from typing import NamedTuple


class Breach(NamedTuple):
    """
    One way to break a rule.

    Attributes:
        rule: as the design or the security page numbers it.
        what: what is broken, in words.
        file: the file below ``src/idlanyard``.
        old: a piece of it that stands there once.
        new: what takes its place.
        test: the test that must fail.
    """

    rule: str
    what: str
    file: str
    old: str
    new: str
    test: str


def table(case: str, door: str = "asgi") -> str:
    """
    Return the name of one case of the table that all doors share.
    """
    return f"tests/test_parity.py::test_every_door_gives_the_one_right_answer[{door}: {case}]"


BEHAVIOURS = "tests/test_behaviours.py::"
ROWS = "tests/test_binding_table.py::"
ASGI = "tests/test_asgi.py::"
WSGI = "tests/test_wsgi.py::"
ECHO = "tests/test_echo.py::"
CACHES = "tests/test_caches.py::"

BREACHES = [
    Breach(
        "R1",
        "a field that is not in the scope is looked for in the environment",
        "_access.py",
        "    if isinstance(node, Scope):\n        return None, None\n",
        "",
        ROWS + "test_in_a_request_the_environment_plays_no_part",
    ),
    Breach(
        "R2",
        "a nested block forgets what the outer one bound",
        "_binding.py",
        "    merged = dict(node.delta) if isinstance(node, Overlay) else {}\n",
        "    merged = {}\n",
        BEHAVIOURS + "test_b7_a_nested_block_merges",
    ),
    Breach(
        "R2",
        "identify leaves the block over what it sets",
        "_change.py",
        "            bound.set(overlay({}, without=frozenset(delta)))\n",
        "            pass\n",
        ROWS + "test_row_1_identify_shows_through_the_block_that_hid_it",
    ),
    Breach(
        "R2",
        "None in a verb removes, as UNSET does",
        "_change.py",
        "        if value is UNSET:\n",
        "        if value is UNSET or value is None:\n",
        ROWS + "test_row_11_identify_with_nothing_changes_nothing[None]",
    ),
    Breach(
        "R2",
        "the echo is not made anew after identify",
        "_binding.py",
        "        if scope.echo is not NEVER:\n            scope.echo = None\n",
        "",
        ROWS + "test_row_2_identify_leaves_the_blocks_other_fields",
    ),
    Breach(
        "R2",
        "clearing hides what is set and forgets what identify says afterwards",
        "_binding.py",
        "    for name in without:\n        merged.pop(name, None)\n",
        "",
        "tests/test_stateful.py::test_bindings_follow_the_model",
    ),
    Breach(
        "R3",
        "leaving a block leaves its IDs bound",
        "_blocks.py",
        "        token, self._token = self._token, None\n        if token is not None:\n",
        "        token, self._token = self._token, None\n        if token is None:\n",
        BEHAVIOURS + "test_a12_a_pool_thread_forgets_the_request_before",
    ),
    Breach(
        "R3",
        "leaving a block in another Context raises",
        "_binding.py",
        "    except ValueError:\n        pass\n",
        "    except LookupError:\n        pass\n",
        "tests/test_blocks.py::test_leaving_in_another_context_is_silent",
    ),
    Breach(
        "R4",
        "a decorated generator's binding stays between its steps",
        "_steps.py",
        "        self._node = current()\n        put_back(self._token)\n",
        "        self._node = current()\n",
        BEHAVIOURS + "test_b34_a_stream_left_early_leaves_nothing",
    ),
    Breach(
        "R4",
        "a WSGI body is made without the request's binding",
        "wsgi.py",
        "            return _Body(body, environ, inner)\n",
        "            return body\n",
        WSGI + "test_a_streamed_body_is_bound_in_its_steps_and_nowhere_between",
    ),
    Breach(
        "R5",
        "a later source is read although an earlier one speaks",
        "_case.py",
        "        for key, source in field.sources:\n",
        "        for key, source in reversed(field.sources):\n",
        table("two sources: the first"),
    ),
    Breach(
        "R6",
        "a peer that is not in the list is believed",
        "_case.py",
        "    return BELIEVED if peers.trusts(peer) else STRANGER\n",
        "    return BELIEVED\n",
        table("a stranger names nobody"),
    ),
    Breach(
        "R6",
        "an empty list trusts everybody",
        "_case.py",
        "    if peers.nobody:\n        return STRANGER if plan.secrets else NOBODY\n",
        "    if peers.nobody:\n        return BELIEVED\n",
        table("an empty list trusts nobody"),
    ),
    Breach(
        "R6",
        "a warning comes with every request",
        "_notices.py",
        "            plan.told.add(reason)\n",
        "",
        "tests/test_warnings.py::test_each_warning_comes_once",
    ),
    Breach(
        "R7",
        "the length is not checked",
        "ids.py",
        "[{rest}]{{0,{max_length - 1}}}",
        "[{rest}]*",
        "tests/test_ids.py::test_the_check_is_its_description",
    ),
    Breach(
        "R7",
        "a value from code is not checked",
        "_change.py",
        "            delta[name] = check.require(name, value), Provenance.CODE\n",
        "            delta[name] = str(value), Provenance.CODE\n",
        "tests/test_access.py::test_values_from_code_are_checked_where_they_are_set",
    ),
    Breach(
        "R7",
        "a generator that turns bad is believed",
        "_policy.py",
        "            return spec.check.require(name, spec.mint())\n",
        "            return spec.mint()\n",
        "tests/test_policy.py::test_a_generator_that_fails_later_is_replaced",
    ),
    Breach(
        "R8",
        "an absent user is answered 400",
        "_case.py",
        "self._refuse(401 if field.needs_proof else 400, field,",
        "self._refuse(400, field,",
        table("a user is required"),
    ),
    Breach(
        "R8",
        "a mismatch is let through",
        "_case.py",
        '            self._refuse(403, field, "does not match the request")\n',
        "            pass\n",
        table("it does not match"),
    ),
    Breach(
        "R8",
        "a refused WebSocket gets a response that nobody offered",
        "asgi.py",
        '        if "websocket.http.response" not in (scope.get("extensions") or {}):\n',
        "        if False:\n",
        ASGI + "test_a_refused_websocket_is_closed_before_accept",
    ),
    Breach(
        "R9",
        "the echo is added beside the application's header",
        "_echo.py",
        "    said = [pair for pair in headers if pair[0].lower() not in names]\n",
        "    said = [*headers]\n",
        ECHO + "test_the_echo_replaces",
    ),
    Breach(
        "R9",
        "a response that a shared cache may store carries the IDs",
        "_caches.py",
        "            if verdict is _SHARES:\n                return None\n",
        "",
        CACHES + "test_each_response_ends_as_caches_demand[public-asgi]",
    ),
    Breach(
        "R9",
        "a response that says nothing is left for caches to store",
        "_echo.py",
        "[*pairs, plan.caches.private] if plan.marks else None",
        "pairs",
        CACHES + "test_each_response_ends_as_caches_demand[nothing-asgi]",
    ),
    Breach(
        "R9",
        "a word such as no-cache is taken for a refusal to store",
        "_caches.py",
        "        if control is not _FORBIDS:\n",
        "        if not lines:\n",
        CACHES + "test_each_response_ends_as_caches_demand[no-cache-asgi]",
    ),
    Breach(
        "R9",
        "what is meant for CDNs does not count",
        "_caches.py",
        "(_TARGETED if key.endswith(_TARGETED) else None)",
        "None",
        CACHES + "test_each_response_ends_as_caches_demand[CDN: max-age beside no-store-asgi]",
    ),
    Breach(
        "R9",
        "a file that caches may store carries the IDs",
        "_caches.py",
        "        return None if silent and is_file else tuple(silent)\n",
        "        return tuple(silent)\n",
        CACHES + "test_each_response_ends_as_caches_demand[file: tagged-asgi]",
    ),
    Breach(
        "R9",
        "the method that the application makes of it counts, not the one that caches saw",
        "wsgi.py",
        "echoed(plan, method, _code(status)",
        'echoed(plan, environ["REQUEST_METHOD"], _code(status)',
        CACHES + "test_each_response_ends_as_caches_demand[nothing-wsgi]",
    ),
    Breach(
        "R9",
        "what is not to be marked is echoed all the same",
        "_echo.py",
        " or (silent and not plan.policy.mark_private):\n",
        ":\n",
        CACHES + "test_what_is_not_to_be_marked_is_bare[nothing-asgi]",
    ),
    Breach(
        "R9",
        "an application's own header is replaced where it was to stay",
        "_echo.py",
        "        written = [pair for pair in pairs if pair[0].lower() not in own]\n",
        "        written = pairs\n",
        ECHO + "test_unless_set_leaves_the_header_of_the_app",
    ),
    Breach(
        "R9",
        "304 carries the IDs",
        "_echo.py",
        "frozenset({206, 304})",
        "frozenset({206})",
        ECHO + "test_statuses_that_carry_none",
    ),
    Breach(
        "R9",
        "a WebSocket handshake is not echoed",
        "asgi.py",
        '{"http.response.start", "websocket.accept", "websocket.http.response.start"}',
        '{"http.response.start", "websocket.http.response.start"}',
        "tests/test_defects.py::test_defect_4_6_a_websocket_handshake_has_its_id",
    ),
    Breach(
        "R10",
        "an ID with echo=False is echoed",
        "_field.py",
        "wire.echo(spec.header) if spec.echo else None",
        "wire.echo(spec.header)",
        table("not echoed"),
    ),
    Breach(
        "R10",
        "an ID with forward=False is shown to the application",
        "_field.py",
        "self.key if spec.forward else None",
        "self.key",
        table("minted and not forwarded"),
    ),
    Breach(
        "R14",
        "a failing subscriber fails the request",
        "_events.py",
        "    if _strict:\n        raise error\n",
        "    raise error\n",
        "tests/test_events.py::test_a_failing_subscriber_is_logged_once_and_the_next_runs",
    ),
    Breach(
        "R14",
        "an echo that fails takes the response with it",
        "asgi.py",
        '        _events.failed("echo", error)\n        return message\n',
        "        raise error\n",
        ASGI + "test_an_echo_that_fails_leaves_the_response_alone",
    ),
    Breach(
        "R15",
        "a nested middleware mints a second ID",
        "asgi.py",
        "            outer = enclosing(plan, found, scope.get(KEY))\n",
        "            outer = None\n",
        "tests/test_nesting.py::test_a_nested_middleware_binds_nothing_of_its_own",
    ),
    Breach(
        "R15",
        "a request that has ended still encloses others",
        "asgi.py",
        "            inner.open = False\n",
        "",
        "tests/test_nesting.py::test_an_asgi_scope_that_has_ended_is_a_new_request",
    ),
    Breach(
        "R15",
        "the process-wide ID survives a fork",
        "_access.py",
        "os.register_at_fork(after_in_child=_process.clear)\n",
        "",
        "tests/test_carry.py::test_a_forked_child_starts_anew",
    ),
    Breach(
        "S1",
        "a claim without proof stays in the request",
        "_resolve.py",
        "                gone = (*gone, field.key)\n",
        "",
        table("a stranger names nobody"),
    ),
    Breach(
        "S1",
        "the shared secret is shown to the application",
        "_claims.py",
        "        claims.setdefault(GONE, []).append(plan.secret_key)\n",
        "        pass\n",
        table("the new secret"),
    ),
    Breach(
        "S2",
        "an empty header is taken for a value",
        "_case.py",
        "            return line or None, None\n",
        '            return line or self._plan.encode("empty"), None\n',
        table("an empty identity from a trusted peer"),
    ),
    Breach(
        "S3",
        "an alias beside the header is overlooked",
        "_claims.py",
        "            claims[key] = ALIASED\n",
        "            pass\n",
        table("an alias behind"),
    ),
    Breach(
        "S3",
        "a server that lets an alias win is believed",
        "_case.py",
        "        return CONFLATES\n",
        "        pass\n",
        table("a server on which the last spelling wins", "wsgi"),
    ),
    Breach(
        "S4",
        "of two lines the last one counts",
        "_claims.py",
        "            claims[key] = value if key not in claims else REPEATED\n",
        "            claims[key] = value\n",
        table("two users"),
    ),
    Breach(
        "S5",
        "a header that Connection nominates is read",
        "_claims.py",
        "            claims[key] = NOMINATED\n",
        "",
        table("Connection names the user"),
    ),
    Breach(
        "S5",
        "a nominated ID is read from a weaker source",
        "_case.py",
        "            self.rejected.append((field.name, NOMINATED.reason))\n            return None, None\n",
        "            self.rejected.append((field.name, NOMINATED.reason))\n",
        table("nominated: no other source is asked"),
    ),
    Breach(
        "S6",
        "a value may end in a line feed",
        "ids.py",
        "        self.matches = re.compile(shape).fullmatch\n",
        '        self.matches = re.compile(shape + "$").match\n',
        "tests/test_ids.py::test_the_check_refuses_with_a_reason[line feed last]",
    ),
    Breach(
        "S7",
        "the echo is not checked again",
        "_plan.py",
        "            and field.fits(value := self.encode(values[field.index]))\n",
        "            and (value := self.encode(values[field.index]))\n",
        "tests/test_testing.py::test_what_does_not_fit_the_application_is_not_echoed",
    ),
    Breach(
        "S8",
        "a refusal repeats the value",
        "ids.py",
        '        raise ValueError(f"{name} is refused, {reason}: {self._remedy(reason, value)}")\n',
        '        raise ValueError(f"{name} is refused, {reason}: {value}")\n',
        "tests/test_ids.py::test_code_is_told_the_remedy_and_never_the_value",
    ),
    Breach(
        "S10",
        "IDs are drawn from the clock",
        "ids.py",
        "    return _entropy(16).hex()\n",
        "    return f'{int(time.time()):032x}'\n",
        "tests/test_ids.py::test_generators_make_unique_ids_that_pass_the_check[token]",
    ),
    Breach(
        "S19",
        "a peer that was rewritten is believed",
        "_case.py",
        "        return REWRITTEN\n",
        "        pass\n",
        table("the peer stands in X-Forwarded-For"),
    ),
    Breach(
        "S20",
        "a peer without an address is a unix socket",
        "_wires.py",
        '    return UNIX if path.startswith("/") or policy.assume_unix else None\n',
        "    return UNIX\n",
        table("no evidence of a unix socket"),
    ),
    Breach(
        "S21",
        "IPv4 mapped into IPv6 is not unmapped",
        "_peers.py",
        "        return address.ipv4_mapped\n",
        "        return address\n",
        table("IPv4 mapped into IPv6"),
    ),
    Breach(
        "S22",
        "X-Forwarded-For says who the sender is",
        "_case.py",
        "    peer = plan.wire.peer(raw, policy)\n",
        "    peer = plan.decode(hops[0]) if hops else plan.wire.peer(raw, policy)\n    hops = ()\n",
        table("a stranger names a trusted hop"),
    ),
    Breach(
        "S24",
        "a path that starts like an excluded one is excluded",
        "_plan.py",
        "self.wire.view(raw, policy).path in policy.exclude",
        "self.wire.view(raw, policy).path.startswith(tuple(policy.exclude))",
        "tests/test_resolve.py::test_excluded_paths_are_exact[longer]",
    ),
    Breach(
        "S26",
        "a nested middleware echoes once more",
        "_echo.py",
        "    names = {name.lower() for name, _ in written}\n",
        "    names = set()\n",
        "tests/test_defects.py::test_defect_4_3_one_header_however_often_it_is_set",
    ),
    Breach(
        "S28",
        "the request's IDs stay bound where it was served",
        "asgi.py",
        "                bound.reset(token)\n",
        "                pass\n",
        BEHAVIOURS + "test_c15_the_variable_is_reset_after_the_request",
    ),
    Breach(
        "S28",
        "a WSGI request's IDs stay bound on the thread",
        "wsgi.py",
        "        finally:\n            put_back(token)\n\n    def _nested",
        "        finally:\n            pass\n\n    def _nested",
        "tests/test_isolation.py::test_requests_on_many_threads_keep_their_ids",
    ),
    Breach(
        "S29",
        "bytes that are not ASCII break the request",
        "_plan.py",
        'value.decode("latin-1") if self.binary else value',
        'value.decode("ascii") if self.binary else value',
        "tests/test_raw_headers.py::test_no_bytes_break_the_asgi_middleware",
    ),
    Breach(
        "S30",
        "a variable of the environment forces an ID",
        "_binding.py",
        "forced: Final[dict[str, tuple[str | None, Provenance | None]]] = {}\n",
        "forced: Final[dict[str, tuple[str | None, Provenance | None]]] = {}\n"
        'forced.update({"user_id": (os.environ.get("FORCE", "root"), Provenance.CODE)})\n',
        "tests/test_testing.py::test_nothing_from_outside_reaches_the_override",
    ),
]
