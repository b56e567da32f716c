"""
Route of each step to a server, and what to do after a failure. Pure.

Every command of the registry may be sent twice: the second time it does nothing
more and has the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, TypeVar

from redis.exceptions import AskError, ClusterDownError, MovedError, NoScriptError, ResponseError
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import TimeoutError as TooLate

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._exchanges import Command, Exchange, Pause, TimeBudget
from idlanyard.registry._redis._faults import FAILURES, IN_MOTION, WRONG_SERVER, Over, fault_of
from idlanyard.registry._redis._keys import Namespace
from idlanyard.registry._redis._scripts import Script, ScriptCall
from idlanyard.registry._redis._settings import namespace_fault
from idlanyard.registry._redis._topology import Servers, Slots, Topology
from idlanyard.registry._redis._url import Node

T = TypeVar("T")
Where = Callable[[Servers], Node]

_RETRIES: Final = 2
_PAUSE: Final = 0.02
_HOPS: Final = 5
# EVALSHA, the script, how many keys, the first key.
_SCRIPT_KEY: Final = 3


class Route:
    """
    Route of one question to its answer.

    Args:
        topology: knowledge of the servers.
        space: names of the keys.
        timeout: the most seconds that the question may take.
        anew: whether each step may take as long.
    """

    def __init__(
        self, topology: Topology, space: Namespace, timeout: float, *, anew: bool = False
    ) -> None:
        self._topology = topology
        self._space = space
        self._budget = TimeBudget(timeout)
        self._anew = anew

    def follow(self, steps: Steps[T]) -> Exchange[T]:
        """
        Take the steps to an answer.

        Raises:
            RegistryUnavailable: the servers failed or did not answer in time.
            RegistryMisconfigured: waiting will not help.
        """
        answer: Any = None
        try:
            while True:
                try:
                    method, arguments = steps.send(answer)
                except StopIteration as done:
                    value: T = done.value
                    return value
                if self._anew:
                    self._budget.renew()
                answer = yield from _STEPS[method](self, *arguments)
        except FAILURES as error:
            fault = fault_of(error, self._topology.kind)
            fault = fault or namespace_fault(error, self._space)
            if fault is not None:
                raise RegistryMisconfigured("redis", fault) from error
            raise RegistryUnavailable("redis", stale=self._budget.is_stale) from error

    def run(self, script: Script, keys: Sequence[bytes], words: Sequence[Any]) -> Exchange[Any]:
        """
        Run a script at the node of its first key.
        """
        rest = (len(keys), *keys, *words)
        try:
            return (yield from self._send_one(_by_key(keys[0]), ("EVALSHA", script.sha, *rest)))
        except NoScriptError:
            # EVAL makes the script known at this node; SCRIPT LOAD would need every node.
            return (yield from self._send_one(_by_key(keys[0]), ("EVAL", script.text, *rest)))

    def try_run(self, script: Script, keys: Sequence[bytes], words: Sequence[Any]) -> Exchange[Any]:
        """
        Run a script that may as well run later: once, and return ``None`` if it fails.
        """
        rest = (len(keys), *keys, *words)
        try:
            known = self._topology.known or (yield from self._topology.reach(self._budget))
            node = _by_key(keys[0])(known)
            try:
                command: Command = ("EVALSHA", script.sha, *rest)
                return (yield from self._budget.send(node, command, parts=known.parts))
            except NoScriptError:
                command = ("EVAL", script.text, *rest)
                return (yield from self._budget.send(node, command, parts=known.parts))
        except FAILURES:
            return None

    def send(self, *command: Any) -> Exchange[Any]:
        """
        Send a command to the node of its key, or to any node if it has no key.
        """
        return (yield from self._send_one(_by_key(_key_of(command)), command))

    def run_all(self, calls: Sequence[ScriptCall]) -> Exchange[list[Any]]:
        """
        Run several scripts at once, each at the node of its first key.
        """
        commands = [
            ("EVALSHA", script.sha, len(keys), *keys, *words) for script, keys, words in calls
        ]
        answers = yield from self._send_every(commands)
        while missing := [
            number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)
        ]:
            # One EVAL makes a script known for all calls of it at the same node.
            first, *others = missing
            answers[first] = yield from self.run(*calls[first])
            again = yield from self._send_every([commands[number] for number in others])
            for number, answer in zip(others, again, strict=True):
                answers[number] = answer
        for number, answer in enumerate(answers):
            if isinstance(answer, Exception):
                answers[number] = yield from self.run(*calls[number])
        return answers

    def send_all(self, commands: Sequence[Command]) -> Exchange[list[Any]]:
        """
        Send several commands at once, each to the node of its key.
        """
        answers = yield from self._send_every(commands)
        for number, answer in enumerate(answers):
            if isinstance(answer, Exception):
                # Its slot is being moved, or it is refused, which raises here.
                answers[number] = yield from self.send(*commands[number])
        return answers

    def nodes(self) -> Exchange[Sequence[Node]]:
        """
        Return all nodes that have keys.
        """
        attempts = _Attempts(self._topology)
        while True:
            try:
                known = self._topology.known or (yield from self._topology.reach(self._budget))
            except FAILURES as error:
                yield from attempts.recover(error)
            else:
                return known.nodes

    def send_to(self, node: Node | None, *command: Any) -> Exchange[Any]:
        """
        Send a command to a node, or to the node of its key if *node* is ``None``.
        """
        where = _by_key(_key_of(command)) if node is None else _at_node(node)
        return (yield from self._send_one(where, command))

    def try_send_to(self, node: Node | None, *command: Any) -> Exchange[Any]:
        """
        Send as ``send_to`` does; return ``None`` for a refusal, or if one of several nodes is down.
        """
        known = self._topology.known
        try:
            return (yield from self.send_to(node, *command))
        except FAILURES as error:
            if isinstance(error, ResponseError) or (known is not None and len(known.nodes) > 1):
                return None
            raise

    def _send_one(self, where: Where, command: Command) -> Exchange[Any]:
        """
        Send one command until it is answered or its failure is final.
        """
        attempts = _Attempts(self._topology)
        while True:
            try:
                known = self._topology.known or (yield from self._topology.reach(self._budget))
                node = attempts.choose_node(known, where)
                return (
                    yield from self._budget.send(
                        node, command, parts=known.parts, is_asking=attempts.is_asking
                    )
                )
            except FAILURES as error:
                yield from attempts.recover(error)

    def _send_every(self, commands: Sequence[Command]) -> Exchange[list[Any]]:
        """
        Send several commands at once; return the answers, with refusals as exceptions among them.
        """
        answers: dict[int, Any] = {}
        attempts = _Attempts(self._topology)
        while len(answers) < len(commands):
            missing = [number for number in range(len(commands)) if number not in answers]
            try:
                yield from self._send_missing(commands, missing, answers, attempts)
            except FAILURES as error:
                yield from attempts.recover(error)
        return [answers[number] for number in range(len(commands))]

    def _send_missing(
        self,
        commands: Sequence[Command],
        missing: Sequence[int],
        answers: dict[int, Any],
        attempts: _Attempts,
    ) -> Exchange[None]:
        """
        Send the commands that have no answer yet, node by node.
        """
        known = self._topology.known or (yield from self._topology.reach(self._budget))
        groups: dict[Node, list[int]] = {}
        for number in missing:
            node = attempts.choose_node(known, _by_key(_key_of(commands[number])))
            groups.setdefault(node, []).append(number)
        for node, numbers in groups.items():
            attempts.node = node
            asked = [commands[number] for number in numbers]
            given = yield from self._budget.send(node, asked, parts=known.parts)
            answers.update(zip(numbers, given, strict=True))


class _Attempts:
    """
    Attempts of one step: those that failed, and the node to try next.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._known: Servers | None = None
        self._lost = 0
        self._hops = 0
        self._was_wrong = False
        self._last: Exception | None = None
        self._next: Node | None = None
        self.node: Node | None = None
        self.is_asking = False

    def choose_node(self, known: Servers, where: Where) -> Node:
        """
        Return the node to ask: the one that the last answer named, else the right one.
        """
        self._known = known
        self.is_asking = self.is_asking and self._next is not None
        self.node = self._next or where(known)
        self._next = None
        return self.node

    def recover(self, error: Exception) -> Generator[Pause, Any, None]:
        """
        Prepare the next attempt, or raise the error if it is final.

        A refused command was not run; a command whose answer was lost may be sent again.
        """
        if isinstance(error, Over):
            # A slot that was moved until the time was over is no fault of the setup.
            raise error if isinstance(self._last, MovedError) else self._last or error
        self._last = error
        self.is_asking = False
        if isinstance(error, AskError) and isinstance(self._known, Slots):
            yield from self._redirect(error, self._known)
        elif isinstance(error, MovedError):
            self._allow_wrong_server(error)
            self._topology.leave(self._known)
        elif isinstance(error, IN_MOTION):
            if isinstance(error, ClusterDownError):
                self._topology.forget(self._known)
            yield Pause(_PAUSE)
        elif isinstance(error, WRONG_SERVER):
            self._allow_wrong_server(error)
            self._topology.forget(self._known, self.node)
        elif isinstance(error, Lost) and self._lost < _RETRIES and not self._is_fault(error):
            self._lost += 1
            self._topology.forget(self._known, self.node)
            yield Pause(_PAUSE)
        elif isinstance(error, TooLate | TimeoutError):
            yield from self._forget_silent(error)
        else:
            raise error

    def _redirect(self, error: AskError, known: Slots) -> Generator[Pause, Any, None]:
        """
        Go to the node that has the slot, or is about to get it.
        """
        # redis-py 8.1 does not declare these attributes.
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

    def _allow_wrong_server(self, error: Exception) -> None:
        """
        Allow one answer of a wrong server; raise the second.
        """
        if self._was_wrong:
            raise error
        self._was_wrong = True

    def _forget_silent(self, error: Exception) -> Generator[Pause, Any, None]:
        """
        After a server did not answer, find out whether another one has replaced it.
        """
        known = self._known
        if known is None or known.parts == 1:
            raise error
        self._topology.forget(known, self.node)
        yield Pause(0.0)


def _by_key(key: bytes | None) -> Where:
    return lambda known: known.node_of(key)


def _at_node(node: Node) -> Where:
    return lambda _: node


def _key_of(command: Command) -> bytes | None:
    """
    Return the key of a command, or ``None`` if it has none: keys are bytes, other words text.
    """
    position = _SCRIPT_KEY if command[0] == "EVALSHA" else 1
    key = command[position] if len(command) > position else None
    return key if isinstance(key, bytes) else None


_STEPS: Final[dict[str, Callable[..., Exchange[Any]]]] = {
    "run": Route.run,
    "try_run": Route.try_run,
    "send": Route.send,
    "run_all": Route.run_all,
    "send_all": Route.send_all,
    "nodes": Route.nodes,
    "send_to": Route.send_to,
    "try_send_to": Route.try_send_to,
}
