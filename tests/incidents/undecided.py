"""Losses that the evidence leaves open, however much of it there is: two takers, a gap, counters reset, one log.

In: a stage. Out: the truth, which is that nobody can know.
"""

from __future__ import annotations

import time

from tests.incidents.bench import Stage
from tests.incidents.catalogue import incident
from tests.incidents.keys_gone import QUIET, finished
from tests.incidents.plan import Needs
from tests.incidents.truth import Accepted, Truth

_ACTS = ("aof", "stamped", "monitor", "keyspace", "slowlog")


@incident(
    "unknown",
    "undecided",
    Needs(
        seen_by=("info",),
        always=("worker_log", "rdb", "rdb_pair", "info", "info_pair", "config"),
        never=_ACTS,
        blind=("rdb", "rdb_pair", "worker_log"),
        avoid=("old_eviction",),
    ),
)
def unknown(stage: Stage) -> Truth:
    how = stage.pick(("two takers", "restart between", "reset"))
    stage.expires = min(stage.expires, 86400)
    stage.open(config={"maxmemory": "4mb", "maxmemory_policy": "volatile-random"} if how != "restart between" else {})
    task = finished(stage)
    stage.before()
    client, key = stage.db(), stage.meta(task)
    causes: tuple[str, ...] = QUIET
    if how == "restart between":
        client.delete(key)
        stage.run(1)
        time.sleep(0.5)
        stage.server.shutdown(save=True)
        stage.server.start()
        causes = (*QUIET, "restart_data_loss", "stale_snapshot_restored", "replaced_by_resync")
    else:
        if by_client := stage.random.random() < 0.5:
            client.delete(key)
        _evict_some(stage)
        if not by_client:
            client.delete(key)
        elif stage.others:
            client.delete(stage.meta(stage.others[0]))
        if how == "reset":
            client.config_resetstat()
    stage.after()
    return stage.truth(
        task,
        f"{how}: the result was removed, and what is left does not tell by what.",
        Accepted(causes, most=0.9),
        counted=Accepted(causes, most=0.9),
        blind=Accepted(causes, most=0.75),
    )


def _evict_some(stage: Stage) -> None:
    """Cache pages until the server has evicted keys at random."""
    cache = stage.db(stage.main)
    for batch in range(200):
        with cache.pipeline(transaction=False) as pipe:
            for number in range(40):
                pipe.setex(f"cache:feed:{batch}:{number}", 3600, "x" * 1500)
            pipe.execute()
        if int(cache.info("stats")["evicted_keys"]) > 30:
            return
    raise RuntimeError("nothing was evicted")
