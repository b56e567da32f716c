"""
The breaches of the operator's command: what is broken, and which test must notice.
"""

from __future__ import annotations

from rules.breaches import Breach

HOME = "registry/_command/"
COMMAND = "tests/registry/test_command.py::"
MOVE = "tests/registry/test_command_move.py::"

COMMAND_BREACHES = [
    Breach(
        "R16",
        "a session that a walk meets twice is taken for one that ended",
        HOME + "_places.py",
        "        yield list({kept.session_id: kept for kept in stretch.sessions}.values())\n",
        "        yield stretch.sessions\n",
        MOVE + "test_a_session_that_is_met_twice_is_not_lost",
    ),
    Breach(
        "R16",
        "a store is moved into itself, by another name",
        HOME + "_moving.py",
        "        if there is not None and there.metadata == mark:\n",
        "        if False:\n",
        MOVE + "test_one_place_is_told_by_looking",
    ),
    Breach(
        "R16",
        "a session that is touched on the way is moved as it was",
        HOME + "_moving.py",
        "            self._target.ask(Put([_apply_row(kept, row)]))\n",
        "            pass\n",
        MOVE + "test_a_session_that_is_touched_at_the_last_moment",
    ),
    Breach(
        "R16",
        "a session that is touched on the way loses its time to live",
        HOME + "_moving.py",
        "            if self._passes < _PATIENT:\n",
        "            if False:\n",
        MOVE + "test_a_session_that_is_touched_meanwhile_is_moved_as_it_is",
    ),
    Breach(
        "R16",
        "a session that ends on the way comes back",
        HOME + "_moving.py",
        "            self._target.ask(Delete(key, kept.created))\n",
        "            pass\n",
        MOVE + "test_a_session_that_ends_meanwhile_is_not_brought_back",
    ),
    Breach(
        "R16",
        "a session that was touched on the way and then ends comes back",
        HOME + "_moving.py",
        "        for key, created in before.items():\n            self._forget(key, created)\n",
        "",
        MOVE + "test_a_session_that_was_touched_and_then_ends_is_not_brought_back",
    ),
    Breach(
        "R16",
        "a move that was held up goes on beside another",
        HOME + "_moving.py",
        "        if self._target.ask(Extend(_LEASE_KEY, None, None, self._created)) is None:\n",
        "        if False:\n",
        MOVE + "test_a_move_that_was_held_up_goes_no_further",
    ),
    Breach(
        "R16",
        "an ID controls the terminal",
        HOME + "_text.py",
        '    safe = "".join(one if one.isprintable() else _escape(one) for one in text)\n',
        "    safe = text\n",
        COMMAND + "test_text_is_shown_safely",
    ),
    Breach(
        "R16",
        "an ID is read as markup",
        HOME + "_tables.py",
        "        table.add_row(*map(Text, row))\n",
        "        table.add_row(*row)\n",
        COMMAND + "test_no_id_acts_on_the_terminal",
    ),
    Breach(
        "R16",
        "a driver's message prints a password",
        HOME + "_text.py",
        "                text = text.replace(secret, _HIDDEN)\n",
        "                pass\n",
        COMMAND + "test_a_password_is_scrubbed_from_causes",
    ),
    Breach(
        "R16",
        "the message about a wrong command line prints a password",
        HOME + "_run.py",
        "    urls += [match[0] for word in arguments if (match := _URL.search(word))]\n",
        "",
        COMMAND + "test_no_password_is_printed",
    ),
    Breach(
        "R16",
        "an export that was cut off passes for a whole one",
        HOME + "_exports.py",
        "    is_whole = work.announced == work.read\n",
        "    is_whole = True\n",
        COMMAND + "test_an_export_that_was_cut_is_told",
    ),
    Breach(
        "R16",
        "a driver's log brings a traceback",
        HOME + "_run.py",
        "    root.addHandler(handler)\n",
        "",
        MOVE + "test_no_log_is_printed",
    ),
]
