"""
Where each step of a question goes, and what happens after a failure. Pure.

Commands may be sent twice: those of the registry do and answer the second time
what they did the first.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, TypeVar

from redis.exceptions import AskError, ClusterDownError, MovedError, NoScriptError, ResponseError
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import TimeoutError as TooLate

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._redis import _settings
from idlanyard.registry._redis._asking import Command, Course, Node, Over, Pause, Trip
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._connections import FAILURES
from idlanyard.registry._redis._errors import IN_MOTION, WRONG_SERVER
from idlanyard.registry._redis._faults import fault_of
from idlanyard.registry._redis._layout import Layout
from idlanyard.registry._redis._scripts import Asked, Script
from idlanyard.registry._redis._topology import Known, Slots, Topology

T = TypeVar("T")
Place = Callable[[Known], Node]

_RETRIES: Final = 2
_PAUSE: Final = 0.02
_HOPS: Final = 5
# EVALSHA, the script, how many keys, the first key.
_SCRIPT_KEY: Final = 3


class Route:
    """
    The way of one question to its answer.

    Args:
        topology: what is known of the servers.
        layout: where what is kept.
        timeout: how many seconds the question may take.
        anew: whether each of its steps may take as long.
    """

    def __init__(
        self, topology: Topology, layout: Layout, timeout: float, *, anew: bool = False
    ) -> None:
        self._topology = topology
        self._layout = layout
        self._trip = Trip(timeout)
        self._anew = anew

    def follow(self, question: Steps[T]) -> Course[T]:
        """
        Take the steps to an answer.

        Raises:
            RegistryUnavailable: the servers did not answer.
            RegistryMisconfigured: they never will, as the registry is set up.
        """
        answer: Any = None
        try:
            while True:
                try:
                    method, arguments = question.send(answer)
                except StopIteration as done:
                    value: T = done.value
                    return value
                if self._anew:
                    self._trip.renew()
                answer = yield from _STEPS[method](self, *arguments)
        except FAILURES as error:
            fault = fault_of(error, self._topology.kind)
            fault = fault or _settings.fault_of(error, self._layout)
            if fault is not None:
                raise RegistryMisconfigured("redis", fault) from error
            raise RegistryUnavailable("redis", stale=self._trip.is_stale) from error

    def run(self, script: Script, keys: Sequence[bytes], words: Sequence[Any]) -> Course[Any]:
        """
        Run a script where its first key is.
        """
        rest = (len(keys), *keys, *words)
        try:
            return (yield from self._one(_at(keys[0]), ("EVALSHA", script.sha, *rest)))
        except NoScriptError:
            # SCRIPT LOAD would need every node of a cluster; this tells the one that asks.
            return (yield from self._one(_at(keys[0]), ("EVAL", script.text, *rest)))

    def ask(self, *command: Any) -> Course[Any]:
        """
        Ask where the command's key is; without one, any server.
        """
        return (yield from self._one(_at(_key_of(command)), command))

    def runs(self, asked: Sequence[Asked]) -> Course[list[Any]]:
        """
        Run several scripts at once, each where its first key is.
        """
        commands = [
            ("EVALSHA", script.sha, len(keys), *keys, *words) for script, keys, words in asked
        ]
        answers = yield from self._all(commands)
        while missing := [
            number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)
        ]:
            # Once one of them has told its node the script, the node knows it.
            first, *others = missing
            answers[first] = yield from self.run(*asked[first])
            again = yield from self._all([commands[number] for number in others])
            for number, answer in zip(others, again, strict=True):
                answers[number] = answer
        for number, answer in enumerate(answers):
            if isinstance(answer, Exception):
                answers[number] = yield from self.run(*asked[number])
        return answers

    def batch(self, commands: Sequence[Command]) -> Course[list[Any]]:
        """
        Ask several commands at once, at each node those that concern it.
        """
        answers = yield from self._all(commands)
        for number, answer in enumerate(answers):
            if isinstance(answer, Exception):
                # Its slot is in motion, or it is refused.
                answers[number] = yield from self.ask(*commands[number])
        return answers

    def nodes(self) -> Course[Sequence[Node]]:
        """
        Return all that have keys.
        """
        attempts = _Attempts(self._topology)
        while True:
            try:
                known = self._topology.known or (yield from self._topology.reach(self._trip))
            except FAILURES as error:
                yield from attempts.recover(error)
            else:
                return known.nodes

    def at(self, node: Node | None, *command: Any) -> Course[Any]:
        """
        Ask one node or, where none is given, the one that has the command's key.
        """
        place = _at(_key_of(command)) if node is None else _same(node)
        return (yield from self._one(place, command))

    def told(self, node: Node | None, *command: Any) -> Course[Any]:
        """
        Ask as ``at``; what is refused is nothing, nor is a node of several that is not there.
        """
        known = self._topology.known
        try:
            return (yield from self.at(node, *command))
        except FAILURES as error:
            if isinstance(error, ResponseError) or (known is not None and len(known.nodes) > 1):
                return None
            raise

    def _one(self, place: Place, command: Command) -> Course[Any]:
        """
        Ask one command until it is answered, or may not be asked again.
        """
        attempts = _Attempts(self._topology)
        while True:
            try:
                known = self._topology.known or (yield from self._topology.reach(self._trip))
                node = attempts.go(known, place)
                return (
                    yield from self._trip.ask(
                        node, command, parts=known.parts, is_asking=attempts.is_asking
                    )
                )
            except FAILURES as error:
                yield from attempts.recover(error)

    def _all(self, commands: Sequence[Command]) -> Course[list[Any]]:
        """
        Ask several commands at once, and return the answers, refusals among them.
        """
        answers: dict[int, Any] = {}
        attempts = _Attempts(self._topology)
        while len(answers) < len(commands):
            missing = [number for number in range(len(commands)) if number not in answers]
            try:
                yield from self._round(commands, missing, answers, attempts)
            except FAILURES as error:
                yield from attempts.recover(error)
        return [answers[number] for number in range(len(commands))]

    def _round(
        self,
        commands: Sequence[Command],
        missing: Sequence[int],
        answers: dict[int, Any],
        attempts: _Attempts,
    ) -> Course[None]:
        """
        Ask each node what is still to be asked.
        """
        known = self._topology.known or (yield from self._topology.reach(self._trip))
        groups: dict[Node, list[int]] = {}
        for number in missing:
            node = attempts.go(known, _at(_key_of(commands[number])))
            groups.setdefault(node, []).append(number)
        for node, numbers in groups.items():
            attempts.node = node
            asked = [commands[number] for number in numbers]
            given = yield from self._trip.ask(node, asked, parts=known.parts)
            answers.update(zip(numbers, given, strict=True))


class _Attempts:
    """
    What one step has tried, and where it goes next.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._known: Known | None = None
        self._lost = 0
        self._hops = 0
        self._was_wrong = False
        self._last: Exception | None = None
        self._next: Node | None = None
        self.node: Node | None = None
        self.is_asking = False

    def go(self, known: Known, place: Place) -> Node:
        """
        Return whom to ask: who was named by the one before, or who has the place.
        """
        self._known = known
        self.is_asking = self.is_asking and self._next is not None
        self.node = self._next or place(known)
        self._next = None
        return self.node

    def recover(self, error: Exception) -> Generator[Pause, Any, None]:
        """
        Prepare the next attempt, or raise the error that is the last.

        A refused command has not been done, and a lost answer may be asked for again.
        """
        if isinstance(error, Over):
            raise self._last or error
        self._last = error
        self.is_asking = False
        if isinstance(error, AskError) and isinstance(self._known, Slots):
            yield from self._redirect(error, self._known)
        elif isinstance(error, MovedError):
            self._be_wrong(error)
            self._topology.leave(self._known)
        elif isinstance(error, IN_MOTION):
            if isinstance(error, ClusterDownError):
                self._topology.forget(self._known)
            yield Pause(_PAUSE)
        elif isinstance(error, WRONG_SERVER):
            self._be_wrong(error)
            self._topology.forget(self._known, self.node)
        elif isinstance(error, Lost) and self._lost < _RETRIES and not self._is_fault(error):
            self._lost += 1
            self._topology.forget(self._known, self.node)
            yield Pause(_PAUSE)
        elif isinstance(error, TooLate | TimeoutError):
            yield from self._ask_others(error)
        else:
            raise error

    def _redirect(self, error: AskError, known: Slots) -> Generator[Pause, Any, None]:
        """
        Go where the node says that the slot is, or will be.
        """
        # redis-py has no types for these.
        moved: Any = error
        self._next = moved.host or (self.node or ("", 0))[0], moved.port
        self.is_asking = not isinstance(error, MovedError)
        if not self.is_asking:
            known.move(moved.slot_id, self._next)
        self._hops += 1
        if self._hops > _HOPS:
            yield Pause(_PAUSE)

    def _is_fault(self, error: Exception) -> bool:
        return fault_of(error, self._topology.kind) is not None

    def _be_wrong(self, error: Exception) -> None:
        """
        Allow one answer of a server that is not the right one.
        """
        if self._was_wrong:
            raise error
        self._was_wrong = True

    def _ask_others(self, error: Exception) -> Generator[Pause, Any, None]:
        """
        After a silent server, ask the others who stands in for it.
        """
        known = self._known
        if known is None or known.parts == 1:
            raise error
        self._topology.forget(known, self.node)
        yield Pause(0.0)


def _at(key: bytes | None) -> Place:
    return lambda known: known.node_of(key)


def _same(node: Node) -> Place:
    return lambda _: node


def _key_of(command: Command) -> bytes | None:
    """
    Return the key of a command, which is bytes, or nothing where it has none.
    """
    place = _SCRIPT_KEY if command[0] == "EVALSHA" else 1
    key = command[place] if len(command) > place else None
    return key if isinstance(key, bytes) else None


_STEPS: Final[dict[str, Callable[..., Course[Any]]]] = {
    "run": Route.run,
    "ask": Route.ask,
    "runs": Route.runs,
    "batch": Route.batch,
    "nodes": Route.nodes,
    "at": Route.at,
    "told": Route.told,
}
