"""
The breaches of the doctor: which fault would pass as green, and which test must notice.
"""

from __future__ import annotations

from rules.breaches import Breach

HOME = "_doctor/"
CHECKS = "tests/doctor/test_checks.py::test_verdicts"
APPLICATIONS = "tests/doctor/test_applications.py::"
COMMAND = "tests/doctor/test_command.py::"

DOCTOR_BREACHES = [
    Breach(
        "R9",
        "a doubled echo is judged green",
        HOME + "_checks/_session.py",
        "            if len(found) > 1:\n",
        "            if len(found) > 2:\n",
        CHECKS + "[twice]",
    ),
    Breach(
        "R9",
        "a response without the echo is judged green",
        HOME + "_checks/_session.py",
        "        if exchange.values(rules.session):\n",
        "        if True:\n",
        CHECKS + "[not echoed]",
    ),
    Breach(
        "R9",
        "the echo of another ID is judged green",
        HOME + "_checks/_session.py",
        "        if found != [exchange.probe.session]:\n",
        "        if not found:\n",
        CHECKS + "[another]",
    ),
    Breach(
        "R9",
        "an ID that shared caches store is judged green",
        HOME + "_checks/_browsers.py",
        "        if exchange.status != 101 and may_be_stored(exchange, observations.rules):\n",
        "        if False:\n",
        APPLICATIONS + "test_each_fault_is_found[an echo that caches store]",
    ),
    Breach(
        "R9",
        "a silent response counts as one that no cache stores",
        HOME + "_checks/_exchanges.py",
        "    return forbids_echo(exchange, rules) or (stores and found.stored != NO_CHANGE)\n",
        "    return forbids_echo(exchange, rules)\n",
        CHECKS + "[silent]",
    ),
    Breach(
        "R6",
        "a spoofed user that reaches the application is judged green",
        HOME + "_checks/_senders.py",
        "    return [name for name in names if name.lower() in there]\n",
        "    return []\n",
        CHECKS + "[a spoof arrives]",
    ),
    Breach(
        "R6",
        "a stranger who is believed is judged green",
        HOME + "_checks/_senders.py",
        '        faults += [f"{name} of a stranger is believed" for name in believed]\n',
        "",
        CHECKS + "[a spoof is believed]",
    ),
    Breach(
        "R6",
        "a policy that believes everyone is judged green",
        HOME + "_checks/_senders.py",
        "    if observations.rules.believes_anybody:\n",
        "    if False:\n",
        CHECKS + "[anybody]",
    ),
    Breach(
        "R6",
        "a rewritten peer by which users are believed is judged green",
        HOME + "_checks/_senders.py",
        "    if observations.is_installed and rules.trusts_addresses and not rules.has_secret:\n",
        "    if False:\n",
        CHECKS + "[a rewritten peer]",
    ),
    Breach(
        "R3",
        "an ID that is left bound is not looked for",
        HOME + "_context.py",
        "            if value is not UNBOUND:\n",
        "            if False:\n",
        "tests/doctor/test_in_process.py::test_an_id_that_stays_bound_is_found",
    ),
    Breach(
        "R3",
        "an ID in a variable of the application is not looked for",
        HOME + "_context.py",
        "        elif session and any(session in text for text in _list_texts(value)):\n",
        "        elif False:\n",
        APPLICATIONS + "test_a_variable_that_is_never_reset_is_found",
    ),
    Breach(
        "R10",
        "a line without any ID is judged green",
        HOME + "_checks/_log_lines.py",
        '    whole = ({one.probe.session for one in asked} | echoed) - {""}\n',
        '    whole = {one.probe.session for one in asked} | echoed | {""}\n',
        "tests/doctor/test_checks.py::test_lines[access, without]",
    ),
    Breach(
        "R12",
        "an integration that sends IDs to every host is judged green",
        HOME + "_checks/_surroundings.py",
        "    if application.everyone:\n",
        "    if False:\n",
        CHECKS + "[to every host]",
    ),
    Breach(
        "R14",
        "the home page is called without being named",
        HOME + "_probes.py",
        "    for path in paths:\n",
        '    for path in ["/", *paths]:\n',
        "tests/doctor/test_in_process.py::test_only_made_up_paths_and_given_ones_are_called",
    ),
    Breach(
        "R14",
        "a red check leaves the exit status alone",
        HOME + "_report.py",
        "        return int(any(finding.verdict == RED for _, finding in self.findings))\n",
        "        return 0\n",
        COMMAND + "test_asgi_over_uvicorn",
    ),
    Breach(
        "R14",
        "what the application prints is part of the JSON",
        HOME + "_children.py",
        "            stdout=stream,\n",
        "",
        COMMAND + "test_an_application_that_prints_leaves_json_alone",
    ),
    Breach(
        "R14",
        "a header of the application controls the terminal",
        HOME + "_report.py",
        '    return ["\\n".join(map(escape_text, cell.split("\\n"))) for cell in row]\n',
        "    return row\n",
        COMMAND + "test_nothing_that_was_seen_controls_the_terminal",
    ),
]
