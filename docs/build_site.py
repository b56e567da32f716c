"""
Build the documentation as a site: ``python docs/build_site.py`` writes ``build/site``.

The pages of docs/, README and the other pages at the top are copied to ``build/pages`` beside
the reference that is made from the docstrings, and zensical renders them. A link that leads
nowhere, a page that the navigation lacks, and anything that a browser would fetch from
elsewhere end the build.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from posixpath import normpath, relpath

from build_reference import write_code, write_pages
from check_site import find_faults
from read_source import ROOT, list_names

PAGES = ROOT / "build" / "pages"
SITE = ROOT / "build" / "site"
# The pages of the repository that have another place on the site.
MOVED = {
    "README.md": "index.md",
    "docs/index.md": "all_pages.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "MIGRATION.md": "migration.md",
    "SECURITY.md": "security.md",
}
FENCE = re.compile(r"^( *)(`{3,})[^\n]*\n.*?^\1\2`*$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def place_of(path: str) -> str:
    """
    Return the path on the site of a file of the repository.
    """
    return MOVED.get(path, path.removeprefix("docs/"))


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


def write_page(source: str) -> str:
    """
    Return a page of the repository as a page of the site.
    """
    text = ROOT.joinpath(source).read_text(encoding="utf-8")

    def change(prose: str) -> str:
        prose = write_pipes(move_links(prose, source))
        prose = link_names(prose) if source == "docs/names.md" else prose
        return link_examples(prose)

    return change_prose(text, change)


def write_examples() -> str:
    """
    Return the page with the source of each example.
    """
    parts = ["# Examples", "Each is a program to start, by the line at its top."]
    for path in sorted(ROOT.joinpath("examples").glob("*.py")):
        code = path.read_text(encoding="utf-8").rstrip()
        parts += [f"## {path.name} {{#{path.stem}}}", f"```python\n{code}\n```"]
    return "\n\n".join(parts) + "\n"


def write_navigation(index: str, reference: list[str]) -> Iterator[str]:
    """
    Yield the lines of the navigation: the sections of the page of all pages.

    Args:
        index: the text of that page.
        reference: the pages that are made from the docstrings.
    """
    yield "- [Home](index.md)"
    listed = {"index.md"}
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        yield f"- {title}"
        for text, page in re.findall(r"\[([^\]]+)\]\(([^)#]+\.md)\)", body):
            place = place_of(normpath(f"docs/{page}"))
            if place not in listed:
                listed.add(place)
                yield f"    - [{text}]({place})"
        if title == "Reference":
            yield "    - Modules"
            yield from (f"        - [{page[:-3]}](reference/{page})" for page in reference)
    yield "    - [Source of the examples](examples.md)"
    yield "- [All pages](all_pages.md)"


def write_all() -> None:
    """
    Write every page below ``build/pages``.
    """
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.joinpath("reference").mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "plots", PAGES / "plots")
    sources = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))
    for source in [*sources, *(name for name in MOVED if name not in sources)]:
        PAGES.joinpath(place_of(source)).write_text(write_page(source), encoding="utf-8")
    reference = write_pages()
    for name, text in reference.items():
        PAGES.joinpath("reference", name).write_text(text, encoding="utf-8")
    PAGES.joinpath("examples.md").write_text(write_examples(), encoding="utf-8")
    index = ROOT.joinpath("docs", "index.md").read_text(encoding="utf-8")
    navigation = "\n".join(write_navigation(index, list(reference)))
    PAGES.joinpath("navigation.md").write_text(navigation + "\n", encoding="utf-8")


def main() -> None:
    """
    Write the pages, render them strictly, and check the site.
    """
    write_all()
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    subprocess.run(command, cwd=ROOT, check=True)
    SITE.joinpath("navigation.html").unlink(missing_ok=True)
    faults = find_faults(SITE)
    if faults:
        raise SystemExit("\n".join(faults))
    print(f"The site is in {SITE}: {sum(1 for _ in SITE.rglob('*.html'))} pages.")


if __name__ == "__main__":
    main()
