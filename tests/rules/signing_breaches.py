"""
The breaches of the rules about IDs that services sign for each other: see ``breaches``.
"""

from __future__ import annotations

from rules.breaches import Breach

SIGNATURES = "signing/_signatures.py"
SIGNED_HEADER = "signing/_signed_header.py"
OUTGOING = "_binding/outgoing.py"
HEADER = "tests/signing/test_signed_header.py::"
SIGNER = "tests/signing/test_signer.py::"
CLIENTS = "tests/signing/test_clients.py::"

SIGNING_BREACHES = [
    Breach(
        "S23",
        "a signature is good for any ID",
        SIGNATURES,
        'salt=f"idlanyard {field}"',
        'salt="idlanyard"',
        SIGNER + "test_a_signature_of_one_id_is_none_of_another",
    ),
    Breach(
        "S23",
        "a line is believed whoever signed it",
        SIGNATURES,
        "        if not self._signer.verify_signature(signed, signature):\n",
        "        if False:\n",
        HEADER + "test_an_attack_gives_nothing[an unknown key]",
    ),
    Breach(
        "S23",
        "a signature for another service is believed",
        SIGNED_HEADER,
        "return value if audience in self.audiences and -LEEWAY",
        "return value if -LEEWAY",
        HEADER + "test_an_attack_gives_nothing[for another service]",
    ),
    Breach(
        "S23",
        "a signature is good for ever",
        SIGNED_HEADER,
        "-LEEWAY <= age <= self.max_age",
        "-LEEWAY <= age",
        HEADER + "test_an_attack_gives_nothing[replayed after max_age]",
    ),
    Breach(
        "S23",
        "a signature of the future is good until then",
        SIGNED_HEADER,
        "-LEEWAY <= age <= self.max_age",
        "age <= self.max_age",
        HEADER + "test_an_attack_gives_nothing[of the future]",
    ),
    Breach(
        "S23",
        "other texts have the same signature",
        SIGNATURES,
        "{42}[AEIMQUYcgkosw048]",
        "{42}[A-Za-z0-9_-]",
        HEADER + "test_no_other_text_has_the_same_signature",
    ),
    Breach(
        "S23",
        "IDs are signed with another hash",
        SIGNATURES,
        "digest_method=hashlib.sha256",
        "digest_method=hashlib.sha1",
        HEADER + "test_a_signed_value_is_returned[plain]",
    ),
    Breach(
        "S23",
        "the old key signs, and the called service withdraws it too early",
        SIGNATURES,
        "[*reversed(keys)]",
        "[*keys]",
        SIGNER + "test_the_first_key_signs",
    ),
    Breach(
        "S23",
        "the old key is refused before it is withdrawn",
        SIGNATURES,
        "[*reversed(keys)]",
        "[keys[0]]",
        HEADER + "test_keys_are_rotated_without_a_gap",
    ),
    Breach(
        "S23",
        "a key may be guessed",
        SIGNATURES,
        'tuple(encode_secret(key, "keys") for key',
        "tuple(str(key).encode() for key",
        HEADER + "test_a_wrong_option_is_told[a short key]",
    ),
    Breach(
        "S23",
        "an audience may be any host",
        SIGNATURES,
        "    if origin is None or origin.subdomains:\n",
        "    if origin is None:\n",
        HEADER + "test_a_wrong_option_is_told[many hosts]",
    ),
    Breach(
        "S23",
        "a signature may be good for hours and nobody has said so",
        SIGNED_HEADER,
        "        if age > _LONGEST_AGE and self.unsafe_max_age_ok is not True:\n",
        "        if False:\n",
        HEADER + "test_a_wrong_option_is_told[long]",
    ),
    Breach(
        "S23",
        "keys are shown",
        SIGNED_HEADER,
        "dataclasses.field(kw_only=True, repr=False)",
        "dataclasses.field(kw_only=True)",
        HEADER + "test_no_key_is_shown",
    ),
    Breach(
        "S23",
        "a called service can show the signature to another one",
        "signing/_signer.py",
        "            audience = str(origin)\n",
        '            audience = "any"\n',
        SIGNER + "test_a_signature_is_for_the_origin_that_is_called[with a path]",
    ),
    Breach(
        "S1",
        "a client's word is signed, and looks proven from there on",
        OUTGOING,
        "    return lower_for_others(how, get_binding().policy).proven\n",
        "    return True\n",
        SIGNER + "test_only_proven_ids_are_signed[client]",
    ),
    Breach(
        "S1",
        "where everybody is trusted, the word of any client is signed",
        OUTGOING,
        "    return lower_for_others(how, get_binding().policy).proven\n",
        "    return how.proven\n",
        SIGNER + "test_where_everybody_is_trusted_no_peer_is_vouched_for[everyone]",
    ),
    Breach(
        "S7",
        "a signer may add a line of its own to a request",
        OUTGOING,
        "    if isinstance(line, str) and line and line.isascii() and line.isprintable():\n",
        "    if isinstance(line, str):\n",
        SIGNER + "test_a_signer_that_returns_no_line_fails",
    ),
    Breach(
        "S7",
        "text that is no ID is signed",
        SIGNATURES,
        "        if not _VALUE.fullmatch(value):\n",
        "        if False:\n",
        SIGNER + "test_text_that_is_no_id_is_not_signed[a line feed]",
    ),
    Breach(
        "S15",
        "the caller's header follows a redirect of httpx where a signer fails",
        "integrations/httpx.py",
        "    finally:\n        # Also if a signer fails",
        "    except Exception:\n        raise\n    else:\n        # Also if a signer fails",
        CLIENTS + "test_where_a_signer_fails_the_callers_header_follows_no_redirect[httpx]",
    ),
    Breach(
        "S15",
        "the caller's header follows a redirect of requests where a signer fails",
        "integrations/requests.py",
        "        _mark_callers_headers(request, origin, managed_headers(sign))\n"
        "        added = add_ids_for_hop(sent.headers, url, origins, sign=sign)\n",
        "        added = add_ids_for_hop(sent.headers, url, origins, sign=sign)\n"
        "        _mark_callers_headers(request, origin, managed_headers(sign))\n",
        CLIENTS + "test_where_a_signer_fails_the_callers_header_follows_no_redirect[requests]",
    ),
    Breach(
        "S23",
        "the signature of a user makes a tenant",
        "_policy/proofs.py",
        "        if of != name:\n",
        "        if False:\n",
        HEADER + "test_no_id_is_read_from_the_signature_of_another[a user's for a tenant]",
    ),
    Breach(
        "S23",
        "a key in the place of a name is shown",
        SIGNATURES,
        "    if may_be_key(given):\n",
        "    if False:\n",
        HEADER + "test_a_wrong_option_is_told[a key for a name]",
    ),
    Breach(
        "S23",
        "a key has the end of the line that it was read from",
        "_policy/keys.py",
        "    elif _has_space_at_an_end(key):\n",
        "    elif False:\n",
        HEADER + "test_a_wrong_option_is_told[in bytes]",
    ),
    Breach(
        "S15",
        "one user is signed beside another whom the caller has written",
        OUTGOING,
        "        if spec.header.lower() in written:\n"
        "            continue\n"
        "        added[spec.header] = value\n",
        "        if spec.header.lower() not in written:\n            added[spec.header] = value\n",
        SIGNER + "test_the_callers_header_wins[the plain one]",
    ),
    Breach(
        "S15",
        "a line that the caller signed follows a redirect elsewhere",
        OUTGOING,
        "    return frozenset(plain.union(name.lower() for name in signed))\n",
        "    return frozenset(plain)\n",
        CLIENTS + "test_the_callers_signature_does_not_follow_a_redirect_elsewhere[httpx]",
    ),
    Breach(
        "S13",
        "IDs are signed for whoever is called",
        OUTGOING,
        "    elif sign is not None:\n",
        "    elif False:\n",
        SIGNER + "test_a_wrong_call_is_told[no list, a URL]",
    ),
]
