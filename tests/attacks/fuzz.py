"""
Give the parsers random input for as long as there is time, and count it.

``python tests/attacks/fuzz.py --minutes 60`` runs the properties of the test files in turn, which
CI tries a hundred times each, and sends random requests to a server of either protocol. It prints
a table, and ends with the input if one of them fails. ``--only WORD`` runs those of that name.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings

TESTS = Path(__file__).parents[1]
PROPERTIES = {
    "headers, ASGI": ["test_raw_headers.test_no_bytes_break_the_asgi_middleware"],
    "headers, WSGI": ["test_raw_headers.test_no_bytes_break_the_wsgi_middleware"],
    "headers of strangers": ["test_raw_headers.test_a_stranger_never_names_anyone"],
    "cookies, queries, hosts, paths, traces": ["test_sources.test_hostile_requests_never_raise"],
    "Forwarded and X-Forwarded-For": [
        "test_forwarding.test_any_text_is_read_or_in_doubt",
        "test_forwarding.test_a_list_of_ipv4_addresses_is_read_as_any_other",
    ],
    "baggage": [
        "test_baggage.test_hostile_baggage_raises_nothing",
        "test_baggage.test_an_id_that_is_quoted_is_read_as_it_was",
        "integrations.test_opentelemetry_baggage.test_the_source_and_the_codec_never_differ",
    ],
    "IDs": [
        "test_ids.test_the_check_is_its_description",
        "test_ids.test_visible_is_its_description",
        "test_ids.test_a_pattern_comes_on_top_of_the_floor",
    ],
    "signed IDs and their cookies": [
        "test_signed_ids.test_no_text_is_signed_by_accident",
        "test_session_cookie.test_every_id_fits_into_a_cookie",
    ],
    "signed lines": [
        "signing.test_signed_header.test_any_text_is_absent",
        "signing.test_signed_header.test_a_value_comes_back_or_nothing_does",
        "signing.test_signed_header.test_whatever_is_signed_does_not_raise",
        "signing.test_signer.test_any_id_is_signed_and_verified",
        "signing.test_end_to_end.test_no_bytes_fail_a_request",
    ],
    "tokens": [
        "assertions.test_verifying.test_any_text_is_refused_and_nothing_more",
        "assertions.test_verifying.test_any_signed_claims_are_believed_or_refused",
        "assertions.test_verifying.test_a_token_with_another_character_is_refused",
    ],
    "key sets": ["assertions.test_keys.test_any_other_answer_is_refused_and_nothing_more"],
    "URLs of key sets": ["attacks.test_parsers.test_keys_come_from_a_safe_url_or_none"],
    "certificates": [
        "test_certificates.test_any_text_is_read_or_is_none",
        "test_certificates.test_any_subject_comes_back",
        "test_certificates.test_any_subject_of_another_writer_comes_back",
        "test_certificates.test_a_client_cannot_write_the_last_element",
    ],
    "carriers": [
        "test_carrier_proofs.test_no_hostile_carrier_raises_or_proves",
        "test_carrier.test_hostile_carriers_never_raise",
        "attacks.test_parsers.test_any_message_is_a_carrier_or_a_mistake",
    ],
    "origins": [
        "test_origins.test_no_url_raises",
        "attacks.test_parsers.test_an_origin_is_what_every_client_reads",
    ],
    "peers": [
        "attacks.test_parsers.test_any_peer_is_trusted_or_refused",
        "attacks.test_parsers.test_an_address_is_one_way_to_write_it",
    ],
    "paths to exclude": [
        "attacks.test_parsers.test_any_path_is_excluded_or_refused_with_one_to_write"
    ],
    "settings": ["attacks.test_parsers.test_any_settings_are_a_policy_or_refused"],
    "options of policies": [
        "test_policy.test_any_policy_is_built_or_refused_with_a_sentence",
        "test_policy.test_any_spec_is_built_or_refused_with_a_sentence",
    ],
    "environment": [
        "attacks.test_parsers.test_any_environment_is_a_policy_or_refused",
        "attacks.test_parsers.test_any_variable_of_a_parent_has_a_text_or_nothing",
    ],
    "responses that caches may keep": ["test_caches.test_what_is_remembered_changes_no_response"],
    "URLs of registries": ["attacks.test_parsers.test_any_url_opens_a_registry_or_is_refused"],
    "bodies and keys of registries": [
        "attacks.test_parsers.test_any_body_is_an_object_or_refused",
        "attacks.test_parsers.test_any_idempotency_key_is_one_or_refused",
        "registry.test_registry.test_an_id_is_taken_or_refused",
        "registry.test_registry.test_metadata_comes_back_or_is_refused",
    ],
}


class Row(NamedTuple):
    """
    A line of the table.

    Attributes:
        name: the parser.
        inputs: how many inputs it was given.
        seconds: how long that took.
    """

    name: str
    inputs: int
    seconds: float


def find_property(place: str) -> Any:
    """
    Return the test that a line of the table names.
    """
    module, _, name = place.rpartition(".")
    return getattr(import_module(module), name)


def give_inputs(test: Any) -> int:
    """
    Give a property other inputs than before, and return how many they were.
    """
    inner = test.hypothesis.inner_test
    inputs = 0

    def counting(*args: Any, **kwargs: Any) -> None:
        nonlocal inputs
        inputs += 1
        inner(*args, **kwargs)

    test.hypothesis.inner_test = counting
    try:
        test()
    finally:
        test.hypothesis.inner_test = inner
    return inputs


def fuzz(rows: dict[str, Row], seconds: float, only: str) -> None:
    """
    Run everything of that name in turn until the time is over, at least once.

    Args:
        rows: the counts so far, by name; changed.
        seconds: the time.
        only: the name, or a part of it.
    """
    from attacks.test_raw_requests import SERVERS, check_random_requests
    from servers.launch import running

    turns: list[tuple[str, Callable[[], int]]] = [
        (name, partial(give_inputs, find_property(place)))
        for name, places in PROPERTIES.items()
        for place in places
        if only in name
    ]
    until = time.monotonic() + seconds
    with ExitStack() as stack:
        for server in SERVERS:
            name = f"requests, {server.name}"
            if only in name:
                up = stack.enter_context(running(server))
                turns.append((name, partial(check_random_requests, up, random.Random(), 100)))
        while True:
            for name, run in turns:
                began = time.monotonic()
                inputs = run()
                row = rows.get(name, Row(name, 0, 0.0))
                spent = row.seconds + time.monotonic() - began
                rows[name] = Row(name, row.inputs + inputs, spent)
            if time.monotonic() > until:
                return


def main() -> None:
    """
    Read the time from the command line, and print the table.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--only", default="", help="parsers with this word in their names")
    asked = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    # Hypothesis reads the profile when a test is decorated, so none is imported before.
    settings.register_profile(
        "fuzzing",
        max_examples=500,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("fuzzing")
    # Each input that is refused is logged once, by OpenTelemetry each time.
    for name in ("idlanyard", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    rows: dict[str, Row] = {}
    try:
        fuzz(rows, asked.minutes * 60, asked.only)
    finally:
        print_table([*rows.values()])


def print_table(rows: list[Row]) -> None:
    """
    Print the counts, those before a failure too.
    """
    print("| parser | inputs | seconds |\n|---|--:|--:|")
    for row in rows:
        print(f"| {row.name} | {row.inputs:,} | {row.seconds:.0f} |")
    print(f"| all | {sum(row.inputs for row in rows):,} | {sum(row.seconds for row in rows):.0f} |")


if __name__ == "__main__":
    main()
