"""
The reference: a page for each public module, made from the docstrings.
"""

from __future__ import annotations

import ast
import functools
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from read_source import (
    Definition,
    Function,
    explain_module,
    find_definition,
    list_bases,
    list_modules,
    list_names,
    walk_statements,
)

WIDTH = 88
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
TITLES = {"Args": "argument", "Attributes": "attribute", "Raises": "raises"}
FENCE = re.compile(r"^( *)(`{3,})[^\n]*\n.*?^\1\2`*$", re.DOTALL | re.MULTILINE)
# The methods of a class that say how it is built.
INIT = ("__init__", "__new__")


@dataclass(frozen=True)
class Parameter:
    """
    A parameter of a signature as it is written.
    """

    name: str
    kind: str
    annotation: str = ""
    default: str = ""

    def __str__(self) -> str:
        typed = f"{self.name}: {self.annotation}" if self.annotation else self.name
        equals = " = " if self.annotation else "="
        return f"{typed}{equals}{self.default}" if self.default else typed


@dataclass
class Explanation:
    """
    A docstring by its sections: prose, and the entries of each other section.
    """

    prose: str
    entries: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def read_parameters(function: Function) -> list[Parameter]:
    """
    Return the parameters of a function, and the bare ``*`` and ``/`` between them.
    """
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    parameters = [make_parameter(*pair) for pair in zip(plain, defaults, strict=True)]
    if given.posonlyargs:
        parameters.insert(len(given.posonlyargs), Parameter("/", "mark"))
    if given.vararg:
        parameters.append(make_parameter(given.vararg, None, "*"))
    elif given.kwonlyargs:
        parameters.append(Parameter("*", "mark"))
    pairs = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    parameters += [make_parameter(*pair) for pair in pairs]
    if given.kwarg:
        parameters.append(make_parameter(given.kwarg, None, "**"))
    return parameters


def make_parameter(arg: ast.arg, default: ast.expr | None, stars: str = "") -> Parameter:
    """
    Return a parameter from the syntax tree.
    """
    annotation = ast.unparse(arg.annotation) if arg.annotation else ""
    written = ast.unparse(default) if default else ""
    return Parameter(stars + arg.arg, "parameter", annotation, written)


def read_fields(definition: Definition) -> list[Parameter]:
    """
    Return the fields that the generated ``__init__`` of a dataclass or a named tuple takes.
    """
    positional: dict[str, Parameter] = {}
    named: dict[str, Parameter] = {}
    for one in reversed(list(list_bases(definition))):
        node = one.node
        if not isinstance(node, ast.ClassDef):
            continue
        all_named = any("kw_only=True" in ast.unparse(each) for each in node.decorator_list)
        for statement in node.body:
            all_named = all_named or ast.unparse(statement) == "_: KW_ONLY"
            parameter = read_field(statement)
            if parameter is None:
                continue
            positional.pop(parameter.name, None)
            named.pop(parameter.name, None)
            if parameter.kind != "left out":
                kept = named if all_named or parameter.kind == "named" else positional
                kept[parameter.name] = parameter
    marks = [Parameter("*", "mark")] if named else []
    return [*positional.values(), *marks, *named.values()]


def read_field(statement: ast.stmt) -> Parameter | None:
    """
    Return a field of a dataclass as a parameter, or ``None`` for another statement.
    """
    if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
        return None
    name, annotation = statement.target.id, ast.unparse(statement.annotation)
    if annotation.startswith("ClassVar") or annotation == "KW_ONLY":
        return None
    default, kind = statement.value, "parameter"
    if isinstance(default, ast.Call) and ast.unparse(default.func).endswith("field"):
        options = {word.arg: word.value for word in default.keywords}
        kind = "named" if "kw_only" in options else kind
        kind = "left out" if "init" in options else kind
        factory = options.get("default_factory")
        default = options.get("default")
        if factory is not None:
            return Parameter(name, kind, annotation, f"{ast.unparse(factory)}()")
    return Parameter(name, kind, annotation, ast.unparse(default) if default else "")


def read_signature(definition: Definition) -> list[Parameter] | None:
    """
    Return the parameters of a call of a function or class; ``None`` for other definitions.
    """
    node = definition.node
    if isinstance(node, Function):
        return read_parameters(node)
    if not isinstance(node, ast.ClassDef):
        return None
    if any("dataclass" in ast.unparse(one) for one in node.decorator_list) or any(
        ast.unparse(base) == "NamedTuple" for base in node.bases
    ):
        return read_fields(definition)
    for base in list_bases(definition):
        body = base.node.body if isinstance(base.node, ast.ClassDef) else []
        for one in body:
            if isinstance(one, Function) and one.name in INIT:
                return read_parameters(one)[1:]
    return None


def write_signature(
    opening: str, parameters: list[Parameter] | None, returns: ast.expr | None
) -> str:
    """
    Return a signature as Python, on one line where it fits.
    """
    ending = f" -> {ast.unparse(returns)}" if returns else ""
    if parameters is None:
        return opening + ending
    line = f"{opening}({', '.join(map(str, parameters))}){ending}"
    if len(line) <= WIDTH:
        return line
    inside = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"{opening}(\n{inside}){ending}"


def parse_docstring(text: str) -> Explanation:
    """
    Return the prose of a docstring and the entries of its sections.
    """
    headings = "|".join(SECTIONS)
    parts = re.split(rf"^({headings}):\n", text, flags=re.MULTILINE)
    explanation = Explanation(parts[0].strip())
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        inside = re.match(r"(?:    .*\n?|\n)*", body)
        written = inside.group() if inside else ""
        explanation.entries[title] = list(split_entries(title, written))
        rest = body[len(written) :].strip()
        explanation.prose += f"\n\n{rest}" if rest else ""
    return explanation


def split_entries(title: str, body: str) -> Iterator[tuple[str, str]]:
    """
    Yield the name and text of each entry of a section.
    """
    if title in ("Returns", "Yields"):
        yield "", " ".join(body.split())
        return
    for entry in re.split(r"^    (?=\S)", body, flags=re.MULTILINE)[1:]:
        name, _, text = entry.partition(":")
        yield name.strip(), " ".join(text.split())


def write_code(text: str) -> str:
    """
    Return code that may stand in a cell of a table.
    """
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>" if text else ""


def write_text(text: str) -> str:
    """
    Return a docstring's prose as Markdown.
    """
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
    return re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)


def write_cell(text: str) -> str:
    """
    Return a docstring's prose as a cell of a table.
    """
    pieces = re.split(r"``(.+?)``", text)
    pieces[1::2] = map(write_code, pieces[1::2])
    pieces[::2] = [html.escape(piece, quote=False).replace("|", "&#124;") for piece in pieces[::2]]
    return "".join(pieces)


def write_entries(explanation: Explanation, parameters: list[Parameter]) -> str:
    """
    Return the tables of arguments, attributes and errors, and what is returned.
    """
    known = {parameter.name.lstrip("*"): parameter for parameter in parameters}
    written: list[str] = []
    for title, entries in explanation.entries.items():
        if title in ("Returns", "Yields"):
            written.append(f"**{title}** {write_text(entries[0][1])}")
            continue
        if title == "Args":
            rows = ["| argument | type | default | |", "|---|---|---|---|"]
        else:
            rows = [f"| {TITLES[title]} | |", "|---|---|"]
        for name, text in entries:
            cells = [write_code(name)]
            if title == "Args":
                parameter = known.get(name, Parameter(name, "parameter"))
                cells += [write_code(parameter.annotation), write_code(parameter.default)]
            rows.append(f"| {' | '.join([*cells, write_cell(text)])} |")
        written.append("\n".join(rows))
    return "\n\n".join(written)


def write_name(definition: Definition) -> str:
    """
    Return the section of a public name.
    """
    name, node = definition.name, definition.node
    parts = [f"## {name} {{#{name}}}", f"```python\n{write_head(definition)}\n```"]
    explanation = parse_docstring(definition.text)
    parts.append(write_text(explanation.prose))
    parts.append(write_entries(explanation, read_signature(definition) or []))
    parts.append(f"Source: `{definition.place}`")
    if isinstance(node, ast.ClassDef):
        parts += [write_values(node), *write_members(definition)]
    return "\n\n".join(part for part in parts if part)


def write_head(definition: Definition) -> str:
    """
    Return the signatures of a definition, or the assignment that makes it.
    """
    node = definition.node
    if isinstance(node, ast.ClassDef):
        # A class without a list of arguments is made by a function or method of ours.
        is_called = "\nArgs:\n" in definition.text
        parameters = read_signature(definition) if is_called else None
        return write_signature(f"class {definition.name}", parameters, None)
    if not isinstance(node, Function):
        return ast.unparse(node)
    return "\n".join(
        write_signature(open_function(one), read_parameters(one), one.returns)
        for one in (definition.overloads or (node,))
        if isinstance(one, Function)
    )


def open_function(node: Function, owner: str = "") -> str:
    """
    Return the words of a function's signature before its parentheses.
    """
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{kind} {owner}{node.name}"


def write_values(node: ast.ClassDef) -> str:
    """
    Return the public values of a class, such as the members of an enumeration.
    """
    assigned = [ast.unparse(one) for one in node.body if isinstance(one, ast.Assign)]
    shown = [line for line in assigned if not line.startswith("_")]
    return "\n".join(("```python", *shown, "```")) if shown else ""


def write_members(definition: Definition) -> Iterator[str]:
    """
    Yield the section of each public method and property of a class and its bases.
    """
    seen: set[str] = set()
    for base in list_bases(definition):
        body = base.node.body if isinstance(base.node, ast.ClassDef) else []
        for node, text in walk_statements(body):
            if isinstance(node, Function) and node.name[0] != "_" and node.name not in seen:
                seen.add(node.name)
                yield write_member(definition.name, node, text)


def write_member(owner: str, node: Function, text: str) -> str:
    """
    Return the section of a method or property.
    """
    marks = {ast.unparse(one).rpartition(".")[2] for one in node.decorator_list}
    is_property = bool(marks & {"property", "cached_property"})
    parameters = read_parameters(node)
    parameters = parameters if "staticmethod" in marks else parameters[1:]
    opening = f"{owner}.{node.name}" if is_property else open_function(node, f"{owner}.")
    signature = write_signature(opening, None if is_property else parameters, None)
    if node.returns:
        ending = ": " if is_property else " -> "
        signature += ending + ast.unparse(node.returns)
    explanation = parse_docstring(text)
    parts = [
        f"### {owner}.{node.name} {{#{owner}.{node.name}}}",
        f"```python\n{signature}\n```",
        write_text(explanation.prose),
        write_entries(explanation, parameters),
    ]
    return "\n\n".join(part for part in parts if part)


def change_prose(text: str, change: Callable[[str], str]) -> str:
    """
    Return a page with everything but its blocks of code changed.
    """
    parts: list[str] = []
    end = 0
    for fence in FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def write_module(module: str) -> str:
    """
    Return the page of a module.
    """
    parts = [f"# {module}", write_text(explain_module(module))]
    for name in list_names(module):
        definition = find_definition(module, name)
        if definition is None:
            raise SystemExit(f"{module}.{name} has no definition")
        parts.append(write_name(definition))
    return change_prose("\n\n".join(parts) + "\n", lambda prose: link_words(prose, module))


@functools.cache
def list_anchors(module: str) -> frozenset[str]:
    """
    Return the anchors of a module's page: its names and their members.
    """
    names = list_names(module)
    found = [find_definition(module, name) for name in names]
    members = "\n".join("\n".join(write_members(one)) for one in found if one is not None)
    return frozenset([*names, *re.findall(r"^### .*\{#(.+)\}$", members, re.MULTILINE)])


def link_words(prose: str, module: str) -> str:
    """
    Return prose in which code that is a name leads to its explanation.

    The names are those of the page's own module, and then those of ``idlanyard``.
    """

    def link(code: re.Match[str]) -> str:
        word = html.unescape(code[1] or code[2])
        for home in (module, "idlanyard"):
            if word in list_anchors(home):
                place = f"#{word}" if home == module else f"{home}.md#{word}"
                return f"[{code.group()}]({place})"
        return code.group()

    return re.sub(r"`([\w.]+)`|<code>([\w.]+)</code>", link, prose)


def summarize_module(module: str) -> str:
    """
    Return the first paragraph of the docstring of a module, on one line.
    """
    return " ".join(explain_module(module).partition("\n\n")[0].split())


def write_index(modules: list[str]) -> str:
    """
    Return the page that lists the modules.
    """
    rows = [
        f"| [`{module}`]({module}.md) | {write_cell(summarize_module(module))} | "
        f"{', '.join(f'[{write_code(name)}]({module}.md#{name})' for name in list_names(module))} |"
        for module in modules
    ]
    return (
        "# Reference\n\nEvery public name, from the docstrings. Options of a policy, settings and "
        "environment variables are in [Every setting](../settings.md).\n\n"
        "| module | | names |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def write_pages() -> dict[str, str]:
    """
    Return the pages of the reference by their file names.
    """
    modules = list_modules()
    pages = {f"{module}.md": write_module(module) for module in modules}
    return {"index.md": write_index(modules), **pages}
