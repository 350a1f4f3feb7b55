"""Write the report of a study to a file: HTML, Markdown, or a PNG of the page."""

import tempfile
from pathlib import Path

from optuna import Study

from tuner.files import replace, replaced
from tuner.report.commands import UNKNOWN, Commands
from tuner.report.final_record import final_of
from tuner.report.html import gallery, screenshot
from tuner.report.html.page import page
from tuner.report.markdown import markdown
from tuner.report.summary import Summary, summarise


def write_page(
    study: Study,
    path: Path,
    directory: Path | None = None,
    form: str = "html",
    summary: Summary | None = None,
    commands: Commands = UNKNOWN,
) -> Path:
    """Write the report of ``study`` to ``path`` (replaced atomically) and return the path.

    Args:
        directory: The study's directory with the final trainings; by default that of ``path``.
        form: html, md, or png, which needs a browser.
        summary: A summary with workers and clocks, which has more accurate times.
        commands: Builds the commands that are shown.
    """
    summary = summary or summarise(study)
    directory = directory or path.parent
    final = final_of(summary, directory)
    pictures = gallery.pictures(summary.best, directory)
    if form == "png":
        with tempfile.TemporaryDirectory() as scratch, replaced(path) as draft:
            drawn = Path(scratch) / "page.html"
            text = page(study, summary, final, commands, pictures, still=True)
            drawn.write_text(text, encoding="utf-8")
            screenshot.capture(drawn, draft)
    elif form == "md":
        replace(path, markdown(study, summary, final, commands))
    else:
        replace(path, page(study, summary, final, commands, pictures))
    return path
