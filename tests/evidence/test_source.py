"""A source tree says where records are deleted, expired, flushed or forgotten, by which keys, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pandas as pd
import pytest

from analysis.evidence.source.reading import SourceReading, read_source
from analysis.frames import FRAMES


def tree(root: Path, files: Mapping[str, str | bytes]) -> SourceReading:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else dedent(content).encode())
    reading = read_source(root)
    assert list(reading.cleanup.columns) == [column.name for column in FRAMES["cleanup"]]
    return reading


def places(reading: SourceReading, file: str = "", *does: str) -> list[tuple[Any, ...]]:
    """(does, pattern, seconds, reached), missing as None, of one file and of some words."""
    frame = reading.cleanup
    frame = frame[frame["file"].eq(file)] if file else frame
    frame = frame[frame["does"].isin(does)] if does else frame
    columns = [frame[name].tolist() for name in ("does", "pattern", "seconds", "reached")]
    return [tuple(None if pd.isna(value) else value for value in row) for row in zip(*columns, strict=True)]


def patterns(reading: SourceReading, file: str, *does: str) -> list[Any]:
    return [pattern for _, pattern, _, _ in places(reading, file, *does)]


MODULE = "import os, redis\nfrom datetime import timedelta\nr = redis.Redis()\nPREFIX = 'job:'\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("r.delete('job:1', 'job:2')", [("deletes", "job:1", None), ("deletes", "job:2", None)]),
        ("r.delete(f'job:{x}:log')", [("deletes", "job:*:log", None)]),
        ("r.unlink('job:%s' % x)", [("deletes", "job:*", None)]),
        ("r.unlink('job:%(a)s:%(b)d' % {'a': 'q', 'b': x})", [("deletes", "job:q:*", None)]),
        ("r.delete('job:{}:{id}'.format(x, id='z'))", [("deletes", "job:*:z", None)]),
        ("r.delete(PREFIX + str(x))", [("deletes", "job:*", None)]),
        ("r.delete(':'.join(['job', x, 'meta']))", [("deletes", "job:*:meta", None)]),
        ("r.delete(os.environ.get('KEY', 'jobs'))", [("deletes", "jobs", None)]),
        ("r.delete('a[1]*')", [("deletes", r"a\[1\]\*", None)]),
        ("r.delete(b'job:1')", [("deletes", "job:1", None)]),
        ("r.delete(x)", [("deletes", "*", None)]),
        ("r.getdel('job:1')", [("deletes", "job:1", None)]),
        ("r.expire('job:1', 60 * 60 * 24)", [("expires", "job:1", 86400)]),
        ("r.expire('job:1', timedelta(days=1, hours=1))", [("expires", "job:1", 90000)]),
        ("r.expire(name='job:1', time=30)", [("expires", "job:1", 30)]),
        ("r.pexpire('job:1', 1500)", [("expires", "job:1", 1.5)]),
        ("r.pexpire('job:1', timedelta(seconds=2))", [("expires", "job:1", 2)]),
        ("r.expireat('job:1', 1700000000)", [("expires", "job:1", None)]),
        ("r.persist('job:1')", [("expires", "job:1", 0)]),
        ("r.setex('job:1', 60, 'v')", [("expires", "job:1", 60)]),
        ("r.psetex('job:1', 500, 'v')", [("expires", "job:1", 0.5)]),
        ("r.set('job:1', 'v', ex=int(os.getenv('TTL', '120')))", [("expires", "job:1", 120)]),
        ("r.set('job:1', 'v', px=250)", [("expires", "job:1", 0.25)]),
        ("r.set('job:1', 'v', exat=1700000000)", [("expires", "job:1", None)]),
        ("r.set('job:1', 'v')", []),
        ("r.set('job:1', 'v', ex=None)", []),
        ("r.get('job:1')", []),
        ("r.getex('job:1', ex=5)", [("expires", "job:1", 5)]),
        ("r.getex('job:1')", []),
        ("r.flushdb()", [("flushes", None, None)]),
        ("r.flushall(asynchronous=True)", [("flushes", None, None)]),
        ("r.rename('job:1', 'old:1')", [("renames", "job:1", None), ("renames", "old:1", None)]),
        ("r.move('job:1', 3)", [("renames", "job:1", None)]),
        ("r.swapdb(0, 1)", [("renames", None, None)]),
        ("r.migrate('h', 6379, 'job:1', 0, 100)", [("renames", "job:1", None)]),
        ("r.restore('job:1', 0, x)", []),
        ("r.restore('job:1', 5000, x)", [("expires", "job:1", 5)]),
        ("r.restore('job:1', 0, x, replace=True)", [("renames", "job:1", 0)]),
        ("r.execute_command('DEL', 'job:1')", [("deletes", "job:1", None)]),
        ("r.execute_command('UNLINK job:1')", [("deletes", "job:1", None)]),
        ("r.execute_command('SET', 'job:1', 'v', 'EX', 9)", [("expires", "job:1", 9)]),
        ("r.execute_command('GET', 'job:1')", []),
        ("r.config_set('maxmemory-policy', 'allkeys-lru')", [("sets", None, None)]),
        ("r.eval(\"return redis.call('del', KEYS[1])\", 1, 'job:1')", [("deletes", "job:1", None)]),
        (
            'r.eval("""for _,k in ipairs(redis.call(\'keys\', \'job:*\')) do redis.call(\'del\', k) end""", 0)',
            [("searches", "job:*", None), ("deletes", "job:*", None)],
        ),
        ("r.register_script(\"redis.call('EXPIRE', KEYS[1], 10)\")", [("expires", "*", 10)]),
        ("r.keys('job:*')", [("searches", "job:*", None)]),
        ("r.scan_iter()", [("searches", None, None)]),
        ("r.scan(0, match='job:?')", [("searches", "job:?", None)]),
        (
            "for key in r.scan_iter(f'{PREFIX}*'):\n    r.delete(key)",
            [("searches", "job:*", None), ("deletes", "job:*", None)],
        ),
        (
            "cursor, found = r.scan(0, match='job:*')\nr.delete(*found)",
            [("searches", "job:*", None), ("deletes", "job:*", None)],
        ),
        (
            "for key in r.scan_iter():\n    if key.decode().startswith('job:'):\n        r.delete(key)",
            [("searches", None, None), ("deletes", "job:*", None)],
        ),
        (
            "for number, key in enumerate(['a:1', 'b:2']):\n    r.delete(key)",
            [("deletes", "a:1", None), ("deletes", "b:2", None)],
        ),
        ("doomed = []\nfor i in x:\n    doomed.append(f'job:{i}')\nr.delete(*doomed)", [("deletes", "job:*", None)]),
        ("r.delete(*[f'job:{i}' for i in x])", [("deletes", "job:*", None)]),
        ("r.delete(*[k for k in r.keys() if k.startswith('t:')])", [("deletes", "t:*", None), ("searches", None, None)]),  # noqa: E501
        ("[r.delete(k) for k in r.keys('k:*')]\nfor k in x:\n    r.delete(k)", [
            ("deletes", "k:*", None), ("searches", "k:*", None), ("deletes", "*", None)]),
        ("with r.pipeline() as pipe:\n    pipe.delete('job:1')", [("deletes", "job:1", None)]),
        ("key = 'job:'\nkey += x\nr.delete(key)", [("deletes", "job:*", None)]),
        ("os.system(f'redis-cli -a pw DEL job:{x}')", [("deletes", "job:*", None)]),
        ("import subprocess\nsubprocess.run(['redis-cli', '-n', '2', 'FLUSHDB'])", [("flushes", None, None)]),
    ],
)  # fmt: skip
def test_a_call_of_redis_py_says_what_it_does_to_which_keys(tmp_path: Path, code: str, expected: list[Any]) -> None:
    reading = tree(tmp_path, {"x.py": MODULE + "def f(x):\n" + "\n".join("    " + line for line in code.split("\n"))})
    found = [(does, pattern, seconds) for does, pattern, seconds, _ in places(reading)]
    assert sorted(found, key=lambda one: str(one[:2])) == sorted(expected, key=lambda one: str(one[:2]))
    assert set(reading.cleanup["function"]) <= {"f"}


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.unlink('job:1')\nos.rename('a:1', 'b:2')\nos.remove('x')",
        "from pathlib import Path\np = Path('job:1')\np.unlink()\np.rename('a:b')\nPath('x').unlink(missing_ok=True)",
        "import shutil\nshutil.move('a:1', 'b:1')",
        "def f(session, obj):\n    session.delete(obj)\n    session.expire(obj)\n    session.expire(obj, ['name'])",
        "from app.models import Job\nJob.objects.filter(id=1).delete()\nJob.objects.all().delete()",
        "import redis\nfrom sqlalchemy.orm import Session\ndef f(db: Session, obj):\n    db.delete(obj)",
        "import redis\nd = {}\nd.clear()\nd.keys()\nd.copy()\nfor k in d.keys():\n    print(k)",
        "import redis, requests\ns = requests.Session()\ns.delete('https://h/x')\nrequests.delete('job:1')",
        "from fastapi.testclient import TestClient\nclient = TestClient(app)\nclient.delete('/jobs/1')",
        "import redis\ndef f(client):\n    client.delete('/jobs/1')\n    client.delete('https://x/y')",
        "import boto3\ns3 = boto3.client('s3')\ns3.delete('bucket:key')\ns3.copy('a:1', 'b:1')",
        "class Store:\n    def delete(self, key):\n        pass\nstore = Store()\nstore.delete('job:1')",
        "import redis\nlock = redis.Redis().lock('x')\nlock.delete('a:1')",
        "cache = {}\ncache.clear()\nfrom functools import lru_cache\n@lru_cache\ndef f():\n    pass\nf.cache_clear()",
        "from django.core.cache import cache\ncache.clear()\ncache.delete('x')",
        "import redis\nx = open('a')\nx.delete(key)\n[].clear()\n'a'.expire('b', 1)",
        "df.rename(columns={'a': 'b'})\ndf.copy()\ndf.eval('a:b')\ndf.keys()",
        "user.forget()\nlog.purge()\nqueue.purge()",
        '# r.flushall()\ntext = \'r.flushall()\'\n"""redis-cli FLUSHALL"""\nprint(\'redis-cli FLUSHALL\')',
        "def f(obj):\n    obj.delete()\n    obj.delete(1)\n    obj.rename('name')\n    obj.move(1, 2)\n    obj.persist()",  # noqa: E501
    ],
)
def test_what_is_not_redis_is_not_claimed(tmp_path: Path, code: str) -> None:
    assert places(tree(tmp_path, {"x.py": code})) == []


@pytest.mark.parametrize(
    "code",
    [
        "def f(r: 'redis.Redis'):\n    r.delete('a')",
        "from redis import Redis\ndef f(x: Redis | None = None):\n    x.delete('a')",
        "import redis.asyncio as aio\nasync def f():\n    async with aio.from_url('redis://h') as c:\n        await c.delete('a')",  # noqa: E501
        "from redis.sentinel import Sentinel\ns = Sentinel([]).master_for('m')\ns.delete('a')",
        "from django_redis import get_redis_connection\nget_redis_connection('default').delete('a')",
        "from valkey import Valkey\nclass A:\n    def __init__(self):\n        self.db = Valkey()\n    def f(self):\n        self.db.delete('a')",  # noqa: E501
        "class A:\n    def f(self):\n        self._redis_client.delete('a')",
        "from redis import Redis\nclass A:\n    db: Redis\n    def f(self):\n        self.db.delete('a')",
        "import redis\nclass Mine(redis.Redis):\n    pass\nstore = Mine()\nstore.delete('a')",
        "import redis\ndef make():\n    return redis.Redis()\ndef f():\n    c = make()\n    c.delete('a')",
        "import redis\nc = None\ndef start():\n    global c\n    c = redis.Redis()\ndef f():\n    c.delete('a')",
        "from redis import Redis\nfrom typing import Annotated\nfrom fastapi import Depends\ndef g():\n    yield Redis()\nDep = Annotated[Redis, Depends(g)]\ndef f(q: Dep, z=Depends(g)):\n    z.delete('a')",  # noqa: E501
        "import redis\ndef f(r, key):\n    r.delete('a')",
    ],
)  # fmt: skip
def test_a_client_is_known_by_how_it_was_made_or_named(tmp_path: Path, code: str) -> None:
    assert [(does, pattern) for does, pattern, _, _ in places(tree(tmp_path, {"x.py": code}))] == [("deletes", "a")]


def test_an_unknown_client_counts_only_with_a_key_that_looks_like_one(tmp_path: Path) -> None:
    code = (
        "def f(self, i):\n    self.store.delete(f'job:{i}')\n    self.store.delete(i)\n    self.store.delete('name')\n"
    )
    assert patterns(tree(tmp_path, {"x.py": code}), "x.py") == ["job:*"]


FASTAPI = {
    "app/__init__.py": "",
    "app/keys.py": """
        import os
        JOB_PREFIX = os.environ.get("JOB_PREFIX", "job:")
        JOB_TTL = 7 * 24 * 3600
        def job_key(job_id):
            return f"{JOB_PREFIX}{job_id}"
        class Keys:
            SESSION = "session:%s"
    """,
    "app/config.py": """
        class Settings:
            CACHE_PREFIX: str = "cache"
            API: str = "/api"
        settings = Settings()
    """,
    "app/redis.py": """
        import redis
        def client():
            return redis.Redis(host="h", password="hunter2hunter2")
        async def get_redis():
            yield client()
    """,
    "app/store.py": """
        from .config import settings
        from .keys import JOB_PREFIX, JOB_TTL, Keys, job_key
        from .redis import client
        class Store:
            def __init__(self, db=None):
                self._db = db or client()
            def save(self, job_id, data):
                self._db.setex(job_key(job_id), JOB_TTL, data)
            def purge(self, older):
                gone = [key for key in self._db.scan_iter(match=JOB_PREFIX + "*")]
                self._db.delete(*gone)
            def drop(self):
                self._by_pattern(f"{settings.CACHE_PREFIX}:*")
                self._by_pattern("tmp:*")
            def _by_pattern(self, pattern):
                cursor, keys = self._db.scan(0, match=pattern)
                self._db.unlink(*keys)
            def close(self, sid):
                self._db.delete(Keys.SESSION % sid)
            def unused(self):
                self._db.delete("dead:1")
    """,
    "app/api/__init__.py": "",
    "app/api/jobs.py": """
        from fastapi import APIRouter, BackgroundTasks, Depends
        from ..redis import get_redis
        from ..store import Store
        from app import tasks
        router = APIRouter(prefix="/jobs")
        @router.post("/purge")
        async def purge_jobs(background: BackgroundTasks, db=Depends(get_redis)):
            store = Store()
            background.add_task(store.purge, 3)
            await db.flushdb()
        @router.delete("/{job_id}")
        async def delete_job(job_id: str, db=Depends(get_redis)):
            await db.delete(f"job:{job_id}", f"job:{job_id}:log")
            Store().close(job_id)
        @router.get("/later")
        def later():
            tasks.sweep.delay()
    """,
    "app/main.py": """
        from fastapi import FastAPI
        from app.api import jobs
        from app.config import settings
        from app.redis import client
        async def lifespan(app):
            client().flushall()
            yield
        app = FastAPI(lifespan=lifespan)
        app.include_router(jobs.router, prefix=settings.API)
    """,
    "app/tasks.py": """
        from celery import shared_task
        from celery.signals import task_success
        from app.store import Store
        @shared_task
        def nightly():
            Store().purge(3)
        @shared_task(name="sweep-all")
        def sweep():
            Store().drop()
        @task_success.connect
        def done(sender=None, **kwargs):
            sender.redis.delete("done:1")
    """,
    "app/worker.py": """
        from celery import Celery
        from celery.schedules import crontab
        from app.tasks import sweep
        app = Celery("x", broker="redis://:secretpw1@h/1")
        app.conf.beat_schedule = {"n": {"task": "app.tasks.nightly", "schedule": crontab(hour=3, minute=0)}}
        @app.on_after_configure.connect
        def periodic(sender, **kwargs):
            sender.add_periodic_task(3600.0, sweep.s())
    """,
    "tests/test_app.py": """
        from app.redis import client
        from app.store import Store
        def test_x():
            client().flushdb()
            Store().unused()
    """,
}


def test_a_fastapi_application_is_followed_from_its_keys_to_its_routes_tasks_and_schedules(tmp_path: Path) -> None:
    reading = tree(tmp_path, FASTAPI)
    assert reading.complete and reading.problems == () and reading.files == len(FASTAPI)
    nightly = "schedule crontab(hour=3, minute=0) → task app.tasks.nightly"
    sweep = "route GET /api/jobs/later; schedule every 3600 s → task sweep-all"
    purge = "route POST /api/jobs/purge"
    found = places(reading, "app/store.py")
    assert found[:3] == [
        ("expires", "job:*", 604800, None),
        ("searches", "job:*", None, f"{purge}; {nightly}"),
        ("deletes", "job:*", None, f"{purge}; {nightly}"),
    ]
    dropped = [(does, pattern, set(reached.split("; "))) for does, pattern, _, reached in found[3:7]]
    both = set(sweep.split("; "))
    assert dropped == [("searches", "cache:*", both), ("searches", "tmp:*", both),
                       ("deletes", "cache:*", both), ("deletes", "tmp:*", both)]  # fmt: skip
    assert found[7:] == [
        ("deletes", "session:*", None, "route DELETE /api/jobs/{job_id}"),
        ("deletes", "dead:1", None, "test tests/test_app.py"),
    ]
    assert places(reading, "app/api/jobs.py") == [
        ("flushes", None, None, purge),
        ("deletes", "job:*", None, "route DELETE /api/jobs/{job_id}"),
        ("deletes", "job:*:log", None, "route DELETE /api/jobs/{job_id}"),
    ]
    assert places(reading, "app/main.py") == [("flushes", None, None, "lifespan of the application")]
    assert places(reading, "app/tasks.py") == [("deletes", "done:1", None, "signal task_success")]
    assert places(reading, "tests/test_app.py") == [("flushes", None, None, "test tests/test_app.py")]
    rows = reading.cleanup.set_index("file").loc["app/store.py"]
    assert rows["settings"].tolist()[:2] == ["JOB_PREFIX, JOB_TTL", "JOB_PREFIX"]
    assert "settings.CACHE_PREFIX" in rows["settings"].tolist()
    assert rows["function"].tolist()[0] == "Store.save"
    assert "hunter2" not in reading.cleanup.to_csv() and "secretpw1" not in reading.cleanup.to_csv()
