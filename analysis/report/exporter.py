"""From an executed notebook to one HTML file: the nbconvert exporter ``investigation``.

In: a notebook with outputs. Out: a page that is complete alone, with no script, no code and no request. Registered by
entry point, so ``jupyter nbconvert --to investigation`` and JupyterLab's export menu make the same page as the
command.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nbconvert.exporters import HTMLExporter
from traitlets import default
from traitlets.config import Config

# Cells with this tag are for the person at the notebook, not for the one who gets the page.
NOTEBOOK_ONLY = "notebook-only"


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
                "TagRemovePreprocessor": {"enabled": True, "remove_cell_tags": {NOTEBOOK_ONLY}},
            }
        )
        config = super().default_config.copy()
        config.merge(ours)
        return config

    def default_filters(self) -> Any:
        """nbconvert's filters and ``alt_text``."""
        yield from super().default_filters()
        yield "alt_text", alt_text

    def from_notebook_node(self, nb: Any, resources: Any = None, **kwargs: Any) -> Any:
        """The page, with its title (the notebook's own, never a path) and its contents from the section headings."""
        resources = self._init_resources(resources or {})
        headings = [
            (cell.get("id", f"cell-{place}"), found[1])
            for place, cell in enumerate(nb.cells)
            if cell.cell_type == "markdown" and (found := re.match(r"## (.+)", cell.source))
        ]
        resources["anchors"] = {cell: f"section-{number}" for number, (cell, _) in enumerate(headings, start=1)}
        resources["contents"] = [(resources["anchors"][cell], heading) for cell, heading in headings]
        resources["first_section"] = headings[0][0] if headings else None
        resources["page_title"] = str(nb.metadata.get("title", "Investigation"))
        return super().from_notebook_node(nb, resources=resources, **kwargs)


def alt_text(output: Any, mimetype: str) -> str:
    """The alternative text of an image output: of its own type, else of any, else that there is none."""
    metadata = output.get("metadata", {})
    found = metadata.get(mimetype, {}).get("alt") if isinstance(metadata.get(mimetype), dict) else None
    return str(found or metadata.get("alt") or "A chart without a description")
