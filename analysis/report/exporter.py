"""From an executed notebook to one HTML file: the nbconvert exporter ``investigation``.

In: a notebook with outputs. Out: a page that is complete alone, with no script, no code and no request. Registered by
entry point, so ``jupyter nbconvert --to investigation`` and JupyterLab's export menu make the same page as the
command. Markdown cells belong to the kit and are trusted, outputs are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from nbconvert.exporters import HTMLExporter
from traitlets import default
from traitlets.config import Config

from analysis.report.html import amount, escaped, files_listed, linked
from analysis.report.look import on_page

# Cells with this tag are for the person at the notebook, not for the one who gets the page.
NOTEBOOK_ONLY = "notebook-only"
HIDDEN = {NOTEBOOK_ONLY, "parameters", "injected-parameters"}
# A section whose heading's cell has this tag opens when one asks for it. What answers the question has it never.
FOLDS = "folds"

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LONGEST_PRINT = 20_000
_LONGEST_ERROR = 500


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading of the second level: ``prose`` is the rest of the heading's cell, ``inside``
    how much is folded away, empty for what does not fold.
    """

    anchor: str
    heading: str
    prose: str
    inside: str


class InvestigationExporter(HTMLExporter):
    """HTML without input, prompts, script or anything from elsewhere; templates ship in the package."""

    export_from_notebook = "Investigation report"

    @default("template_name")
    def _template_name(self) -> str:
        return "investigation"

    @default("extra_template_basedirs")
    def _template_basedirs(self) -> list[str]:
        return [str(Path(__file__).parent / "templates")]

    @property
    def default_config(self) -> Config:
        """Hides what belongs to the notebook; a setting given by the caller still wins."""
        ours = Config(
            {
                "HTMLExporter": {
                    "exclude_input": True,
                    "exclude_input_prompt": True,
                    "exclude_output_prompt": True,
                    "exclude_anchor_links": True,
                },
                # What a page can show without a script, best first.
                "NbConvertBase": {
                    "display_data_priority": ["text/html", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
                },
                "TagRemovePreprocessor": {"enabled": True, "remove_cell_tags": HIDDEN},
            }
        )
        config = super().default_config.copy()
        config.merge(ours)
        return config

    def default_filters(self) -> Any:
        """nbconvert's filters and those of this template; each of these gives markup that is safe."""
        yield from super().default_filters()
        yield "shown", escaped
        yield "on_page", on_page
        yield "alt_text", alt_text
        yield "printed", printed
        yield "stopped", stopped
        yield "base64_only", base64_only
        yield "linked", linked

    def from_notebook_node(self, nb: Any, resources: Any = None, **kwargs: Any) -> Any:
        """The page, with its title (never a path), its sections and contents, and the files that it can lead to."""
        resources = self._init_resources(resources or {})
        resources["sections"] = sections(nb)
        resources["files"] = files_listed("".join(_markup(cell) for cell in nb.cells))
        resources["page_title"] = page_title(nb)
        # The template counts its pictures here.
        resources["pictures"] = []
        return super().from_notebook_node(nb, resources=resources, **kwargs)


def sections(notebook: Any) -> dict[str, Section]:
    """The sections of a notebook by the ID of the cell that begins each, in order."""
    cells = [cell for cell in notebook.cells if not HIDDEN & set(cell.metadata.get("tags", ()))]
    begun = [
        (place, found)
        for place, cell in enumerate(cells)
        if cell.cell_type == "markdown" and cell.get("id") and (found := re.match(r"## (.+)", cell.source))
    ]
    ends = [*(place for place, _ in begun[1:]), len(cells)]
    return {
        cells[place]["id"]: Section(
            f"section-{number}",
            found[1].strip(),
            cells[place].source[found.end() :].strip(),
            _inside(cells[place:end]) if FOLDS in cells[place].metadata.get("tags", ()) else "",
        )
        for number, ((place, found), end) in enumerate(zip(begun, ends, strict=False), start=1)
    }


def _inside(cells: list[Any]) -> str:
    """How much is in a section, in words; a section of nothing but sentences does not fold."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    charts = sum(1 for output in outputs if any(kind.startswith("image/") for kind in output.get("data", {})))
    return amount("".join(_markup(cell) for cell in cells), charts)


def _markup(cell: Any) -> str:
    shown = [output.get("data", {}).get("text/html", "") for output in cell.get("outputs", [])]
    return "".join("".join(part) if isinstance(part, list) else str(part) for part in shown)


def page_title(notebook: Any) -> str:
    """What a part of the page says that the page is called, else the notebook's own title."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    noted = (output.get("metadata", {}).get("text/html") for output in outputs)
    titles = [part["title"] for part in noted if isinstance(part, dict) and isinstance(part.get("title"), str)]
    return titles[0] if titles else str(notebook.metadata.get("title", "Investigation"))


def alt_text(output: Any, mimetype: str) -> Markup:
    """The alternative text of an image output: of its own type, else of any, else that there is none."""
    metadata = output.get("metadata", {})
    found = metadata.get(mimetype, {}).get("alt") if isinstance(metadata.get(mimetype), dict) else None
    return escaped(str(found or metadata.get("alt") or "A chart without a description"))


def printed(text: str) -> Markup:
    """What a cell printed, as text without the terminal's colours."""
    return escaped(_ANSI.sub("", text), _LONGEST_PRINT, keep="\n\t")


def stopped(output: Any) -> Markup:
    """Why a cell stopped, in one line."""
    said = _ANSI.sub("", f"{output.get('ename', 'Error')}: {output.get('evalue', '')}")
    return escaped(" ".join(said.split()), _LONGEST_ERROR)


def base64_only(data: str) -> str:
    """Nothing but letters of base64, whatever an output calls an image."""
    return re.sub(r"[^A-Za-z0-9+/=]", "", data)
