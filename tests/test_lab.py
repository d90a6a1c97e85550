"""By hand: copies of the notebooks that cost nobody's work, and a JupyterLab in which they are run and changed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import analysis
from analysis.errors import Unusable
from analysis.lab import copy_notebooks
from tests.browser import Chromium
from tests.evidence.rdb_writer import Rdb
from tests.lab import Lab

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab on copies of the notebooks, with a case of the analyst's own beside them."""
    folder = tmp_path_factory.mktemp("work")
    assert list(copy_notebooks(folder)) == []
    (folder / "mine").mkdir()
    (folder / "mine" / "dump.rdb").write_bytes(Rdb(11).aux("ctime", 1_750_000_000).select(3).text("k", "v").end())
    started = Lab(folder, tmp_path_factory.mktemp("home"))
    yield started
    started.close()


def test_a_case_is_opened_changed_and_mistaken_by_hand(lab: Lab, chromium: Chromium) -> None:
    with lab.open(chromium, "start_here.ipynb") as notebook:
        notebook.run_all()
        [card] = notebook.shown()
        assert "Was task c93afef4 deleted?" in card and "Redis 6.0.16, master" in card
        assert notebook.page.evaluate("document.querySelectorAll('.kit .card table').length") >= 1

        notebook.write(0, 'case: str = "mine"')
        notebook.run_all()
        [card] = notebook.shown()
        assert "mine" in card and "2025-06-15 15:06:40 to 2025-06-15 15:06:40 UTC" in card

        notebook.write(0, 'case: str = "nowhere"')
        notebook.run_all()
        assert notebook.shown() == ["Unusable: nowhere: no such file or folder"]

        notebook.follow("ttl_distributions")
        notebook.run_all()
        headline = analysis.find_ttl(analysis.open_case(ROOT / "data" / "demo")).headline
        assert any(headline in " ".join(shown.split()) for shown in notebook.shown())


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the kit's notebooks, with two in it; copies go into ``work`` beside it."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    put(folder, "a.ipynb", "a of the first version")
    put(folder, "b.ipynb", "b of the first version")
    monkeypatch.setattr("analysis.lab.shipped", lambda name: tmp_path / name)
    return folder


def copies(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.ipynb")}


def test_every_notebook_is_copied_once_and_work_in_a_copy_stays(kit, tmp_path):
    work = tmp_path / "work"
    assert list(copy_notebooks(work)) == []
    put(work, "a.ipynb", "my work")
    assert list(copy_notebooks(work)) == []
    assert copies(work) == {"a.ipynb": "my work", "b.ipynb": "b of the first version"}


def test_a_newer_notebook_takes_the_place_of_an_untouched_copy_and_stands_beside_one_that_was_worked_in(kit, tmp_path):
    work = tmp_path / "work"
    list(copy_notebooks(work))
    put(work, "a.ipynb", "my work")
    put(kit, "a.ipynb", "a of the second version")
    put(kit, "b.ipynb", "b of the second version")
    [said] = copy_notebooks(work)
    assert str(work / "a-2.ipynb") in said and str(work / "a.ipynb") in said and "\n" not in said
    second = {"a.ipynb": "my work", "a-2.ipynb": "a of the second version", "b.ipynb": "b of the second version"}
    assert copies(work) == second
    assert list(copy_notebooks(work)) == [] and copies(work) == second
    put(work, "a-2.ipynb", "my work too")
    put(kit, "a.ipynb", "a of the third version")
    [said] = copy_notebooks(work)
    assert copies(work) == second | {"a-2.ipynb": "my work too", "a-3.ipynb": "a of the third version"}


def test_a_copy_from_before_the_kit_kept_account_is_not_written_over(kit, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    put(work, "a.ipynb", "older, or mine")
    put(work, "b.ipynb", "b of the first version")
    assert len(list(copy_notebooks(work))) == 1
    assert copies(work) == {
        "a.ipynb": "older, or mine", "a-2.ipynb": "a of the first version", "b.ipynb": "b of the first version",
    }  # fmt: skip


def test_a_copy_that_was_thrown_away_comes_back(kit, tmp_path):
    work = tmp_path / "work"
    list(copy_notebooks(work))
    (work / "a.ipynb").unlink()
    list(copy_notebooks(work))
    assert copies(work)["a.ipynb"] == "a of the first version"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    put(tmp_path, "work", "a file")
    with pytest.raises(Unusable, match="work.*cannot be written"):
        list(copy_notebooks(tmp_path / "work"))
    done = subprocess.run(
        [sys.executable, "-m", "analysis.lab", str(tmp_path / "work")],
        capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2 and re.fullmatch(r"analysis\.lab: .*cannot be written.*\n", done.stderr)


def test_make_lab_opens_the_copies_at_the_one_that_says_where_to_start():
    asked = subprocess.run(
        ["make", "-n", "lab", f"PYTHON={sys.executable}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    copied, opened = asked.index("-m analysis.lab work"), asked.index("jupyter-lab work/start_here.ipynb")
    assert copied < opened


def test_where_to_start_leads_to_every_other_notebook():
    cells = json.loads((NOTEBOOKS / "start_here.ipynb").read_text(encoding="utf-8"))["cells"]
    links = re.findall(r"\]\(([^)]+)\)", "".join("".join(cell["source"]) for cell in cells))
    assert set(links) == {path.name for path in NOTEBOOKS.glob("*.ipynb")} - {"start_here.ipynb"}
