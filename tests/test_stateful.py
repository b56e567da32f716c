"""
Blocks, identify, streams, threads and tasks in any order, against a simple model of R2.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from idlanyard import (
    UNSET,
    carry,
    clear_session_context,
    get_session_context,
    identify,
    scoped_iter,
    session_context,
    set_session_context,
)
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._binding.state import bound, make_request_ids

FIELDS = ("session_id", "user_id", "tenant_id")
VALUES = st.sampled_from(["a", "b", "c", None, "", UNSET])
GIVEN = st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1)
HIDDEN = "hidden"

Given = dict[str, Any]


class Model:
    """
    A model of R2: a scope that is shared, and a delta that is not.
    """

    def __init__(self, scope: dict[str, str] | None, delta: dict[str, str] | None = None) -> None:
        self.scope = scope
        self.delta = dict(delta or {})

    def copied(self) -> Model:
        """
        A child: the same scope, a delta of its own.
        """
        return Model(self.scope, self.delta)

    def overlay(self, given: Given) -> None:
        """
        Rule 2: None and the empty text mean "not given", UNSET hides.
        """
        for name, value in given.items():
            if value is UNSET:
                self.delta[name] = HIDDEN
            elif value:
                self.delta[name] = value

    def identify(self, given: Given) -> None:
        """
        Rule 3: write the scope, and take the fields given out of the delta here.
        """
        for name, value in given.items():
            gone = value is UNSET
            if not (gone or value):
                continue
            if self.scope is None:
                self.delta[name] = HIDDEN if gone else value
                continue
            self.delta.pop(name, None)
            self.scope.pop(name, None)
            if not gone:
                self.scope[name] = value

    def clear(self) -> None:
        """
        Rule 4: hide everything here.
        """
        self.delta = dict.fromkeys(FIELDS, HIDDEN)

    def read(self) -> dict[str, str]:
        """
        Rule 1: the delta, else the scope.
        """
        merged = (self.scope or {}) | self.delta
        return {name: value for name, value in merged.items() if value != HIDDEN}


class Bindings(RuleBasedStateMachine):
    """
    One request, or none, and whatever code does in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.context = contextvars.Context()
        self.model = Model(None)
        self.blocks: list[tuple[session_context, dict[str, str]]] = []
        self.stream: tuple[Iterator[dict[str, str]], Model] | None = None
        self.in_step: list[Callable[[], None]] = []

    def here(self, fn: Callable[[], Any]) -> Any:
        """
        Run *fn* in the Context of this machine.
        """
        return self.context.run(fn)

    @initialize(ids=st.none() | st.dictionaries(st.sampled_from(FIELDS), st.sampled_from("xyz")))
    def start(self, ids: dict[str, str] | None) -> None:
        """
        Begin outside a request, or in one that has these IDs.
        """
        if ids is not None:
            delta = {name: (value, None) for name, value in ids.items()}
            request_ids = make_request_ids(DEFAULT_POLICY, delta)
            self.here(lambda: bound.set(request_ids))
            self.model = Model(dict(ids))

    @rule(given=GIVEN)
    def enters_a_block(self, given: Given) -> None:
        """
        Enter a nested block.
        """
        block = session_context(**given)
        before = dict(self.model.delta)
        self.here(block.__enter__)
        self.model.overlay(given)
        self.blocks.append((block, before))

    @precondition(lambda self: self.blocks)
    @rule()
    def leaves_a_block(self) -> None:
        """
        Leave the innermost block: what was in force around it is in force again.
        """
        block, self.model.delta = self.blocks.pop()
        self.here(block.__exit__)

    @rule(given=GIVEN)
    def sets(self, given: Given) -> None:
        """
        Change what is bound here and below.
        """
        self.here(lambda: set_session_context(**given))
        self.model.overlay(given)

    @rule()
    def clears(self) -> None:
        """
        Hide everything here.
        """
        self.here(clear_session_context)
        self.model.clear()

    @rule(given=GIVEN)
    def identifies(self, given: Given) -> None:
        """
        Identify the user, for the whole request.
        """
        self.here(lambda: identify(**given))
        self.model.identify(given)

    @rule(given=GIVEN, is_identity=st.booleans())
    def a_child_changes_something(self, given: Given, is_identity: bool) -> None:
        """
        A child task copies the node: it shares the scope and has a delta of its own.
        """
        child, model = self.context.copy(), self.model.copied()
        child.run(lambda: (identify if is_identity else set_session_context)(**given))
        (model.identify if is_identity else model.overlay)(given)
        assert child.run(lambda: get_session_context().as_dict()) == model.read()

    @rule(given=GIVEN)
    def a_thread_identifies(self, given: Given) -> None:
        """
        A carried function in another thread writes the request's scope.
        """
        model = self.model.copied()

        def work() -> dict[str, str]:
            identify(**given)
            return get_session_context().as_dict()

        with ThreadPoolExecutor(1) as pool:
            seen = pool.submit(self.here(lambda: carry(work))).result()
        model.identify(given)
        assert seen == model.read()

    @rule()
    def opens_a_stream(self) -> None:
        """
        Start a stream that keeps the binding of here.
        """

        def read() -> Iterator[dict[str, str]]:
            while True:
                while self.in_step:
                    self.in_step.pop()()
                yield get_session_context().as_dict()

        self.stream = self.here(lambda: scoped_iter(read())), self.model.copied()

    @precondition(lambda self: self.stream is not None)
    @rule()
    def steps_the_stream(self) -> None:
        """
        A step sees the stream's own binding over the scope as it is now.
        """
        assert self.stream is not None
        steps, model = self.stream
        assert self.here(lambda: next(steps)) == model.read()

    @precondition(lambda self: self.stream is not None)
    @rule(given=GIVEN, is_identity=st.booleans())
    def a_step_changes_something(self, given: Given, is_identity: bool) -> None:
        """
        A change made in one step is current in the next, and elsewhere only through the scope.
        """
        assert self.stream is not None
        steps, model = self.stream
        self.in_step.append(lambda: (identify if is_identity else set_session_context)(**given))
        (model.identify if is_identity else model.overlay)(given)
        assert self.here(lambda: next(steps)) == model.read()

    @invariant()
    def reads_what_the_model_says(self) -> None:
        """
        The current IDs are those of R2.
        """
        assert self.here(lambda: get_session_context().as_dict()) == self.model.read()


Bindings.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_bindings_follow_the_model() -> None:
    """
    R1, R2, R4: whatever order blocks, identify, streams, threads and tasks come in, R2 holds.
    """
    Bindings.TestCase("runTest").debug()
