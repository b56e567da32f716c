"""
The breaches of ``sqlite://``: what is broken, and which test must notice.
"""

from __future__ import annotations

from rules.breaches import Breach

HOME = "registry/_sqlite/"
CONTRACT = "tests/registry/test_sqlite.py::TestSQLite::"
BOUNDS = "tests/registry/test_sqlite_bounds.py::"
FAULTS = "tests/registry/test_sqlite_faults.py::"
LAYOUT = "tests/registry/test_sqlite_layout.py::"

SQLITE_BREACHES = [
    Breach(
        "R16",
        "SQLite lets the last one win",
        HOME + "_commands.py",
        "    WHERE there.expires <= excluded.created\n",
        "",
        CONTRACT + "test_of_many_threads_one_creates",
    ),
    Breach(
        "R16",
        "a retry on SQLite does not find its session",
        HOME + "_commands.py",
        "                if before is not None:\n                    return before\n",
        "",
        CONTRACT + "test_a_retry_is_answered_as_before",
    ),
    Breach(
        "R16",
        "a touch moves an end backwards on SQLite",
        HOME + "_commands.py",
        "ELSE max(:now + ttl, coalesce(expires, 0))",
        "ELSE :now + ttl",
        CONTRACT + "test_a_touch_moves_no_end_backwards",
    ),
    Breach(
        "R16",
        "creates on SQLite leave expired sessions to a purge",
        HOME + "_commands.py",
        "            self._sweep(connection, now)\n",
        "",
        CONTRACT + "test_what_expired_leaves_in_passing",
    ),
    Breach(
        "R16",
        "a statement on SQLite has no timeout",
        HOME + "_connections.py",
        "            connection.set_progress_handler(self._watch.is_over, _STEPS)\n",
        "",
        BOUNDS + "test_a_find_that_is_cancelled_ends_in_its_thread",
    ),
    Breach(
        "R16",
        "reads of one session wait for finds",
        HOME + "_connections.py",
        "        self.finder = Connection(self._shared, prepare, timeout, reads_only=True)\n",
        "        self.finder = self.reader\n",
        BOUNDS + "test_nobody_waits_for_who_finds",
    ),
    Breach(
        "R16",
        "the thread of a create has a timeout of its own",
        HOME + "_async.py",
        ".submit(answer, patience)",
        ".submit(answer, None)",
        BOUNDS + "test_a_create_that_was_given_up_is_not_done_later",
    ),
    Breach(
        "R16",
        "a create that was cancelled is done later",
        HOME + "_async.py",
        "            patience.end()\n",
        "            pass\n",
        BOUNDS + "test_a_create_that_was_cancelled_is_not_done_later",
    ),
    Breach(
        "R16",
        "a find walks through all of a client's dead sessions",
        HOME + "_commands.py",
        "                found = self._read_by_terms(connection, values, limit)\n",
        "                pass\n",
        BOUNDS + "test_the_dead_cost_a_find_nothing",
    ),
    Breach(
        "R16",
        "a find walks through all sessions that have just expired",
        HOME + "_commands.py",
        "        (horizon,) = connection.execute(sql.horizon, values).fetchone() or (FOREVER,)\n",
        '        horizon = values["now"]\n',
        BOUNDS + "test_those_that_have_just_expired_cost_a_find_nothing",
    ),
    Breach(
        "R16",
        "a page that is read by terms is no snapshot",
        HOME + "_commands.py",
        '            connection.execute("BEGIN")\n',
        "",
        BOUNDS + "test_a_page_is_full_while_its_sessions_are_ended",
    ),
    Breach(
        "R16",
        "a find returns the sessions of the first term only",
        HOME + "_commands.py",
        "            if len(found) >= limit:\n                found = ",
        "            if len(found) >= limit:\n                break\n                found = ",
        BOUNDS + "test_a_find_is_exact_whatever_the_terms",
    ),
    Breach(
        "R16",
        "a question in line has a grace behind its timeout",
        HOME + "_async.py",
        "    if not running.cancel():\n",
        "    if True:\n",
        BOUNDS + "test_a_question_in_line_is_given_up_at_the_end_of_its_time",
    ),
    Breach(
        "R16",
        "a find gives up after a walk through dead sessions",
        HOME + "_commands.py",
        "            found = self._read_in_order(connection, values, -1)\n",
        "            pass\n",
        BOUNDS + "test_a_find_is_exact_whatever_the_terms",
    ),
    Breach(
        "R16",
        "every create removes many dead sessions",
        HOME + "_commands.py",
        "            self._pause_until = now + _PAUSE\n",
        "            pass\n",
        BOUNDS + "test_creates_remove_many_with_pauses",
    ),
    Breach(
        "R16",
        "an idempotency key outlives a session that layout 1 replaces",
        HOME + "_schema.py",
        "WHERE key = NEW.key AND created <> NEW.created",
        "WHERE false",
        LAYOUT + "test_no_key_outlives_its_session_among_processes_of_layout_1",
    ),
    Breach(
        "R16",
        "a log that is deleted is not noticed",
        HOME + "_files.py",
        '_identify_if_any(f"{name}-wal"), _identify_if_any(f"{name}-shm")',
        "None, None",
        FAULTS + "test_a_log_that_is_deleted_is_noticed",
    ),
    Breach(
        "R16",
        "a new connection begins beside old ones",
        HOME + "_connections.py",
        "        self._end_others()\n",
        "",
        FAULTS + "test_a_log_that_is_deleted_is_noticed",
    ),
    Breach(
        "R16",
        "on a full disk nothing is read",
        HOME + "_connections.py",
        "            if not self._reads_only or code_of(error) not in _NO_ROOM:\n",
        "            if True:\n",
        FAULTS + "test_a_registry_that_is_opened_on_a_full_disk_reads",
    ),
    Breach(
        "R16",
        "a file that may not be written to is an outage",
        HOME + "_connections.py",
        "        if fault is None:\n",
        "        if True:\n",
        FAULTS + "test_who_has_no_rights",
    ),
    Breach(
        "R16",
        "another application's table is used",
        HOME + "_schema.py",
        'if found != ("table",) or not {column for (column,) in columns} >= _COLUMNS[kind]:',
        "if False:",
        LAYOUT + "test_somebody_elses_table_is_left_alone",
    ),
    Breach(
        "R16",
        "a newer layout is used as if it were known",
        HOME + "_schema.py",
        "if version is not None and version > LAYOUT:",
        "if False:",
        LAYOUT + "test_a_newer_layout_is_left_alone",
    ),
    Breach(
        "R16",
        "a question that was ended while it waited in line is done later",
        "registry/_sqlite/_connections.py",
        "    if patience.is_ended:\n        # Its caller was",
        "    if not patience:\n        # Its caller was",
        "tests/registry/test_sqlite_waiting.py::"
        "test_a_question_that_is_ended_in_line_is_not_answered_later",
    ),
]
