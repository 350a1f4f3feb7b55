"""Draw small SVG images with the standard library.

The dashboard shows them as ``<img>``, on a page that may be light or dark regardless of the
system's preference, so each drawing has its own background.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """<style>
  .paper { fill: #ffffff; } .ink { fill: #24292f; } .faint { fill: #57606a; }
  .grid { stroke: #d8dee4; } .dot { fill: #0969da; }
  .line { stroke: #0969da; fill: none; stroke-width: 2; }
  .cell { fill: #0969da; } .over { fill: #ffffff; }
  .dashed { stroke: #9a6700; stroke-dasharray: 5 4; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #161b22; } .ink { fill: #e6edf3; } .faint { fill: #9da7b1; }
    .grid { stroke: #30363d; } .line { stroke: #58a6ff; } .dot { fill: #58a6ff; }
    .cell { fill: #58a6ff; } .over { fill: #0d1117; } .dashed { stroke: #d4a72c; }
  }
  text { font: 14px system-ui, sans-serif; } .title { font-weight: 600; font-size: 16px; }
</style>"""

_NUMBERED_CLASSES = 24  # above this a count no longer fits into its cell


@dataclass(frozen=True)
class Box:
    """The rectangle between the axes of a panel, in SVG units."""

    left: float
    top: float
    width: float
    height: float


def curves_svg(curves: Mapping[str, Mapping[int, float]], *, title: str) -> str:
    """Draw learning curves (metric → epoch → value): the first one large, the others in pairs.

    ``train_x`` is drawn into the panel of ``x``, dashed. NaN and infinite points are omitted. Texts
    are escaped.

    Returns:
        An SVG document, 640 units wide.
    """
    names = [n for n in curves if _finite(curves[n]) and not _is_training(n, curves)]
    parts = [_text(24, 26, title, "ink title")]
    if not names:
        return _svg(640, 360, [*parts, _text(320, 190, "nothing reported", "faint", "middle")])
    first, *others = names
    parts += _panel(Box(60, 66, 560, 240), first, curves)
    for place, name in enumerate(others):
        row, column = divmod(place, 2)
        parts += _panel(Box(60 + 310 * column, 376 + 200 * row, 250, 130), name, curves)
    return _svg(640, 346 + 200 * math.ceil(len(others) / 2), parts)


def _is_training(name: str, curves: Mapping[str, object]) -> bool:
    return name.startswith("train_") and name.removeprefix("train_") in curves


def _finite(points: Mapping[int, float]) -> dict[int, float]:
    return {x: points[x] for x in sorted(points) if math.isfinite(points[x])}


def _panel(box: Box, name: str, curves: Mapping[str, Mapping[int, float]]) -> Iterable[str]:
    """Draw a metric's curve, and that of the training images, with axes."""
    own, training = _finite(curves[name]), _finite(curves.get(f"train_{name}", {}))
    yield _text(box.left, box.top - 12, name + " (dashed: training)" * bool(training), "faint")
    xs, ys = [*own, *training], [*own.values(), *training.values()]
    x_ticks, y_ticks = _ticks(min(xs), max(xs), whole=True), _ticks(min(ys), max(ys))
    low, wide = min(xs), max(1, max(xs) - min(xs))
    tall = y_ticks[-1] - y_ticks[0]

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (x - low) / wide, (y - y_ticks[0]) / tall
        return box.left + box.width * across, box.top + box.height * (1 - up)

    for y in y_ticks:
        _, at = place(low, y)
        yield f'<path class="grid" d="M{box.left:g} {at:.1f}h{box.width:g}"/>'
        yield _text(box.left - 6, at + 4, f"{y:.5g}", "faint", "end")
    for x in x_ticks:
        yield _text(place(x, 0)[0], box.top + box.height + 18, f"{x:g}", "faint", "middle")
    for points, kind in ((training, "line dashed"), (own, "line")):
        yield from _line([place(x, y) for x, y in points.items()], kind)


def _line(spots: Sequence[tuple[float, float]], kind: str) -> Iterable[str]:
    if len(spots) > 1:
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        yield f'<polyline class="{kind}" points="{joined}"/>'
    marked = () if "dashed" in kind else spots if len(spots) <= 60 else spots[-1:]
    yield from (f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in marked)


def confusion_svg(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Draw a confusion matrix: ``counts[true][predicted]``, k rows of k non-negative integers.

    A cell is shaded by its fraction of the row, so that rare classes are as legible as common ones.

    Raises:
        ValueError: ``counts`` is not square or does not match ``classes``.
    """
    size = len(classes)
    if len(counts) != size or any(len(row) != size for row in counts):
        raise ValueError(f"confusion matrix: {size} classes need {size} rows of {size} counts")
    cell = min(40.0, max(4.0, 640 / max(size, 1)))
    names = [name if len(name) <= 16 else name[:15] + "…" for name in classes]
    left = 46 + 7 * max((len(name) for name in names), default=0)
    top, side = 56, cell * size
    parts = [_text(left, 24, "Confusion matrix", "ink title")]
    parts.append(_text(left, 44, "row: true class · column: predicted", "faint"))
    parts.append(f'<rect class="grid" fill="none" x="{left}" y="{top}"')
    parts[-1] += f' width="{side:.1f}" height="{side:.1f}"/>'
    for true, row in enumerate(counts):
        parts.extend(_row(row, left, top + true * cell, cell, numbered=size <= _NUMBERED_CLASSES))
    every = math.ceil(14 / cell)
    for index in range(0, size, every):
        middle = (index + 0.5) * cell
        parts.append(_text(left - 8, top + middle + 4, names[index], "ink", "end"))
        parts.append(_text(left + middle + 4, top + side + 8, names[index], "ink", "end", True))
    width = max(left + side + 24, left + 240)
    return _svg(width, top + side + left - 20, parts)


def _row(row: Sequence[int], x: float, y: float, cell: float, *, numbered: bool) -> Iterable[str]:
    total = sum(row)
    for column, count in enumerate(row):
        if not count:
            continue
        share = count / total
        at = x + column * cell
        yield (
            f'<rect class="cell" fill-opacity="{0.08 + 0.92 * share:.2f}"'
            f' x="{at:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}"/>'
        )
        if numbered:
            kind = "over" if share > 0.5 else "ink"
            yield _text(at + cell / 2, y + cell / 2 + 4, f"{count}", kind, "middle")


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return four to eight round numbers that enclose a range of values, or lie in one of steps."""
    if low == high:
        margin = 1.0 if whole else abs(low) / 10 or 1.0
        low, high = (low, high + margin) if whole else (low - margin, high + margin)
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, round(step))
        return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [step * k for k in range(math.floor(low / step), math.ceil(high / step - 1e-9) + 1)]


def _text(
    x: float, y: float, text: str, kind: str, anchor: str = "start", turn: bool = False
) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}'
    # Control characters are not allowed in XML, escaped or not: one would spoil the drawing.
    clean = "".join(c if c.isprintable() else " " for c in text)
    return f'<text class="{kind}" {place}>{escape(clean)}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    size = f"{width:.0f} {height:.0f}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{width:.0f}"'
    head += f' height="{height:.0f}" role="img">'
    paper = '<rect class="paper" width="100%" height="100%" rx="8"/>'
    return "\n".join([head, _STYLE, paper, *parts, "</svg>", ""])
