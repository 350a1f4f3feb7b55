"""The HTML document of the report: one file that works offline and runs only its own scripts.

Everything from the database is untrusted: text is escaped, figures are JSON that cannot end its
script element, scripts run only by their hash, and the page may not access the network.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from tuner.report.formatting import as_json, without_urls
from tuner.report.html.plots import Figure

PLOTLY = "plotly-basic.min.js"
"""plotly.js's bundle of scatter plots and bars, a quarter of the whole (plotly.js-basic-dist-min).
"""


def document(title: str, body: Sequence[str], figures: Mapping[str, Figure]) -> str:
    """Return the page with a title, HTML sections, and figures by the ids of their elements."""
    scripts = [_resource(PLOTLY), _resource("plots.js")] if figures else []
    scripts.append(_resource("page.js"))
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    )
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escaped(title)} · tuner</title>",
        f"<style>{_resource('page.css')}</style>\n</head>\n<body>",
        "<main>",
        *body,
        "</main>",
        f'<script type="application/json" id="figures">{_json(figures)}</script>',
        *(f"<script>{script}</script>" for script in scripts),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def section(title: str, html: str) -> str:
    return f"<section><h2>{title}</h2>{html}</section>"


def escaped(value: object) -> str:
    """Escape text for HTML, including attributes, and remove database URLs."""
    return escape(without_urls(str(value)))


def plot(figures: dict[str, Figure], name: str, shape: Figure | str, *, width: int = 0) -> str:
    """Return an element for ``shape`` and add it to ``figures``; a note becomes a paragraph."""
    if isinstance(shape, str):
        return f'<p class="faint">{escaped(shape)}</p>'
    shape, note = {**shape}, shape.get("note", "")
    shape.pop("note", None)
    figures[f"plot-{name}"] = shape
    height = shape["layout"]["height"]
    about = f'role="img" aria-label="{escaped(_about(name, shape))}"'
    style = f"height:{height}px;min-width:{width}px"
    drawn = f'<div class="plot" id="plot-{name}" {about} style="{style}"></div>'
    return drawn + (f'<p class="faint">{escaped(note)}</p>' if note else "")


def _about(name: str, shape: Figure) -> str:
    """Return the text alternative of a plot; the tables have its numbers."""
    x, y = (
        shape["layout"].get(axis, {}).get("title", {}).get("text", "")
        for axis in ("xaxis", "yaxis")
    )
    axes = f": {y or 'value'} against {x}" if x else ""
    return f"Plot of {name.partition('-')[0]}{axes}"


def grid(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    wrap: bool = False,
    sortable: bool = False,
) -> str:
    """Return a table of HTML cells whose last column wraps; empty without rows.

    A click on a title sorts a ``sortable`` table, by the ``data-value`` of an element in the cell
    or else by its text.
    """
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    last = len(rows[0]) - 1
    body = "".join(
        "<tr>"
        + "".join(
            _cell(cell, wrap=wrap and k == last, title=titles[k] if wrap and k else "")
            for k, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    top = f"<tr>{head}</tr>" if titles else ""
    names = ["stacked"] * wrap + ["sortable"] * sortable
    kind = f' class="{" ".join(names)}"' if names else ""
    return f'<div class="wide" tabindex="0"><table{kind}>{top}{body}</table></div>'


def plain_grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of plain text in which long names may wrap after their parts."""

    def cell(text: str) -> str:
        return re.sub(r"([.@=_])(?=[^\W\d])", r"\1<wbr>", escaped(text))

    return grid(list(map(escaped, titles)), [list(map(cell, row)) for row in rows])


def _cell(html: str, *, wrap: bool, title: str) -> str:
    """Return a cell; narrow screens show ``title`` (HTML) in front of it instead of a head."""
    if wrap:
        return f'<td class="settings">{html}</td>'
    return f'<td data-title="{title}">{html}</td>' if title else f"<td>{html}</td>"


def _json(value: Any) -> str:
    """Return JSON that no HTML parser can take for the end of its element; NaN becomes null."""
    return as_json(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _resource(name: str) -> str:
    return files("tuner.report.html").joinpath(name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
