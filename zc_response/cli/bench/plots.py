"""Draws charts as SVG; the only module that knows matplotlib.

The drawing brings no colours for its text and its axes: it names two variables,
`--ink` and `--faint`, which the page sets for light and dark. A file of its own sets
them itself. Text stays text, in the font of the reader.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from zc_response.cli.bench.charts import Bar, Chart, Panel
from zc_response.cli.bench.figures import amount

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stand for variables: nothing else is drawn in them.
_INK: Final = "#010203"
_FAINT: Final = "#040506"

OURS: Final = "#0f9d76"
COLOURS: Final = {
    "nginx": "#7d8590",
    "stock": "#d9822b",
    "stock-static": "#e3a867",
    "middleware": "#57bd9c",
    "protocol": "#37ad89",
    "response": OURS,
    "static": OURS,
    "response-asyncio": "#57bd9c",
    "copy": "#9ad7c3",
    "fast": "#57bd9c",
    "safe": OURS,
    "strict": "#0a6b51",
    "granian": "#8e6bbf",
    "granian-static": "#b39ad6",
    "in-memory": "#5b8dd6",
    "read-write": "#7d8590",
}

SETTINGS: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "xtick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.color": _FAINT,
    "ytick.labelcolor": _INK,
    "grid.color": _FAINT,
}
STANDALONE: Final = (
    "<style>:root{--ink:#1f2328;--faint:#8c959f}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#6e7681}}</style>"
)

WIDTH: Final = 9.6
COLUMNS: Final = 2
ROW: Final = 0.26
"""Inches for one bar."""


def available() -> bool:
    """True if matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(chart: Chart) -> str:
    """The SVG of a chart, to stand inside a page that sets the two variables."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {**SETTINGS, "svg.hashsalt": chart.name}
    with rc_context(settings):
        columns = min(COLUMNS, len(chart.panels))
        rows = -(-len(chart.panels) // columns)
        figure = Figure(figsize=(WIDTH, rows * _height(chart.panels)))
        FigureCanvasSVG(figure)
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, panel in zip(grid, chart.panels, strict=False):
            _draw_panel(axes, panel, chart)
        for axes in grid[len(chart.panels) :]:
            axes.set_axis_off()
        figure.tight_layout(w_pad=2.5, h_pad=2)
        return _svg(figure, chart)


def standalone(svg: str) -> str:
    """The same as a file of its own."""
    return re.sub(r"(<svg\b[^>]*>)", rf"\1{STANDALONE}", svg, count=1)


def _height(panels: Sequence[Panel]) -> float:
    return 0.95 + ROW * max(len(panel.bars) for panel in panels)


def _draw_panel(axes: Axes, panel: Panel, chart: Chart) -> None:
    places = range(len(panel.bars))
    values = [bar.value for bar in panel.bars]
    colours = [COLOURS.get(bar.candidate, OURS) for bar in panel.bars]
    axes.barh(places, values, height=0.66, color=colours)
    for place, bar in zip(places, panel.bars, strict=True):
        if bar.low < bar.high:
            axes.plot([bar.low, bar.high], [place, place], color=_INK, linewidth=0.9)
        end = (max(bar.high, bar.value), place)
        axes.annotate(
            amount(bar.value), end, (4, 0), textcoords="offset points", va="center"
        )
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(chart.unit)
    axes.set_yticks(places, [bar.candidate for bar in panel.bars])
    axes.invert_yaxis()
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    _scale(axes, panel.bars, chart)


def _scale(axes: Axes, bars: Sequence[Bar], chart: Chart) -> None:
    if chart.logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(_decades(chart))
        axes.minorticks_off()
    else:
        axes.set_xlim(0, max([*(bar.high for bar in bars), 1e-9]) * 1.2)
        axes.xaxis.set_major_locator(_few_ticks())
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:,g}")


def _decades(chart: Chart) -> tuple[float, float]:
    """The ends of a scale that all panels of a chart have in common."""
    bars = [bar for panel in chart.panels for bar in panel.bars]
    lows = [bar.low for bar in bars if bar.low > 0]
    return min([*lows, 1]) / 3, max([*(bar.high for bar in bars), 1]) * 4


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def _svg(figure: Figure, chart: Chart) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = svg.replace(_INK, "var(--ink)").replace(_FAINT, "var(--faint)")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    label = f'role="img" aria-label="{chart.title}"'
    return svg.replace("<svg ", f"<svg {label} ", 1)
