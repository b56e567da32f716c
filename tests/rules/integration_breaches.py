"""
The breaches of the integrations: what is broken, and which test must notice.
"""

from __future__ import annotations

from breaches import Breach

HOME = "integrations/"
TESTS = "tests/integrations/"
STARLETTE = TESTS + "test_starlette.py::"
FASTAPI = TESTS + "test_fastapi.py::"
FLASK = TESTS + "test_flask.py::"
LINES = TESTS + "test_django_lines.py::"
REQUESTS = TESTS + "test_django_requests.py::"
USERS = TESTS + "test_django_users.py::"
LOGINS = TESTS + "test_logins.py::"

INTEGRATION_BREACHES = [
    Breach(
        "R9",
        "the middleware of Starlette is inside the one that answers errors",
        HOME + "starlette.py",
        "        return _Outermost(SessionContextMiddleware(_WithState(stack), self.policy))\n",
        "        stack.app = SessionContextMiddleware(_WithState(stack.app), self.policy)\n"
        "        return stack\n",
        STARLETTE + "TestStarlette::test_every_response_has_the_echo",
    ),
    Breach(
        "R11",
        "taking Starlette's install back does nothing to a running application",
        HOME + "starlette.py",
        "            app.middleware_stack = app.build_middleware_stack()\n",
        "            pass\n",
        STARLETTE + "test_an_install_can_be_taken_back",
    ),
    Breach(
        "R2",
        "the state of a request is a snapshot",
        HOME + "starlette.py",
        'scope.setdefault("state", {})["session_context"] = RequestContext(inner)',
        'scope.setdefault("state", {})["session_context"] = '
        '__import__("copyreg") and __import__("pickle").loads('
        '__import__("pickle").dumps(RequestContext(inner)))',
        STARLETTE + "test_the_state_has_the_context_and_follows_it",
    ),
    Breach(
        "R8",
        "a required user may be the client's word",
        HOME + "fastapi/_parameters.py",
        '_requiring("user_id"), use',
        '_requiring("user_id", proven=False), use',
        FASTAPI + "test_a_required_id_that_nobody_vouches_for_is_a_problem",
    ),
    Breach(
        "R8",
        "a WebSocket without a required ID is accepted before it is closed",
        HOME + "fastapi/_parameters.py",
        '        if connection.scope["type"] == "websocket" and "websocket.http.response" not in offered:\n',
        "        if False:\n",
        FASTAPI + "test_a_websocket_without_a_required_id_is_closed",
    ),
    Breach(
        "R6",
        "a parameter is what the client's header says",
        HOME + "fastapi/_parameters.py",
        "        return get_id(name)\n",
        "        return header\n",
        FASTAPI + "test_a_spoofed_parameter_is_absent",
    ),
    Breach(
        "R14",
        "a login hook that fails takes the request with it",
        "_logins.py",
        "        _events.failed(hook, failure[0], reason=failure[1])\n",
        "        raise failure[0]\n",
        FLASK + "test_a_loader_never_fails_a_request",
    ),
    Breach(
        "R6",
        "a login whose ID is refused leaves the name of the proxy's user",
        "_logins.py",
        "    ids = nobody if found is None else found\n",
        "    ids = {} if found is None else found\n",
        LOGINS + "test_a_login_whose_id_is_refused_leaves_nobody",
    ),
    Breach(
        "R6",
        "a login hook that fails leaves the name of the proxy's user",
        "_logins.py",
        "        return None, (error, type(error).__name__)\n",
        "        return {}, (error, type(error).__name__)\n",
        LOGINS + "test_a_login_that_fails_leaves_nobody",
    ),
    Breach(
        "R7",
        "whatever a login returns is made text",
        "_logins.py",
        "    if isinstance(value, bool) or not isinstance(value, PLAIN):\n",
        "    if False:\n",
        LOGINS + "test_a_login_whose_id_is_refused_leaves_nobody",
    ),
    Breach(
        "R7",
        "the text of a subclass is used unchecked",
        "ids.py",
        "            return str.__str__(value)\n",
        "            return str(value)\n",
        "tests/test_ids.py::test_what_was_checked_is_what_is_used",
    ),
    Breach(
        "R2",
        "a login that is refused again takes the view's own word back",
        "_logins.py",
        "    if ids != (before or {}):\n",
        "    if ids:\n",
        LOGINS + "test_a_refused_login_and_the_views_own_word",
    ),
    Breach(
        "R2",
        "who logs in is named from the next request on",
        HOME + "flask.py",
        "    app.after_request(identify_again)\n",
        "",
        FLASK + "test_who_has_logged_in_is_the_user",
    ),
    Breach(
        "R15",
        "Flask is wrapped as often as it is asked for",
        HOME + "flask.py",
        "        if installed is not mine:\n            return\n",
        "        app.wsgi_app = SessionContextMiddleware(app.wsgi_app, Policy(session=None))\n",
        FLASK + "test_an_extension_serves_several_applications",
    ),
    Breach(
        "S1",
        "headers that were read before show the spoof",
        HOME + "django/_requests.py",
        '        request.__dict__.pop("headers", None)\n',
        "        pass\n",
        REQUESTS + "test_a_request_shows_what_is_in_force",
    ),
    Breach(
        "S1",
        "the ASGI scope shows the spoof",
        HOME + "django/_requests.py",
        '        scope["headers"] = headers + added\n',
        "        pass\n",
        REQUESTS + "test_an_async_request_shows_what_is_in_force",
    ),
    Breach(
        "S4",
        "META keeps what two lines were joined into",
        HOME + "django/_requests.py",
        '                [WSGI.key(key.decode("latin-1")) for key in gone],\n',
        "                [],\n",
        REQUESTS + "test_repeated_lines_are_no_value_over_asgi",
    ),
    Breach(
        "R4",
        "a stream of Django's loses its IDs",
        HOME + "django/_responses.py",
        '        response.streaming_content = _carrying(cast("Any", scoped_iter(parts)), scope)\n',
        "        pass\n",
        TESTS + "test_django.py::TestDjango::test_a_stream_keeps_its_ids",
    ),
    Breach(
        "R4",
        "a stream of Django's that is left cleans up without its IDs",
        HOME + "django/_responses.py",
        "        with held:\n            close()\n",
        "        close()\n",
        TESTS + "test_django.py::TestDjango::test_a_stream_that_is_left_cleans_up_with_its_ids",
    ),
    Breach(
        "S11",
        "Django echoes on what a shared cache may store",
        HOME + "django/_responses.py",
        "        if name not in plan.plain_names and matters(plan, name):\n            return False\n",
        "        pass\n",
        REQUESTS + "test_a_cached_response_has_no_echo",
    ),
    Breach(
        "R11",
        "Django logs its line about an error when nothing is bound any more",
        HOME + "django/_lines.py",
        "            return import_string(line) is middleware\n",
        "            return False\n",
        LINES + "test_a_line_is_djangos_own_and_has_the_ids",
    ),
    Breach(
        "R11",
        "an error that another middleware answers otherwise has a line all the same",
        HOME + "django/_lines.py",
        "        if line not in _HANDING_ON:\n",
        "        if import_string(line) is middleware:\n",
        LINES + "test_below_another_middleware_lines_are_djangos_own",
    ),
    Breach(
        "R11",
        "a line that Django writes later is not looked up by its request",
        HOME + "logging.py",
        "**record.__dict__, **_of_request(record)}",
        "**record.__dict__}",
        LINES + "test_lines_written_after_us_find_the_ids_by_the_request",
    ),
    Breach(
        "R10",
        "settings that change are not seen",
        HOME + "django/_middleware.py",
        "            self._kinds = None\n",
        "            pass\n",
        REQUESTS + "test_settings_may_change_under_a_standing_application",
    ),
    Breach(
        "S9",
        "the session is touched on every request",
        HOME + "django/_users.py",
        '    user: Any = request.__dict__.get("user")\n    if user is None:\n        return None\n',
        '    user: Any = request.__dict__.get("user")\n    if user is None:\n        return None\n'
        "    _name(request, user)\n",
        USERS + "test_nobody_is_looked_for",
    ),
    Breach(
        "R2",
        "a login outside requests binds its user on the thread",
        HOME + "django/_users.py",
        "    if _is_served(request) and user is not None:\n",
        "    if user is not None:\n",
        USERS + "test_outside_requests_nobody_is_named",
    ),
    Breach(
        "R12",
        "a request that is sent again has the IDs of whom it was sent for before",
        HOME + "httpx.py",
        "        _remove_written(request.headers, mark.written)\n",
        "        pass\n",
        TESTS + "test_httpx.py::test_one_request_under_two_users",
    ),
    Breach(
        "R13",
        "a task's IDs stay bound after it",
        HOME + "celery.py",
        "            block.__exit__(None, None, None)\n",
        "            pass\n",
        TESTS + "jobs/test_celery.py::test_tasks_inside_each_other_restore_theirs",
    ),
    Breach(
        "R11",
        "an attribute that is there is overwritten",
        HOME + "opentelemetry/_spans.py",
        "for name, text in attributes.items() if name not in there",
        "for name, text in attributes.items()",
        TESTS + "test_opentelemetry.py::test_what_is_there_is_never_replaced",
    ),
    Breach(
        "S22",
        "a session names any file",
        HOME + "opentelemetry/_exporter.py",
        "{safe_filename(session)}",
        "{session}",
        TESTS + "test_opentelemetry_records.py::test_no_session_leaves_the_directory",
    ),
    Breach(
        "R12",
        "baggage goes to every origin",
        HOME + "opentelemetry/_propagation.py",
        "for key, name in keys.items() if may",
        "for key, name in keys.items()",
        TESTS + "test_opentelemetry_baggage.py::test_only_listed_origins_get_baggage",
    ),
    Breach(
        "R11",
        "a user that the application has told Sentry is overwritten",
        HOME + "sentry.py",
        '    if "user_id" in ids and not event.get("user"):\n',
        '    if "user_id" in ids:\n',
        TESTS + "test_sentry.py::test_it_may_be_called_by_hand_and_last",
    ),
    Breach(
        "R11",
        "a log call with extra fails in the application's code",
        HOME + "logging.py",
        '            if asking.f_code.co_name == "makeRecord":\n                return False\n',
        '            if asking.f_code.co_name == "nobody":\n                return False\n',
        TESTS + "test_logging.py::test_what_the_application_says_wins",
    ),
]
