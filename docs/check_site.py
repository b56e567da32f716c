"""
Check a built site: every link and anchor is there, nothing is fetched from elsewhere, and no
Markdown is left as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes that make a browser fetch something, by the tag that has them.
FETCHED = {
    "audio": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "link": ("href",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
}
# Tags whose text is shown as it is, or not at all.
QUOTED = ("code", "pre", "script", "style")
MARKUP = re.compile(r"`|\*\*|\]\(|\|---|\{#")


class Page(HTMLParser):
    """
    The links of a page, what it fetches, its anchors, and the Markdown that is left in it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = {""}
        self.left: list[str] = []
        self._quoted = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """
        Note the links and anchors of a tag.
        """
        self._quoted += tag in QUOTED
        given = {name: value for name, value in attrs if value}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        for name in FETCHED.get(tag, ()):
            if name in given and given.get("rel") != "canonical":
                self.fetched.append(given[name].split(" ")[0])

    def handle_endtag(self, tag: str) -> None:
        """
        Note that a tag is closed.
        """
        self._quoted -= tag in QUOTED

    def handle_data(self, data: str) -> None:
        """
        Note text that is Markdown.
        """
        if not self._quoted and MARKUP.search(data):
            self.left.append(data.strip())


def find_faults(site: Path) -> list[str]:
    """
    Return a sentence for each fault of the site.
    """
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    faults = [
        f"{path.relative_to(site)}: {fault}"
        for path, page in pages.items()
        # Its paths begin at the root of the server, wherever that is.
        if path.name != "404.html"
        for fault in find_page_faults(path, page, pages)
    ]
    return faults + list(find_style_faults(site))


def find_page_faults(path: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    """
    Yield the faults of one page.
    """
    for text in page.left:
        yield f"{text!r} is Markdown that is not rendered"
    for link in page.fetched:
        if urlsplit(link).scheme != "data" and not find_target(path, link):
            yield f"{link} is fetched from elsewhere, or is not there"
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = find_target(path, link)
        if target is None:
            yield f"{link} leads nowhere"
        elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
            yield f"{link} leads to no part of its page"


def find_target(path: Path, link: str) -> Path | None:
    """
    Return the file that a link of a page leads to, or ``None``.
    """
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    return target if target.exists() else None


def find_style_faults(site: Path) -> Iterator[str]:
    """
    Yield the addresses that style sheets fetch from elsewhere.
    """
    for path in sorted(site.rglob("*.css")):
        for address in re.findall(r"url\(['\"]?((?:https?:)?//[^)'\"]+)", path.read_text("utf-8")):
            yield f"{path.relative_to(site)}: {address} is fetched from elsewhere"
