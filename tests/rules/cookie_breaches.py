"""
The breaches of the rules about the session cookie: see ``breaches``.
"""

from __future__ import annotations

from rules.breaches import Breach

SESSION = "tests/test_session_cookie.py::"
RESPONSES = "tests/test_session_cookie_responses.py::"
DOORS = "tests/integrations/test_session_cookie.py::"
SIGNED = "tests/test_signed_ids.py::"
COOKIE = "_decision/session_cookie.py"
DJANGO = "integrations/django/_responses.py"
ROW = RESPONSES + "test_each_row_of_the_page_is_so"

COOKIE_BREACHES = [
    Breach(
        "S9",
        "a span has all that a client needs to take a session",
        "_policy/checked_policy.py",
        "            return value if spec is None or spec.signed is None else remove_signature(value)\n",
        "            return value\n",
        SIGNED + "test_logs_and_spans_have_no_signature[filter-signed]",
    ),
    Breach(
        "S9",
        "a log line has all that a client needs to take a session",
        "integrations/logging.py",
        " or spec.signed is not None for spec in policy.specs.values()):",
        " for spec in policy.specs.values()):",
        SIGNED + "test_logs_and_spans_have_no_signature[factory-signed]",
    ),
    Breach(
        "S9",
        "any cookie may carry the session",
        "_policy/cookies.py",
        "    if not isinstance(cookie, str) or not _NAME.fullmatch(cookie):\n",
        "    if not isinstance(cookie, str):\n",
        SESSION + "test_a_wrong_cookie_says_what_to_write[no prefix]",
    ),
    Breach(
        "S9",
        "a cookie may carry sessions that clients choose",
        "_policy/cookies.py",
        "    if not is_signed:\n",
        "    if False:\n",
        SESSION + "test_a_wrong_cookie_says_what_to_write[unsigned]",
    ),
    Breach(
        "S9",
        "a script can read the cookie",
        COOKIE,
        "Secure; HttpOnly; SameSite",
        "Secure; SameSite",
        SESSION + "test_the_line_is_what_browsers_ask_of_such_a_name",
    ),
    Breach(
        "S9",
        "a session that came in is given to the browser once more",
        COOKIE,
        "        if session == inner.held:\n",
        "        if False:\n",
        SESSION + "test_only_our_own_session_comes_in[the cookie-asgi]",
    ),
    Breach(
        "S9",
        "a form of another site replaces the user's session",
        COOKIE,
        '"" if is_fresh and not self._may_be_withheld(inner, raw) else session',
        '"" if is_fresh else session',
        SESSION
        + "test_a_form_of_another_site_does_not_replace_the_session[cross-site-POST-False-asgi]",
    ),
    Breach(
        "S9",
        "a link from another site begins no session",
        COOKIE,
        "        if self._dialect.find_method(raw) in _SAFE_METHODS:\n",
        "        if False:\n",
        SESSION
        + "test_a_form_of_another_site_does_not_replace_the_session[cross-site-GET-True-wsgi]",
    ),
    Breach(
        "S9",
        "the cookie carries a session that does not come in again",
        COOKIE,
        "        if not self._spec.fits(dialect.encode(session)):\n",
        "        if False:\n",
        SESSION
        + "test_a_change_by_code_counts_at_the_response[a session without a signature-wsgi]",
    ),
    Breach(
        "S9",
        "a logout leaves the cookie in the browser",
        COOKIE,
        "            return [self._deletion]\n",
        "            return []\n",
        SESSION + "test_a_change_by_code_counts_at_the_response[forgotten-asgi]",
    ),
    Breach(
        "S11",
        "an ID on every response brings the cookie with it",
        "_decision/response.py",
        "        pairs = [pair for pair in pairs if pair[0] in plan.always_echoed]\n",
        "        pairs = pairs if plan.always_echoed else []\n",
        ROW + "[`200`, `Cache-Control: public`-no-`public`-always-get_session_context-asgi]",
    ),
    Breach(
        "S11",
        "a cache that stores failures gives one client's signed session to another",
        "_decision/plan.py",
        'choose_stored_statuses(is_signed=policy.signs("session_id"))',
        "choose_stored_statuses(is_signed=False)",
        RESPONSES + "test_every_status_with_a_signed_session_is_kept_from_caches[500-GET-asgi]",
    ),
    Breach(
        "S9",
        "a login that no cookie carries is lost without a word",
        COOKIE,
        "        if lines and lines[0] not in headers:\n",
        "        if False:\n",
        RESPONSES
        + "test_a_login_that_no_cookie_carries_is_warned_of[public-rotate_session_id-asgi]",
    ),
    Breach(
        "S9",
        "a login after the response began is lost without a word",
        COOKIE,
        "        inner.begun = True\n",
        "",
        RESPONSES + "test_a_login_after_the_response_began_is_warned_of[rotated-wsgi]",
    ),
    Breach(
        "S19",
        "a message repeats a key that was given for a name or a switch",
        "_policy/keys.py",
        '    return len(repr(given).encode("utf-8", "replace")) >= LEAST_SECRET + len("\'\'")\n',
        "    return False\n",
        SESSION + "test_a_key_in_the_wrong_option_is_not_repeated[a cookie]",
    ),
    Breach(
        "R15",
        "a session that is not forwarded has a cookie, and the login inside an adapter is lost",
        "_policy/cookies.py",
        "    if not is_forwarded:\n",
        "    if False:\n",
        SESSION + "test_a_wrong_cookie_says_what_to_write[not forwarded]",
    ),
    Breach(
        "S26",
        "the header and the cookie of a response have different sessions",
        "_decision/plan.py",
        "            pairs += self.cookie.make_lines(inner, values)\n",
        "            pairs += self.cookie.make_lines(inner, inner.values)\n",
        RESPONSES + "test_a_header_and_a_cookie_of_one_response_have_one_session",
    ),
    Breach(
        "S26",
        "the application's cookie of that name stays beside ours",
        "_decision/response.py",
        "        lines = plan.cookie.remove_others(lines)\n",
        "        pass\n",
        RESPONSES + "test_the_cookies_of_the_application_are_left_alone[the same name-wsgi]",
    ),
    Breach(
        "R9",
        "every cookie of the application is replaced by ours",
        COOKIE,
        "            if pair[0].lower() != name or read_cookie_name(decode(pair[1])) != self.name\n",
        "            if pair[0].lower() != name\n",
        RESPONSES + "test_the_cookies_of_the_application_are_left_alone[others-asgi]",
    ),
    Breach(
        "R15",
        "a middleware inside another one sets its cookie as well",
        "_decision/plan.py",
        "        if self.cookie is not None and inner.policy is self.policy:\n",
        "        if self.cookie is not None:\n",
        RESPONSES + "test_only_the_outermost_middleware_sets_it[another name inside]",
    ),
    Breach(
        "R8",
        "a browser whose cookie is refused is refused for ever",
        "_decision/response.py",
        "        names.append(plan.cookie.header)\n",
        "        pass\n",
        RESPONSES + "test_a_refusal_heals_the_browser[invalid-asgi]",
    ),
    Breach(
        "S9",
        "an outage of the registry takes the browser's session",
        "_decision/known_sessions.py",
        "            inner.held = fresh[0]\n",
        "            pass\n",
        RESPONSES + "test_a_session_that_has_ended_leaves_the_browser[no answer, a fresh one-asgi]",
    ),
    Breach(
        "S9",
        "the end of a header's session takes that of the cookie",
        "_decision/known_sessions.py",
        " or not is_in_cookie:",
        ":",
        RESPONSES + "test_the_end_of_another_session_leaves_the_cookie[refuse-asgi]",
    ),
    Breach(
        "S11",
        "a response of Django's that is returned again has the cookie of another client",
        DJANGO,
        "    _remove_cookie(cookies, response.__dict__.get(_COOKIE))\n",
        "",
        DOORS + "test_a_response_that_is_returned_again_has_one_client[no other-came in]",
    ),
    Breach(
        "S11",
        "one response object of Django's carries the cookie of several clients at once",
        DJANGO,
        "            if earlier is not record:\n",
        "            if False:\n",
        DOORS + "test_requests_that_share_a_response_object_share_nothing_else[cookie]",
    ),
    Breach(
        "S11",
        "one response object of Django's carries the IDs of several clients at once",
        DJANGO,
        "    copy.headers, copy.cookies = headers, cookies\n",
        "    copy.cookies = cookies\n",
        DOORS + "test_requests_that_share_a_response_object_share_nothing_else[echo]",
    ),
    Breach(
        "S11",
        "a middleware that sets a cookie again sets it for another client",
        DJANGO,
        '    cookies.update({name: cast("Any", morsel).copy() for name, morsel in cookies.items()})\n',
        "",
        DOORS + "test_a_response_that_another_request_is_sending_stays_as_it_is",
    ),
    Breach(
        "S9",
        "Django quotes a session, which then comes in no more",
        DJANGO,
        "    morsel.set(name, value, value)\n",
        "    morsel.set(name, value, repr(value))\n",
        DOORS + "test_a_session_with_signs_is_not_quoted",
    ),
]
