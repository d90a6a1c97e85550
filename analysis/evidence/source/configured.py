"""Settings of Celery in Python: assignments, dicts, ``conf.update``, classes, arguments of tasks and of queues.

In: a parsed module. Out: ``Place``s that ``sets``. A time is in seconds; None is "never", as 0 is
(https://docs.celeryq.dev/en/stable/userguide/configuration.html#result-expires).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from analysis.evidence.source.modules import MAIN, Module, Scope, dotted, functions
from analysis.evidence.source.numbers import number
from analysis.evidence.source.place import Place, one_line
from analysis.evidence.source.settings import NAMES, OF_A_TASK, OF_A_TRANSPORT, is_time, keys_of_setting
from analysis.evidence.source.values import Values

WORDS = tuple(
    {name.encode() for name in (*NAMES, *OF_A_TASK, *OF_A_TRANSPORT)} | {b"x-expires", b"x-message-ttl", b"expires"}
)
_TAKE_SETTINGS = frozenset("update dict Celery setdefault add_defaults defaults config_from_object".split())
_TAKE_OPTIONS = frozenset(
    "task shared_task periodic_task apply_async signature subtask set send_task add_periodic_task si s options".split()
)
_QUEUE_HEADERS = ("x-expires", "x-message-ttl")
_QUEUE_TIMES = {"x-expires": 1e-3, "x-message-ttl": 1e-3, "expires": 1.0, "message_ttl": 1.0}


class Configured:
    """Looks into one module after the other."""

    def __init__(self, values: Values) -> None:
        self.values, self.project = values, values.project

    def places(self, module: Module) -> Iterator[Place]:
        """Every setting of the module, a row each."""
        celery = any("celery" in target.lower() or "kombu" in target.lower() for _, target in module.imports.values())
        for statement, scope in module.statements:
            yield from self._assigned(statement, scope, module)
        for node, scope in module.dicts:
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    name = key.value
                    if name in NAMES or (celery and name in OF_A_TASK | OF_A_TRANSPORT) or name in _QUEUE_HEADERS:
                        yield from self._set(
                            name, value, scope, module, key, f"{module.text(key)}: {module.text(value)}"
                        )
        decorated = {
            id(decorator): scope
            for scope in module.scopes.values()
            if isinstance(scope.node, ast.FunctionDef | ast.AsyncFunctionDef)
            for decorator in scope.node.decorator_list
        }
        for scope in [*functions(module), *(s for s in module.scopes.values() if s.is_class)]:
            for call in scope.calls:
                if call.keywords:
                    yield from self._arguments(call, decorated.get(id(call), scope), scope, module, celery)

    def _assigned(self, statement: ast.stmt, scope: Scope, module: Module) -> Iterator[Place]:
        value = getattr(statement, "value", None)
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if value is None:
            return
        for target in targets:
            if isinstance(target, ast.Name):
                name = target.id
                of_class = scope.is_class and name in OF_A_TASK and _is_task(scope)
                if not (of_class or (name in NAMES and (scope.is_class or scope.name in ("", MAIN)))):
                    continue
            elif isinstance(target, ast.Attribute) and target.attr in NAMES:
                name = target.attr
            elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                name = str(target.slice.value)
                if name not in NAMES:
                    continue
            else:
                continue
            yield from self._set(name, value, scope, module, statement, module.text(statement))

    def _arguments(self, call: ast.Call, at: Scope, scope: Scope, module: Module, celery: bool) -> Iterator[Place]:
        name = dotted(call.func)
        last = name.rpartition(".")[2] or (call.func.attr if isinstance(call.func, ast.Attribute) else "")
        is_queue = last == "Queue" and self.project.full_name(module, name).startswith("kombu")
        for keyword in call.keywords:
            word = keyword.arg or ""
            if word in NAMES and last in _TAKE_SETTINGS:
                yield from self._set(word, keyword.value, scope, module, keyword, module.text(keyword))
            elif (word in OF_A_TASK and last in _TAKE_OPTIONS) or (
                word == "expires" and last in ("apply_async", "send_task", "task", "shared_task") and celery
            ):
                shown = f"@{module.text(call)}" if at is not scope else module.text(call)
                yield from self._set(word, keyword.value, scope, module, keyword, shown, at)
            elif is_queue and word in _QUEUE_TIMES:
                yield from self._set(word, keyword.value, scope, module, keyword, module.text(call))

    def _set(
        self,
        name: str,
        value: ast.expr,
        scope: Scope,
        module: Module,
        node: ast.AST,
        shown: str,
        at: Scope | None = None,
    ) -> Iterator[Place]:
        if isinstance(value, ast.Dict) and name not in _QUEUE_TIMES:
            return
        self.values.begin()
        setting = NAMES.get(name, name)
        seconds, names = None, frozenset[str]()
        if is_time(setting) or name in _QUEUE_TIMES:
            if isinstance(value, ast.Constant) and (value.value is None or value.value is False):
                seconds = 0.0
            else:
                seconds, names = number(value, scope, self.values)
                seconds = None if seconds is None else max(0.0, seconds * _QUEUE_TIMES.get(name, 1.0))
        elif isinstance(value, ast.Constant) and value.value is False:
            # Said so that who looks for the setting does not take it for set.
            setting = f"{setting}=False"
        elif isinstance(value, ast.Name | ast.Attribute):
            names = frozenset((dotted(value),)) - {""}
        at = at or scope
        yield Place(
            file=module.name,
            line=node.lineno,  # type: ignore[attr-defined]
            function="" if at.is_class and at.name == "" else at.function,
            call=one_line(shown),
            does="sets",
            pattern=keys_of_setting(NAMES.get(name, name)),
            seconds=seconds,
            settings=", ".join([setting, *sorted(names)]),
            scope=at.name if at.node is not None and not at.is_class else None,
            reached=f"setting in {module.name}",
        )


def _is_task(scope: Scope) -> bool:
    return isinstance(scope.node, ast.ClassDef) and any(dotted(base).endswith("Task") for base in scope.node.bases)
