"""From an executed notebook to one HTML file: the nbconvert exporter ``investigation``.

In: a notebook with outputs. Out: a page that is complete alone, with no script, no code and no request. Registered by
entry point, so ``jupyter nbconvert --to investigation`` and JupyterLab's export menu make the same page as the
command. Markdown cells belong to the kit and are trusted, outputs are not.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from markupsafe import Markup
from nbconvert.exporters import HTMLExporter
from traitlets import default
from traitlets.config import Config

from analysis.report.html import escaped

# Cells with this tag are for the person at the notebook, not for the one who gets the page.
NOTEBOOK_ONLY = "notebook-only"
HIDDEN = {NOTEBOOK_ONLY, "parameters", "injected-parameters"}

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LONGEST_PRINT = 20_000
_LONGEST_ERROR = 500


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
        yield "alt_text", alt_text
        yield "printed", printed
        yield "stopped", stopped
        yield "base64_only", base64_only

    def from_notebook_node(self, nb: Any, resources: Any = None, **kwargs: Any) -> Any:
        """The page, with its title (never a path) and its contents from the section headings."""
        resources = self._init_resources(resources or {})
        headings = [
            (cell.get("id", f"cell-{place}"), found[1])
            for place, cell in enumerate(nb.cells)
            if cell.cell_type == "markdown" and (found := re.match(r"## (.+)", cell.source))
        ]
        resources["anchors"] = {cell: f"section-{number}" for number, (cell, _) in enumerate(headings, start=1)}
        resources["contents"] = [(resources["anchors"][cell], heading) for cell, heading in headings]
        resources["first_section"] = headings[0][0] if headings else None
        resources["page_title"] = page_title(nb)
        return super().from_notebook_node(nb, resources=resources, **kwargs)


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
