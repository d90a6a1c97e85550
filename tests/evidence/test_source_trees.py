"""Django, Flask, RQ, scripts, settings and other languages: what each says of its cleanup, and who starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.evidence.test_source import patterns, places, tree


def test_a_django_project_has_its_views_commands_cache_and_celery_settings(tmp_path: Path) -> None:
    files = {
        "manage.py": "import os\nif __name__ == '__main__':\n    os.environ.setdefault('A', 'b')\n",
        "shop/__init__.py": "",
        "shop/settings.py": """
            from datetime import timedelta
            JOB_PREFIX = "job:"
            CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://:pw@h/1"}}
            CELERY_RESULT_EXPIRES = timedelta(hours=6)
            CELERY_TASK_IGNORE_RESULT = False
            CELERY_BEAT_SCHEDULE = {"c": {"task": "jobs.tasks.cleanup", "schedule": 60 * 30}}
        """,
        "shop/urls.py": """
            from django.urls import include, path
            urlpatterns = [path("api/", include("jobs.urls"))]
        """,
        "jobs/__init__.py": "",
        "jobs/urls.py": """
            from django.urls import path, include
            from rest_framework import routers
            from . import views
            router = routers.DefaultRouter()
            router.register(r"jobs", views.JobViewSet)
            urlpatterns = [path("purge/", views.purge), path("one/<int:pk>", views.One.as_view()),
                           path("v2/", include(router.urls))]
        """,
        "jobs/views.py": """
            from django.conf import settings
            from django.core.cache import cache
            from django.views.decorators.http import require_POST
            from django_redis import get_redis_connection
            from .models import Job
            @require_POST
            def purge(request):
                cache.clear()
                get_redis_connection("default").delete(settings.JOB_PREFIX + request.POST["id"])
                Job.objects.filter(done=True).delete()
            class One:
                def delete(self, request, pk):
                    cache.delete(f"one:{pk}")
                    cache.delete_many(["a", f"b:{pk}"])
                    cache.delete_pattern("views.*")
                    cache.set("x", 1, timeout=None)
                    cache.set("y", 1, 90)
                    cache.set("z", 1)
            class JobViewSet:
                def destroy(self, request, pk):
                    cache.delete("gone")
        """,
        "jobs/tasks.py": """
            from celery import shared_task
            from celery.result import AsyncResult, GroupResult
            @shared_task(ignore_result=True)
            def cleanup(ids):
                for one in ids:
                    AsyncResult(one).forget()
                GroupResult.restore("g").delete()
        """,
        "jobs/management/commands/clear_jobs.py": """
            from django.core.management.base import BaseCommand
            import redis
            class Command(BaseCommand):
                def handle(self, *args, **options):
                    self.clear(redis.Redis())
                def clear(self, client):
                    client.flushdb()
        """,
        "deploy/crontab": "0 4 * * * www cd /srv && python manage.py clear_jobs\n",
    }
    reading = tree(tmp_path, files)
    purge, one = "route POST /api/purge/", "route DELETE /api/one/<int:pk>"
    assert places(reading, "jobs/views.py") == [
        ("flushes", None, None, purge),
        ("deletes", "job:*", None, purge),
        ("deletes", "*one:*", None, one),
        ("deletes", "*a", None, one),
        ("deletes", "*b:*", None, one),
        ("deletes", "*views.*", None, one),
        ("expires", "*x", 0, one),
        ("expires", "*y", 90, one),
        ("deletes", "*gone", None, "route DELETE /api/v2/jobs/"),
    ]
    every = "schedule every 1800 s → task jobs.tasks.cleanup"
    assert places(reading, "jobs/tasks.py") == [
        ("sets", "celery-task-meta-*", None, every),
        ("forgets", "celery-task-meta-*", None, every),
        ("forgets", "celery-taskset-meta-*", None, every),
    ]
    assert places(reading, "jobs/management/commands/clear_jobs.py") == [
        ("flushes", None, None, "command manage.py clear_jobs; cron 0 4 * * *")
    ]
    frame = reading.cleanup[reading.cleanup["file"].eq("shop/settings.py")]
    assert frame["settings"].tolist() == ["result_expires", "task_ignore_result=False"]
    assert frame["seconds"].tolist()[0] == 6 * 3600
    assert frame["function"].tolist() == ["", ""]


def test_a_cache_counts_only_where_the_tree_names_a_redis_cache(tmp_path: Path) -> None:
    code = {"v.py": "from django.core.cache import cache\ncache.clear()\n"}
    memory = {"s.py": "CACHES = {'default': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}}\n"}
    outside = {"s.py": "import environ\nenv = environ.Env()\nCACHES = {'default': env.cache_url('CACHE_URL')}\n"}
    assert places(tree(tmp_path / "a", code | memory)) == []
    assert places(tree(tmp_path / "b", code)) == []
    assert [row[0] for row in places(tree(tmp_path / "c", code | outside))] == ["flushes"]


def test_a_flask_application_with_blueprints_rq_and_commands(tmp_path: Path) -> None:
    files = {
        "web/__init__.py": """
            from flask import Flask
            from .admin import bp
            def create_app():
                app = Flask(__name__)
                app.register_blueprint(bp, url_prefix="/ops")
                return app
        """,
        "web/admin.py": """
            import click
            from flask import Blueprint, current_app, g
            from rq import Queue
            from rq.job import Job
            from web.ext import redis_store, run
            bp = Blueprint("admin", __name__, url_prefix="/admin")
            queue = Queue("low", connection=redis_store, default_result_ttl=500)
            @bp.route("/wipe", methods=["POST", "DELETE"])
            def wipe():
                wipe_all()
            def wipe_all():
                redis_store.flushdb()
            @bp.get("/enqueue")
            def enqueue():
                job = queue.enqueue(run, result_ttl=60 * 60, failure_ttl=-1)
                job.delete()
                queue.empty()
            @bp.cli.command("purge-jobs")
            def purge():
                for key in redis_store.keys("rq:job:*"):
                    redis_store.delete(key)
        """,
        "web/ext.py": "from flask_redis import FlaskRedis\nredis_store = FlaskRedis()\ndef run():\n    pass\n",
    }
    reading = tree(tmp_path, files)
    wipe = "route POST,DELETE /ops/wipe"
    assert places(reading, "web/admin.py") == [
        ("expires", "rq:job:*", 500, "import of web/admin.py"),
        ("flushes", None, None, wipe),
        ("expires", "rq:job:*", 3600, "route GET /ops/enqueue"),
        ("expires", "rq:job:*", 0, "route GET /ops/enqueue"),
        ("deletes", "rq:job:*", None, "route GET /ops/enqueue"),
        ("deletes", "rq:*", None, "route GET /ops/enqueue"),
        ("searches", "rq:job:*", None, "command purge-jobs"),
        ("deletes", "rq:job:*", None, "command purge-jobs"),
    ]


@pytest.mark.parametrize(
    ("code", "setting", "seconds"),
    [
        ("app.conf.result_expires = 60 * 60 * 24", "result_expires", 86400),
        ("app.conf.update(result_expires=timedelta(days=2))", "result_expires", 172800),
        ("app.conf.update({'result_expires': None})", "result_expires", 0),
        ("app.conf['result_expires'] = 0", "result_expires", 0),
        ("app = Celery('x', result_expires=int(os.environ.get('EXPIRES', 3600)))", "result_expires, EXPIRES", 3600),
        ("CELERY_TASK_RESULT_EXPIRES = 18000", "result_expires", 18000),
        ("class Config:\n    CELERY_RESULT_EXPIRES: int = 7200", "result_expires", 7200),
        ("class Config:\n    result_expires = 7200.5", "result_expires", 7200.5),
        ("KEEP = 90\napp.conf.result_expires = KEEP", "result_expires, KEEP", 90),
        ("app.conf.result_expires = read()", "result_expires", None),
        ("app.conf.task_acks_late = True", "task_acks_late", None),
        ("app.conf.broker_transport_options = {'visibility_timeout': 43200}", "visibility_timeout", 43200),
        ("@app.task(ignore_result=True)\ndef f():\n    pass", "ignore_result", None),
        ("@app.task(ignore_result=False)\ndef f():\n    pass", "ignore_result=False", None),
        ("f.apply_async(ignore_result=True)", "ignore_result", None),
        ("f.apply_async(expires=30)", "expires", 30),
        ("class T(celery.Task):\n    ignore_result = True", "ignore_result", None),
        ("from kombu import Queue\nQueue('q', queue_arguments={'x-expires': 60000})", "x-expires", 60),
    ],
)  # fmt: skip
def test_settings_of_celery_are_found_under_all_their_names(
    tmp_path: Path, code: str, setting: str, seconds: float | None
) -> None:
    head = "import celery, os\nfrom celery import Celery\nfrom datetime import timedelta\n"
    frame = tree(tmp_path, {"x.py": head + code}).cleanup
    assert frame["does"].tolist() == ["sets"] and frame["settings"].tolist() == [setting]
    assert frame["seconds"].tolist() == [seconds] or (seconds is None and frame["seconds"].isna().all())


def test_a_name_that_is_no_setting_is_not_taken_for_one(tmp_path: Path) -> None:
    code = "import celery\ndef f():\n    result_expires = 3\n    g(result_expires=4)\nRESULT = {'expires': 3}\nacks_late = 1\n"  # noqa: E501
    assert places(tree(tmp_path, {"x.py": code})) == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.sh", "redis-cli -h h -n 2 FLUSHDB", [("flushes", None)]),
        ("a.sh", "redis-cli del job:1 job:2", [("deletes", "job:1"), ("deletes", "job:2")]),
        ("a.sh", "redis-cli --scan --pattern 'job:*' | xargs -L 50 redis-cli unlink", [
            ("searches", "job:*"), ("deletes", "job:*")]),
        ("a.sh", "P=stage\nfor k in $(redis-cli keys \"$P:*\"); do\n  redis-cli del \"$k\"\ndone", [
            ("searches", "stage:*"), ("deletes", "stage:*")]),
        ("a.sh", "redis-cli --scan --pattern 'a:*' |\\\n while read -r key; do redis-cli del \"$key\"; done", [
            ("searches", "a:*"), ("deletes", "a:*")]),
        ("a.sh", "redis-cli DEL \"lock:${1}\"", [("deletes", "lock:*")]),
        ("a.sh", "echo FLUSHALL | redis-cli -h h", [("flushes", None)]),
        ("a.sh", "redis-cli <<EOF\nDEL job:1\nEXPIRE job:2 60\nEOF\n", [("deletes", "job:1"), ("expires", "job:2")]),
        ("a.sh", "docker exec r sh -c 'redis-cli FLUSHALL'", [("flushes", None)]),
        ("a.sh", "redis-cli EVAL \"redis.call('del','x:1')\" 0", [("deletes", "x:1")]),
        ("a.sh", "redis-cli config set maxmemory-policy allkeys-lru", [("sets", None)]),
        ("a.sh", "celery -A app purge -f -Q low,high", [("purges", "low*"), ("purges", "high*")]),
        ("a.sh", "# redis-cli FLUSHALL\necho 'no'\nredis-cli get x\nredis-cli -h del ping", []),
        ("run", "#!/bin/sh\nredis-cli FLUSHALL", [("flushes", None)]),
        ("Makefile", "reset:\n\tredis-cli FLUSHALL", [("flushes", None)]),
        ("Dockerfile", "FROM redis\nCMD [\"redis-cli\", \"FLUSHALL\"]", [("flushes", None)]),
        ("c.yml", "x:\n  command:\n    - redis-cli\n    - FLUSHALL\n", [("flushes", None)]),
        ("c.yml", "x:\n  command: redis-server --maxmemory 1gb --maxmemory-policy allkeys-lru", [("sets", None)] * 2),
        ("c.yml", "env:\n  - name: CELERY_RESULT_EXPIRES\n    value: \"60\"\n", [("sets", "celery-task-meta-*")]),
        (".env", "CELERY_RESULT_EXPIRES=3600\nSECRET_KEY=abc\n", [("sets", "celery-task-meta-*")]),
        ("package.json", "{\"scripts\": {\"reset\": \"redis-cli FLUSHALL\"}}", [("flushes", None)]),
        ("a.js", "await client.del(`job:${id}`, 'x:1');\n// client.del('no:1')\nmap.delete('a'); fs.unlink('b');", [
            ("deletes", "job:*"), ("deletes", "x:1")]),
        ("a.ts", "await redis.flushAll();\nconst x: string = 'y';\nredis.expire('job:' + id, 60)", [
            ("flushes", None), ("expires", "job:*")]),
        ("a.go", "rdb.Del(ctx, fmt.Sprintf(\"job:%s:log\", id))\nrdb.FlushDB(ctx)\nos.Rename(a, b)", [
            ("deletes", "job:*:log"), ("flushes", None)]),
        ("a.rb", "redis.del(\"job:#{id}\")\n$redis.flushdb\nFile.delete('x')\n# redis.del('no:1')", [
            ("deletes", "job:*"), ("flushes", None)]),
        ("a.php", "$redis->del(\"job:$id\");\nRedis::del('x:1');\nunlink('/tmp/x');", [
            ("deletes", "job:*"), ("deletes", "x:1")]),
        ("a.java", "jedis.del(\"job:\" + id);\nredisTemplate.delete(\"x:1\");\nlist.delete(3);", [
            ("deletes", "job:*"), ("deletes", "x:1")]),
        ("a.lua", "local k = redis.call('KEYS', 'job:*')\nfor _, x in ipairs(k) do redis.call('DEL', x) end", [
            ("searches", "job:*"), ("deletes", "job:*")]),
        ("redis.conf", "requirepass hunter2\nmaxmemory 1gb\nmaxmemory-policy allkeys-lru\nsave 900 1\n# save 1 1\n"
                       "rename-command FLUSHALL s3cretname\nport 6379\n", [("sets", None)] * 4),
        ("other.conf", "save 1\nserver x;\n", []),
        ("crontab", "*/5 * * * * root redis-cli DEL job:1\n", [("deletes", "job:1")]),
    ],
)  # fmt: skip
def test_other_files_are_read_by_their_commands(tmp_path: Path, name: str, text: str, expected: list[Any]) -> None:
    reading = tree(tmp_path, {name: text})
    found = [(does, pattern) for does, pattern, _, _ in places(reading)]
    assert found == expected
    shown = reading.cleanup.to_csv()
    assert "hunter2" not in shown and "s3cretname" not in shown and "abc" not in shown
    assert reading.cleanup["reached"].notna().all()


def test_a_script_is_reached_by_the_crontab_and_the_script_that_start_it(tmp_path: Path) -> None:
    files = {
        "scripts/purge.py": "import redis\nr = redis.Redis()\nfor k in r.scan_iter('job:*'):\n    r.delete(k)\n",
        "scripts/tidy.py": "import redis\ndef main():\n    redis.Redis().flushdb()\nif __name__ == '__main__':\n    main()\n",  # noqa: E501
        "scripts/alone.py": "import redis\nredis.Redis().flushall()\n",
        "pkg/__init__.py": "",
        "pkg/cli.py": "import redis\ndef purge():\n    redis.Redis().delete('a:1')\n",
        "bin/nightly.sh": "#!/bin/sh\nset -e\npython scripts/purge.py\n",
        "etc/cron.d/jobs": "@daily www /srv/app/bin/nightly.sh\n30 2 * * 1 root cd /srv && python -m scripts.tidy\n",
        "k8s/job.yaml": "kind: CronJob\nspec:\n  schedule: '0 5 * * *'\n  command: ['redis-cli', 'FLUSHDB']\n",
        "pyproject.toml": "[project.scripts]\npurge = 'pkg.cli:purge'\n",
    }
    reading = tree(tmp_path, files)
    start = "cron @daily → script bin/nightly.sh → script scripts/purge.py"
    assert places(reading, "scripts/purge.py", "deletes") == [("deletes", "job:*", None, start)]
    assert places(reading, "scripts/tidy.py")[0][3] == "cron 30 2 * * 1 → script scripts/tidy.py"
    assert places(reading, "scripts/alone.py")[0][3] == "script scripts/alone.py"
    assert places(reading, "pkg/cli.py")[0][3] == "script purge (pyproject.toml)"
    assert places(reading, "k8s/job.yaml")[0][3] == "schedule 0 5 * * * in k8s/job.yaml"


def test_a_monorepo_keeps_modules_of_the_same_name_apart(tmp_path: Path) -> None:
    store = "import redis\nr = redis.Redis()\ndef purge():\n    r.delete({!r})\n"
    main = "from fastapi import FastAPI\nfrom {} import purge\napp = FastAPI()\n@app.post('/purge-{}')\ndef go():\n    purge()\n"  # noqa: E501
    files = {
        "services/a/store.py": store.format("a:1"),
        "services/a/main.py": main.format("store", "a"),
        "services/b/store.py": store.format("b:1"),
        "services/b/main.py": main.format("store", "b"),
        "services/c/app/store.py": store.format("c:1"),
    }
    reading = tree(tmp_path, files)
    assert places(reading) == [
        ("deletes", "a:1", None, "route POST /purge-a"),
        ("deletes", "b:1", None, "route POST /purge-b"),
        ("deletes", "c:1", None, None),
    ]
    assert patterns(reading, "services/a/store.py") == ["a:1"]
