"""Render the HTML pages: files that work offline and run only their own scripts.

Everything from the database is untrusted: the templates escape all text, figures are JSON that
cannot end its script element, scripts run only by their hash, and the page cannot use the network.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from markupsafe import Markup, escape

from tuner.report.contents import environment
from tuner.report.formatting import as_json, without_urls
from tuner.report.html.plots import Figure

PLOTLY = "plotly-basic.min.js"
"""plotly.js's bundle of scatter plots and bars, a quarter of the whole (plotly.js-basic-dist-min).
"""


def render(template: str, figures: Mapping[str, Figure | str], **variables: Any) -> str:
    """Return a page.

    Args:
        template: The name of a file in this directory, which extends ``document.html.j2``.
        figures: Figures by name, with a note in place of each one that cannot be drawn.
        variables: Further variables of the template.
    """
    drawn = {
        f"plot-{name}": {key: shape[key] for key in ("data", "layout")}
        for name, shape in figures.items()
        if not isinstance(shape, str)
    }
    scripts = [_resource(PLOTLY), _resource("plots.js")] if drawn else []
    scripts.append(_resource("page.js"))
    return ENVIRONMENT.get_template(f"html/{template}").render(
        css=Markup(_resource("page.css")),
        scripts=list(map(Markup, scripts)),
        hashes=list(map(_sha256, scripts)),
        figures=figures,
        drawn=_json(drawn),
        **variables,
    )


def _resource(name: str) -> str:
    return files("tuner.report.html").joinpath(name).read_text(encoding="utf-8")


def _json(value: Any) -> Markup:
    """Return JSON that cannot end the HTML element around it; NaN becomes null."""
    text = as_json(value)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _plain(value: object) -> object:
    """Return text without database URLs; what is HTML already stays as it is."""
    return value if hasattr(value, "__html__") else without_urls(str(value))


def breakable(value: object) -> Markup:
    """Return text in which long names may wrap after their parts."""
    return Markup(re.sub(r"([.@=_])(?=[^\W\d])", r"\1<wbr>", str(escape(_plain(value)))))


def _sentence(line: str) -> Markup:
    """Return a line as HTML, with commands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(_plain(line)))))


def _about(name: str, shape: Figure) -> str:
    """Return the text alternative of a plot; the tables have its numbers."""
    x, y = (
        shape["layout"].get(axis, {}).get("title", {}).get("text", "")
        for axis in ("xaxis", "yaxis")
    )
    axes = f": {y or 'value'} against {x}" if x else ""
    return f"Plot of {name.partition('-')[0]}{axes}"


ENVIRONMENT = environment(_plain, breakable=breakable, sentence=_sentence)
ENVIRONMENT.globals["about"] = _about
