"""
The breaches of the rules about the IDs of jobs and messages: see ``breaches``.
"""

from __future__ import annotations

from rules.breaches import Breach

CARRIERS = "_binding/carriers.py"
PROOFS = "_binding/carrier_proofs.py"
KEYS = "_policy/keys.py"
TESTS = "tests/test_carrier_proofs.py::"
BELIEVED = TESTS + "test_a_carrier_is_believed_by_its_proof_or_its_queue"
BELIEVES_ITSELF = TESTS + "test_a_process_believes_itself"
FORGED = TESTS + "test_a_forged_carrier_proves_nothing_and_loses_nothing"

CARRIER_BREACHES = [
    Breach(
        "S27",
        "anybody who can write to the queue names any user",
        PROOFS,
        '    return "no keys" if is_signed else "unsigned"\n',
        "    return None\n",
        BELIEVED + "[unsigned]",
    ),
    Breach(
        "S27",
        "any text is a proof",
        PROOFS,
        "    return proof is not None and policy.queue_proofs.is_proof(proof, text)\n",
        "    return proof is not None\n",
        FORGED + "[change_user]",
    ),
    Breach(
        "S27",
        "where unsigned carriers are trusted, one with a wrong proof is too",
        PROOFS,
        "    if is_signed and policy.queue_proofs is not None:\n",
        "    if is_signed and policy.queue_proofs is not None and not policy.trusted_queue:\n",
        BELIEVED + "[signed by another, where unsigned ones are trusted]",
    ),
    Breach(
        "S27",
        "a provenance is not signed",
        PROOFS,
        "        entries.append(texts)\n",
        "        entries.append(texts[:2])\n",
        FORGED + "[change_provenance]",
    ),
    Breach(
        "S27",
        "a user may be turned into a tenant",
        PROOFS,
        "        entries.append(texts)\n",
        "        entries.append(texts[1:])\n",
        FORGED + "[rename_user]",
    ),
    Breach(
        "S27",
        "jobs that wait while a key is replaced lose their proofs",
        KEYS,
        "proof) for key in self._keys]",
        "proof) for key in self._keys[:1]]",
        BELIEVED + "[the old key]",
    ),
    Breach(
        "S27",
        "the old key signs, and is withdrawn too early",
        KEYS,
        "        return self._compute(self._keys[0], text)\n",
        "        return self._compute(self._keys[-1], text)\n",
        BELIEVED + "[one too new]",
    ),
    Breach(
        "S23",
        "the signature of an ID is the proof of a carrier",
        KEYS,
        'f"carrier {text}"',
        'f"signed carrier:{text}"',
        TESTS + "test_no_other_signature_of_a_key_is_a_proof[ID]",
    ),
    Breach(
        "R13",
        "a process does not believe what it has dumped",
        PROOFS,
        "        _Written.add(_make_digest(text, proof), is_anonymous=is_anonymous)\n",
        "        pass\n",
        BELIEVES_ITSELF + "[no keys]",
    ),
    Breach(
        "S27",
        "a policy with keys believes what the process has written without",
        PROOFS,
        "    if policy.queue_proofs is None:\n",
        "    if policy.queue_proofs is None or _Written.has(_make_digest(text, proof)):\n",
        BELIEVES_ITSELF + "[unsigned, and there are keys]",
    ),
    Breach(
        "S1",
        "a carrier vouches for any client where every peer is trusted",
        CARRIERS,
        "        told = lower_for_others(how, policy)\n",
        "        told = how\n",
        TESTS + "test_no_carrier_vouches_for_any_client",
    ),
    Breach(
        "R13",
        "an ID that the receiver does not declare takes the proof from the others",
        CARRIERS,
        "    known = is_known_carrier(carrier, policy)\n",
        "    known = _is_dump(carrier) and is_known_carrier(carrier, policy)\n",
        TESTS + "test_a_sender_may_declare_more_ids[signed]",
    ),
    Breach(
        "R13",
        "a header that is called as its ID takes the proof from it",
        CARRIERS,
        "_read_claims(carrier, {}, is_dump=True)",
        "_read_claims(carrier, dict.fromkeys(policy.specs), is_dump=True)",
        TESTS + "test_a_header_may_be_called_as_its_id_is[signed]",
    ),
    Breach(
        "R13",
        "a header brings a provenance, where the queue is trusted",
        CARRIERS,
        "        proves = is_dump and key not in headers\n",
        "        proves = is_dump\n",
        TESTS + "test_a_header_may_be_called_as_its_id_is[trusted]",
    ),
    Breach(
        "S27",
        "sessions of anonymous clients push out carriers with users",
        PROOFS,
        "cls.anonymous if is_anonymous else cls.digests\n",
        "cls.digests\n",
        TESTS + "test_sessions_alone_push_out_no_user",
    ),
    Breach(
        "R13",
        "a carrier of this process is believed with any proof",
        PROOFS,
        'f"{text} {proof!a}"',
        'f"{text}"',
        TESTS + "test_a_process_believes_whole_carriers_of_its_own",
    ),
    Breach(
        "S27",
        "a forked child believes what others have written",
        PROOFS,
        "call_after_fork(_Written.renew)\n",
        "",
        TESTS + "test_a_forked_child_is_another_process",
    ),
    Breach(
        "R13",
        "a process remembers every carrier for ever",
        PROOFS,
        "            if len(digests) > MOST_REMEMBERED:\n",
        "            if False:\n",
        TESTS + "test_a_process_remembers_its_latest_carriers",
    ),
    Breach(
        "S9",
        "a queue brings sessions that nobody has minted",
        PROOFS,
        "    if signatures is not None and value is not None and signatures.is_signed(value):\n",
        "    if signatures is not None:\n",
        TESTS + "test_a_session_with_a_signature_of_its_own_needs_no_other",
    ),
    Breach(
        "S27",
        "a user that a message calls minted is proven",
        PROOFS,
        "if how is not None and how.proven}",
        "if how is not None and how.proven and how is not Provenance.MINTED}",
        TESTS + "test_what_is_no_proof_stays_as_carried[minted]",
    ),
    Breach(
        "S27",
        "a carrier is too long with its proof, and refused whole",
        CARRIERS,
        "    most = MOST_BYTES - (0 if policy.queue_proofs is None else PROOF_LENGTH)\n",
        "    most = MOST_BYTES\n",
        TESTS + "test_the_proof_is_within_the_limit",
    ),
    Breach(
        "R13",
        "a signed carrier is taken for headers",
        CARRIERS,
        "key in (_OTHER_TENANT, PROOF)",
        "key == _OTHER_TENANT",
        BELIEVED + "[signed, and trusted anyway]",
    ),
    Breach(
        "S27",
        "a pickle in a message is believed",
        CARRIERS,
        "    if as_headers and isinstance(carrier, SessionContext):\n",
        "    if isinstance(carrier, SessionContext):\n",
        TESTS + "test_a_job_that_brings_a_context_has_no_ids",
    ),
    Breach(
        "S25",
        "the keys of a queue are shown",
        "_policy/policy.py",
        "    queue_keys: Sequence[str | bytes] | None = field(default=None, repr=False)\n",
        "    queue_keys: Sequence[str | bytes] | None = None\n",
        TESTS + "test_keys_are_not_shown",
    ),
]
