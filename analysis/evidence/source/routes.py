"""Where a web application is reached: routes of FastAPI, Flask, Django and their like, with all their prefixes.

In: parsed modules. Out: for each function or class that answers, the route: ``route POST /api/jobs/purge``. Knows
nothing of Redis.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from analysis.evidence.source.modules import Module, Scope, dotted, functions
from analysis.evidence.source.values import Values, argument

_METHODS = frozenset("get post put delete patch head options".split())
_DECORATORS = _METHODS | frozenset(("route", "api_route", "websocket", "http_route", "websocket_route"))
_MAKERS = frozenset("APIRouter FastAPI Flask Blueprint Starlette Quart Sanic Router NinjaAPI Api".split())
_VERB_OF_ACTION = {
    "list": "GET",
    "create": "POST",
    "retrieve": "GET",
    "update": "PUT",
    "partial_update": "PATCH",
    "destroy": "DELETE",
}
_DEEPEST = 6
_MOST_PREFIXES = 8

Key = tuple[str, str]


@dataclass
class _Mount:
    parent: Key | None
    prefix: str
    replaces: bool = False


@dataclass
class Routes:
    """Collects from one module after the other; ``found`` then gives every route, by module and function."""

    values: Values
    _own: dict[Key, str] = field(default_factory=dict)
    _mounts: dict[Key, list[_Mount]] = field(default_factory=lambda: defaultdict(list))
    _routes: list[tuple[Key | None, str, str, Key]] = field(default_factory=list)

    def gather(self, module: Module) -> None:
        """Take what a module says of routes."""
        for scope in module.scopes.values():
            for name, bindings in list(scope.names.items()):
                for binding in bindings:
                    if binding.how == "is" and isinstance(binding.value, ast.Call):
                        self._made((module.name, name), binding.value, scope)
            if isinstance(scope.node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in scope.node.decorator_list:
                    self._decorated(decorator, scope, module)
        for scope in functions(module):
            for call in scope.calls:
                self._called(call, scope, module)

    def found(self) -> Iterator[tuple[Key, str]]:
        """Module and function, and the route that leads to it."""
        for router, methods, path, target in self._routes:
            for prefix in self._prefixes(router, 0) if router else [""]:
                full = "/" + "/".join(part for part in f"{prefix}/{path}".split("/") if part)
                if path.endswith("/") and full != "/":
                    full += "/"
                yield target, " ".join(part for part in ("route", methods, full) if part)

    def _text(self, node: ast.expr | None, scope: Scope) -> str:
        return "" if node is None else self.values.texts(node, scope)[0].shape

    def _made(self, key: Key, call: ast.Call, scope: Scope) -> None:
        if dotted(call.func).rpartition(".")[2] in _MAKERS:
            prefix = argument(call, -1, "prefix", "url_prefix", "root_path")
            self._own[key] = self._text(prefix, scope)

    def _key(self, node: ast.expr | None, scope: Scope) -> Key | None:
        """The router that an expression names, where it was made."""
        name = dotted(node)
        if not name:
            return None
        module, inner = self.values.project.resolve(scope.module, name)
        return (module.name, inner) if module is not None else None

    def _decorated(self, decorator: ast.expr, scope: Scope, module: Module) -> None:
        if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
            return
        word = decorator.func.attr
        where = scope.parent or scope
        path = argument(decorator, 0, "path", "rule", "uri")
        if word not in _DECORATORS or path is None or not self._looks_like_path(path, where):
            return
        methods = word.upper() if word in _METHODS else "WEBSOCKET" if "websocket" in word else ""
        if not methods:
            methods = self._methods(argument(decorator, -1, "methods"), where) or "GET"
        router = self._key(decorator.func.value, where)
        self._routes.append((router, methods, self._text(path, where), (module.name, scope.name)))

    def _looks_like_path(self, node: ast.expr, scope: Scope) -> bool:
        text = self._text(node, scope)
        return text == "" or text.startswith(("/", "*", "{"))

    def _methods(self, node: ast.expr | None, scope: Scope) -> str:
        found = [text.literal or "" for text in self.values.members(node, scope)] if node is not None else []
        return ",".join(dict.fromkeys(word.upper() for word in found if word.isalpha()))

    def _called(self, call: ast.Call, scope: Scope, module: Module) -> None:
        name = dotted(call.func)
        last = name.rpartition(".")[2] or (call.func.attr if isinstance(call.func, ast.Attribute) else "")
        receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
        if last in ("include_router", "register_blueprint", "mount", "add_router") and call.args:
            child = argument(call, 1 if last in ("mount", "add_router") else 0, "router", "app", "blueprint")
            place = {"mount": 0, "add_router": 0, "include_router": 1}.get(last, -1)
            prefix: ast.expr | None = argument(call, place, "prefix", "url_prefix")
            if key := self._key(child, scope):
                replaces = last == "register_blueprint" and prefix is not None
                self._mounts[key].append(_Mount(self._key(receiver, scope), self._text(prefix, scope), replaces))
        elif last in ("path", "re_path", "url") and receiver is None and len(call.args) > 1:
            self._django(call, scope, module)
        elif last == "register" and len(call.args) > 1 and receiver is not None:
            self._viewset(call, receiver, scope)
        elif last in ("add_url_rule", "add_api_route", "add_route", "add_resource", "add_websocket_route"):
            self._added(call, last, receiver, scope)
        elif last.startswith("add_") and last[4:] in _METHODS and len(call.args) > 1:
            self._target(call.args[1], scope, None, last[4:].upper(), self._text(call.args[0], scope))

    def _added(self, call: ast.Call, last: str, receiver: ast.expr | None, scope: Scope) -> None:
        if last == "add_resource":
            for one in call.args[1:]:
                self._target(call.args[0], scope, self._key(receiver, scope), "", self._text(one, scope))
            return
        view = argument(call, 2 if last == "add_url_rule" else 1, "view_func", "endpoint", "handler", "route")
        path = argument(call, 0, "rule", "path", "uri")
        methods = self._methods(argument(call, -1, "methods"), scope)
        if view is not None and path is not None:
            self._target(view, scope, self._key(receiver, scope), methods or "GET", self._text(path, scope))

    def _django(self, call: ast.Call, scope: Scope, module: Module) -> None:
        """``path("purge/", views.purge)``: of a module of URLs, which another may include under a prefix."""
        path = self._text(call.args[0], scope).lstrip("^").removesuffix("$")
        view = call.args[1]
        urls: Key = (module.name, "urlpatterns")
        if isinstance(view, ast.Call) and dotted(view.func).endswith("include") and view.args:
            child = view.args[0].elts[0] if isinstance(view.args[0], ast.Tuple) and view.args[0].elts else view.args[0]
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                if found := self.values.project.find_module(child.value, module.name):
                    self._mounts[(found, "urlpatterns")].append(_Mount(urls, path))
                return
            if key := self._key(child, scope):
                inner = key[1].removesuffix(".urls").removesuffix(".urlpatterns") if "." in key[1] else key[1]
                self._mounts[(key[0], inner or "urlpatterns")].append(_Mount(urls, path))
            return
        self._target(view, scope, urls, "", path)

    def _viewset(self, call: ast.Call, receiver: ast.expr, scope: Scope) -> None:
        """``router.register("jobs", JobViewSet)`` of Django REST framework."""
        target = self.values.project.function(call.args[1], scope)
        if target is not None and target.is_class:
            path = self._text(call.args[0], scope).strip("^$") + "/"
            self._of_class(target, self._key(receiver, scope), "", path)

    def _target(self, view: ast.expr, scope: Scope, router: Key | None, methods: str, path: str) -> None:
        if isinstance(view, ast.Call):
            if isinstance(view.func, ast.Attribute) and view.func.attr in ("as_view", "as_asgi"):
                view = view.func.value
            elif view.args:
                # csrf_exempt(view), login_required(view)
                view = view.args[0]
        target = self.values.project.function(view, scope)
        if target is None:
            return
        if target.is_class:
            self._of_class(target, router, methods, path)
            return
        key = (target.module.name, target.name)
        self._routes.append((router, methods or self._required(target), path, key))

    def _required(self, function: Scope) -> str:
        """The methods that a view of Django takes, by its decorators."""
        for decorator in getattr(function.node, "decorator_list", ()):
            name = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator).rpartition(".")[2]
            if name in ("require_POST", "require_GET"):
                return name.removeprefix("require_")
            if name in ("require_http_methods", "api_view") and isinstance(decorator, ast.Call) and decorator.args:
                return self._methods(decorator.args[0], function.parent or function)
        return ""

    def _of_class(self, owner: Scope, router: Key | None, methods: str, path: str) -> None:
        for one in self.values.project.bases(owner):
            for function in functions(one.module):
                if function.owner is not one or function.parent is not one:
                    continue
                name = function.name.rpartition(".")[2]
                verb = name.upper() if name in _METHODS else _VERB_OF_ACTION.get(name, "")
                own = path
                for decorator in getattr(function.node, "decorator_list", ()):
                    if isinstance(decorator, ast.Call) and dotted(decorator.func).rpartition(".")[2] == "action":
                        verb = self._methods(argument(decorator, 0, "methods"), one) or "GET"
                        own = f"{path}{self._text(argument(decorator, -1, 'url_path'), one) or name}/"
                if verb:
                    self._routes.append((router, verb, own, (one.module.name, function.name)))

    def _prefixes(self, key: Key, depth: int) -> list[str]:
        """Every prefix under which a router is mounted, its own included."""
        own = self._own.get(key, "")
        mounts = self._mounts.get(key, [])
        if not mounts or depth > _DEEPEST:
            return [own]
        found: list[str] = []
        for mount in mounts[:_MOST_PREFIXES]:
            above = self._prefixes(mount.parent, depth + 1) if mount.parent and mount.parent != key else [""]
            mine = mount.prefix if mount.replaces else f"{mount.prefix}/{own}"
            found += [f"{prefix}/{mine}" for prefix in above]
        return list(dict.fromkeys(found))[:_MOST_PREFIXES]
