"""Calls of a Python module that delete, expire, flush, rename, forget, purge or search, whoever the client is.

In: a parsed module. Out: ``Place``s. A receiver counts as Redis by how it was made (``kinds``), by its name
beside an import of Redis, or because it is given a literal key such as ``job:…``; ``delete()`` of an ORM, a file or a
dict, and of a client that cannot be told without such a key, are left out.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator

from analysis.evidence.source.commands import MOST_KEYS, TELLING, Act, acts_of, acts_of_lua
from analysis.evidence.source.kinds import Kinds
from analysis.evidence.source.modules import Module, Scope, dotted, functions
from analysis.evidence.source.numbers import number
from analysis.evidence.source.patterns import ALL, ANY, Text, covers, known
from analysis.evidence.source.place import Place, one_line
from analysis.evidence.source.settings import GROUP_KEYS, RESULT_KEYS, RQ_JOB_KEYS, RQ_TIMES
from analysis.evidence.source.shell import acts_of_shell
from analysis.evidence.source.values import Values, argument, beginning_of

# Methods that little else than a Redis client has.
_ONLY_REDIS = frozenset(
    "flushdb flushall setex psetex pexpire expireat pexpireat getdel getex renamenx swapdb scan_iter "
    "execute_command unlink register_script config_set".split()
)
_REDIS_METHODS = _ONLY_REDIS | frozenset(
    "delete expire persist set rename move migrate restore copy keys scan eval".split()
)
_CACHE_METHODS = frozenset(
    "clear delete delete_many delete_pattern set add touch set_many expire delete_memoized".split()
)
_JOB_METHODS = frozenset(("delete", "cleanup", "empty"))
METHODS = (
    _REDIS_METHODS
    | _CACHE_METHODS
    | _JOB_METHODS
    | frozenset(("forget", "purge", "discard_all", "queue_purge", "del_"))
)
_STARTS_PROGRAM = re.compile(
    r"(?:^|[._])(?:system|popen|run|call|check_call|check_output|Popen|local|sudo|shell|exec\w*|create_subprocess_\w+)$"
)
# So many patterns of one call stand as they are; of more, those that another takes in are left out.
_FEW = 4
# A key as applications write them: words with a colon between them, and no address.
_STARTS_LIKE_KEY = re.compile(r"(?!https?:|[a-z0-9+.\-]+://)[A-Za-z_{][\w.{}\-]*:(?!//|\s)")
_TTL_UNITS = {"ex": 1.0, "px": 1e-3, "exat": None, "pxat": None}


class Calls:
    """Looks into one module after the other."""

    def __init__(self, kinds: Kinds, *, caches_are_redis: bool, key_prefix: str = "") -> None:
        self.kinds, self.values, self.project = kinds, kinds.values, kinds.project
        self.caches_are_redis = caches_are_redis
        self.key_prefix = key_prefix

    def places(self, module: Module) -> Iterator[Place]:
        """Every call of the module that bears on keys; a row for each pattern."""
        for scope in [*functions(module), *(s for s in module.scopes.values() if s.is_class)]:
            for call in scope.calls:
                self.values.begin()
                for act in _widest(self._acts(call, module.inner.get(id(call), scope))):
                    yield Place(
                        file=module.name,
                        line=call.lineno,
                        function=scope.function,
                        call=one_line(module.text(call)),
                        does=act.does,
                        pattern=act.pattern,
                        seconds=act.seconds,
                        settings=", ".join(sorted(act.settings)) or None,
                        scope=scope.name,
                    )

    def _acts(self, call: ast.Call, scope: Scope) -> list[Act]:
        method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if method in METHODS and isinstance(call.func, ast.Attribute):
            return self._of_method(call, call.func.value, method, scope)
        name = dotted(call.func)
        last = name.rpartition(".")[2]
        if last == "discard_all" or (last == "purge" and "celery" in self.project.full_name(scope.module, name)):
            return [Act("purges", "celery*")]
        if found := self._of_rq(call, last, scope):
            return found
        return self._of_process(call, scope)

    def _of_method(self, call: ast.Call, receiver: ast.expr, method: str, scope: Scope) -> list[Act]:
        kind = self.kinds.of(receiver, scope)
        if kind in ("result", "group") or method == "forget":
            return self._forgets(call, receiver, method, kind, scope)
        if method in ("purge", "discard_all", "queue_purge"):
            return self._purges(call, receiver, method, kind, scope)
        if kind in ("rq queue", "rq job"):
            return [Act("deletes", RQ_JOB_KEYS if kind == "rq job" else "rq:*")] if method in _JOB_METHODS else []
        if kind == "cache":
            return self._of_cache(call, method, scope) if self.caches_are_redis else []
        if method not in _REDIS_METHODS or not self._is_redis(call, receiver, method, kind, scope):
            return []
        return self._of_redis(call, method, scope)

    def _is_redis(self, call: ast.Call, receiver: ast.expr, method: str, kind: str, scope: Scope) -> bool:
        """Whether a method is called on a Redis client."""
        if kind:
            return kind == "redis"
        by_name = self.kinds.by_name(receiver, scope)
        if method in ("flushdb", "flushall", "scan_iter"):
            return True
        if method in ("keys", "copy", "eval", "config_set", "restore", "scan") and by_name != "sure":
            return by_name == "weak" and method != "copy" and bool(call.args or call.keywords)
        if by_name == "sure":
            return bool(call.args or call.keywords)
        if not call.args or isinstance(call.args[0], ast.Starred) and not by_name:
            return False
        # By what stands there: who calls is looked up only where it is told that this is Redis.
        self.values.follows = bool(by_name)
        given = [text for text in self.values.texts(call.args[0], scope) if _STARTS_LIKE_KEY.match(text.shape)]
        self.values.follows = True
        if method in ("setex", "psetex", "getdel", "pexpire", "renamenx", "swapdb", "expireat", "pexpireat"):
            return True
        if method == "execute_command":
            words = self.values.texts(call.args[0], scope)[0].literal or ""
            return words.split(" ")[0].upper() in TELLING
        if method == "expire":
            return len(call.args) > 1 and (bool(given) or number(call.args[1], scope, self.values)[0] is not None)
        if method == "set":
            return bool(given) and bool(by_name)
        # What a search found, or a literal key: no ORM, no file and no HTTP client is given one.
        return bool(given) or (bool(by_name) and self._from_search(call, scope))

    def _from_search(self, call: ast.Call, scope: Scope) -> bool:
        return any(text.pieces == ((False, text.shape),) and text != ANY for text in self._keys(call.args, scope))

    def _keys(self, given: list[ast.expr], scope: Scope) -> list[Text]:
        """The keys that arguments can be: each, and the members of what is starred."""
        found: list[Text] = []
        for one in given[:MOST_KEYS]:
            if isinstance(one, ast.Starred):
                found += self.values.members(one.value, scope)
            elif isinstance(one, ast.List | ast.Tuple | ast.ListComp):
                found += self.values.members(one, scope)
            else:
                texts = self.values.texts(one, scope)
                # A list without a star: redis-py refuses it, other clients take it.
                found += self.values.members(one, scope) if texts == [ANY] else texts
        return [self._narrowed(text, given, scope) for text in dict.fromkeys(found)][:MOST_KEYS]

    def _narrowed(self, text: Text, given: list[ast.expr], scope: Scope) -> Text:
        """``for key in r.scan_iter(): if key.startswith("job:"): r.delete(key)`` takes what begins so."""
        name = given[0].id if len(given) == 1 and isinstance(given[0], ast.Name) else ""
        if not name or text.as_key() != ALL or scope.node is None:
            return text
        for node in list(ast.walk(scope.node))[:2_000]:
            if isinstance(node, ast.If) and any(inner is given[0] for one in node.body for inner in ast.walk(one)):
                if beginning := beginning_of(node.test, name, self.values, scope):
                    return beginning
        return text

    # -- Redis

    def _of_redis(self, call: ast.Call, method: str, scope: Scope) -> list[Act]:
        if method in ("keys", "scan", "scan_iter"):
            found = self.values.searched(call, scope)
            told = bool(call.args[method == "scan" :] or any(k.arg in ("match", "pattern") for k in call.keywords))
            return [Act("searches", text.as_pattern() if told else None, None, text.settings) for text in found]
        if method == "getdel":
            return [Act("deletes", text.as_key(), None, text.settings) for text in self._keys(call.args[:1], scope)]
        if method in ("delete", "unlink"):
            given = list(call.args) or [k.value for k in call.keywords if k.arg in ("name", "names", "key", "keys")]
            return [Act("deletes", text.as_key(), None, text.settings) for text in self._keys(given, scope)]
        if method in ("flushdb", "flushall"):
            return [Act("flushes", None)]
        if method == "execute_command":
            return self._executed(call, scope)
        if method in ("eval", "register_script"):
            return self._scripted(call, scope)
        if method == "config_set":
            words = [self.values.texts(one, scope)[0] for one in call.args]
            return acts_of([known("CONFIG"), known("SET"), *words])
        if method in ("setex", "psetex", "set", "getex", "expire", "pexpire", "expireat", "pexpireat", "persist"):
            return self._expires(call, method, scope)
        return self._renames(call, method, scope)

    def _expires(self, call: ast.Call, method: str, scope: Scope) -> list[Act]:
        """A TTL that is written: relative in seconds, a time of day without; PERSIST and GETEX PERSIST take it away."""
        keys = self._keys([one] if (one := argument(call, 0, "name", "key")) is not None else [], scope)
        seconds: float | None = None
        names: frozenset[str] = frozenset()
        if method == "persist":
            seconds = 0.0
        elif method in ("set", "getex"):
            options = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
            if method == "set" and len(call.args) > 2:
                options.setdefault("ex", call.args[2])
            if method == "set" and len(call.args) > 3:
                options.setdefault("px", call.args[3])
            chosen = next(
                (option for option in _TTL_UNITS if option in options and not _is_none(options[option])), None
            )
            if chosen is None and not (method == "getex" and "persist" in options):
                return []
            seconds = 0.0 if chosen is None else None
            if chosen is not None:
                seconds, names = self._time(options[chosen], _TTL_UNITS[chosen], scope)
        else:
            unit = {"pexpire": 1e-3, "psetex": 1e-3, "expireat": None, "pexpireat": None}.get(method, 1.0)
            given = argument(call, 1, "time", "when", "time_ms", "seconds")
            if given is None:
                return []
            seconds, names = self._time(given, unit, scope)
        return [Act("expires", text.as_key(), seconds, text.settings | names) for text in keys]

    def _time(self, node: ast.expr, unit: float | None, scope: Scope) -> tuple[float | None, frozenset[str]]:
        amount, names = number(node, scope, self.values)
        if unit is None or amount is None:
            return None, names
        # A timedelta is in its own unit whatever the command counts in.
        own = _is_timedelta(node, scope, self.values)
        return max(0.0, amount if own else amount * unit), names

    def _renames(self, call: ast.Call, method: str, scope: Scope) -> list[Act]:
        words: list[Text] = [known(method.upper())]
        if method == "swapdb":
            return [Act("renames", None)]
        if method in ("rename", "renamenx"):
            both = [argument(call, 0, "src"), argument(call, 1, "dst")]
            given = [one for one in both if one is not None]
            return [
                Act("renames", text.as_key(), None, text.settings) for one in given for text in self._keys([one], scope)
            ]
        if method == "migrate":
            one = argument(call, 2, "keys")
            return [Act("renames", t.as_key(), None, t.settings) for t in self._keys([one] if one else [], scope)]
        if method == "restore":
            replace = any(k.arg == "replace" and not _is_false(k.value) for k in call.keywords)
            words += [self.values.texts(one, scope)[0] for one in call.args[:2]]
            return acts_of([*words, known(""), known("REPLACE")] if replace else words)
        if method == "copy":
            replace = any(k.arg == "replace" and not _is_false(k.value) for k in call.keywords)
            one = argument(call, 1, "destination") if replace else None
            return [Act("renames", t.as_key(), None, t.settings) for t in self._keys([one] if one else [], scope)]
        if method == "move" and len(call.args) > 1:
            return [Act("renames", t.as_key(), None, t.settings) for t in self._keys(call.args[:1], scope)]
        return []

    def _executed(self, call: ast.Call, scope: Scope) -> list[Act]:
        words: list[Text] = []
        for place, one in enumerate(call.args[: MOST_KEYS + 4]):
            found = self.values.members(one.value, scope) if isinstance(one, ast.Starred) else self._keys([one], scope)
            if place == 0 and found and found[0].literal:
                words += [known(part) for part in found[0].literal.split()]
            else:
                words += found if isinstance(one, ast.Starred) else found[:1]
        return acts_of(words)

    def _scripted(self, call: ast.Call, scope: Scope) -> list[Act]:
        script = next((t.literal for t in self.values.texts(argument(call, 0, "script"), scope) if t.literal), None)
        keys = [text for one in call.args[2:] for text in self._keys([one], scope)]
        return acts_of_lua(script, keys) if script else []

    # -- caches, Celery, RQ, other programs

    def _of_cache(self, call: ast.Call, method: str, scope: Scope) -> list[Act]:
        """Django stores ``prefix:version:key``, Flask-Caching ``prefix`` and the key: both end in the key. ``clear`` of
        either is FLUSHDB, but for Flask-Caching with a prefix.
        """
        if method == "clear":
            return [Act("flushes", None)]
        given = argument(call, 0, "key", "keys", "pattern")
        if given is None:
            return []
        if method == "delete_pattern":
            return [
                Act("deletes", f"*{t.as_pattern()}".replace("**", "*"), None, t.settings)
                for t in self.values.texts(given, scope)
            ]
        keys = (
            self.values.members(given, scope) if method in ("delete_many", "set_many") else self._keys([given], scope)
        )
        ends = [(f"*{text.as_key()}".replace("**", "*"), text.settings) for text in keys]
        if method in ("delete", "delete_many"):
            return [Act("deletes", pattern, None, names) for pattern, names in ends]
        given = argument(call, 1 if method in ("touch", "expire", "set_many") else 2, "timeout")
        if given is None:
            return []
        # timeout=None: never expires; 0: at once.
        seconds, names = (0.0, frozenset[str]()) if _is_none(given) else number(given, scope, self.values)
        return [Act("expires", pattern, seconds, others | names) for pattern, others in ends]

    def _forgets(self, call: ast.Call, receiver: ast.expr, method: str, kind: str, scope: Scope) -> list[Act]:
        """``forget()`` is DEL of the result's key; ``GroupResult.delete()`` of the group's (celery/result.py)."""
        if kind == "group" and method == "delete":
            return [Act("forgets", self.key_prefix + GROUP_KEYS)]
        if method != "forget" or kind in ("redis", "other", "own", "cache"):
            return []
        told = kind or self._speaks_celery(scope)
        task_id = self._task_id(receiver, scope) if not call.args else self.values.texts(call.args[0], scope)[0]
        if not told and not dotted(receiver).endswith("backend"):
            return []
        key = known(self.key_prefix + RESULT_KEYS.removesuffix(ALL)) + task_id
        return [Act("forgets", key.as_key(), None, task_id.settings)]

    def _task_id(self, receiver: ast.expr, scope: Scope) -> Text:
        """The ID of ``AsyncResult("…")``, where it is literal."""
        made: list[tuple[ast.expr | None, Scope]] = [(receiver, scope)]
        if isinstance(receiver, ast.Name):
            made = [(binding.value, where) for binding, where in self.values.bindings(receiver, scope)]
        for one, where in made:
            if isinstance(one, ast.Call) and dotted(one.func).endswith("AsyncResult") and one.args:
                found = self.values.texts(one.args[0], where)
                return found[0] if len(found) == 1 else ANY
        return ANY

    def _speaks_celery(self, scope: Scope) -> bool:
        return any("celery" in target.lower() for _, target in scope.module.imports.values())

    def _purges(self, call: ast.Call, receiver: ast.expr, method: str, kind: str, scope: Scope) -> list[Act]:
        """``app.control.purge()`` empties every queue that the app consumes; ``celery`` is the default queue, and with
        priorities there are ``celery\\x06\\x163`` and others (kombu's Redis transport).
        """
        if method == "queue_purge":
            named = self.values.texts(call.args[0], scope) if call.args else [ANY]
            return [Act("purges", (text + ANY).as_key(), None, text.settings) for text in named]
        control = kind == "control" or dotted(receiver).rpartition(".")[2] == "control"
        if control or (method == "discard_all" and kind == "app"):
            return [Act("purges", "celery*")]
        return []

    def _of_rq(self, call: ast.Call, last: str, scope: Scope) -> list[Act]:
        """TTLs that RQ writes on a job: ``enqueue(…, result_ttl=…)``, ``@job(…, result_ttl=…)``, ``Queue(…)``."""
        if not any(keyword.arg in RQ_TIMES for keyword in call.keywords):
            return []
        receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
        imported = any(
            target.partition(".")[0] in ("rq", "django_rq", "flask_rq2", "rq_scheduler", "flask_rq")
            for _, target in scope.module.imports.values()
        )
        if not imported and (receiver is None or self.kinds.of(receiver, scope) != "rq queue"):
            return []
        found: list[Act] = []
        for keyword in call.keywords:
            if keyword.arg in RQ_TIMES:
                seconds, names = number(keyword.value, scope, self.values)
                # -1 keeps for ever, 0 removes at once.
                seconds = None if seconds is None else max(0.0, seconds)
                found.append(Act("expires", RQ_JOB_KEYS, seconds, names | frozenset((keyword.arg,))))
        return found

    def _of_process(self, call: ast.Call, scope: Scope) -> list[Act]:
        """Programs that are started: ``os.system("redis-cli …")``, ``subprocess.run(["celery", "purge"])``."""
        name = dotted(call.func)
        if not call.args or not _STARTS_PROGRAM.search(name):
            return []
        first = call.args[0]
        if isinstance(first, ast.List | ast.Tuple):
            words = [self.values.texts(one, scope)[0] for one in first.elts[:64] if not isinstance(one, ast.Starred)]
            if not any("redis-cli" in word.shape or "celery" in word.shape for word in words):
                return []
            return acts_of_shell(" ".join(shlex.quote(_command(word)) for word in words))
        return [act for text in self.values.texts(first, scope)[:1] for act in acts_of_shell(_command(text))]


def _command(text: Text) -> str:
    """A command line with ``{}`` for what is not known, which no shell takes for a text."""
    return "".join(piece if is_known else "{}" for is_known, piece in text.pieces)


def _widest(acts: list[Act]) -> list[Act]:
    """Acts without those whose pattern another takes in; ``*`` is kept beside what is known of other callers."""
    wide = list(dict.fromkeys(acts))
    if len(wide) <= _FEW:
        return wide
    return [
        act
        for act in wide
        if not any(
            other is not act
            and other.does == act.does
            and other.pattern not in (None, ALL, act.pattern)
            and act.pattern not in (None, ALL)
            and covers(other.pattern or "", act.pattern or "")
            for other in wide
        )
    ]


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _is_timedelta(node: ast.expr, scope: Scope, values: Values) -> bool:
    if isinstance(node, ast.Call):
        return dotted(node.func).endswith("timedelta")
    if isinstance(node, ast.BinOp):
        return _is_timedelta(node.left, scope, values) or _is_timedelta(node.right, scope, values)
    if isinstance(node, ast.Name):
        return any(
            isinstance(binding.value, ast.Call) and dotted(binding.value.func).endswith("timedelta")
            for binding, _ in values.bindings(node, scope)
        )
    return False
