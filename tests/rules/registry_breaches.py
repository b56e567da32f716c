"""
The breaches of the registry and of admissions: what is broken, and which test must notice.
"""

from __future__ import annotations

from breaches import Breach

HOME = "registry/"
ADMISSION = "tests/test_admission.py::"
REGISTRY = "tests/registries/test_registry.py::"
SQLITE = "tests/registries/test_sqlite.py::TestSQLite::"
POSTGRESQL = "tests/registries/test_postgresql.py::TestPostgresql::"
REDIS = "tests/registries/test_redis.py::TestRedis::"
HTTP = "tests/registries/test_http.py::"
MEMORY = "tests/registries/test_memory_store.py::TestMemory::"

REGISTRY_BREACHES = [
    Breach(
        "S-D1",
        "an empty ID is an ID",
        HOME + "_verbs.py",
        'if session_id is None or session_id == "":\n            return (yield',
        "if session_id is None:\n            return (yield",
        MEMORY + "test_no_id_mints",
    ),
    Breach(
        "S-D4",
        "a duplicate overwrites",
        HOME + "_memory.py",
        "                if there.is_live(now):\n                    return None\n",
        "",
        MEMORY + "test_a_duplicate_is_refused_in_the_guides_words",
    ),
    Breach(
        "S-D5",
        "case is folded",
        HOME + "_rules.py",
        "return sha256(encoded).digest()",
        "return sha256(encoded.lower()).digest()",
        MEMORY + "test_ids_are_told_apart",
    ),
    Breach(
        "S-D6",
        "control characters pass",
        HOME + "_rules.py",
        "    if _CONTROL.search(text):\n",
        "    if False:\n",
        MEMORY + "test_what_is_no_id_is_refused",
    ),
    Breach(
        "S-D11",
        "an ended session stays",
        HOME + "_memory.py",
        "            self._forget(key, kept)\n            return kept.row if",
        "            return kept.row if",
        MEMORY + "test_an_ended_id_is_free_again",
    ),
    Breach(
        "S-D15",
        "asking and keeping are two steps",
        HOME + "_memory.py",
        "        with self._lock:\n            now = time.time_ns() // 1000\n"
        "            there = self._kept.get(draft.key)\n            if there is not None:\n",
        "        there = self._kept.get(draft.key)\n        time.sleep(0.001)\n"
        "        with self._lock:\n            now = time.time_ns() // 1000\n"
        "            if there is not None:\n",
        MEMORY + "test_of_many_threads_one_creates",
    ),
    Breach(
        "S-D15",
        "SQLite lets the last one win",
        HOME + "_sqlite/_layout.py",
        "    WHERE there.expires <= excluded.created\n",
        "",
        SQLITE + "test_of_many_threads_one_creates",
    ),
    Breach(
        "S-D11",
        "who may end one session ends its successor",
        HOME + "http.py",
        "created_at=record.created_at if record else None",
        "created_at=None",
        HTTP + "test_who_may_end_one_session_ends_no_other",
    ),
    Breach(
        "S-D15",
        "PostgreSQL lets the last one win",
        HOME + "_postgresql/_statements.py",
        "set_=rest, where=table.c.expires_at <= _NOW\n",
        "set_=rest\n",
        POSTGRESQL + "test_of_many_threads_one_creates",
    ),
    Breach(
        "R16",
        "statements are prepared at a server that a pooler may change",
        HOME + "_postgresql/_connections.py",
        "BoundedConnection.connect(**parameters, prepare_threshold=None)",
        "BoundedConnection.connect(**parameters, prepare_threshold=0)",
        "tests/registries/test_pgbouncer.py::TestPooled",
    ),
    Breach(
        "S-D15",
        "Redis lets the last one win",
        HOME + "_redis/_scripts.py",
        "  return kept[1] == nonce and {kept[2], kept[3]}\n",
        "",
        REDIS + "test_of_many_threads_one_creates",
    ),
    Breach(
        "S-D13",
        "input to an unknown session creates it",
        HOME + "http.py",
        "record = yield from self._known(self._registry.touch, session_id)",
        "record = yield from self._asked("
        "partial(self._registry.create_or_suffix, retries=1), session_id)",
        HTTP + "TestStarlette::test_an_unknown_session_is_not_found",
    ),
    Breach(
        "S18",
        "what is merely true is allowed",
        HOME + "http.py",
        "if answer is not True:",
        "if not answer:",
        HTTP + "test_only_true_allows",
    ),
    Breach(
        "S-D16",
        "an expired session is found",
        HOME + "_memory.py",
        "return kept.row if kept is not None and kept.is_live(time.time_ns() // 1000) else None\n\n"
        "    def extend",
        "return kept.row if kept is not None else None\n\n    def extend",
        MEMORY + "test_a_touch_keeps_a_session_from_expiring",
    ),
    Breach(
        "S-D18",
        "the recipe gives up after the first name",
        HOME + "_verbs.py",
        "            except SessionExists:\n                continue\n",
        "            except SessionExists:\n                break\n",
        MEMORY + "test_the_retry_recipe",
    ),
    Breach(
        "R16",
        "the ID beside the key is not compared",
        HOME + "_verbs.py",
        "if row is None or row.session_id != session_id:",
        "if row is None:",
        REGISTRY + "test_two_ids_with_one_key_are_not_mixed_up",
    ),
    Breach(
        "S25",
        "a record shows its metadata",
        HOME + "_record.py",
        "repr=False, hash=False",
        "hash=False",
        REGISTRY + "test_a_record_shows_no_metadata",
    ),
    Breach(
        "S29",
        "metadata may be of any depth",
        HOME + "_rules.py",
        "    if level > DEEPEST:\n",
        "    if level > 900:\n",
        MEMORY + "test_metadata_that_is_no_json_is_refused",
    ),
    Breach(
        "R8",
        "an unknown session is let in",
        "_admitted.py",
        "    if answer is True:\n",
        "    if answer is not None:\n",
        ADMISSION + "test_an_unknown_session_is_minted_anew",
    ),
    Breach(
        "R8",
        "a store that is down lets everybody in",
        "_admitted.py",
        "    if answer is True:\n",
        "    if answer is not False:\n",
        ADMISSION + "test_a_store_that_is_down_refuses",
    ),
    Breach(
        "R8",
        "what is merely true lets in",
        "_admitted.py",
        "    if isinstance(answer, bool):\n        return answer\n",
        "    return bool(answer)\n",
        ADMISSION + "test_only_true_lets_in",
    ),
    Breach(
        "R5",
        "an unknown session stays in its header",
        "_admitted.py",
        "    return (list(plan.strips), plan.forward_pairs(inner.values)), None\n",
        "    return edits, None\n",
        ADMISSION + "test_an_unknown_session_is_minted_anew",
    ),
    Breach(
        "R14",
        "an answer may take as long as it likes",
        "_admitted.py",
        "        async with asyncio.timeout(admission.timeout):\n",
        "        async with asyncio.timeout(admission.timeout * 1000):\n",
        ADMISSION + "test_an_answer_has_its_time",
    ),
]
