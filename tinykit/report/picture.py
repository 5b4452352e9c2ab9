"""Where the memory goes, as a picture: one bar per memory, one piece per item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tinykit.errors import TinykitError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that people with any colour vision tell apart (Okabe & Ito, 2008)
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")


# A grey that contrasts with white and with black alike (4.5 to 1): backgrounds are transparent
_INK = "#767676"


@dataclass(frozen=True)
class MemoryBar:
    """A memory of `budget` bytes and the items that occupy it."""

    name: str
    items: Mapping[str, int]
    budget: int

    @property
    def used(self) -> int:
        """Bytes of all items."""
        return sum(self.items.values())


@dataclass(frozen=True)
class Plot:
    """Points of a falling step curve, and vertical lines by what they mark."""

    x: Sequence[float]
    y: Sequence[float]
    x_label: str
    y_label: str
    marks: Mapping[str, float]


@dataclass(frozen=True)
class Dots:
    """Points, one of which is chosen, and a limit of x; names of these two for the legend."""

    points: Sequence[tuple[float, float]]
    chosen: tuple[float, float]
    limit: float
    x_label: str
    y_label: str
    names: tuple[str, str]


def check_drawing() -> None:
    """Raises TinykitError without matplotlib: ask before work that ends in a picture."""
    if find_spec("matplotlib") is None:
        raise TinykitError(
            "pictures need matplotlib, which is not installed", "pip install 'tinykit-mcu[plot]'"
        )


@contextmanager
def _figure(
    path: Path, width: float, height: float, title: str, ink: str = "black"
) -> Iterator[Figure]:
    """A figure to draw on; it is written to `path`, the same bytes every time.

    ink: the colour of text and axes; if it is not black, the background is transparent
    """
    check_drawing()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    background = "white" if ink == "black" else "none"
    with mpl.rc_context(
        {
            "svg.hashsalt": "tinykit", "font.size": 9, "svg.fonttype": "none",
            "text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": ink,
            "xtick.color": ink, "ytick.color": ink, "savefig.facecolor": background,
        }
    ):  # fmt: skip
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        if title:
            figure.suptitle(title, x=0.01, ha="left", weight="bold")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def save_plot(plot: Plot, path: Path, title: str = "") -> None:
    """Write a picture (.svg or .png by the name's ending) of a step curve.

    Raises TinykitError without matplotlib.
    """
    with _figure(path, 7, 3.6, title) as figure:
        axis = figure.subplots()
        axis.step(plot.x, plot.y, where="pre", color=_COLOURS[0], marker="o", markersize=4)
        for number, (name, x) in enumerate(plot.marks.items(), 1):
            axis.axvline(x, color=_COLOURS[number], linestyle="--", label=name)
        axis.set_xlim(left=0)
        axis.set_xlabel(plot.x_label)
        axis.set_ylabel(plot.y_label)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)


def save_dots(dots: Dots, path: Path, title: str = "") -> None:
    """Write a picture (.svg or .png by the name's ending) of points, the chosen one and the limit.

    Points, line and text can be read on a light and on a dark background. In an SVG the points
    are the group "points". Raises TinykitError without matplotlib.
    """
    with _figure(path, 7, 3.6, title, _INK) as figure:
        axis = figure.subplots()
        axis.set_facecolor("none")
        x, y = zip(*dots.points, strict=True) if dots.points else ((), ())
        axis.scatter(x, y, s=28, color=_COLOURS[0], label="candidates", gid="points")
        axis.plot(*dots.chosen, "o", markersize=11, fillstyle="none", color=_COLOURS[5],
                  markeredgewidth=2, label=dots.names[0], gid="chosen")  # fmt: skip
        axis.axvline(dots.limit, color=_COLOURS[3], linestyle="--", label=dots.names[1])
        axis.set_ylim(bottom=0)
        axis.set_xlabel(dots.x_label)
        axis.set_ylabel(dots.y_label)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)


def draw_memory(bars: Sequence[MemoryBar], path: Path, title: str = "") -> None:
    """Write a picture (.svg or .png by the name's ending) of how memories are spent.

    The pieces of a bar are ordered by size, and every item stands with its bytes in the legend
    beside it. Raises TinykitError without matplotlib.
    """
    lines = [max(4, len(bar.items) + 1) for bar in bars]
    with _figure(path, 9, 0.5 + 0.21 * sum(lines), title) as figure:
        axes = figure.subplots(len(bars), 1, squeeze=False, height_ratios=lines)[:, 0]
        for axis, bar in zip(axes, bars, strict=True):
            _draw_bar(axis, bar)


def _draw_bar(axis: object, bar: MemoryBar) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axis, Axes)
    left = 0.0
    for index, (name, size) in enumerate(sorted(bar.items.items(), key=lambda item: -item[1])):
        colour = _COLOURS[index % len(_COLOURS)]
        axis.barh(0, size / 1024, left=left, color=colour, edgecolor="white", linewidth=0.4,
                  label=f"{name}  {size:,} B")  # fmt: skip
        left += size / 1024
    axis.set_xlim(0, left)
    axis.set_ylim(-0.5, 0.5)
    axis.set_yticks([])
    axis.set_xlabel("KB", loc="right")
    axis.spines[["top", "left", "right"]].set_visible(False)
    share = f"{bar.used:,} of {bar.budget:,} B ({100 * bar.used / bar.budget:.1f} %)"
    axis.set_title(f"{bar.name}: {share}", loc="left", fontsize=9)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.15), frameon=False, fontsize=8)
