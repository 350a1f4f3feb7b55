"""The page about Python is an executed notebook: its cells give what stands below them."""

import ast
import contextlib
import io
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.pages import DOCS, blocks, write_files

PAGE = DOCS / "howto/python.md"


def executed(code: str, names: dict[str, object]) -> str:
    """Run a cell; return what it prints, and the value of its last line if that is one."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(tree, PAGE.name, "exec"), names)
        if isinstance(last, ast.Expr):
            found = eval(compile(ast.Expression(last.value), PAGE.name, "eval"), names)
            if found is not None:
                print(found)
    return out.getvalue()


def test_the_cells_give_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("subprocess.Popen", warm.Popen)
    write_files(PAGE, tmp_path)
    cells = [b for b in blocks(PAGE) if (b.kind, b.rest) in (("python", ""), ("text", ""))]
    names: dict[str, object] = {"__name__": "__main__"}
    for cell, shown in zip(cells, [*cells[1:], None], strict=True):
        if cell.kind == "python":
            said = executed(cell.text, names)
            assert said == (shown.text if shown and shown.kind == "text" else ""), cell.text
    sys.modules.pop("mine", None)
