"""
The breaches of the gaps of ``redis://``: what is broken, and which test must notice.
"""

from __future__ import annotations

from rules.breaches import Breach

HOME = "registry/_redis/"
GAPS = "tests/registry/test_redis_gaps.py::"

REDIS_BREACHES = [
    Breach(
        "R16",
        "each page of Redis reads all expired IDs that it skips",
        HOME + "_scripts.py",
        "  start = skip_gaps(index, ends, start, before)\n",
        "",
        GAPS + "test_expired_ids_are_skipped_one_by_one_only_once",
    ),
    Breach(
        "R16",
        "a page of Redis takes gaps for IDs of the ends",
        HOME + "_scripts.py",
        "local all = redis.call('ZCARD', ends) - #gaps_in(ends)\n",
        "local all = redis.call('ZCARD', ends)\n",
        GAPS + "test_expired_ids_are_skipped_one_by_one_only_once",
    ),
    Breach(
        "R16",
        "a page of Redis looks up gaps as if they were IDs",
        HOME + "_scripts.py",
        "  suspects = redis.call('ZRANGEBYSCORE', ends, '(-inf', before, 'LIMIT', 0, number)\n",
        "  suspects = redis.call('ZRANGEBYSCORE', ends, '-inf', before, 'LIMIT', 0, number)\n",
        GAPS + "test_gaps_leave_with_their_sessions",
    ),
    Breach(
        "R16",
        "Redis hides a session that was made in a gap",
        HOME + "_scripts.py",
        "  close_gaps(ends, id)\n",
        "",
        "tests/registry/test_redis_gaps_model.py::test_gaps_decide_as_the_ends_do[0]",
    ),
    Breach(
        "R16",
        "Redis hides a session that was touched in a gap",
        HOME + "_scripts.py",
        "  close_gaps(its_ends, id)\n",
        "",
        GAPS + "test_a_session_made_in_a_gap_is_found",
    ),
    Breach(
        "R16",
        "Redis trusts a gap that was noted by a later clock",
        HOME + "_gaps.py",
        "      if over <= before and count_in_gap(index, first, last) == count then\n",
        "      if count_in_gap(index, first, last) == count then\n",
        GAPS + "test_a_gap_is_trusted_once_its_time_is_over",
    ),
    Breach(
        "R16",
        "Redis hides a session that an older process has made in a gap",
        HOME + "_gaps.py",
        "      if over <= before and count_in_gap(index, first, last) == count then\n",
        "      if over <= before then\n",
        GAPS + "test_an_old_process_hides_no_session_in_a_gap",
    ),
    Breach(
        "R16",
        "Redis trusts gaps while an older process has changed the index",
        HOME + "_scripts.py",
        "if mode == 'skip' and is_even then\n",
        "if mode == 'skip' then\n",
        GAPS + "test_an_old_process_hides_no_session_in_a_gap",
    ),
    Breach(
        "R16",
        "Redis counts the IDs that have left a gap",
        HOME + "_gaps.py",
        "      add_gap(ends, first, last, count - removed, over)\n",
        "      add_gap(ends, first, last, count, over)\n",
        GAPS + "test_gaps_leave_with_their_sessions",
    ),
    Breach(
        "R16",
        "Redis counts on in gaps where an older process has removed IDs",
        HOME + "_gaps.py",
        "    if of_ends == of_index then\n",
        "    if true then\n",
        GAPS + "test_what_an_old_process_removed_leaves_no_gap_that_counts_it",
    ),
    Breach(
        "R16",
        "Redis forgets the largest gaps first",
        HOME + "_gaps.py",
        "select(3, parse_gap(other)) < select(3, parse_gap(gap))",
        "select(3, parse_gap(other)) > select(3, parse_gap(gap))",
        GAPS + "test_an_index_has_few_gaps_and_keeps_the_largest",
    ),
    Breach(
        "R16",
        "a page fails at a server that takes no gap",
        HOME + "_gaps.py",
        "  redis.pcall('ZADD', ends, '-inf'",
        "  redis.call('ZADD', ends, '-inf'",
        GAPS + "test_a_full_server_is_read_without_gaps",
    ),
    Breach(
        "R16",
        "check() says nothing of a right that gaps need",
        HOME + "_commands.py",
        '    yield "send", ("ZLEXCOUNT", space.ends(key, key), "-", "+")\n',
        "",
        GAPS + "test_without_a_right_nothing_is_half_done",
    ),
    Breach(
        "R16",
        "Redis puts a session into a gap that it cannot read",
        HOME + "_gaps.py",
        "  return redis.call('ZRANGEBYSCORE', ends, '-inf', '-inf')\n",
        "  local gaps = redis.pcall('ZRANGEBYSCORE', ends, '-inf', '-inf')\n"
        "  return gaps.err and {} or gaps\n",
        GAPS + "test_a_user_who_cannot_read_gaps_is_refused",
    ),
    Breach(
        "R16",
        "Redis notes a gap that its user cannot count",
        HOME + "_gaps.py",
        "  if redis.pcall('ZLEXCOUNT', index, '[' .. first, '[' .. last) ~= count then\n",
        "  if false then\n",
        GAPS + "test_a_user_who_cannot_count_ids_notes_no_gap",
    ),
    Breach(
        "R16",
        "a slot of Redis that moves until the time is over is a missing right",
        HOME + "_routing.py",
        "raise error if isinstance(self._last, MovedError) else self._last or error\n",
        "raise self._last or error\n",
        "tests/registry/test_redis_decisions.py::test_a_slot_that_moved_until_the_end_is_no_fault",
    ),
]
