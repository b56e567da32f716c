"""
The breaches of what PostgreSQL keeps: what is broken, and which test must notice.
"""

from __future__ import annotations

from rules.breaches import Breach

HOME = "registry/_postgresql/"
CONTRACT = "tests/registry/test_postgresql.py::TestPostgresql::"
OPERATED = "tests/registry/test_postgresql_operated.py::"

POSTGRESQL_BREACHES = [
    Breach(
        "R16",
        "two retries at once make two sessions on PostgreSQL",
        HOME + "_schema.py",
        '("retry", (columns.idempotency,), True)',
        '("retry", (columns.idempotency,), False)',
        CONTRACT + "test_of_many_retries_one_creates",
    ),
    Breach(
        "R16",
        "a retry is answered with a session that another process put in its place",
        HOME + "_statements.py",
        "is_same: ColumnElement[bool] = columns.requested_at == columns.created_at\n",
        "is_same: ColumnElement[bool] = columns.created_at == columns.created_at\n",
        OPERATED + "test_a_key_ends_with_its_session_whoever_replaces_it",
    ),
    Breach(
        "R16",
        "a touch that waited moves an end backwards",
        HOME + "_statements.py",
        "func.greatest(columns.expires_at, _add_time(_TURN, columns.ttl))",
        "_add_time(_TURN, columns.ttl)",
        OPERATED + "test_a_touch_that_waited_moves_no_end_backwards",
    ),
    Breach(
        "R16",
        "a touch that waited ends before it began",
        HOME + "_statements.py",
        "        else_=_add_time(_TURN, given),\n",
        "        else_=_add_time(_NOW, given),\n",
        OPERATED + "test_a_touch_that_waited_moves_no_end_backwards",
    ),
    Breach(
        "R16",
        "what expired on PostgreSQL stays until somebody purges",
        HOME + "_commands.py",
        "% _SWEEP_EVERY == 0\n",
        "% _SWEEP_EVERY < 0\n",
        CONTRACT + "test_what_expired_leaves_in_passing",
    ),
    Breach(
        "R16",
        "a page ends where too many in between have expired",
        HOME + "_commands.py",
        "        if len(found) == len(rows):\n            return found\n        if self._migration",
        "        if True:\n            return found\n        if self._migration",
        OPERATED + "test_a_page_is_filled_whatever_has_expired",
    ),
    Breach(
        "R16",
        "finding grows with what has expired",
        HOME + "_commands.py",
        "        if self._migration.has_term_index:\n",
        "        if False:\n",
        OPERATED + "test_what_finding_costs_does_not_grow_with_what_expired[analyzed]",
    ),
    Breach(
        "R16",
        "sessions of more terms than are looked at are missed",
        HOME + "_commands.py",
        'rows = yield Statement(statements.by_terms, {**values, "many": TERMS})\n'
        "            found = _sort_rows(rows)\n"
        "            if len(found) == len(rows):\n",
        'rows = yield Statement(statements.by_terms, {**values, "many": TERMS})\n'
        "            found = _sort_rows(rows)\n"
        "            if True:\n",
        OPERATED + "test_a_page_is_filled_whatever_has_expired",
    ),
    Breach(
        "R16",
        "a dropped table is told for ever",
        HOME + "_faults.py",
        'frozenset({"42P01", "42703", "42P10", "3F000"})',
        "frozenset()",
        OPERATED + "test_a_dropped_table_is_made_anew",
    ),
    Breach(
        "R16",
        "missing rights look like an outage",
        HOME + "_faults.py",
        "    return fault and fault.format(table=table)\n",
        "    return None\n",
        OPERATED + "test_a_right_that_is_taken_away_is_told",
    ),
    Breach(
        "R16",
        "an index that a killed process left is taken for one",
        HOME + "_migration.py",
        '                _run(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}")\n',
        "",
        OPERATED + "test_an_index_that_a_killed_process_left_is_made_anew",
    ),
    Breach(
        "R16",
        "a later layout is used as if it were today's",
        HOME + "_migration.py",
        "state.version > LAYOUT:\n",
        "state.version < 0:\n",
        OPERATED + "test_a_later_layout_is_told",
    ),
    Breach(
        "R16",
        "an index that makes find fast is required of a role that cannot create it",
        HOME + "_migration.py",
        "any(not is_optional_index(name) for name in missing)",
        "missing",
        OPERATED + "test_a_role_that_may_not_create_an_index_goes_on_without",
    ),
    Breach(
        "R16",
        "settings that void a promise are passed over in silence",
        HOME + "_migration.py",
        "    if state.is_asynchronous:\n",
        "    if False:\n",
        OPERATED + "test_careless_settings_are_said_once",
    ),
]
