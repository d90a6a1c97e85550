"""From notebook to page: its sections, what folds, the contents, and links from sources to files."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import pandas as pd

from analysis.report.exporter import InvestigationExporter, sections
from analysis.report.html import Html, sentence, table

ROWS = table(pd.DataFrame({"source": ["dump.rdb, byte 7"] * 3}), label="Rows")
FILES = table(pd.DataFrame({"path": ["dump.rdb"]}), label="Files", ids=["file-12ab"])


def _heading(text: str, *tags: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_markdown_cell(text, metadata={"tags": list(tags)})


def _shows(part: Html) -> nbformat.NotebookNode:
    data, noted = part._repr_mimebundle_()
    return nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("display_data", data=data, metadata=noted)])


def _page(*cells: Any) -> str:
    html, _ = InvestigationExporter().from_notebook_node(nbformat.v4.new_notebook(cells=list(cells)))
    return str(html)


def test_a_section_folds_where_its_heading_says_so_and_says_how_much_it_is():
    page = _page(_heading("## Open\n\nProse."), _shows(ROWS), _heading("## Shut\n\nMore.", "folds"), _shows(ROWS))
    [shut] = re.findall(r"<details.*?</details>", page, re.DOTALL)
    assert "Shut</h2>" in shut and ">3 rows<" in shut and "More." in shut and "Open" not in shut
    assert page.count("<section>") == page.count("</section>") == 1


def test_a_section_of_mere_sentences_does_not_fold():
    page = _page(_heading("## Shut", "folds"), _shows(sentence("Nothing.")), _heading("## Next", "folds"))
    assert "<details" not in page and page.count("<section>") == page.count("</section>") == 2


def test_what_is_only_for_the_notebook_is_no_section():
    cells = [_heading("## Hidden", "notebook-only"), _heading("## One"), _heading("text"), _heading("## Two")]
    found = sections(nbformat.v4.new_notebook(cells=cells))
    assert [(one.anchor, one.heading) for one in found.values()] == [("section-1", "One"), ("section-2", "Two")]
    page = _page(*cells)
    assert "Hidden" not in page and page.count("<li><a") == 2


def test_a_notebook_without_sections_is_a_page():
    page = _page(_shows(ROWS))
    assert "<section" not in page and "<nav" not in page and page.rstrip().endswith("</html>")


def test_sources_lead_to_the_files_that_are_listed_whether_before_or_after():
    led = '<a href="#file-12ab">dump.rdb, byte 7</a>'
    assert _page(_shows(ROWS), _shows(FILES)).count(led) == _page(_shows(FILES), _shows(ROWS)).count(led) == 3
    assert "<a" not in _page(_shows(ROWS))


def test_a_heading_is_text():
    page = _page(_heading("## <script>alert(1)</script>"), _shows(ROWS), _heading("## Two"))
    assert "<script" not in page and page.count("&lt;script&gt;") == 2
