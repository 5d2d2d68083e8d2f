"""Write one offline HTML file about an advice or a run: the verdict first, then what it rests on.

The page fetches nothing and runs nothing: styles, charts and pictures are inside it, and a content
policy in its head forbids the rest.
"""

from pathlib import Path

import jinja2

from selfsup.report.advice_page import advice_page
from selfsup.report.blocks import Page
from selfsup.report.folders import RunFiles, read_folder
from selfsup.report.run_page import run_page


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of an advice folder or of a run folder, and give its path.

    Args:
        folder: what `advise` or `pretrain` wrote; it may still be going, or have failed.
        out: file to write; `report.html` in the folder if not given.

    Raises:
        InputError: if the folder is missing, or is neither an advice nor a run.
    """
    folder = Path(folder)
    found = read_folder(folder)
    page = run_page(found) if isinstance(found, RunFiles) else advice_page(found)
    target = Path(out) if out is not None else folder / "report.html"
    if target.is_dir():
        target /= "report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    # a name on disk that is not UTF-8 must not cost the report
    data = render(page).encode("utf-8", errors="backslashreplace")
    partial = target.with_name(target.name + ".part")
    partial.write_bytes(data)
    partial.replace(target)
    return target


def render(page: Page) -> str:
    """Turn a page into HTML; everything that is not already markup is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(page=page)
