"""Tasks that never ran as such: revoked, discarded, sent nowhere, never sent.

In: a stage. Out: the truth.
"""

from __future__ import annotations

import time

from tests.incidents.bench import Stage
from tests.incidents.catalogue import incident
from tests.incidents.keys_gone import finished
from tests.incidents.messages_lost import BOTH, no_trace
from tests.incidents.plan import Needs
from tests.incidents.truth import Accepted, Truth

# A record of the refusal may be stored in the result's place.
EITHER = ("absent", "present")


@incident("revoked", "messages", Needs(seen_by=("worker_log",), always=("worker_log",), blind=(), poor=("blind",)))
def revoked(stage: Stage) -> Truth:
    stage.open()
    finished(stage)
    how = stage.pick(("revoke", "expires"))
    # Something long keeps the worker busy meanwhile.
    busy = stage.publish(seconds=1.5)
    stage.wait_log(f"[{busy}] received")
    if how == "revoke":
        # A worker that is busy hears of it only afterwards: so it is told before the task is sent.
        task = stage.new_id()
        stage.celery.control.revoke(task)
        stage.wait_log(f"flagged as revoked: {task}")
        stage.publish(task_id=task)
    else:
        task = stage.publish(expires=0.5)
    stage.before()
    stage.wait_log(f"[{task}]")
    time.sleep(0.3)
    stage.after()
    rest = no_trace("revoked")
    status = (*rest.status, "present")
    stored = stage.plan.any("rdb", "aof") or stage.plan.rewritten
    return stage.truth(
        task,
        f"{how}: the worker discarded the task when it met it.",
        Accepted(["revoked"], 0.8, record="message"),
        blind=Accepted(
            ["revoked", "present", *rest.causes[1:]], most=1.0 if stored else 0.7, status=status, record=BOTH
        ),
        also=[Accepted(["revoked", "present"], 0.5, status=EITHER)] if stage.plan.sight == "seen" else [],
        losses=None if stage.plan.sight != "seen" else [False],
    )


@incident("discarded", "messages", Needs(seen_by=("worker_log",), always=("worker_log",), blind=(), poor=("blind",)))
def discarded(stage: Stage) -> Truth:
    how = stage.pick(("unregistered", "rejected"))
    stage.open(worker=False)
    if how == "rejected":
        path = f"{stage.application.package}/tasks.py"
        stage.application.replace(path, "from .celery_app", "from celery.exceptions import Reject\n\nfrom .celery_app")
        first = stage.application.tasks[0]
        head = f"def {first.function}({first.argument}, seconds=0.01):\n"
        stage.application.replace(path, head, head + '    raise Reject("no such customer", requeue=False)\n')
    stage.start_worker()
    finished(stage)
    stage.before()
    if how == "rejected":
        task = stage.publish(stage.application.tasks[0])
        stage.wait_log(f"[{task}] reject")
    else:
        task = stage.publish(f"{stage.application.package}.legacy.recalculate")
        stage.wait_log("unregistered task")
    time.sleep(0.3)
    stage.run(1)
    stage.after()
    rest = no_trace("discarded")
    stored = stage.plan.any("rdb", "aof") or stage.plan.rewritten
    return stage.truth(
        task,
        f"{how}: the worker threw the message away.",
        Accepted(["discarded"], 0.7, record="message"),
        blind=Accepted(
            ["discarded", "present", *rest.causes[1:]],
            most=1.0 if stored else 0.7,
            status=(*rest.status, "present"),
            record=BOTH,
        ),
        also=[Accepted(["discarded", "present"], 0.4, status=EITHER)] if stage.plan.sight == "seen" else [],
    )


_PLACE = '''\
"""Take orders and hand each to its task; run by the web front end."""
import logging
import sys

from {package}.celery_app import app

logging.basicConfig(format="%(asctime)s.%(msecs)03d %(levelname)s orders: %(message)s",
                    datefmt="%Y-%m-%d %H:%M:%S", level=logging.INFO, stream=sys.stdout)
log = logging.getLogger("orders")


def save(order):
    """Rows of the order, inside the caller's transaction."""
    if order.startswith("BAD"):
        raise ValueError(f"duplicate key value violates unique constraint: order {{order}}")


for order, task_id in zip(sys.argv[1::2], sys.argv[2::2]):
    log.info("order %s: begin, task %s will do it", order, task_id)
    try:
        save(order)
    except ValueError as error:
        log.error("order %s: transaction rolled back, task %s not sent: %s", order, task_id, error)
        continue
    app.send_task("{task}", args=[order], task_id=task_id, {route})
    log.info("order %s: sent as task %s", order, task_id)
'''


def _place(stage: Stage, route: str, orders: dict[str, str], log: bool) -> None:
    package, task = stage.application.package, stage.application.tasks[1].name
    arguments = [part for order, task_id in orders.items() for part in (order, task_id)]
    source = _PLACE.format(package=package, task=task, route=route)
    stage.script(f"{package}/orders.py", source, *arguments, log="app.log" if log else "")


@incident(
    "never_published",
    "messages",
    Needs(seen_by=("aof", "monitor"), always=("worker_log",), blind=("rdb",), poor=("blind", "counted")),
)
def never_published(stage: Stage) -> Truth:
    stage.open()
    finished(stage)
    stage.before()
    sent, lost, later = (stage.new_id() for _ in range(3))
    orders = {"ORD-1": sent, f"BAD-{stage.random.randint(10, 99)}": lost, "ORD-3": later}
    stage.record_job(lost, stage.application.tasks[1].name)
    logged = stage.plan.sight != "blind"
    _place(stage, f"queue={stage.queue!r}", orders, logged)
    stage.wait_log(f"[{later}] succeeded")
    stage.after()
    rest = no_trace("never_published")
    return stage.truth(
        lost,
        "The application logs that its transaction was rolled back and the task not sent; no message was ever written.",
        Accepted(["never_published"], 0.6, record=BOTH, status=("absent", "unknown")),
        counted=Accepted(rest.causes, most=0.99, record=BOTH, status=rest.status),
        blind=Accepted(rest.causes, most=0.75, record=BOTH, status=rest.status),
    )


@incident(
    "unroutable",
    "messages",
    Needs(seen_by=("aof", "monitor"), always=("worker_log", "rdb"), blind=("rdb",), poor=("blind", "counted")),
)
def unroutable(stage: Stage) -> Truth:
    stage.queue = "celery"
    stage.open(worker=False)
    path = f"{stage.application.package}/celery_app.py"
    stage.application.replace(
        path,
        "app.conf.update(",
        "from kombu import Exchange, Queue  # noqa: E402\n\n"
        'app.conf.task_queues = [\n    Queue("celery"),\n'
        '    Queue("orders.v2", Exchange("orders"), routing_key="order.new"),\n]\napp.conf.update(',
    )
    stage.start_worker(queues=("celery", "orders.v2"))
    finished(stage)
    stage.before()
    route = 'exchange="orders", routing_key="order.new"'
    first, lost = stage.new_id(), stage.new_id()
    logged = stage.plan.sight != "blind"
    _place(stage, route, {"ORD-7": first}, logged)
    stage.wait_log(f"[{first}] succeeded")
    # Somebody tidies up keys that he does not know.
    stage.db(stage.broker).delete("_kombu.binding.orders")
    stage.record_job(lost, stage.application.tasks[1].name)
    _place(stage, route, {f"ORD-{stage.random.randint(10, 99)}": lost}, logged)
    if stage.worker.wait_for(lost, 0.7):
        raise RuntimeError("it was routed after all")
    stage.after()
    rest = no_trace("unroutable")
    told = ("unroutable",) if stage.plan.has("source") else ("unroutable", "never_published")
    return stage.truth(
        lost,
        "The binding of the exchange `orders` was deleted; the application published to it, and nothing was written.",
        Accepted(told, 0.4, record=BOTH, status=("absent", "unknown")),
        counted=Accepted(rest.causes, most=0.95, record=BOTH, status=rest.status),
        blind=Accepted(rest.causes, most=0.75, record=BOTH, status=rest.status),
    )
