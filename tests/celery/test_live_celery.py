"""What a real Celery worker leaves in a real Redis is named and decoded: one server, one run, all its keys."""

from __future__ import annotations

import gc
import runpy
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import celery
import pandas as pd
import pytest

from analysis.celery.families import FAMILIES, name_families
from analysis.celery.messages import message_body, messages_frame, replies
from analysis.celery.results import body_of, tasks_frame
from analysis.evidence.rdb import read_rdb
from tests.servers import RedisServer, Worker

SHOP = """
import os, time
from celery import Celery

def make(number, **conf):
    url = os.environ["SHOP_URL"]
    app = Celery(f"shop{number}", set_as_current=False, broker=f"{url}/{number}", backend=f"{url}/{number + 1}")
    app.conf.update(conf)
    @app.task(shared=False, name="shop.add")
    def add(x, y): return x + y
    @app.task(shared=False, name="shop.total")
    def total(numbers): return sum(numbers)
    @app.task(shared=False, name="shop.fail")
    def fail(): raise ValueError("boom \\U0001f600 <script>")
    @app.task(shared=False, name="shop.quiet", ignore_result=True)
    def quiet(): return "nobody asks"
    @app.task(shared=False, name="shop.hold")
    def hold(seconds): time.sleep(seconds)
    @app.task(shared=False, name="shop.parent")
    def parent(): add.delay(1, 1)
    return app

prefix = {"global_keyprefix": "app1"}
apps = {
    1: make(1),
    3: make(3, result_extended=True, result_compression="gzip",
            broker_transport_options=prefix, result_backend_transport_options=prefix),
    5: make(5, result_backend="rpc://"),
    # as in Celery's documentation of priorities on Redis
    7: make(7, broker_transport_options={"sep": ":", "priority_steps": list(range(10)),
            "unacked_key": "held", "unacked_index_key": "held_since"}),
}
app = apps[int(os.environ["SHOP_APP"])]
"""
HELD = {1: "unacked", 3: "app1unacked", 7: "held"}


@dataclass
class Shop:
    """The keys after everything ran, and the IDs of what was sent."""

    keys: pd.DataFrame
    value_of: Callable[[str, int], Any]
    ids: dict[str, str]
    eta: datetime

    def named(self, db: int, family: str) -> pd.DataFrame:
        return self.keys[(self.keys["db"] == db) & (self.keys["family"] == family)]

    @property
    def tasks(self) -> pd.DataFrame:
        return tasks_frame(self.keys, self.value_of)

    @property
    def messages(self) -> pd.DataFrame:
        return messages_frame(self.keys, self.value_of)


@pytest.fixture(scope="module")
def shop(
    start_redis_for_module: Callable[..., RedisServer],
    start_worker_for_module: Callable[..., Worker],
    tmp_path_factory: pytest.TempPathFactory,
) -> Shop:
    server = start_redis_for_module()
    module = tmp_path_factory.mktemp("shop") / "shop_of_apps.py"
    module.write_text(SHOP, encoding="utf-8")
    environment = {"SHOP_URL": server.url().rpartition("/")[0], "SHOP_APP": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        apps = runpy.run_path(str(module))["apps"]
    for number in apps:
        start_worker_for_module(module, env={**environment, "SHOP_APP": str(number)})
    shop = run_shop(server, apps)
    # a result object that dies after its server tries for seconds to reach it
    gc.collect()
    return shop


def wait_for(told: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < end, "the workers did not get there in time"
        time.sleep(0.05)


def ask_and_go(app: Any) -> None:
    """Asks the workers for a ping as remote control does, and never reads the answer."""
    with app.connection_for_write() as connection:
        mailbox, channel = app.control.mailbox, connection.default_channel
        mailbox.reply_queue(channel).declare()
        mailbox._publish("ping", {}, reply_ticket=uuid.uuid4().hex, channel=channel, timeout=1)


def run_shop(server: RedisServer, apps: dict[int, Any]) -> Shop:
    database = [server.client(db) for db in range(9)]
    eta = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    ids: dict[str, str] = {}
    plain = apps[1]

    def send(name: str, app: Any, task: str, *args: Any, **options: Any) -> None:
        ids[name] = app.tasks[task].apply_async(args, **options).id

    def sign(task: str, *args: Any) -> Any:
        return plain.tasks[task].s(*args)

    def done(app: Any, *names: str) -> Callable[[], bool]:
        return lambda: all(app.AsyncResult(ids[name]).ready() for name in names)

    send("add", plain, "shop.add", 2, 3)
    send("own id", plain, "shop.add", 2, 3, task_id="order/17: blue")
    send("fail", plain, "shop.fail")
    send("quiet", plain, "shop.quiet")
    send("parent", plain, "shop.parent")
    saved = celery.group(sign("shop.add", 1, 1), sign("shop.add", 2, 2), app=plain).apply_async()
    saved.save()
    ids["group"], ids["part 1"], ids["part 2"] = saved.id, *(part.id for part in saved.results)
    ids["chord body"] = celery.chord([sign("shop.add", 1, 1), sign("shop.add", 3, 3)], app=plain)(sign("shop.total")).id
    # a chord whose second part waits where nobody works keeps its bookkeeping
    stuck = celery.chord([sign("shop.add", 1, 1), sign("shop.add", 3, 3).set(queue="nobody")], app=plain)
    ids["stuck chord"] = stuck(sign("shop.total")).parent.id
    send("prefixed", apps[3], "shop.add", 4, 5)
    send("asked", apps[5], "shop.add", 6, 7)
    wait_for(done(plain, "add", "own id", "fail", "parent", "part 1", "part 2", "chord body"))
    wait_for(lambda: apps[3].AsyncResult(ids["prefixed"]).ready() and any(database[2].keys("*.j")))
    wait_for(lambda: any(database[5].type(key) == b"list" for key in database[5].keys()))

    for number, held in HELD.items():
        app = apps[number]
        send(f"running in {number}", app, "shop.hold", 60)
        send(f"reserved in {number}", app, "shop.add", 8, number)
        wait_for(partial(database[number].hlen, held))
        send(f"eta in {number}", app, "shop.add", 1, 2, eta=eta, expires=eta + timedelta(hours=1), queue="later")
        send(f"urgent in {number}", app, "shop.add", 1, 2, queue="later", priority=7)
    send("never stored", plain, "shop.quiet", queue="later")
    with plain.connection_for_read() as connection:
        given_back = connection.SimpleQueue("nobody")
        given_back.get(timeout=5).requeue()
    ask_and_go(apps[5])
    wait_for(lambda: database[5].keys("????????-*.reply.celery.pidbox"))
    snapshot = read_rdb(server.save())

    def value_of(_: str, offset: int) -> Any:
        return snapshot.value(offset)

    return Shop(name_families(snapshot.keys, value_of), value_of, ids, eta)


def test_every_key_of_a_worker_has_its_family(shop: Shop) -> None:
    assert set(shop.keys["family"]) <= set(FAMILIES)
    unknown = shop.keys[shop.keys["family"] == "other"]
    assert list(unknown["key"]) == []
    counted = shop.keys.groupby(["db", "family"]).size()
    assert counted[2].to_dict() == {"result": 11, "group_result": 1, "chord": 4}
    assert counted[3]["queue"] == 2 and counted[3]["unacked"] == 1 and counted[3]["unacked_index"] == 1
    assert counted[7]["unacked"] == 1 and counted[7]["unacked_index"] == 1


def test_prefixes_of_both_sides_are_told(shop: Shop) -> None:
    prefixes = shop.keys.groupby("db")["prefix"].unique().map(list)
    assert prefixes.to_dict() == {1: [""], 2: [""], 3: ["app1"], 4: ["app1_"], 5: [""], 7: [""]}


def test_results_carry_state_time_and_kin(shop: Shop) -> None:
    tasks = shop.tasks.set_index("task_id")
    assert tasks["problem"].isna().all() and set(tasks["serializer"]) == {"json"}
    assert tasks.loc[shop.ids["own id"], "status"] == "SUCCESS"
    assert tasks.loc[shop.ids["fail"], "status"] == "FAILURE"
    assert shop.ids["quiet"] not in tasks.index
    group = tasks.loc[shop.ids["group"]]
    assert group["kind"] == "group" and group["children"] == [shop.ids["part 1"], shop.ids["part 2"]]
    assert tasks.loc[shop.ids["part 1"], "group_id"] == shop.ids["group"]
    called = tasks.loc[shop.ids["parent"], "children"]
    assert len(called) == 1 and tasks.loc[called[0], "parent_id"] == shop.ids["parent"]
    stored = tasks[tasks["kind"] == "task"]
    lifetime = stored["expires_at"] - stored["stored_at"]
    assert ((lifetime - pd.Timedelta(1, "D")).abs() < pd.Timedelta(2, "s")).all()
    assert set(stored["stored_from"]) == {"date_done"}


def test_extended_compressed_result_is_read(shop: Shop) -> None:
    tasks = shop.tasks
    row = tasks[tasks["task_id"] == shop.ids["prefixed"]].iloc[0]
    assert (row["name"], row["queue"], row["retries"]) == ("shop.add", "celery", 0)
    assert row["worker"].endswith("@test")
    body = body_of(shop.value_of(row["snapshot"], row["offset"]))
    assert (body.result, body.args, body.kwargs, body.compression) == (9, [4, 5], {}, "application/x-gzip")


def test_failure_keeps_its_exception_and_traceback(shop: Shop) -> None:
    row = shop.tasks.set_index("task_id").loc[shop.ids["fail"]]
    body = body_of(shop.value_of(row["snapshot"], row["offset"]))
    assert body.result["exc_type"] == "ValueError" and body.result["exc_message"] == ["boom \U0001f600 <script>"]
    assert body.traceback is not None and "raise ValueError" in body.traceback


@pytest.mark.parametrize(("db", "step"), [(1, 6), (3, 6), (7, 7)])
def test_queued_messages_name_queue_priority_and_times(shop: Shop, db: int, step: int) -> None:
    messages = shop.messages.set_index("task_id")
    waiting, urgent = messages.loc[shop.ids[f"eta in {db}"]], messages.loc[shop.ids[f"urgent in {db}"]]
    assert (waiting["queue"], waiting["priority"], waiting["state"]) == ("later", 0, "queued")
    assert (urgent["queue"], urgent["priority"], urgent["state"]) == ("later", step, "queued")
    assert waiting["eta"] == shop.eta and waiting["expires"] == shop.eta + timedelta(hours=1)
    assert waiting["name"] == "shop.add" and waiting["retries"] == 0 and "@" in waiting["origin"]
    body = message_body(shop.value_of(waiting["snapshot"], waiting["offset"])[waiting["position"]])
    assert (body.args, body.kwargs, body.problem, body.protocol) == ([1, 2], {}, None, 2)


@pytest.mark.parametrize("db", list(HELD))
def test_reserved_message_tells_its_queue_and_when_it_was_taken(shop: Shop, db: int) -> None:
    messages = shop.messages.set_index("task_id")
    row = messages.loc[shop.ids[f"reserved in {db}"]]
    assert (row["state"], row["queue"]) == ("unacked", "celery")
    assert abs(row["reserved_at"] - pd.Timestamp.now("UTC")) < pd.Timedelta(60, "s")
    assert shop.ids[f"running in {db}"] not in messages.index  # acknowledged when it started
    held = dict(shop.value_of(row["snapshot"], row["offset"]))
    assert message_body(held[row["delivery_tag"].encode()]).args == [8, db]


def test_message_given_back_is_redelivered_and_others_are_not(shop: Shop) -> None:
    messages = shop.messages
    assert messages.loc[messages["queue"] == "nobody", "redelivered"].tolist() == [True]
    assert not messages.loc[messages["queue"] != "nobody", "redelivered"].any()


def test_ignored_result_shows_in_the_message(shop: Shop) -> None:
    messages = shop.messages.set_index("task_id")
    assert messages.loc[shop.ids["never stored"], "ignore_result"]
    assert not messages.loc[shop.ids["eta in 1"], "ignore_result"]


def test_rpc_result_is_a_reply_and_no_message(shop: Shop) -> None:
    found = [(reply.db, reply.task_id, reply.status) for reply in replies(shop.keys, shop.value_of)]
    assert found == [(5, shop.ids["asked"], "SUCCESS")]
    assert shop.ids["asked"] not in set(shop.messages["task_id"].dropna()) | set(shop.tasks["task_id"])


def test_unread_answer_to_remote_control_is_no_queue(shop: Shop) -> None:
    assert list(shop.named(5, "control")["key"].str.endswith(".reply.celery.pidbox")) == [True]
