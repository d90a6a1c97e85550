"""What an expression of a module comes to, as far as it is literal: texts, the members of a collection, numbers.

In: an expression and the scope in which it stands. Out: ``Text``s, numbers, and the constants and environment variables
that they come from. Nothing is evaluated by Python; what is not literal is ``*``, or no number.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from string import Formatter

from analysis.evidence.source.modules import Binding, Scope, dotted
from analysis.evidence.source.patterns import ALL, ANY, Text, known, matching
from analysis.evidence.source.project import Project

MOST_TEXTS = 16
_DEEPEST = 14
_MOST_STEPS = 2_000
_PERCENT = re.compile(r"%(?:\((?P<name>\w+)\))?[#0\- +]*[\d*]*(?:\.[\d*]+)?(?P<kind>[a-zA-Z%])")
# What gives its first argument, or what it is called on, back as it is to Redis.
_SAME = frozenset("str bytes bytearray memoryview force_str force_bytes smart_str text_type quote".split())
_SAME_METHODS = frozenset("encode decode strip rstrip lstrip format_map value".split())
_SAME_MEMBERS = frozenset(
    "list tuple set frozenset sorted reversed iter filter chunked batched chunks chunk grouper batch islice chain "
    "unique unique_everseen deque copy ichunked sliced gather tqdm track from_iterable".split()
)
_SEARCHES = frozenset(("keys", "scan_iter", "scan", "iscan", "iter_keys"))
_SECONDS = {"weeks": 604800.0, "days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0, "milliseconds": 1e-3}
_ENVIRONMENT = re.compile(r"(?:^|\.)(?:environ\.get|getenv|env|config|environ|env\.\w+|environ\.pop)$")


class Values:
    """Reads expressions. All methods are bounded in depth and in steps, whatever the tree holds."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._steps = 0
        # Whether a parameter is looked up where its function is called.
        self.follows = True

    def begin(self) -> None:
        """Before each place: steps are counted anew."""
        self._steps = 0

    def texts(self, node: ast.expr | None, scope: Scope, depth: int = 0) -> list[Text]:
        """The texts that an expression can be, each once; ``[ANY]`` where nothing is known."""
        self._steps += 1
        if node is None or depth > _DEEPEST or self._steps > _MOST_STEPS:
            return [ANY]
        read = getattr(self, f"_{type(node).__name__}", None)
        return (_few(read(node, scope, depth + 1)) or [ANY]) if read else [ANY]

    def members(self, node: ast.expr | None, scope: Scope, depth: int = 0) -> list[Text]:
        """The texts that members of a collection can be; ``[ANY]`` where nothing is known."""
        self._steps += 1
        if node is None or depth > _DEEPEST or self._steps > _MOST_STEPS:
            return [ANY]
        depth += 1
        match node:
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                return _few(
                    text
                    for part in parts[: 4 * MOST_TEXTS]
                    for text in (
                        self.members(part.value, scope, depth)
                        if isinstance(part, ast.Starred)
                        else self.texts(part, scope, depth)
                    )
                )
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                scope = scope.module.inner.get(id(node), scope)
                texts = self.texts(node.elt, scope, depth)
                tests = [test for generator in node.generators for test in generator.ifs]
                return _narrowed(texts, tests, node.elt, self, scope)
            case ast.Await() | ast.Starred() | ast.NamedExpr():
                return self.members(node.value, scope, depth)
            case ast.IfExp():
                return _few(self.members(node.body, scope, depth) + self.members(node.orelse, scope, depth))
            case ast.BoolOp():
                return _few(text for value in node.values for text in self.members(value, scope, depth))
            case ast.BinOp(op=ast.Add()):
                return _few(self.members(node.left, scope, depth) + self.members(node.right, scope, depth))
            case ast.Subscript(slice=ast.Slice()):
                return self.members(node.value, scope, depth)
            case ast.Dict():
                return _few(text for key in node.keys for text in self.texts(key, scope, depth))
            case ast.Call():
                return self._members_of_call(node, scope, depth)
            case ast.Name() | ast.Attribute():
                return self._bound(node, scope, depth, self.members)
        return [ANY]

    def searched(self, call: ast.Call, scope: Scope, depth: int = 0) -> list[Text]:
        """The patterns of a ``keys``, ``scan`` or ``scan_iter``; the pattern for all where none is given."""
        method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        given = argument(call, 1 if method == "scan" else 0, "match", "pattern", "search")
        if given is None or (isinstance(given, ast.Constant) and given.value is None):
            return [matching(ALL)]
        return [Text(((False, text.as_pattern()),), text.settings) for text in self.texts(given, scope, depth)]

    # -- collections

    def _members_of_call(self, node: ast.Call, scope: Scope, depth: int) -> list[Text]:
        name = dotted(node.func).rpartition(".")[2] or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
        function = self.project.function(node.func, scope)
        if function is not None and not function.is_class:
            return self._given(function, depth, self.members)
        if isinstance(node.func, ast.Attribute) and name in _SEARCHES and not self._is_mapping(node, scope):
            return self.searched(node, scope, depth)
        if name in _SAME_MEMBERS:
            values = [value for value in node.args if not isinstance(value, ast.Constant | ast.Lambda)]
            return _few(text for value in values for text in self.members(value, scope, depth))
        if name in ("map", "zip", "enumerate") and node.args:
            return self.members(node.args[0], scope, depth) if name != "map" else [ANY]
        if name == "split" and isinstance(node.func, ast.Attribute):
            whole = next((t.literal for t in self.texts(node.func.value, scope, depth) if t.literal), None)
            return _few(known(word) for word in whole.split()) if whole and not node.args else [ANY]
        return [ANY]

    def _is_mapping(self, node: ast.Call, scope: Scope) -> bool:
        """``{…}.keys()``: no argument, and called on what is a dict of this tree."""
        if node.args or node.keywords or not isinstance(node.func, ast.Attribute):
            return False
        value = node.func.value
        if isinstance(value, ast.Name) and (found := scope.find(value.id)):
            return any(isinstance(binding.value, ast.Dict | ast.DictComp) for binding in found[1])
        return isinstance(value, ast.Dict)

    def _given(self, function: Scope, depth: int, read: Callable[..., list[Text]]) -> list[Text]:
        """What a function of the tree returns, or yields."""
        node = function.node
        found: list[Text] = []
        waiting: list[ast.AST] = list(getattr(node, "body", ()))
        seen = 0
        while waiting and seen < 400:
            seen += 1
            one = waiting.pop()
            if isinstance(one, ast.Return) and one.value is not None:
                found += read(one.value, function, depth)
            elif isinstance(one, ast.Yield) and one.value is not None and read == self.members:
                found += self.texts(one.value, function, depth)
            elif isinstance(one, ast.YieldFrom) and read == self.members:
                found += self.members(one.value, function, depth)
            elif not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
                waiting += ast.iter_child_nodes(one)
        return _few(found) or [ANY]

    # -- names

    def bindings(self, node: ast.expr, scope: Scope) -> list[tuple[Binding, Scope]]:
        """What a name or an attribute is bound to, here or in another module, and where that stands."""
        name = dotted(node)
        first, _, rest = name.partition(".")
        if not name:
            return []
        if first in ("self", "cls") and scope.owner is not None and rest:
            return self._of_attribute(scope.owner, rest)
        if found := scope.find(name):
            return [(binding, binding.where or found[0]) for binding in found[1]]
        if rest and (owner := self.class_of(first, scope)):
            return self._of_attribute(owner, rest)
        module, inner = self.project.resolve(scope.module, name)
        if module is None:
            return self._of_settings(inner)
        top = module.scopes[""]
        if inner in top.names:
            return [(binding, binding.where or top) for binding in top.names[inner]]
        outer, _, last = inner.rpartition(".")
        if not outer:
            return []
        if last == "value" and "." in outer:
            # A member of an Enum: its value is what the class body says.
            outer, _, last = outer.rpartition(".")
        owner = module.scopes.get(outer)
        if owner is not None and owner.is_class:
            return self.project.attribute(owner, last)
        if module is not scope.module and (owner := self.class_of(outer, top)):
            return self._of_attribute(owner, last)
        return []

    def class_of(self, name: str, scope: Scope) -> Scope | None:
        """The class of the tree that a name is an instance of, by how it was made or annotated."""
        found = scope.find(name)
        where, bindings = found if found else (scope, [])
        if not found:
            module, inner = self.project.resolve(scope.module, name)
            if module is not None and inner in module.scopes[""].names:
                where, bindings = module.scopes[""], module.scopes[""].names[inner]
        for binding in bindings:
            if one := self.class_made(binding, binding.where or where):
                return one
        return None

    def class_made(self, binding: Binding, scope: Scope) -> Scope | None:
        """The class of the tree of which a binding makes, or says that it is, an instance."""
        value = binding.value
        if isinstance(value, ast.Await):
            value = value.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value.isidentifier():
            value = ast.Name(value.value, ast.Load())
        if binding.how in ("is", "with") and isinstance(value, ast.Call):
            made = self.project.function(value.func, scope)
            if made is not None and not made.is_class and isinstance(made.node, ast.FunctionDef | ast.AsyncFunctionDef):
                # A factory: by what it says that it returns.
                made = self.project.function(made.node.returns, made) if made.node.returns else None
        elif binding.how in ("param", "like") and value is not None:
            made = self.project.function(value, scope)
        else:
            return None
        return made if made is not None and made.is_class else None

    def _of_attribute(self, owner: Scope, path: str) -> list[tuple[Binding, Scope]]:
        """``a.b`` of an instance of a class of the tree."""
        first, _, rest = path.partition(".")
        found = self.project.attribute(owner, first)
        if not rest or rest == "value":
            return found
        for binding, where in found:
            if one := self.class_made(binding, where):
                return self._of_attribute(one, rest)
        return []

    def _of_settings(self, full: str) -> list[tuple[Binding, Scope]]:
        """``django.conf.settings.X`` is what the project's settings modules say."""
        if not full.startswith("django.conf.settings."):
            return []
        word = full.rpartition(".")[2]
        for name in self.project.files_with(word):
            module = self.project.module(name) if "settings" in name else None
            if module and word in module.scopes[""].names:
                return [(binding, module.scopes[""]) for binding in module.scopes[""].names[word]]
        return []

    def _bound(self, node: ast.expr, scope: Scope, depth: int, read: Callable[..., list[Text]]) -> list[Text]:
        """The texts of all that a name is bound to."""
        bindings = self.bindings(node, scope)
        found: list[Text] = []
        added = False
        for binding, where in bindings:
            match binding.how:
                case "is":
                    found += read(binding.value, where, depth)
                case "in":
                    found += self.members(binding.value, where, depth)
                case "has":
                    found += self.members(binding.value, where, depth) if read == self.members else [ANY]
                case "item" | "in item":
                    found += self._item(binding, where, depth)
                case "plus" if read == self.members:
                    found += self.members(binding.value, where, depth)
                case "plus":
                    added = True
                case "param":
                    found += self._argument(dotted(node), binding, where, depth, read)
                case "with" | "any":
                    found.append(ANY)
        if read == self.members and len(found) > 1:
            # keys = [] that is filled later: the empty list says nothing.
            found = [text for text in found if text.pieces] or [ANY]
        if added:
            found = [text + ANY for text in found]
        name = dotted(node)
        if bindings and _is_setting(name, bindings[0][1]):
            found = [text.named(name.removeprefix("self.").removesuffix(".value")) for text in found]
        return _few(found) or [ANY]

    def _item(self, binding: Binding, scope: Scope, depth: int) -> list[Text]:
        value = binding.value.value if isinstance(binding.value, ast.Await) else binding.value
        if isinstance(value, ast.Call):
            name = dotted(value.func).rpartition(".")[2] or getattr(value.func, "attr", "")
            if name == "scan" and binding.index == 1:
                return self.searched(value, scope, depth)
            if name == "enumerate" and binding.index == 1 and value.args:
                return self.members(value.args[0], scope, depth)
            if name == "zip" and binding.index < len(value.args):
                return self.members(value.args[binding.index], scope, depth)
            return [ANY]
        if isinstance(value, ast.List | ast.Tuple) and binding.how == "in item":
            parts = [part for part in value.elts if isinstance(part, ast.Tuple | ast.List)]
            return _few(
                text
                for part in parts
                if binding.index < len(part.elts)
                for text in self.texts(part.elts[binding.index], scope, depth)
            )
        return [ANY]

    def _argument(
        self, name: str, binding: Binding, function: Scope, depth: int, read: Callable[..., list[Text]]
    ) -> list[Text]:
        """What a parameter is given, where the function is called in the tree; else its default."""
        found = read(binding.default, function, depth) if binding.default is not None else []
        node = function.node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return found or [ANY]
        starred = bool(node.args.vararg and node.args.vararg.arg == name)
        offset = int(_is_method(function) and not starred)
        begin = len(node.args.args) - int(_is_method(function))
        for call, scope in self.project.sites(function) if self.follows else ():
            if starred:
                for given in call.args[begin:]:
                    found += (
                        self.members(given, scope, depth)
                        if isinstance(given, ast.Starred)
                        else self.texts(given, scope, depth)
                    )
                continue
            place = binding.index - offset
            given_by_name = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
            if given_by_name is not None:
                found += read(given_by_name, scope, depth)
            elif 0 <= place < len(call.args) and not any(isinstance(a, ast.Starred) for a in call.args[: place + 1]):
                found += read(call.args[place], scope, depth)
            elif binding.default is None:
                found.append(ANY)
        return _few(found) or [ANY]

    # -- texts, by kind of expression

    def _Constant(self, node: ast.Constant, scope: Scope, depth: int) -> list[Text]:
        if isinstance(node.value, str):
            return [known(node.value)]
        if isinstance(node.value, bytes):
            return [known(node.value.decode("utf-8", "backslashreplace"))]
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return [known(repr(node.value) if abs(node.value) < 1e18 else ALL)]
        return [ANY]

    def _JoinedStr(self, node: ast.JoinedStr, scope: Scope, depth: int) -> list[Text]:
        found = [known("")]
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                plain = part.format_spec is None and part.conversion in (-1, 115)
                found = _joined(found, self.texts(part.value, scope, depth) if plain else [ANY])
            else:
                found = _joined(found, self.texts(part, scope, depth))
        return found

    def _BinOp(self, node: ast.BinOp, scope: Scope, depth: int) -> list[Text]:
        if isinstance(node.op, ast.Add):
            return _joined(self.texts(node.left, scope, depth), self.texts(node.right, scope, depth))
        if isinstance(node.op, ast.Mod):
            given = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            by_name = _by_name(node.right)
            return [
                text
                for left in self.texts(node.left, scope, depth)
                for text in self._percent(left, given, by_name, scope, depth)
            ]
        return [ANY]

    def _percent(
        self, left: Text, given: list[ast.expr], by_name: dict[str, ast.expr], scope: Scope, depth: int
    ) -> list[Text]:
        form = left.literal
        if form is None:
            return [ANY]
        found, at, place = [known("")], 0, 0
        for hole in _PERCENT.finditer(form):
            found = _joined(found, [known(form[at : hole.start()])])
            at = hole.end()
            if hole["kind"] == "%":
                found = _joined(found, [known("%")])
                continue
            one = by_name.get(hole["name"]) if hole["name"] else given[place] if place < len(given) else None
            place += 1
            found = _joined(found, self.texts(one, scope, depth))
        return [text.named(*left.settings) for text in _joined(found, [known(form[at:])])]

    def _Call(self, node: ast.Call, scope: Scope, depth: int) -> list[Text]:
        name = dotted(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        last = name.rpartition(".")[2] or method
        function = self.project.function(node.func, scope)
        if function is not None and not function.is_class:
            return self._given(function, depth, self.texts)
        if _ENVIRONMENT.search(name) and node.args:
            variable = self.texts(node.args[0], scope, depth)[0].literal
            default = argument(node, 1, "default")
            found = [ANY] if default is None else self.texts(default, scope, depth)
            return [text.named(*([variable] if variable else [])) for text in found]
        if last in _SAME and node.args:
            return self.texts(node.args[0], scope, depth)
        if not isinstance(node.func, ast.Attribute):
            return [ANY]
        if method in _SAME_METHODS:
            return self.texts(node.func.value, scope, depth)
        if method == "format":
            return [
                text
                for form in self.texts(node.func.value, scope, depth)
                for text in self._formatted(form, node, scope, depth)
            ]
        if method == "join" and node.args and isinstance(node.args[0], ast.List | ast.Tuple):
            return self._between(node.func.value, node.args[0].elts, scope, depth)
        if method in ("lower", "upper"):
            found = self.texts(node.func.value, scope, depth)
            change = str.lower if method == "lower" else str.upper
            return [Text(tuple((k, change(p) if k else p) for k, p in text.pieces), text.settings) for text in found]
        return [ANY]

    def _between(self, separator: ast.expr, parts: list[ast.expr], scope: Scope, depth: int) -> list[Text]:
        between = self.texts(separator, scope, depth)
        found: list[Text] = [known("")]
        for number, part in enumerate(parts):
            given = [ANY] if isinstance(part, ast.Starred) else self.texts(part, scope, depth)
            found = _joined(_joined(found, between) if number else found, given)
        return found

    def _formatted(self, form: Text, node: ast.Call, scope: Scope, depth: int) -> list[Text]:
        if form.literal is None:
            return [ANY]
        try:
            parts = list(Formatter().parse(form.literal))
        except ValueError:
            return [ANY]
        by_name = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        found, place = [known("")], 0
        for before, hole, spec, conversion in parts:
            found = _joined(found, [known(before)])
            if hole is None:
                continue
            if hole.isdecimal():
                place = min(int(hole), 999) if len(hole) < 5 else 999
            one = by_name.get(hole) if hole and not hole.isdecimal() else _at(node.args, place)
            place += 1
            found = _joined(found, [ANY] if spec or conversion not in (None, "s") else self.texts(one, scope, depth))
        return [text.named(*form.settings) for text in found]

    def _IfExp(self, node: ast.IfExp, scope: Scope, depth: int) -> list[Text]:
        return self.texts(node.body, scope, depth) + self.texts(node.orelse, scope, depth)

    def _BoolOp(self, node: ast.BoolOp, scope: Scope, depth: int) -> list[Text]:
        return [text for value in node.values for text in self.texts(value, scope, depth)]

    def _Await(self, node: ast.Await | ast.NamedExpr, scope: Scope, depth: int) -> list[Text]:
        return self.texts(node.value, scope, depth)

    _NamedExpr = _Await

    def _Subscript(self, node: ast.Subscript, scope: Scope, depth: int) -> list[Text]:
        if dotted(node.value).endswith("environ"):
            variable = self.texts(node.slice, scope, depth)[0].literal
            return [ANY.named(*([variable] if variable else []))]
        for value, where in self._values_of(node.value, scope):
            if isinstance(value, ast.Dict):
                wanted = self.texts(node.slice, scope, depth)[0].literal
                pairs = list(zip(value.keys, value.values, strict=True))
                chosen = [v for k, v in pairs if isinstance(k, ast.Constant) and k.value == wanted and wanted]
                return [text for v in chosen or value.values[:MOST_TEXTS] for text in self.texts(v, where, depth)]
        if isinstance(node.slice, ast.Slice):
            return [ANY]
        found = self.members(node.value, scope, depth)
        return found

    def _values_of(self, node: ast.expr, scope: Scope) -> list[tuple[ast.expr, Scope]]:
        if isinstance(node, ast.Name | ast.Attribute):
            return [(b.value, where) for b, where in self.bindings(node, scope) if b.how == "is" and b.value]
        return [(node, scope)]

    def _Name(self, node: ast.Name, scope: Scope, depth: int) -> list[Text]:
        return self._bound(node, scope, depth, self.texts)

    def _Attribute(self, node: ast.Attribute, scope: Scope, depth: int) -> list[Text]:
        return self._bound(node, scope, depth, self.texts)


def argument(call: ast.Call, place: int, *names: str) -> ast.expr | None:
    """An argument of a call by its place or its names."""
    for keyword in call.keywords:
        if keyword.arg in names:
            return keyword.value
    if 0 <= place < len(call.args) and not any(isinstance(one, ast.Starred) for one in call.args[: place + 1]):
        return call.args[place]
    return None


def _few(texts: Iterable[Text]) -> list[Text]:
    """Each text once; of very many the first, and that there may be any."""
    found = list(dict.fromkeys(texts))
    return found if len(found) <= MOST_TEXTS else [*found[: MOST_TEXTS - 1], ANY]


def _joined(first: list[Text], second: list[Text]) -> list[Text]:
    return _few(one + other for one in first for other in second)


def _at(values: list[ast.expr], place: int) -> ast.expr | None:
    return values[place] if place < len(values) and not isinstance(values[place], ast.Starred) else None


def _by_name(node: ast.expr) -> dict[str, ast.expr]:
    if not isinstance(node, ast.Dict):
        return {}
    pairs = zip(node.keys, node.values, strict=True)
    return {key.value: value for key, value in pairs if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def _is_method(function: Scope) -> bool:
    node = function.node
    if function.owner is None or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    first = node.args.args[0].arg if node.args.args else ""
    return first in ("self", "cls", "mcs")


def _is_setting(name: str, scope: Scope) -> bool:
    """Whether a name is one that a person sets: a constant of a module or class, written in capitals or of settings."""
    last = name.removesuffix(".value").rpartition(".")[2]
    in_settings = "settings" in name.lower() or "config" in name.lower()
    return (last.isupper() or in_settings) and (scope.is_class or scope.name == "" or "." in name)


def _narrowed(texts: list[Text], tests: list[ast.expr], what: ast.expr, values: Values, scope: Scope) -> list[Text]:
    """Members of a comprehension of which only those are taken that begin with a text."""
    if texts != [matching(ALL)] or not isinstance(what, ast.Name):
        return texts
    for test in tests:
        if (beginning := beginning_of(test, what.id, values, scope)) is not None:
            return [beginning]
    return texts


def beginning_of(test: ast.expr, name: str, values: Values, scope: Scope) -> Text | None:
    """The keys that pass ``name.startswith("…")``, where that is literal."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return next((one for part in test.values if (one := beginning_of(part, name, values, scope))), None)
    if not isinstance(test, ast.Call) or not isinstance(test.func, ast.Attribute) or test.func.attr != "startswith":
        return None
    asked = test.func.value
    while isinstance(asked, ast.Call) and isinstance(asked.func, ast.Attribute):
        asked = asked.func.value
    if not isinstance(asked, ast.Name) or asked.id != name or len(test.args) != 1:
        return None
    texts = values.texts(test.args[0], scope)
    return texts[0] + ANY if len(texts) == 1 and texts[0].literal else None
