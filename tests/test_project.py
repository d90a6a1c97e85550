"""The project installs as it says: one list of dependencies, pins for every Python, a wheel that works anywhere."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
TRIED = ("3.11", "3.12", "3.13")
PLATFORMS = {
    "Linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"},
    "Linux on ARM": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    "macOS": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64", "os_name": "posix"},
}
# conda-forge's name of a PyPI project, where it is another: its `redis` is no client, its `matplotlib` brings Qt, and
# its `tzdata` is the system's time zones, not the Python package.
CONDA = {"redis": "redis-py", "matplotlib": "matplotlib-base", "tzdata": "python-tzdata",
         "jupyter-client": "jupyter_client"}  # fmt: skip
MODULES = {"pil": "pillow", "jupyter_client": "jupyter-client"}
BORROWER = "venv-of-the-wheel"
TASK = "c93afef4-105f-425c-af86-9ced40d30ee0"


def test_supported_pythons_are_those_that_were_tried() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(20) if f"3.{minor}.5" in supported] == list(TRIED)


def test_every_package_that_is_imported_is_a_dependency() -> None:
    trees = [ast.parse(module.read_text(encoding="utf-8")) for module in (ROOT / "analysis").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in imported} - {*sys.stdlib_module_names, "analysis"}
    stated = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert {MODULES.get(name.lower(), name.lower()) for name in foreign} - stated == set()


def test_conda_environment_asks_for_the_same_as_the_project() -> None:
    stated = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert stated["channels"] == ["conda-forge"]
    *packages, last = stated["dependencies"]
    assert last == {"pip": ["-e ."]}
    wanted = {"python": PROJECT["requires-python"], "pip": ""}
    for requirement in map(Requirement, PROJECT["dependencies"]):
        wanted[CONDA.get(requirement.name, requirement.name)] = str(requirement.specifier)
    split = [re.fullmatch(r"([a-z0-9._-]+)(.*)", package) for package in packages]
    given = {match[1]: match[2] for match in split if match}
    assert {name: SpecifierSet(bounds) for name, bounds in given.items()} == {
        name: SpecifierSet(bounds) for name, bounds in wanted.items()
    }


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", TRIED)
def test_every_dependency_is_pinned_once_for_every_python(python: str, platform: str) -> None:
    environment = {**_environment(), **PLATFORMS[platform], "python_version": python}
    environment["python_full_version"] = environment["implementation_version"] = f"{python}.5"
    pins = _pins(environment)
    for text in [*PROJECT["dependencies"], *sum(EXTRAS.values(), [])]:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert pins.get(requirement.name, "nothing") in requirement.specifier, f"{text} is pinned to {pins}"


def test_what_the_dependencies_bring_is_pinned_too() -> None:
    pins = _pins(_environment())
    reached = _reached(PROJECT["dependencies"] + EXTRAS["test"], pins)
    if len(reached) < 50:
        pytest.skip("other versions are installed than constraints.txt pins: they may bring other projects")
    assert reached - set(pins) == set()


def test_pins_name_no_index_and_are_nothing_but_pins() -> None:
    assert len(PINS) > 100
    assert [line for line in PINS if not re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+( ; [^:]+)?", line)] == []


def _environment() -> dict[str, str]:
    return {**default_environment(), "extra": ""}  # type: ignore[dict-item]


def _pins(environment: dict[str, str]) -> dict[str, str]:
    """Version by name, of the pins that hold in an environment."""
    pins: dict[str, str] = {}
    for requirement in map(Requirement, PINS):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in pins, f"{requirement.name} is pinned twice"
            pins[requirement.name] = str(requirement.specifier).removeprefix("==")
    return pins


def _reached(requirements: list[str], pins: dict[str, str]) -> set[str]:
    """The projects that requirements lead to, as far as they are installed in the version that is pinned."""
    reached: set[str] = set()
    asked = set()
    todo = [(text, "") for text in requirements]
    while todo:
        text, extra = todo.pop()
        requirement = Requirement(text)
        if (text, extra) in asked or (
            requirement.marker and not requirement.marker.evaluate({**_environment(), "extra": extra})
        ):
            continue
        asked.add((text, extra))
        reached.add(canonicalize_name(requirement.name))
        for installed in importlib.metadata.distributions(name=requirement.name):
            if installed.version == pins.get(requirement.name):
                brought = installed.requires or []
                todo += [(inner, wanted) for inner in brought for wanted in ["", *requirement.extras]]
    return reached


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The ``bin`` of a fresh venv with the wheel in it; the dependencies are those of the tests' own Python."""
    folder = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    [wheel] = folder.glob("*.whl")
    home = folder / BORROWER
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = Path(_run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
    # A .pth line adds the dependencies, but not what *their* .pth files add: the checkout stays out of sight.
    (site / "dependencies.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    quiet = ["--quiet", "--disable-pip-version-check"]
    _run([sys.executable, "-m", "pip", *quiet, "--python", str(python), "install", "--no-deps", str(wheel)], folder)
    yield python.parent


def test_wheel_investigates_the_demo_far_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = _run([str(installed / "python"), "-c", "import analysis; print(analysis.__file__)"], tmp_path).strip()
    assert Path(where).is_relative_to(installed.parent)
    demo = Path(where).parent / "data" / "demo"
    said = _run([str(installed / "analysis"), "investigate", "--json", TASK, str(demo)], tmp_path)
    assert json.loads(said.splitlines()[-1])["task_id"] == TASK
    html = tmp_path / "reports" / TASK / "deletion_investigation.html"
    assert "not deleted" in html.read_text(encoding="utf-8")
    assert "dump.rdb" in _run([str(installed / "python"), "-m", "analysis", "inspect", str(demo)], tmp_path)


def test_wheel_holds_the_shipped_notebooks_and_cases_and_nothing_else_of_theirs(installed: Path) -> None:
    site = next(installed.parent.glob("lib/*/site-packages/analysis"))
    for shipped in ("notebooks", "data/demo", "data/demo-with-source"):
        assert _files(site / shipped) == _files(ROOT / shipped)
    assert sorted(path.name for path in (site / "data").iterdir()) == ["demo", "demo-with-source"]
    assert not (site.parent / "tests").exists()


def test_conda_environment_investigates_the_demo(tmp_path: Path) -> None:
    tool = next(filter(None, map(shutil.which, ("micromamba", "mamba", "conda"))), None)
    if tool is None:
        pytest.skip("neither micromamba nor conda is on PATH")
    prefix = tmp_path / "environment"
    create = [tool, "create"] if Path(tool).name == "micromamba" else [tool, "env", "create"]
    _run([*create, "--yes", "--quiet", "--prefix", str(prefix), "--file", "environment.yml"], ROOT)
    _run([str(prefix / "bin" / "analysis"), "investigate", TASK, str(ROOT / "data" / "demo")], tmp_path)
    assert (tmp_path / "reports" / TASK / "verdict.json").exists()


def _files(folder: Path) -> set[str]:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if ".ipynb_checkpoints" not in name and "__pycache__" not in name}


def _run(command: list[str], folder: Path) -> str:
    """What a command prints, found and configured by nothing but its own installation."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "JUPYTER"))}
    if Path(command[0]).parents[1].name == BORROWER:
        # Of what it borrows, nbconvert's templates are not among the packages but in the lender's share/.
        kept["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
