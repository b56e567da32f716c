"""
The breaches of the rules about headers that verify an ID: see ``breaches``.
"""

from __future__ import annotations

from rules.breaches import Breach

SIGNED = "tests/test_signed_ids.py::"
VERIFIED = "tests/test_verified_headers.py::"

SERVER = "tests/test_server_sources.py::"

VERIFIED_BREACHES = [
    Breach(
        "S1",
        "a variable of the server may be a header of the client",
        "_policy/server_sources.py",
        '        if self.key.startswith("HTTP_"):\n',
        "        if False:\n",
        SERVER + "test_a_wrong_source_says_what_to_write[a header]",
    ),
    Breach(
        "S1",
        "a value of the server may be what a client wrote",
        "_policy/server_sources.py",
        '    if given.partition(".")[0] in _OF_CLIENTS:\n',
        "    if False:\n",
        SERVER + "test_a_wrong_source_says_what_to_write[the query]",
    ),
    Breach(
        "R14",
        "a value in the scope that cannot be read fails the request",
        "_decision/resolve.py",
        '            except Exception as error:\n                _failures.report_failure(f"read of',
        '            except ZeroDivisionError as error:\n                _failures.report_failure(f"read of',
        SERVER + "test_a_value_that_cannot_be_read_fails_no_request[raises]",
    ),
    Breach(
        "R6",
        "an ID of the server counts as the client's word",
        "_decision/plan.py",
        "            self.provenance = Provenance.CODE\n",
        "            pass\n",
        SERVER + "test_a_variable_of_the_server_is_the_user[alone]",
    ),
    Breach(
        "S1",
        "a verified ID is believed from a trusted peer alone",
        "_policy/spec.py",
        "    if proof_of(sources_of(spec)) is Proof.SENDER:\n",
        "    if True:\n",
        VERIFIED + "test_a_verified_header_is_believed_from_anyone[Authorization-stranger]",
    ),
    Breach(
        "S23",
        "a signature is enough where a peer is asked for besides",
        "_policy/spec.py",
        "    return asks_for_peers(sources_of(spec))\n",
        "    return False\n",
        VERIFIED + "test_a_header_may_need_a_trusted_peer_besides[stranger]",
    ),
    Breach(
        "S1",
        "a verified header that proves nothing stays in the request",
        "_decision/plan.py",
        "((spec.needs_proof or header.verify is not None) and key not in kept)",
        "(spec.needs_proof and header.verify is None and key not in kept)",
        VERIFIED + "test_what_is_not_verified_is_absent_and_leaves_the_request[alice-stranger]",
    ),
    Breach(
        "R6",
        "the plain header of a verified ID is dropped in silence",
        "_decision/resolve.py",
        "            if value is None and claimed and spec.unproven and not self._explains(spec):\n",
        "            if False:\n",
        VERIFIED + "test_the_plain_header_of_a_verified_id_is_nothing[stranger]",
    ),
    Breach(
        "S23",
        "the unsigned copies beside an assertion reach the application",
        "_decision/claims.py",
        "                self.removed |= plan.spellings[key]\n            elif key in self.values:\n",
        "                pass\n            elif key in self.values:\n",
        VERIFIED + "test_siblings_leave_every_request[good]",
    ),
    Breach(
        "S24",
        "the unsigned copies stay where a path is excluded",
        "_decision/plan.py",
        "        keys.update(map(self.dialect.key, find_siblings(self.specs)))\n",
        "",
        VERIFIED + "test_siblings_leave_a_request_for_an_excluded_path",
    ),
    Breach(
        "R14",
        "a function that returns a number fails the request",
        "_decision/resolve.py",
        "    if not isinstance(found, str):\n",
        "    if False:\n",
        VERIFIED + "test_a_function_that_fails_is_absence[verify-returns a number]",
    ),
    Breach(
        "R5",
        "a source without a signature stands beside one with",
        "_policy/spec.py",
        "    if mixture is not None:\n",
        "    if mixture is not None and False:\n",
        VERIFIED + "test_a_wrong_header_says_what_to_write[a plain header beside]",
    ),
    Breach(
        "R5",
        "a signed ID counts as the client's word",
        "_decision/plan.py",
        "        elif proof is Proof.SIGNATURE or signatures_of(self.rules) is not None:\n",
        "        elif False:\n",
        VERIFIED + "test_a_signed_session_is_signed",
    ),
    Breach(
        "S9",
        "a session that a client chose comes in where only our own may",
        "_decision/plan.py",
        "bool(is_valid(value)) and signatures.is_signed(decode(value))",
        "bool(is_valid(value))",
        SIGNED + "test_an_id_that_was_not_minted_here_is_replaced[chosen by a client-asgi]",
    ),
    Breach(
        "S9",
        "a fresh session has no signature, and does not come in again",
        "_decision/plan.py",
        "(rules.mint is token and signatures_of(rules) is None)",
        "rules.mint is token",
        SIGNED + "test_an_id_that_was_minted_here_comes_in_again[asgi]",
    ),
    Breach(
        "S9",
        "the session of one service is that of another ID",
        "_policy/keys.py",
        'f"signed {self._name}:{value}"',
        'f"signed {value}"',
        SIGNED + "test_an_id_that_was_not_minted_here_is_replaced[signed as another ID-asgi]",
    ),
    Breach(
        "S9",
        "an old key no longer counts",
        "_policy/keys.py",
        "for key in self._keys]",
        "for key in self._keys[:1]]",
        SIGNED + "test_a_key_is_replaced_without_losing_sessions[asgi]",
    ),
    Breach(
        "S26",
        "an ID that code sets is not echoed where IDs are signed",
        "_decision/plan.py",
        "and spec.is_valid(value := self.encode(values[spec.index]))",
        "and spec.fits(value := self.encode(values[spec.index]))",
        SIGNED + "test_an_id_that_code_sets_is_echoed_as_it_is[asgi]",
    ),
]
