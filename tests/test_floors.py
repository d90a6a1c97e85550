"""The floors of the package: each imports only what is below it, and findings are pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "analysis"
MODULES = sorted(PACKAGE.rglob("*.py"))
# From the ground up. Rooms on one floor do not know each other, but for those on the ground.
FLOORS = (
    {"cache", "columns", "errors", "files", "frames", "kernels", "progress", "redact", "showing"},
    {"evidence"},
    {"celery"},
    {"settings", "streams"},
    {"case", "findings"},
    {"archive", "recordings", "recovery"},
    {"investigation"},
    {"report"},
    {"batch"},
    {"cli", "lab"},
    {"__init__", "__main__"},
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
OUTSIDE = {
    "asyncio", "glob", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "redis", "secrets",
    "shutil", "socket", "subprocess", "sys", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
CALLS_OUTSIDE = {"open", "print", "input", "now", "utcnow", "today", "read_csv", "read_parquet", "to_csv", "to_parquet"}


def _name(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def _room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported(tree: ast.AST) -> Iterator[str]:
    """Full names of the modules imported anywhere in a module; ``from a import b`` is ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_every_room_has_a_floor() -> None:
    assert {_room(module) for module in MODULES} - set(FLOOR) == set()


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_module_imports_only_from_its_own_room_and_the_floors_below(module: Path) -> None:
    room = _room(module)
    for name in _imported(ast.parse(module.read_text(encoding="utf-8"))):
        package, _, rest = name.partition(".")
        if package == "analysis":
            other = rest.partition(".")[0]
            below = FLOOR.get(other, len(FLOORS)) < FLOOR[room]
            assert below or other == room or {other, room} <= FLOORS[0], f"{_name(module)} imports {name}"


@pytest.mark.parametrize("module", sorted((PACKAGE / "findings").rglob("*.py")), ids=_name)
def test_findings_read_nothing_write_nothing_and_have_no_clock(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert {name.partition(".")[0] for name in _imported(tree)} & OUTSIDE == set()
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    assert called & CALLS_OUTSIDE == set()


def test_no_floor_is_gone_around() -> None:
    """A module that is looked up by its name is not seen above: this is done in the open, for what is not to wait."""
    around = {_name(module) for module in MODULES if "import_module" in module.read_text(encoding="utf-8")}
    assert around == {"__init__.py", "kernels.py", "showing.py"}
