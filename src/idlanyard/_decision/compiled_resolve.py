"""
``compile_resolve``: the decision, written out for the IDs of one policy.

Most requests raise no question: each ID is absent or is in its own header once, is
valid, and needs no more than a trusted sender. For these a function is written whose
statements name each ID of the policy, as ``dataclasses`` writes an ``__init__``: loops
over the IDs would take as long again as everything that they do. The first question of
a request passes it on to ``resolve``, which decides on any request and says the same.

The text has the names of headers in it, quoted by ``repr``, and numbers. Functions and
objects are variables of a function around it, which cost less to read than globals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any, Final, NamedTuple, TypeAlias

from idlanyard._binding.state import RequestIDs, forced
from idlanyard._decision.compiled_spec import CompiledSpec
from idlanyard._decision.plan import CompiledPolicy
from idlanyard._decision.protocols import Pair
from idlanyard._decision.resolve import Resolution, force_ids, resolve
from idlanyard._decision.trust import judge_sender
from idlanyard._policy.peers import LONGEST_LIST
from idlanyard.ids import Provenance

Resolve: TypeAlias = Callable[[Sequence[Pair], Any], Resolution]
"""
Returns the resolution of a request that no middleware around this one has decided on.
Its arguments are the headers of the request, which WSGI leaves empty, and the ``scope``
or ``environ``.
"""

# So many names are compared one after the other, more of them by halves.
_IN_ORDER: Final = 4


class _ID(NamedTuple):
    """
    The shape of one ID.

    Attributes:
        number: its place among the IDs of the policy.
        rank: its place among them in the order of their headers.
        position: its place among the values of a request.
        is_quick: whether a line of its header need raise no question.
        needs_proof: whether only a trusted sender may set it.
        provenance: the provenance of a value that is accepted, by its name.
        mints: whether one is made for a request without it.
        is_required: whether a request without it raises a question.
        key: the key of its header, written as Python does.
        echo_name: its header on responses in the same way, or ``None``.
        forward_key: the header in which the application sees a minted one, or ``None``.
    """

    number: int
    rank: int
    position: int
    is_quick: bool
    needs_proof: bool
    provenance: str
    mints: bool
    is_required: bool
    key: str
    echo_name: str | None
    forward_key: str | None


class _Shape(NamedTuple):
    """
    Everything that the text of the function depends on.

    Attributes:
        ids: the IDs of the policy.
        others: the keys of the other watched headers, written as Python does.
        connection: the key of ``Connection`` in the same way, which is not among them.
        width: the number of values, without their provenances.
        is_binary: whether headers are pairs of bytes, or else the text of an ``environ``.
        may_exclude: whether there are paths for which nothing is bound.
    """

    ids: tuple[_ID, ...]
    others: tuple[str, ...]
    connection: str
    width: int
    is_binary: bool
    may_exclude: bool


def compile_resolve(plan: CompiledPolicy) -> Resolve:
    """
    Return the decision of a policy, which is that of ``resolve``.
    """
    # Tuples, since each call copies every variable that the function finds around it.
    names: dict[str, Any] = {
        **Provenance.__members__,
        "LONGEST": LONGEST_LIST,
        "NOTHING": (),
        "RequestIDs": RequestIDs,
        "excludes": plan.excludes,
        "find_lines": plan.find_lines,
        "fits": tuple(spec.fits for spec in plan.specs),
        "force_ids": force_ids,
        "forced": forced,
        "judge_sender": judge_sender,
        "mints": tuple(spec.quick_mint for spec in plan.specs),
        "names": tuple(spec.name for spec in plan.specs),
        "nameless": plan.nameless_connections,
        "naming": plan.naming,
        "plan": plan,
        "policy": plan.policy,
        "resolve_any": resolve,
        "spellings": tuple(spec.spellings for spec in plan.specs),
        # In an order that is the same in every process, since the first refusal is the answer.
        "watched": plan.watched_names if plan.binary else plan.watched,
    }
    found: dict[str, Any] = {}
    exec(_compile_text(_find_shape(plan), (*names,)), found)  # noqa: S102 - see above
    # Popped, since the globals of a function that have it are a cycle, which keeps the plan and
    # the IDs that its policy declares until the garbage collector comes.
    decide: Resolve = found.pop("bind")(**names)
    return decide


def _find_shape(plan: CompiledPolicy) -> _Shape:
    keys = sorted(spec.key for spec in plan.specs)
    apart = {plan.connection_key, *(spec.key for spec in plan.specs if spec.is_quick)}
    return _Shape(
        ids=tuple(
            _find_id(number, keys.index(spec.key), spec) for number, spec in enumerate(plan.specs)
        ),
        others=tuple(repr(key) for key in plan.watched if key not in apart),
        connection=repr(plan.connection_key),
        width=plan.width,
        is_binary=plan.binary,
        may_exclude=plan.may_exclude,
    )


def _find_id(number: int, rank: int, spec: CompiledSpec) -> _ID:
    return _ID(
        number=number,
        rank=rank,
        position=spec.index,
        is_quick=spec.is_quick,
        needs_proof=spec.needs_proof,
        provenance=spec.provenance.name,
        mints=spec.quick_mint is not None,
        is_required=spec.always_settled and spec.quick_mint is None,
        key=repr(spec.key),
        echo_name=None if spec.echo_name is None else repr(spec.echo_name),
        forward_key=None if spec.forward_key is None else repr(spec.forward_key),
    )


# Tests and commands make hundreds of policies, of few shapes.
@lru_cache(maxsize=64)
def _compile_text(shape: _Shape, names: tuple[str, ...]) -> CodeType:
    text = [f"def bind({', '.join(names)}):", *_indent(write_resolve(shape)), "    return resolve"]
    return compile("\n".join(text), "<idlanyard: resolve>", "exec")


def write_resolve(shape: _Shape) -> Iterator[str]:
    """
    Yield the lines of the function for policies of a shape.
    """
    yield "def resolve(lines, raw):"
    if shape.may_exclude:
        yield "    if excludes(raw):"
        yield f"        {_ask(shape)}"
    for one in shape.ids:
        yield f"    id_{one.number} = how_{one.number} = None"
    yield "    is_claimed = False"
    yield "    removed = added = None"
    yield "    rejected = NOTHING"
    yield from _indent(_scan_lines(shape) if shape.is_binary else _look_up_keys(shape))
    # Before any is minted, which resolve does once more.
    for one in shape.ids:
        if one.is_required:
            yield f"    if id_{one.number} is None:"
            yield f"        {_ask(shape)}"
    yield from _indent(_mint_ids(shape))
    if any(map(_may_be_absent, shape.ids)):
        # One question for all of them, since most requests have none.
        yield "    if is_claimed:"
        yield from _indent(_judge_proven(shape), 2)
        for one in shape.ids:
            if _may_be_absent(one) and not one.needs_proof:
                yield from _indent(_accept_value(shape, one), 2)
    yield from _indent(_make_resolution(shape))


def _may_be_absent(one: _ID) -> bool:
    return one.is_quick and not one.mints


def _ask(shape: _Shape) -> str:
    lines = "lines" if shape.is_binary else "find_lines(raw, watched)"
    return f"return resolve_any(plan, {lines}, raw)"


def _indent(lines: Iterable[str], levels: int = 1) -> Iterator[str]:
    return ("    " * levels + line for line in lines)


def _scan_lines(shape: _Shape) -> Iterator[str]:
    """
    Yield the loop over a list of headers, any of which may be there more than once.
    """
    quick = sorted((one for one in shape.ids if one.is_quick), key=lambda one: one.rank)
    yield "length = 0"
    yield "for name, value in lines:"
    yield "    if name in watched:"
    yield from _indent(_choose_id(shape, quick), 2)


def _choose_id(shape: _Shape, ids: Sequence[_ID]) -> Iterator[str]:
    if len(ids) > _IN_ORDER:
        middle = len(ids) // 2
        yield f"if name < {ids[middle].key}:"
        yield from _indent(_choose_id(shape, ids[:middle]))
        yield "else:"
        yield from _indent(_choose_id(shape, ids[middle:]))
        return
    for one in ids:
        number = one.number
        yield f"if name == {one.key}:"
        yield f"    if id_{number} is not None or not fits[{number}](value):"
        yield f"        {_ask(shape)}"
        yield f"    id_{number} = value"
        if _may_be_absent(one):
            yield "    is_claimed = True"
        yield "    continue"
    yield f"if name != {shape.connection}:"
    yield f"    {_ask(shape)}"
    yield "if value not in nameless:"
    yield "    length += len(value)"
    yield "    if length > LONGEST or naming[value]:"
    yield f"        {_ask(shape)}"


def _look_up_keys(shape: _Shape) -> Iterator[str]:
    """
    Yield a look for each key of an environ, in which the server has joined repeated headers.
    """
    for one in shape.ids:
        if one.is_quick:
            yield f"if {one.key} in raw:"
            yield f"    id_{one.number} = raw[{one.key}]"
            yield f"    if not fits[{one.number}](id_{one.number}):"
            yield f"        {_ask(shape)}"
            if _may_be_absent(one):
                yield "    is_claimed = True"
    yield f"if {shape.connection} in raw:"
    yield f"    value = raw[{shape.connection}]"
    yield "    if value not in nameless and (len(value) > LONGEST or naming[value]):"
    yield f"        {_ask(shape)}"
    for key in shape.others:
        yield f"if {key} in raw:"
        yield f"    {_ask(shape)}"


def _mint_ids(shape: _Shape) -> Iterator[str]:
    """
    Yield the statements that mint the IDs which every request has, and begin the echo.
    """
    minted = [one for one in shape.ids if one.mints]
    shown = [one for one in minted if one.forward_key is not None]
    for one in minted:
        number, text = one.number, _name_text(shape, one)
        yield f"if id_{number} is None:"
        yield f"    {text} = mints[{number}]()"
        if shape.is_binary:
            yield f"    id_{number} = {text}.encode()"
        yield f"    how_{number} = MINTED"
        if one in shown:
            others = "" if one is shown[0] else "*(added or NOTHING), "
            yield f"    added = [{others}({one.forward_key}, id_{number})]"
        if one.is_quick:
            yield "else:"
            if shape.is_binary:
                yield f"    {text} = id_{number}.decode()"
            yield f"    how_{number} = {one.provenance}"
    pairs = [f"({one.echo_name}, id_{one.number})" for one in minted if one.echo_name]
    yield f"echo = [{', '.join(pairs)}]"


def _name_text(shape: _Shape, one: _ID) -> str:
    # One that is echoed for certain is still needed as bytes.
    return f"text_{one.number}" if shape.is_binary and one.mints else f"id_{one.number}"


def _judge_proven(shape: _Shape) -> Iterator[str]:
    """
    Yield the statements that accept or drop IDs which only a trusted sender may set.
    """
    proven = [one for one in shape.ids if one.is_quick and one.needs_proof]
    if not proven:
        return
    yield f"if {' or '.join(f'id_{one.number} is not None' for one in proven)}:"
    yield "    verdict = judge_sender(plan, None, raw)"
    yield "    if verdict:"
    yield "        removed, rejected = set(), []"
    for one in proven:
        number = one.number
        yield f"        if id_{number} is not None:"
        yield f"            id_{number} = None"
        yield f"            removed |= spellings[{number}]"
        yield f"            rejected.append((names[{number}], verdict))"
    yield "    else:"
    for one in proven:
        yield from _indent(_accept_value(shape, one), 2)


def _accept_value(shape: _Shape, one: _ID) -> Iterator[str]:
    """
    Yield the statements that add an ID to the echo, and make it text.
    """
    number = one.number
    yield f"if id_{number} is not None:"
    if one.echo_name is not None:
        yield f"    echo.append(({one.echo_name}, id_{number}))"
    if shape.is_binary:
        yield f"    id_{number} = id_{number}.decode()"
    yield f"    how_{number} = {one.provenance}"


def _make_resolution(shape: _Shape) -> Iterator[str]:
    texts = {one.position: _name_text(shape, one) for one in shape.ids}
    proofs = {one.position: f"how_{one.number}" for one in shape.ids}
    places = range(shape.width)
    values = [*(texts.get(n, "None") for n in places), *(proofs.get(n, "None") for n in places)]
    yield "inner = RequestIDs()"
    yield f"inner.values = ({', '.join(values)},)"
    yield "inner.echo = echo"
    yield "inner.policy = policy"
    yield "inner.open = True"
    yield f"inner.binary = {shape.is_binary}"
    yield "edits = None"
    yield "if removed is not None or added is not None:"
    yield "    edits = (removed or NOTHING, added or [])"
    yield "if forced:"
    yield "    return force_ids(plan, (inner, edits, None, rejected))"
    yield "return inner, edits, None, rejected"
