"""A source tree may be damaged, endless or hostile: what can be read is, the rest is said, and nothing is run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.errors import Unusable
from analysis.evidence.source import tree as source_tree
from analysis.evidence.source.reading import covers, read_source
from tests.conftest import StartRedis
from tests.evidence.test_source import patterns, places, tree

GOOD = "import redis\nredis.Redis().delete('good:1')\n"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.py", "import redis\ndef f(:\n    redis.Redis().delete('bad:1')\n", "x.py:2: not parsed"),
        ("x.py", "print 'python 2'\nredis.delete('bad:1')\n", "x.py:1: not parsed"),
        ("x.py", b"import redis\n\0\0", "x.py: holds null bytes"),
        ("x.py", "redis = " + "-" * 100_000 + "1", "x.py:1: not parsed (nested too deep)"),
        ("x.py", "redis = " + "(" * 5_000, "x.py:1: not parsed (too many nested parentheses)"),
        ("x.py", "redis = " + "a." * 20_000 + "b", "x.py:1: not parsed (nested too deep)"),
        ("x.py", "redis = " + "1 + " * 20_000 + "1", "x.py:1: not parsed (nested too deep)"),
        ("x.py", "if redis: pass\n" + "elif a: pass\n" * 20_000, "x.py:1: not parsed (nested too deep)"),
        ("x.py", "redis = " + "lambda: " * 20_000 + "1", "x.py:1: not parsed (nested too deep)"),
        ("x.py", b"# coding: no-such\nredis = 1\n", "x.py:1: not parsed"),
        ("x.py", b"redis = '\xff\xfe'\n", "x.py:1: not parsed"),
    ],
    ids=range(11),
)
def test_a_module_that_does_not_parse_is_named_and_the_rest_is_read(
    tmp_path: Path, name: str, content: str | bytes, told: str
) -> None:
    reading = tree(tmp_path, {name: content, "y.py": GOOD})
    assert patterns(reading, "y.py") == ["good:1"]
    assert not reading.complete and reading.reason and "\n" not in reading.reason
    assert [problem for problem in reading.problems if problem.startswith(told)], reading.problems
    # What says so by its text is found all the same.
    assert patterns(reading, "x.py") == (["bad:1"] if "bad:1" in str(content) else [])


@pytest.mark.parametrize(
    "code",
    [
        "import redis\nr = redis.Redis()\nx = " + " + ".join(["y"] * 900) + "\ny = x\nr.delete(x)\n",
        "import redis\nr = redis.Redis()\na = b\nb = a\nr.delete(a)\nr.expire(a, b)\n",
        "import redis\nr = redis.Redis()\ndef f(x):\n    return f(x)\ndef g(x):\n    r.delete(f(x), g(x))\n    g(x)\n",
        "import redis\nr = redis.Redis()\nk = 'a' * 10 ** 10\nr.expire('a', 10 ** 10 ** 10)\nr.expire('b', 2 ** 1e9)\n",
        "import redis\nclass A(B): pass\nclass B(A): pass\nclass C(C):\n    def f(self):\n        self.x.delete('a:1')\n",  # noqa: E501
        "import redis\nfrom x import *\nfrom x import z\nr = redis.Redis()\nr.delete(z, q)\n",
        "import redis\nr = redis.Redis()\n"
        + "".join(f"a{i} = a{i + 1} + a{i + 1}\n" for i in range(60))
        + "r.delete(a0)",  # noqa: E501
        "import redis\nr = redis.Redis()\nr.delete('%*d %(x' % 1, '{0[a]!z:{1}}'.format(2), '{'.format(1), '%' % ())\n",
        "import redis\nr = redis.Redis()\nr.delete(*[], **{})\nr.set()\nr.expire()\nr.rename()\nr.eval()\nr.scan()\n"
        "r.execute_command()\nr.migrate()\nr.config_set()\nr.delete(*x)\nr.execute_command(*x)\nr.move(*x, 1)\n",
        "import os\nos.system()\nos.system(*x)\nos.popen('redis-cli \"unclosed')\nos.system(['redis-cli', *x, 'DEL'])\n",  # noqa: E501
    ],
    ids=range(10),
)
def test_code_that_refers_to_itself_or_to_nothing_ends(tmp_path: Path, code: str) -> None:
    started = time.monotonic()
    reading = tree(tmp_path, {"x.py": code, "y.py": GOOD})
    assert patterns(reading, "y.py") == ["good:1"] and reading.complete
    assert time.monotonic() - started < 5


def test_nothing_of_the_tree_is_run_or_imported(tmp_path: Path) -> None:
    code = f"import redis, pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\nredis.Redis().delete('a')\n"
    tree(tmp_path / "src", {"x.py": code, "conftest.py": code, "setup.py": code, "sitecustomize.py": code})
    assert not (tmp_path / "ran").exists()
    assert not {"x", "conftest", "setup"} & set(sys.modules)


def test_links_pipes_and_vendored_folders_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.py").write_text(GOOD)
    root = tmp_path / "src"
    (root / "app").mkdir(parents=True)
    for link, target in (
        ("out", outside),
        ("secret.py", outside / "secret.py"),
        ("app/up", root),
        ("l.py", root / "l.py"),
    ):  # noqa: E501
        (root / link).symlink_to(target)
    os.mkfifo(root / "pipe.py")
    files = {name: GOOD for name in ("app/x.py", "node_modules/a/y.py", ".venv/lib/z.py", "v/site-packages/q.py")}
    reading = tree(root, {**files, "image.png": b"\x89PNG\0\0", "data": b"\0\1\2", "large.csv": "a,b\n" * 10})
    assert reading.files == 1 and patterns(reading, "app/x.py") == ["good:1"] and len(reading.cleanup) == 1
    assert not reading.complete and reading.reason == "not read whole: 2 files that are links out of it"
    assert sorted(reading.problems) == [
        "not the application's own, left out: 3 folders (.venv, node_modules, site-packages)",
        "out: a link out of the tree, not followed",
        "secret.py: a link out of the tree, not followed",
    ]


def test_limits_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_tree, "MOST_FILES", 5)
    monkeypatch.setattr(source_tree, "LARGEST_FILE", 1_000)
    files = {f"m{number}.py": GOOD for number in range(9)} | {"big.py": GOOD + "#" * 2_000}
    reading = tree(tmp_path, files)
    assert reading.files == 5 and len(reading.cleanup) == 5 and not reading.complete
    assert reading.reason == "not read whole: 1 files that are too large, files after the limit"
    assert any(problem.startswith("big.py: 2,0") for problem in reading.problems)
    assert any(problem.startswith("m5.py: this and all after it") for problem in reading.problems)


def test_the_digest_is_of_names_and_contents_and_nothing_else(tmp_path: Path) -> None:
    first = tree(tmp_path / "a", {"x.py": GOOD, "b/y.sh": "ls\n"})
    again = tree(tmp_path / "b", {"b/y.sh": "ls\n", "x.py": GOOD, "b/z.png": b"\0"})
    assert first.sha256 == again.sha256 and len(first.sha256) == 64
    assert tree(tmp_path / "c", {"x.py": GOOD, "b/y.sh": "ls \n"}).sha256 != first.sha256
    assert tree(tmp_path / "d", {"x.py": GOOD, "b/w.sh": "ls\n"}).sha256 != first.sha256
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (read_source(empty).files, len(read_source(empty).cleanup), read_source(empty).complete) == (0, 0, True)
    with pytest.raises(Unusable, match="no folder"):
        read_source(tmp_path / "missing")


def test_secrets_do_not_get_into_the_frame_and_strange_names_stay_on_one_line(tmp_path: Path) -> None:
    code = (
        "import redis\nredis.Redis(password='hunter2hunter2').delete('a:1')\n"
        "redis.from_url('redis://user:s3cr3tpw@h/0').delete(\n    'b:1',\n)\n"
        "r = redis.Redis()\nr.config_set('requirepass', 'p4ssw0rdx')\nr.delete('c:\\u202e\\n\\x07')\n"
    )
    script = "redis-cli -a t0psecret DEL d:1\nredis-cli -u redis://:t0psecret@h DEL e:1\n"
    reading = tree(tmp_path, {"x\n\u202ey.py": code, "run.sh": script})
    shown = reading.cleanup.to_csv() + str(reading.problems)
    assert not [secret for secret in ("hunter2", "s3cr3tpw", "p4ssw0rdx", "t0psecret") if secret in shown]
    assert len(reading.cleanup) == 5
    for column in ("call", "pattern"):
        assert all(text.isprintable() for text in reading.cleanup[column])


def test_a_file_in_latin_1_is_read_by_its_declaration(tmp_path: Path) -> None:
    code = "# -*- coding: latin-1 -*-\nimport redis\nredis.Redis().delete('é:1', 'x:1')  # ü\n".encode("latin-1")
    reading = tree(tmp_path, {"x.py": code})
    assert patterns(reading, "x.py") == ["é:1", "x:1"]
    assert reading.cleanup["call"].tolist()[0] == "redis.Redis().delete('é:1', 'x:1')"


def test_long_lines_and_many_commands_take_linear_time(tmp_path: Path) -> None:
    files = {
        "a.js": "client.del('" + "a" * 200_000,
        "b.sh": "redis-cli " + "'" * 100_001 + "\n" + "redis-cli del " + "x" * 30_000,
        "c.yml": "- " * 100_000 + "redis-cli",
        "d.sh": "redis-cli \\\n" * 30_000,
        "e.lua": "redis.call('DEL', " * 10_000,
        "f.json": '{"a": "' + "redis-cli \\" * 20_000,
        ".env": "CELERY_RESULT_EXPIRES=" * 10_000,
        "g.py": "from redis import Redis\nRedis().eval('" + 'redis.call("del", ' * 20_000 + "')\n",
        "h.conf": "maxmemory " * 20_000,
        "crontab": "* " * 30_000,
    }
    started = time.monotonic()
    tree(tmp_path, files)
    assert time.monotonic() - started < 8


def test_many_modules_that_call_each_other_take_linear_time(tmp_path: Path) -> None:
    seconds = []
    for count in (40, 160):
        root = tmp_path / str(count)
        files = {
            f"app/m{number}.py": f"import redis\nfrom app import m{(number + 1) % count}\nr = redis.Redis()\nclass Store:\n"  # noqa: E501
            f"    def purge(self):\n        for k in r.scan_iter('job{number}:*'):\n            r.delete(k)\n"
            f"    def delete(self, x):\n        r.delete(x)\n        m{(number + 1) % count}.go(x)\n"
            "def go(x):\n    Store().purge()\n    Store().delete(f'a:{x}')\n    helper(x)\n"
            "def helper(x):\n    go(x)\n" + "def f():\n    return [1, 2, 3]\n" * 10
            for number in range(count)
        }
        started = time.monotonic()
        reading = tree(root, files)
        seconds.append(time.monotonic() - started)
        assert len(reading.cleanup) >= 3 * count
    assert seconds[1] < 8 * seconds[0] + 1, seconds


@pytest.mark.parametrize("stack_kb", [1024, 8192])
def test_the_interpreter_outlives_deep_nesting_on_a_small_stack(tmp_path: Path, stack_kb: int) -> None:
    for number, text in enumerate(("-" * 900, "not " * 950, "~" * 99_999, "1**" * 3_000, "lambda: " * 990, "(" * 199)):
        (tmp_path / f"m{number}.py").write_text(f"redis = {text}1")
    code = (
        f"import threading; from pathlib import Path; from analysis.evidence.source.reading import read_source;"
        f"threading.stack_size({stack_kb} * 1024);"
        f"t = threading.Thread(target=lambda: print(read_source(Path({str(tmp_path)!r})).files)); t.start(); t.join()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "6\n"), run.stderr


PATTERNS = [
    "*", "a*", "*a", "a*b*c", "?", "??", "a?c", "[abc]", "[a-c]x", "[^a]*", "[c-a]", "[a\\-c]", "[\\]]", "[", "[a", "[^",  # noqa: E501
    "[]", "[^]", "[]a", "[a-", "[a-]", "[a-]b", "\\*", "a\\", "\\", "a\\b", "**", "***a", "", "a**", "*?*", "a[*]b", "[?]",  # noqa: E501
    "job:*:[0-9]", "é*", "?*", "??:*", "*[", "[a-z", "*\\", "[\\", "[a\\", "x[^\\]]*", "*a*b", "a-[", "[--0]",
]  # fmt: skip
KEYS = [
    "a", "b", "c", "ab", "abc", "aXbXc", "*", "a*b", "[", "]", "\\", "a\\", "-", "a-b", "a-c", "ax", "bx", "job:1:2", "é",  # noqa: E501
    "éa", "[a", "?", "axb", "^", "x]", "xy", "a-[", "z", "a]b", "b]", "0", ".", "a\nb", "aab", "ab:1",
]  # fmt: skip


def test_covers_is_what_a_redis_server_matches(start_redis: StartRedis) -> None:
    client = start_redis().client()
    for key in KEYS:
        client.set(key, 1)
    for pattern in PATTERNS:
        matched = {key.decode() if isinstance(key, bytes) else key for key in client.keys(pattern)}
        assert {key for key in KEYS if covers(pattern, key)} == matched, pattern


def test_covers_is_linear_in_the_key() -> None:
    started = time.monotonic()
    assert not covers("*a" * 40 + "b", "a" * 20_000)
    assert covers("*a" * 40, "a" * 20_000) and covers("*", "") and not covers("**", "") and covers("", "")
    assert not covers("a", "A") and covers("\udcff*", "\udcffx")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("case", ["case-03", "case-04"])
def test_the_trees_of_the_incidents_are_read(case: str) -> None:
    root = Path(__file__).resolve().parents[3] / "shared" / "incidents" / case / "src"
    if not root.is_dir():
        pytest.skip("the incidents of ../shared are not here")
    reading = read_source(root)
    assert reading.complete and len(places(reading, "", "sets")) > 0
