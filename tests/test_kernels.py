"""Both builds of the kernels read the same: on real snapshots, on damaged ones, and of results cut by position."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import kernels
from analysis.celery.families import name_families
from analysis.celery.messages import messages_frame
from analysis.celery.results import tasks_frame
from analysis.errors import Unusable
from analysis.evidence.rdb import Snapshot, read_rdb
from analysis.evidence.rdb_values import ValueUnreadable
from analysis.progress import Progress
from tests.evidence import rdb_writer as w
from tests.evidence.edits import EDITS, Edit, edited
from tests.evidence.rdb_layouts import LAYOUTS, TIMED_HASHES
from tests.evidence.rdb_writer import Rdb

CORPUS = Path(__file__).parents[1].parent / "shared" / "corpus"
FILES = sorted(CORPUS.glob("*/*.rdb"))
META = {"status": "SUCCESS", "result": 1, "traceback": None, "children": [], "date_done": "2026-11-23T14:09:12.123456"}


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Iterator[None]:
    made = kernels.compiled(None, Progress())
    if made is None:
        pytest.fail("numba is a dependency, and cannot compile here", pytrace=False)
    yield


def read(path: Path, build: str) -> Snapshot:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(kernels.SWITCH, build)
        snapshot = read_rdb(path)
        assert snapshot.kernels.compiled == (build == "compiled")
    return snapshot


def told(snapshot: Snapshot) -> dict[str, Any]:
    wanted = ("flavor", "version", "aux", "taken_at", "complete", "stopped_at", "reason", "checksum", "size", "sha256")
    return {name: getattr(snapshot, name) for name in wanted}


def of_celery(snapshot: Snapshot, build: str) -> list[pd.DataFrame]:
    def value_of(_: str, offset: int) -> Any:
        return snapshot.value(offset)

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(kernels.SWITCH, build)
        named = name_families(snapshot.keys, value_of)
        return [named, tasks_frame(named, value_of, {snapshot.source: snapshot}), messages_frame(named, value_of)]


def read_alike(path: Path) -> Snapshot:
    """Read by both builds, which must not differ in anything."""
    plain, fast = read(path, "plain"), read(path, "compiled")
    assert told(plain) == told(fast)
    pd.testing.assert_frame_equal(plain.keys, fast.keys)
    for one, two in zip(of_celery(plain, "plain"), of_celery(fast, "compiled"), strict=True):
        pd.testing.assert_frame_equal(one, two)
    return fast


@pytest.mark.skipif(not FILES, reason="the corpus is not beside the repository")
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_both_builds_read_the_corpus_alike(path: Path) -> None:
    assert len(read_alike(path).keys) or path.stem == "empty"


def test_both_builds_read_every_layout_alike(tmp_path: Path) -> None:
    for valkey in (False, True):
        writer = Rdb(80 if valkey else 12, valkey=valkey).aux("ctime", 1_700_000_000)
        for place, (name, _, code, stored, *_) in enumerate(LAYOUTS):
            writer.select(place % 3).raw(b"\xf8", w.length(place)).key(name, code, stored, ms=10**12 + place)
        for name, of_valkey, _, code, stored, _ in TIMED_HASHES:
            if of_valkey == valkey:
                writer.raw(b"\xf9\x07").key(name, code, stored)
        writer.key(b"\xff\x00bytes", 0, w.number(5)).key("12", 0, w.string("x"))
        writer.raw(b"\x00", w.number(-7), w.string("a key that is a number"))
        writer.raw(b"\x00", w.lzf_string(b"k" * 100), w.string("a key that is compressed"))
        path = tmp_path / f"{valkey}.rdb"
        path.write_bytes(writer.end())
        snapshot = read_alike(path)
        assert snapshot.complete and {"\\xff\x00bytes", "12", "-7", "k" * 100} <= set(snapshot.keys["key"])


def test_both_builds_read_many_keys_alike(tmp_path: Path) -> None:
    # More than one block of the walker, of the names and of the results.
    chance = random.Random(3)
    writer = Rdb(11).aux("ctime", 1_700_000_000).select(1)
    for number in range(40_000):
        task_id = f"{chance.getrandbits(64):016x}"
        meta = META | {"name": f"app.{chance.randrange(40)}", "worker": "w" * chance.randrange(1, 9)}
        meta["task_id"] = task_id
        meta |= {"parent_id": f"p{number}"} if number % 7 == 0 else {}
        meta |= {"children": [[["c", None], None]]} if number % 1000 == 0 else {}
        writer.text(f"celery-task-meta-{task_id}", json.dumps(meta), ms=10**12 + number if number % 2 else None)
    path = tmp_path / "many.rdb"
    path.write_bytes(writer.end())
    snapshot = read_alike(path)
    tasks = of_celery(snapshot, "compiled")[1]
    assert len(tasks) == 40_000 and tasks["problem"].isna().all()
    assert tasks["parent_id"].notna().sum() == 5715 and tasks["children"].notna().sum() == 40


SEEDED = ("alltypes", "celery", "hash_field_ttl", "lru", "functions")
SEEDS = [path.read_bytes() for path in FILES if path.stem in SEEDED]


@pytest.mark.skipif(not SEEDS, reason="the corpus is not beside the repository")
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.sampled_from(SEEDS or [b""]), edits=EDITS)
def test_both_builds_say_the_same_of_any_damage(
    tmp_path_factory: pytest.TempPathFactory, seed: bytes, edits: list[Edit]
) -> None:
    data = edited(seed, edits)
    path = tmp_path_factory.getbasetemp() / "edited.rdb"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    try:
        snapshot = read_alike(path)
    except Unusable:
        assert len(data) <= 9
        return
    for offset in snapshot.keys["offset"]:
        try:
            snapshot.value(offset)
        except ValueUnreadable:
            pass


FIELD = st.sampled_from(
    [*META, "name", "worker", "queue", "retries", "parent_id", "group_id", "task_id", "stat\\u0075s", "x", "é"]
)
ODD = st.sampled_from(
    ["null", "true", "NaN", "-Infinity", "0", "-0", "1e5", "01", "1.5", "9" * 30, '""', '"a\\nb"', '"\\ud800"', '"é"',
     "[]", "{}", "[[[[]]]]", '[["c", null], null]', '{"a": [1, {"b": "\\\\"}]}', "[" * 70 + "]" * 70,
     '"' + "n" * 300 + '"', '"2026-02-29T00:00:00"', '"2024-02-29T23:59:59.999999+00:00"', '"2024-02-29T23:59:59Z"',
     '"2026-11-23T14:09:12.123"', '"2026-11-23T14:09:12+02:00"', '"2026-11-23 14:09:12"', '"0001-01-01T00:00:00"',
     '"2026-13-01T00:00:00"', "nul", "tru", '"unfinished', "\t 1", '"\x01"', "{,}", "[1,]", '{"a" 1}']
)  # fmt: skip
SPACE = st.sampled_from(["", " ", "\n\t", "\r "])
VALUE = ODD | st.sampled_from([json.dumps(value) for value in META.values()]) | st.text(max_size=9).map(json.dumps)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    results=st.lists(
        st.tuples(st.lists(st.tuples(FIELD, VALUE, SPACE), max_size=8), st.booleans(), SPACE, st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_results_are_cut_as_json_reads_them(tmp_path_factory: pytest.TempPathFactory, results: list[Any]) -> None:
    writer = Rdb(11)
    for number, (fields, packed, space, whole) in enumerate(results):
        inner = ",".join(f'{space}"{name}"{gap}:{gap}{value}{space}' for name, value, gap in fields)
        text = "{" + (f'"status": "SUCCESS",{inner}' if whole and inner else inner) + "}" + space
        octets = text.encode("utf-8", "surrogatepass")
        writer.key(f"celery-task-meta-task-{number}", 0, w.lzf_string(octets) if packed else w.string(octets))
    path = tmp_path_factory.getbasetemp() / "results.rdb"
    path.unlink(missing_ok=True)
    path.write_bytes(writer.end())
    read_alike(path)


def test_more_words_than_a_table_holds_are_all_told(tmp_path: Path) -> None:
    writer = Rdb(11)
    for number in range(3000):
        meta = META | {"name": f"task.{number % 900}", "worker": "w" * 200 + str(number), "queue": "q"}
        writer.text(f"celery-task-meta-{number}", json.dumps(meta))
    path = tmp_path / "words.rdb"
    path.write_bytes(writer.end())
    tasks = of_celery(read_alike(path), "compiled")[1]
    assert tasks["worker"].nunique() == 3000 and tasks["name"].nunique() == 900


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing has been compiled in this process yet, and the compiled build is wanted."""
    monkeypatch.setattr(kernels, "_made", [])
    monkeypatch.setenv(kernels.SWITCH, "compiled")
    return monkeypatch


class Said(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_without_numba_all_is_read_by_python(forgetful: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["numba"] = None
from pathlib import Path
from analysis.evidence.rdb import read_rdb
snapshot = read_rdb(Path({str(tmp_path / "some.rdb")!r}))
print(snapshot.kernels.compiled, snapshot.keys["key"].tolist(), snapshot.checksum)
"""
    (tmp_path / "some.rdb").write_bytes(Rdb(11).text("a", "1").text("b", "2").end())
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False ['a', 'b'] verified\n"


def test_where_compiling_fails_it_is_said_and_python_reads(forgetful: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "numba.py").write_text("raise ImportError('no LLVM here')")
    forgetful.setattr(sys, "path", [str(broken), *sys.path])
    said = Said()
    assert kernels.kernels_for(1, tmp_path / "code", said) is kernels.PLAIN
    assert kernels.kernels_for(1, tmp_path / "code", said) is kernels.PLAIN
    # Tried, and said, once.
    [line] = [line for line in said.lines if "cannot be compiled here" in line]
    assert "no LLVM here" in line


def test_small_files_do_not_load_numba(tmp_path: Path) -> None:
    (tmp_path / "small.rdb").write_bytes(Rdb(11).text("celery-task-meta-a", json.dumps(META)).end())
    script = "import sys\nfrom analysis.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    script += "print('numba' in sys.modules, 'llvmlite' in sys.modules)"
    command = [sys.executable, "-c", script, "inspect", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"


def test_the_size_of_a_file_chooses_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(kernels.SWITCH, raising=False)
    assert kernels.kernels_for(kernels.COMPILED_FROM - 1) is kernels.PLAIN
    assert kernels.kernels_for(kernels.COMPILED_FROM).compiled


def test_code_compiled_from_other_sources_is_not_taken(forgetful: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = next(kernels._folders(tmp_path))
    forgetful.setattr("numpy.__version__", "0.0")
    assert next(kernels._folders(tmp_path)) != before


@pytest.mark.parametrize("name", kernels.MODULES)
def test_a_module_of_kernels_imports_only_kernels_before_it(name: str) -> None:
    tree = ast.parse(Path(sys.modules[name].__file__ or "").read_text(encoding="utf-8"))
    imported = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"__future__", "collections.abc", *kernels.MODULES[: kernels.MODULES.index(name)]}
