"""Fixtures: real servers, workers and a real browser. A test that needs what is not here skips, and fails in CI."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.browser import Chromium, find_chromium
from tests.servers import RedisBinary, RedisServer, Worker, find_redis

INSTALL_REDIS = "no redis-server: install it (Debian: apt-get install redis-server; macOS: brew install redis)"
INSTALL_CHROMIUM = "no Chromium: install it (Debian: apt-get install chromium)"

# With a file a worker, the longest may not begin last.
LONGEST = (
    "test_notebooks", "test_kernels", "test_cli", "test_readme", "test_interrupt", "test_page", "test_given_incidents",
    "test_hostile",
)  # fmt: skip

StartRedis = Callable[..., RedisServer]
StartWorker = Callable[..., Worker]


def pytest_configure(config: pytest.Config) -> None:
    # What the kit keeps between runs stays with the tests; whoever names a folder spares the compiling.
    if "ANALYSIS_CACHE" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="analysis-tests-cache-")
        os.environ["ANALYSIS_CACHE"] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def _lacking(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; in CI this may not be skipped", pytrace=False)
    pytest.skip(reason)


def _redis() -> RedisBinary:
    return find_redis() or pytest.fail(INSTALL_REDIS, pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # A hook and not a fixture: fixtures of a module run before those of its tests, and would start the old server.
    if item.get_closest_marker("redis7") and _redis().version < (7, 0):
        _lacking(f"needs Redis 7.0 or later, {_redis().path} is {'.'.join(map(str, _redis().version))}")


@contextmanager
def _redis_servers(folders: pytest.TempPathFactory) -> Iterator[StartRedis]:
    with ExitStack() as started:

        def start(**config: Any) -> RedisServer:
            server = RedisServer(_redis(), folders.mktemp("redis"), config)
            started.callback(server.kill)
            server.start()
            return server

        yield start
        # Celery's results unsubscribe when they are collected: those a test left behind, while there is a server still.
        gc.collect()


@contextmanager
def _workers(folders: pytest.TempPathFactory) -> Iterator[StartWorker]:
    with ExitStack() as started:

        def start(app: str | Path, **options: Any) -> Worker:
            folder = folders.mktemp("worker")
            if isinstance(app, str):
                source, app = app, folder / f"app_{folder.name}.py"
                app.write_text(source, encoding="utf-8")
            worker = Worker(app, folder, **options)
            started.callback(worker.kill)
            worker.wait_until_ready()
            return worker

        yield start


@pytest.fixture
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRedis]:
    """``start_redis(**config) -> RedisServer``; every server ends with the test."""
    with _redis_servers(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def start_redis_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRedis]:
    """As ``start_redis``, for a fixture that a whole module shares; every server ends with the module."""
    with _redis_servers(tmp_path_factory) as start:
        yield start


@pytest.fixture
def start_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartWorker]:
    """``start_worker(app, *, queues, concurrency, args, env) -> Worker``: ``app`` is a module's source, or its path."""
    with _workers(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def start_worker_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartWorker]:
    """As ``start_worker``, for a fixture that a whole module shares; every worker ends with the module."""
    with _workers(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A headless browser for the session: ``chromium.open(html) -> Page``, ``chromium.screenshot(html, png)``."""
    binary = find_chromium()
    if binary is None:
        _lacking(INSTALL_CHROMIUM)
    with Chromium(binary) as browser:
        yield browser
