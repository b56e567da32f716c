"""
Bars of ratios as SVG, for light and for dark pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH = 760
LEFT = 190  # where bars begin
RIGHT = 572  # where the axis ends; labels may follow
BAR = 15
GAP = 4
ROW = 30  # the least height of a row, for its title and note
ROW_GAP = 18
STEPS = [digit * 10**power for power in range(9) for digit in (1, 2, 5)]
FONT = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, 'DejaVu Sans', sans-serif"


class Bar(NamedTuple):
    """
    One bar.

    Attributes:
        label: written behind it.
        mean: how long it is.
        best: where its thin line begins.
        worst: where its thin line ends.
        target: where its tick is, if it has one.
    """

    label: str
    mean: float
    best: float
    worst: float
    target: float | None = None


class Row(NamedTuple):
    """
    Bars below each other, with a title and a note before them; the first bar is ours.
    """

    title: str
    note: str
    bars: Sequence[Bar]


class Panel(NamedTuple):
    """
    Rows under a title.
    """

    title: str
    rows: Sequence[Row]


class Theme(NamedTuple):
    """
    Colours.
    """

    background: str
    text: str
    muted: str
    grid: str
    ours: str
    other: str
    line: str
    target: str


THEMES = {
    "light": Theme(
        background="#ffffff",
        text="#1f2328",
        muted="#59636e",
        grid="#e4e8ec",
        ours="#2f6fde",
        other="#c3cad3",
        line="#4a5563",
        target="#d1480f",
    ),
    "dark": Theme(
        background="#0d1117",
        text="#f0f6fc",
        muted="#9198a1",
        grid="#262c36",
        ours="#4f8ff7",
        other="#4a525d",
        line="#c0c8d2",
        target="#ff9a5c",
    ),
}


class Axis(NamedTuple):
    """
    Positions of values between ``LEFT`` and ``RIGHT``.
    """

    end: int

    def place(self, value: float) -> float:
        """
        Return the position of a value.
        """
        return round(LEFT + (RIGHT - LEFT) * value / self.end, 1)


def draw(title: str, note: str, panels: Sequence[Panel], theme: Theme) -> str:
    """
    Return the plot as the text of an SVG file.
    """
    bars = [bar for panel in panels for row in panel.rows for bar in row.bars]
    axis = Axis(int(max(max(bar.worst, bar.target or 0) for bar in bars)) + 1)
    parts: list[str] = []
    y = 72.0
    for panel in panels:
        drawn = list(draw_panel(panel, axis, theme, y))
        height = height_of(panel)
        parts += [*draw_grid(axis, theme, y + 26, y + height), *drawn]
        y += height + 48
    height = y - 4
    size = f'width="{WIDTH}" height="{height:g}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {height:g}">',
        f"<title>{escape(title)}</title>",
        f'<rect {size} rx="8" fill="{theme.background}"/>',
        f'<g font-family="{FONT}">',
        write(20, 34, title, theme.text, size=17, weight=600),
        write(20, 54, note, theme.muted, size=12),
    ]
    return "\n".join([*head, *parts, "</g>", "</svg>", ""])


def row_height(row: Row) -> float:
    """
    Return how much room a row takes, without the gap that follows.
    """
    return max(ROW, len(row.bars) * (BAR + GAP) - GAP)


def height_of(panel: Panel) -> float:
    """
    Return how much room a panel takes, without the numbers of its axis.
    """
    return 34 + sum(row_height(row) + ROW_GAP for row in panel.rows) - 6


def draw_grid(axis: Axis, theme: Theme, top: float, bottom: float) -> Iterator[str]:
    """
    Yield the lines of the axis with their numbers; that at 1, the floor, is dashed.
    """
    step = next(step for step in STEPS if axis.end <= 10 * step)
    for value in range(0, axis.end + 1, step):
        x = axis.place(value)
        yield line(x, top, x, bottom, theme.grid)
        yield write(x, bottom + 16, str(value), theme.muted, size=11, anchor="middle")
    x = axis.place(1)
    yield line(x, top - 4, x, bottom, theme.line, extra=' stroke-dasharray="3 3"')
    yield write(x, top - 9, "floor", theme.muted, size=11, anchor="middle")


def draw_panel(panel: Panel, axis: Axis, theme: Theme, top: float) -> Iterator[str]:
    """
    Yield a panel's title and rows.
    """
    yield write(20, top + 18, panel.title, theme.text, size=14, weight=600)
    y = top + 34
    for row in panel.rows:
        middle = y + row_height(row) / 2
        yield write(20, middle - 2, row.title, theme.text, size=13, weight=600)
        yield write(20, middle + 13, row.note, theme.muted, size=11)
        first = middle - (len(row.bars) * (BAR + GAP) - GAP) / 2
        for number, bar in enumerate(row.bars):
            place = first + number * (BAR + GAP)
            yield from draw_bar(bar, axis, theme, place, ours=number == 0)
        y += row_height(row) + ROW_GAP


def draw_bar(bar: Bar, axis: Axis, theme: Theme, y: float, *, ours: bool) -> Iterator[str]:
    """
    Yield a bar with its thin line from best to worst, its target and its label.
    """
    end = axis.place(bar.mean)
    middle = y + BAR / 2
    fill = theme.ours if ours else theme.other
    yield (
        f'<path d="M{LEFT} {y:g}H{end - 3:g}q3 0 3 3v{BAR - 6}q0 3 -3 3H{LEFT}z" fill="{fill}"/>'
    )
    yield line(axis.place(bar.best), middle, axis.place(bar.worst), middle, theme.line)
    for value in (bar.best, bar.worst):
        yield line(axis.place(value), middle - 3, axis.place(value), middle + 3, theme.line)
    label = axis.place(max(bar.mean, bar.worst, bar.target or 0)) + 9
    if bar.target is not None:
        x = axis.place(bar.target)
        yield line(x, y - 2, x, y + BAR + 2, theme.target, width=2)
    mean = f"{bar.mean:.2f}"
    # Covered by the background, the lines of the axis do not run through the letters.
    yield f'<g paint-order="stroke" stroke="{theme.background}" stroke-width="4">'
    yield write(label, middle + 4, mean, theme.text, size=12, weight=600)
    yield write(label + 2 + 8 * len(mean), middle + 4, bar.label, theme.muted, size=12)
    yield "</g>"


def line(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1, extra: str = ""
) -> str:
    """
    Return a straight line.
    """
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" '
        f'stroke="{colour}" stroke-width="{width:g}"{extra}/>'
    )


def write(
    x: float,
    y: float,
    text: str,
    colour: str,
    *,
    size: int,
    weight: int = 400,
    anchor: str = "start",
) -> str:
    """
    Return a line of text.
    """
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}" '
        f'font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'
    )
