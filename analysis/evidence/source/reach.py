"""How a place in source code is reached: from which route, task, schedule, command, signal, script or test.

In: parsed modules, and what scripts and crontabs start. Out: a line for each function that a place stands in. Goes back
along calls by name: what calls it, what calls that, so far as names tell; who is called only through a value is not
found.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from analysis.evidence.source.modules import MAIN, Module, Scope, dotted, functions
from analysis.evidence.source.numbers import number
from analysis.evidence.source.place import one_line, printable
from analysis.evidence.source.project import Project
from analysis.evidence.source.routes import Key, Routes
from analysis.evidence.source.text import Lead
from analysis.evidence.source.values import Values, argument

MOST_LABELS = 8
_DEEPEST = 12
_MOST_FUNCTIONS = 150
_SCHEDULERS = frozenset("scheduled_job repeat_every crontab periodic_task repeat_at cron".split())
_HOOKS = frozenset(
    "before_request after_request teardown_request teardown_appcontext before_first_request middleware "
    "exception_handler errorhandler before_serving after_serving".split()
)
_TASKS = frozenset("task shared_task periodic_task actor db_task db_periodic_task job".split())


class Reach:
    """Gathers entries from every module, then answers for one function after the other."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.project: Project = values.project
        self.routes = Routes(values)
        self._entries: dict[Key, list[str]] = defaultdict(list)
        self._tasks: dict[str, Key] = {}
        self._names: dict[Key, str] = {}
        self._schedules: dict[str, list[str]] = defaultdict(list)
        self._starts: dict[Key, list[str]] = defaultdict(list)
        self._callers: dict[Key, list[Key]] = {}
        self._labels: dict[Key, str | None] = {}

    # -- what leads in

    def gather(self, module: Module) -> None:
        """Take what a module says of its entries."""
        self.routes.gather(module)
        for scope in list(module.scopes.values()):
            if isinstance(scope.node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in scope.node.decorator_list:
                    self.values.begin()
                    self._decorated(decorator, scope, module)
            elif isinstance(scope.node, ast.ClassDef):
                self._class(scope, module)
        for scope in functions(module):
            for call in scope.calls:
                self.values.begin()
                self._called(call, scope, module)
        for node, scope in module.dicts:
            self._beat_entry(node, scope, module)

    def finish(self, leads: Iterable[Lead], scripts: dict[str, str]) -> None:
        """After all modules: join routes to functions, and scripts to what starts them.

        ``scripts``: names of files that are scripts in other languages, to the label of what they are.
        """
        for key, route in self.routes.found():
            if route not in self._entries[key]:
                self._entries[key].append(printable(route))
        by_name: dict[str, list[str]] = defaultdict(list)
        for name in [*self.project.names, *scripts]:
            by_name[name.rpartition("/")[2]].append(name)
        for lead in leads:
            led = self._led(lead, by_name)
            if led and led[0] != lead.file and lead.label not in self._starts[led]:
                self._starts[led].append(lead.label)

    def _led(self, lead: Lead, by_name: dict[str, list[str]]) -> Key | None:
        """The script or function that a line starts."""
        if lead.path:
            path = PurePosixPath(lead.path)
            for length in range(len(path.parts), 0, -1):
                wanted = "/".join(path.parts[-length:])
                fits = [n for n in by_name.get(path.name, []) if n == wanted or n.endswith(f"/{wanted}")]
                if fits:
                    return min(fits, key=len), ""
            return None
        if lead.command:
            word = lead.command.replace("-", "_")
            fits = [n for n in by_name.get(f"{word}.py", []) if "/management/commands/" in f"/{n}"]
            return (fits[0], "Command.handle") if fits else None
        found = self.project.find_module(lead.module, lead.file)
        if found is None:
            found = self.project.find_module(f"{lead.module}.__main__", lead.file)
        return (found, lead.function) if found else None

    def _decorated(self, decorator: ast.expr, scope: Scope, module: Module) -> None:
        call = decorator if isinstance(decorator, ast.Call) else None
        name = dotted(call.func if call else decorator)
        last = name.rpartition(".")[2] or getattr(call.func if call else decorator, "attr", "")
        key = (module.name, scope.name)
        where = scope.parent or scope
        if last in _TASKS and (last != "job" or self._imports(module, "rq")):
            self._task(key, self._named(call, where) or f"{self.project.dotted_name(module.name)}.{scope.name}")
            if last.endswith("periodic_task") and call:
                every = argument(call, 0, "run_every")
                self._schedules[self._names[key]].append(self._every(every, where, module))
        elif last in _SCHEDULERS and call:
            self._add(key, f"schedule {module.text(call).partition('(')[2].removesuffix(')') or last}")
        elif last == "connect" and "." in name:
            self._add(key, f"signal {name.split('.')[-2]}")
        elif last == "receiver" and call and call.args:
            self._add(key, f"signal {module.text(call.args[0])}")
        elif last == "on_event" and call:
            self._add(key, f"on {self._text(call.args[0] if call.args else None, where)}")
        elif last in ("on_startup", "on_shutdown"):
            self._add(key, last.replace("_", " "))
        elif last in _HOOKS:
            self._add(key, f"hook {last}")
        elif last in ("command", "group", "callback", "cli"):
            given = self._text(call.args[0], where) if call and call.args else ""
            own = scope.name.rpartition(".")[2]
            self._add(key, f"command {given or own.replace('_', '-')}")
        elif last == "listens_for":
            self._add(key, f"event {module.text(call) if call else ''}")

    def _class(self, scope: Scope, module: Module) -> None:
        bases = [dotted(base) for base in scope.node.bases] if isinstance(scope.node, ast.ClassDef) else []
        if "/management/commands/" in f"/{module.name}" and scope.name == "Command":
            stem = PurePosixPath(module.name).stem
            for method in ("handle", "handle_noargs"):
                self._add((module.name, f"Command.{method}"), f"command manage.py {stem}")
        if any(base.rpartition(".")[2].endswith("Task") for base in bases) and f"{scope.name}.run" in module.scopes:
            named = next((b.value for b in scope.names.get("name", []) if b.how == "is"), None)
            name = self._text(named, scope) or f"{self.project.dotted_name(module.name)}.{scope.name}"
            self._task((module.name, f"{scope.name}.run"), name)

    def _called(self, call: ast.Call, scope: Scope, module: Module) -> None:
        last = call.func.attr if isinstance(call.func, ast.Attribute) else dotted(call.func)
        if last == "add_periodic_task" and len(call.args) > 1:
            every = self._every(call.args[0], scope, module)
            self._signed(call.args[1], scope, every)
        elif last in ("add_job", "add_cron_job") and call.args:
            rest = ", ".join(module.text(one) for one in [*call.args[1:], *call.keywords])
            self._refers(call.args[0], scope, f"schedule {rest}")
        elif last == "do" and call.args and "every" in module.text(call.func)[:400]:
            self._refers(call.args[0], scope, f"schedule {module.text(call.func).removesuffix('.do')}")
        elif last == "connect" and call.args and isinstance(call.func, ast.Attribute):
            sender = dotted(call.func.value).rpartition(".")[2]
            if self._imports(module, "celery") or self._imports(module, "django") or "signal" in sender:
                self._refers(call.args[0], scope, f"signal {sender}")
        elif last in ("add_event_handler",) and len(call.args) > 1:
            self._refers(call.args[1], scope, f"on {self._text(call.args[0], scope)}")
        elif last in ("FastAPI", "Starlette", "Litestar"):
            for keyword in call.keywords:
                if keyword.arg in ("lifespan", "on_startup", "on_shutdown"):
                    values = keyword.value.elts if isinstance(keyword.value, ast.List) else [keyword.value]
                    for value in values:
                        self._refers(value, scope, f"{keyword.arg.replace('_', ' ')} of the application")
        elif last == "register" and dotted(call.func) == "atexit.register" and call.args:
            self._refers(call.args[0], scope, "exit of the process")

    def _beat_entry(self, node: ast.Dict, scope: Scope, module: Module) -> None:
        """``{"task": "app.tasks.cleanup", "schedule": 3600.0}``: an entry of ``beat_schedule``."""
        pairs = {k.value: v for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant)}
        if "task" in pairs and "schedule" in pairs:
            for text in self.values.texts(pairs["task"], scope):
                if text.literal:
                    self._schedules[text.literal].append(self._every(pairs["schedule"], scope, module))

    def _every(self, node: ast.expr | None, scope: Scope, module: Module) -> str:
        seconds, _ = number(node, scope, self.values)
        if seconds is not None:
            return f"every {seconds:g} s"
        if isinstance(node, ast.Name | ast.Attribute):
            for binding, where in self.values.bindings(node, scope):
                if binding.how == "is" and isinstance(binding.value, ast.Call):
                    return one_line(where.module.text(binding.value))
        return one_line(module.text(node)) if node is not None else "not told"

    def _signed(self, node: ast.expr, scope: Scope, every: str) -> None:
        """The task of a signature: ``purge.s()``, ``app.signature("app.purge")``."""
        call = node if isinstance(node, ast.Call) else None
        if call and call.args and dotted(call.func).rpartition(".")[2] in ("signature", "Signature", "subtask"):
            name = self._text(call.args[0], scope)
            if name and name != "*":
                self._schedules[name].append(every)
                return
        target = call.func.value if call and isinstance(call.func, ast.Attribute) else node
        function = self.project.function(target, scope)
        if function is not None:
            # Its name as a task is known when all modules have been gathered.
            self._schedules[f"{function.module.name}:{function.name}"].append(every)

    def _refers(self, node: ast.expr, scope: Scope, label: str) -> None:
        function = self.project.function(node, scope)
        if function is not None and not function.is_class:
            self._add((function.module.name, function.name), label)

    def _task(self, key: Key, name: str) -> None:
        self._tasks[name] = key
        self._names[key] = name

    def _add(self, key: Key, label: str) -> None:
        shown = one_line(label)
        if shown not in self._entries[key]:
            self._entries[key].append(shown)

    def _named(self, call: ast.Call | None, scope: Scope) -> str:
        name = self._text(argument(call, -1, "name"), scope) if call else ""
        return "" if name == "*" else name

    def _text(self, node: ast.expr | None, scope: Scope) -> str:
        return "" if node is None else self.values.texts(node, scope)[0].shape

    def _imports(self, module: Module, word: str) -> bool:
        return any(word in target.lower() for _, target in module.imports.values())

    # -- what leads to a function

    def labels(self, module: str, function: str) -> str | None:
        """How a function is reached, ``;`` between ways; None where nothing leads to it."""
        key = (module, function)
        if key not in self._labels:
            found = list(dict.fromkeys(self._ways(key)))
            # A test reaches most things; that is told only of what nothing else does.
            found = [label for label in found if not label.startswith("test ")] or found[:1]
            more = f"; and {len(found) - MOST_LABELS} more" if len(found) > MOST_LABELS else ""
            self._labels[key] = "; ".join(found[:MOST_LABELS]) + more if found else None
        return self._labels[key]

    def _ways(self, start: Key) -> list[str]:
        found: list[str] = []
        seen, level = {start}, [start]
        for _ in range(_DEEPEST):
            above: list[Key] = []
            for key in level:
                # What sets a schedule up at the start names the task and does not run it.
                found += [way for way in self._own(key) if key == start or not way.startswith("signal on_after_")]
                for caller in self._calling(key):
                    if caller not in seen and len(seen) < _MOST_FUNCTIONS:
                        seen.add(caller)
                        above.append(caller)
            level = above
            if not level:
                break
        return found

    def _own(self, key: Key) -> list[str]:
        """The ways that lead straight to a function."""
        module, function = key
        found = list(self._entries.get(key, ()))
        if name := self._names.get(key):
            every = self._schedules.get(name, []) + self._schedules.get(f"{module}:{function}", [])
            found += [f"schedule {when} → task {name}" for when in dict.fromkeys(every)] or [f"task {name}"]
        if function in ("", MAIN):
            found += self._as_script(module, function)
        elif starts := self._starts.get(key):
            found += starts
        if _is_test(module):
            found = found or [f"test {module}"]
        return found

    def _as_script(self, module: str, function: str) -> list[str]:
        if _is_test(module):
            return [f"test {module}"]
        started = self.started(module)
        if started:
            return [f"{label} → script {module}" for label in started]
        if function == MAIN or self._is_script(module):
            return [f"script {module}"]
        return [f"import of {module}"]

    def started(self, name: str, depth: int = 0) -> list[str]:
        """What starts a script: crontabs, and scripts that something starts in turn."""
        found: list[str] = []
        for label in self._starts.get((name, ""), ()):
            inner = label.removeprefix("script ").partition(" ")[0] if label.startswith("script ") else ""
            above = self.started(inner, depth + 1) if inner and inner != name and depth < 4 else []
            found += [f"{one} → {label}" for one in above] or [label]
        return list(dict.fromkeys(found))[:MOST_LABELS]

    def _is_script(self, name: str) -> bool:
        """Whether a module is run by itself: it says so, or no other imports it."""
        data = self.project.data(name)
        module = self.project.module(name)
        if data.startswith(b"#!") or (module and MAIN in module.scopes) or name.endswith("__main__.py"):
            return True
        stem = PurePosixPath(name).stem if not name.endswith("__init__.py") else PurePosixPath(name).parent.name
        for other in self.project.files_with(stem)[:100]:
            importer = self.project.module(other) if other != name else None
            for level, target in importer.imports.values() if importer else ():
                if stem in target.split(".") and (level or self._is_import_of(target, name, other)):
                    return False
        return not name.endswith("__init__.py") and stem not in ("settings", "urls", "wsgi", "asgi", "celeryconfig")

    def _is_import_of(self, target: str, name: str, importer: str) -> bool:
        parts = target.split(".")
        return any(
            self.project.find_module(".".join(parts[:length]), importer) == name for length in range(len(parts), 0, -1)
        )

    def _calling(self, key: Key) -> list[Key]:
        if key in self._callers:
            return self._callers[key]
        self._callers[key] = []
        module, function = key
        own = self.project.scope(module, function)
        if function in ("", MAIN) or own is None:
            return []
        last = function.partition(":")[0].rpartition(".")[2]
        word = (
            own.owner.name.rpartition(".")[2] if own.owner and last in ("__init__", "__call__", "__enter__") else last
        )
        found: list[Key] = []
        for other, scope_name in self.project.callers(own, word):
            if (other, scope_name) != key and self._names_it(other, scope_name, own, word):
                found.append((other, scope_name))
        if name := self._names.get(key):
            found += self.project.mentions(name)
        self._callers[key] = list(dict.fromkeys(found))
        return self._callers[key]

    def _names_it(self, module: str, scope_name: str, function: Scope, word: str) -> bool:
        """Whether a scope names this function, and not another of the same name."""
        scope = self.project.scope(module, scope_name)
        if scope is None:
            return False
        for mention in scope.called if scope.name == "" else scope.mentions:
            parts = mention.split(".")
            if f"{word}()" in parts:
                parts[parts.index(f"{word}()")] = word
            if word in parts and self._is(parts[: parts.index(word) + 1], scope, function):
                return True
        return False

    def _is(self, parts: list[str], scope: Scope, function: Scope) -> bool:
        found = self.project.named(".".join(parts), scope) if parts[0] != "?" else None
        if found is not None:
            if found.is_class:
                return _same(found, function.owner)
            # What a class calls on itself may be what a class below it says.
            return _same(found, function) or (
                found.owner is not None
                and function.owner is not None
                and found.name.rpartition(".")[2] == function.name.rpartition(".")[2]
                and any(_same(one, found.owner) for one in self.project.bases(function.owner))
            )
        if len(parts) == 1 or function.owner is None:
            return False
        if parts[-2].endswith("()"):
            made = self.project.named(".".join(parts[:-1]).removesuffix("()"), scope)
            owner = self._returned(made) if made is not None else None
            if owner is not None:
                return _same(owner, function.owner) or self.project.member(owner, parts[-1]) is function
            return self.project.only_one(parts[-1])
        receiver = _expression(parts[:-1])
        owners = [
            owner
            for binding, where in (self.values.bindings(receiver, scope) if parts[0] != "?" else [])
            if (owner := self.values.class_made(binding, where))
        ]
        if owners:
            return any(
                (member := self.project.member(owner, parts[-1])) is not None and _same(member, function)
                for owner in owners
            )
        return self.project.only_one(parts[-1])

    def _returned(self, made: Scope) -> Scope | None:
        """The class of the tree that a factory says that it returns, or returns in so many words."""
        if made.is_class or not isinstance(made.node, ast.FunctionDef | ast.AsyncFunctionDef):
            return made
        found = self.project.function(made.node.returns, made)
        for node in made.node.body[-3:]:
            if found is None and isinstance(node, ast.Return) and isinstance(node.value, ast.Call):
                found = self.project.function(node.value.func, made)
        return found if found is not None and found.is_class else None


def _expression(parts: list[str]) -> ast.expr:
    found: ast.expr = ast.Name(parts[0], ast.Load())
    for part in parts[1:]:
        found = ast.Attribute(found, part, ast.Load())
    return found


def _same(one: Scope, other: Scope | None) -> bool:
    return other is not None and one.module.name == other.module.name and one.name == other.name


def _is_test(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name.startswith(("test_", "conftest")) or path.name.endswith("_test.py") or "tests" in path.parts[:-1]
