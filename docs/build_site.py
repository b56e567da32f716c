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
from collections.abc import Iterator
from posixpath import normpath

from adapt_pages import MOVED, adapt_page, place_of
from build_reference import write_pages
from check_site import find_faults
from read_source import ROOT

PAGES = ROOT / "build" / "pages"
SITE = ROOT / "build" / "site"


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
            yield "        - [Overview](reference/index.md)"
            for page in reference:
                if page != "index.md":
                    title = page.removesuffix(".md").removeprefix("idlanyard.")
                    yield f"        - [{title}](reference/{page})"
    yield "    - [Source of the examples](examples.md)"
    yield "- [All pages](all_pages.md)"


def write_all() -> None:
    """
    Write every page below ``build/pages``.
    """
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.joinpath("reference").mkdir(parents=True)
    for folder in ("plots", "screenshots"):
        shutil.copytree(ROOT / "docs" / folder, PAGES / folder)
    shutil.copy(ROOT / "docs" / "site.css", PAGES)
    sources = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))
    for source in [*sources, *(name for name in MOVED if name not in sources)]:
        PAGES.joinpath(place_of(source)).write_text(adapt_page(source), encoding="utf-8")
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
