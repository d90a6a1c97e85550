"""The README cannot rot: every command in it is run, and its output is what stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from analysis.cli import cli
from analysis.settings import read_settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    (command, expected)
    for block in BLOCKS
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, in which commands may write."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("data", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=[command[:40] for command, _ in COMMANDS])
def test_a_command_prints_what_the_readme_shows(checkout, command, expected):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, shell=True, cwd=checkout, env=environment, text=True, timeout=120, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.stdout == expected


def test_every_verb_is_shown():
    shown = " ".join(command for command, _ in COMMANDS)
    for verb in cli.commands:
        assert f"analysis {verb} " in shown


def test_the_example_of_case_toml_is_read(tmp_path):
    [example] = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "case.toml").write_text(example, encoding="utf-8")
    stated = read_settings(tmp_path / "case.toml")
    assert stated.databases == {"main": 0, "broker": 1, "results": 2}
    assert set(tomllib.loads(example)) >= {"name", "databases", "celery", "jobs"}


def test_the_python_in_the_readme_runs(monkeypatch, capsys, tmp_path):
    [large, by_hand] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(by_hand, "README.md", "exec"), {})
    assert "The task was not deleted" in capsys.readouterr().out
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    exec(compile(large, "README.md", "exec"), {})
    assert (tmp_path / "keys.parquet").is_file()


def test_the_reference_is_what_the_code_says():
    made = subprocess.run(
        [sys.executable, "docs/reference.py"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert made.stdout == page, "the reference is not up to date: make docs"
    assert "docs/reference.md" in README


def test_the_pictures_are_there():
    for name in re.findall(r"!\[.+?\]\((.+?)\)", README):
        assert (ROOT / name).is_file()


@pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv", reason="make report uses .venv, and this is another environment"
)
def test_make_report_ends_with_the_path_of_the_report():
    done = subprocess.run(
        ["make", "--no-print-directory", "report"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (ROOT / done.stdout.splitlines()[-1]).is_file()
