"""
The pages of the repository as the pages of the site: GitHub and the renderer of the site read
some Markdown differently.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from posixpath import normpath, relpath

from build_reference import change_prose, write_code
from read_source import ROOT, list_names

# The pages of the repository that have another place on the site.
MOVED = {
    "README.md": "index.md",
    "docs/index.md": "all_pages.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "MIGRATION.md": "migration.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
ITEM = re.compile(r" {0,3}(?:[-*]|\d+\.) +")


def place_of(path: str) -> str:
    """
    Return the path on the site of a file of the repository.
    """
    return MOVED.get(path, path.removeprefix("docs/"))


def indent_lists(text: str) -> str:
    """
    Return a page whose lists are indented by four, as the renderer wants them.

    On GitHub what belongs to an item begins in the column of the item's text, and an item may
    follow a paragraph of the item before.
    """
    lines: list[str] = []
    columns: list[int] = []
    fence, begun = "", 0
    for line in text.split("\n"):
        words = line.lstrip(" ")
        if words and not fence:
            while columns and len(line) - len(words) < columns[-1]:
                columns.pop()
        inside = line[columns[-1] :] if columns and words else line
        item = ITEM.match(inside)
        if item and not fence and lines[-1:] != [""] and "" in lines[begun:]:
            lines.append("")
        begun = len(lines) if item and not fence else begun
        lines.append(" " * 4 * len(columns) + inside if words else line)
        if fence:
            fence = "" if words.strip() == fence else fence
        elif words.startswith("```"):
            fence = words[: len(words) - len(words.lstrip("`"))]
        elif item and words:
            columns.append((columns[-1] if columns else 0) + item.end())
    return "\n".join(lines)


def move_links(prose: str, source: str) -> str:
    """
    Return prose whose links lead to the places on the site.
    """
    here = PurePosixPath(source).parent.as_posix()
    place = PurePosixPath(place_of(source)).parent.as_posix()

    def move(link: re.Match[str]) -> str:
        target = place_of(normpath(f"{here}/{link[1]}"))
        return f"]({relpath(target, place)}{link[2] or ''})"

    return LINK.sub(move, prose)


def write_pipes(prose: str) -> str:
    """
    Return prose whose tables have bars in code as the renderer reads them.
    """
    lines = [
        re.sub(r"`([^`]*\\\|[^`]*)`", lambda code: write_code(code[1].replace(r"\|", "|")), line)
        if line.startswith("|")
        else line
        for line in prose.split("\n")
    ]
    return "\n".join(lines)


def link_examples(prose: str) -> str:
    """
    Return prose in which the names of examples lead to their source.
    """
    return re.sub(r"(?<!\[)`examples/(\w+)\.py`", r"[`examples/\1.py`](examples.md#\1)", prose)


def link_names(prose: str) -> str:
    """
    Return the page of all names with links to the reference.
    """
    names = set(list_names("idlanyard"))

    def link(code: re.Match[str]) -> str:
        name = re.match(r"\w+", code[1])
        if name is None or name.group() not in names:
            return code.group()
        return f"[{code.group()}](reference/idlanyard.md#{name.group()})"

    return re.sub(r"(?<!\[)`([^`\n]+)`(?!\])", link, prose)


def adapt_page(source: str) -> str:
    """
    Return a page of the repository as a page of the site.
    """
    text = indent_lists(ROOT.joinpath(source).read_text(encoding="utf-8"))

    def change(prose: str) -> str:
        prose = write_pipes(move_links(prose, source))
        prose = link_names(prose) if source == "docs/names.md" else prose
        return link_examples(prose)

    return change_prose(text, change) + link_module(PurePosixPath(source).stem)


def link_module(stem: str) -> str:
    """
    Return the last line of a page about a module: the link to its reference.
    """
    for module in (f"idlanyard.integrations.{stem}", f"idlanyard.{stem}"):
        if list_names(module):
            return f"\nThe names of this module: [`{module}`](reference/{module}.md).\n"
    return ""
