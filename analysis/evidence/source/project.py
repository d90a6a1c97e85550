"""The Python modules of a tree: parsed when they are needed, found by name as an import finds them.

In: names and bytes of modules. Out: ``Module``s and ``Scope``s. Follows names through imports, classes and their bases;
knows neither Redis nor Celery.
"""

from __future__ import annotations

import ast
import gc
import re
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import PurePosixPath

from analysis.evidence.source.modules import MAIN, Binding, Module, NotPython, Scope, dotted, functions, made_by, parse

_KEPT_BYTES = 4 * 2**20
# Modules that are parsed once more, because they were let go: a tree of very many that call each other is cut there.
_MOST_REPARSED = 2_000
_MOST_NAMES = 3_000_000
_MOST_FILES_OF_A_NAME = 400
_MOST_SCOPES_OF_A_NAME = 120
_FEW_ALIKE = 3
_MOST_SITES = 24
_DEEPEST = 8
_NAME = re.compile(rb"[A-Za-z_]\w{1,80}")
_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+([A-Za-z_][\w.]{0,200})[ \t]+import|import[ \t]+([\w., ]{1,300}))([^\n#]{0,400})", re.M
)
_DEFINED = re.compile(rb"\bdef[ \t]+(\w{1,100})")
# Libraries that a module of the tree with the same last name does not stand for: app/redis.py is not redis.
_LIBRARIES = frozenset(
    "redis celery kombu rq django flask fastapi starlette sqlalchemy aioredis valkey os sys time json logging typing "
    "datetime requests httpx click typer pydantic pytest asyncio collections functools queue cache".split()
)
# Methods that clients, collections and models have: their name tells nothing of whose they are.
_COMMON = frozenset(
    "get set add pop put post patch head options delete remove clear copy keys items values update insert create "
    "list all filter first save run call start stop open close read write send connect execute commit rollback "
    "flush reset handle apply map find find_one find_all search scan expire rename move purge forget append "
    "extend index count join split strip format load dump loads dumps next render perform process invoke dispatch "
    "register wait result ready retry cancel submit shutdown setup teardown init check validate destroy retrieve "
    "publish subscribe unlink".split()
)


class Project:
    """Modules by their name in the tree. ``said`` is told, once for each, of modules that do not parse."""

    def __init__(self, said: Callable[[str, NotPython], None]) -> None:
        self._said = said
        self._data: dict[str, bytes] = {}
        self._kept: OrderedDict[str, Module] = OrderedDict()
        self._kept_bytes = self._gone_bytes = 0
        self._broken: set[str] = set()
        self._by_suffix: dict[str, list[str]] = defaultdict(list)
        self._files_of: dict[bytes, list[str]] = defaultdict(list)
        self._unlisted: list[str] = []
        self._names = 0
        self._defined: Counter[bytes] = Counter()
        self._sites: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
        self._mentions: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._remembered: set[str] = set()
        self._imports: dict[str, frozenset[str]] = {}
        self.imported: set[str] = set()
        self._reparsed = 0

    @property
    def names(self) -> list[str]:
        """Names of all modules, in order."""
        return sorted(self._data)

    def add(self, name: str, data: bytes) -> None:
        """A module of the tree, which is parsed when it is asked for."""
        self._data[name] = data
        for suffix in _suffixes(name):
            self._by_suffix[suffix].append(name)
        found = set(_NAME.findall(data))
        self._names += len(found)
        if self._names > _MOST_NAMES:
            self._unlisted.append(name)
        else:
            for word in found:
                self._files_of[word].append(name)
        self._defined.update(_DEFINED.findall(data))

    def data(self, name: str) -> bytes:
        return self._data[name]

    def module(self, name: str) -> Module | None:
        """The module, parsed; None where it does not parse."""
        if name in self._broken or name not in self._data:
            return None
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        data = self._data[name]
        try:
            module = parse(name, data)
        except NotPython as reason:
            self._broken.add(name)
            self._said(name, reason)
            return None
        self._kept[name] = module
        self._kept_bytes += len(data)
        self._reparsed += name in self._remembered
        self._remember(module)
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 8:
            gone, _ = self._kept.popitem(last=False)
            self._kept_bytes -= len(self._data[gone])
            self._gone_bytes += len(self._data[gone])
        if self._gone_bytes > _KEPT_BYTES:
            self._gone_bytes = 0
            gc.collect()
        return module

    def _remember(self, module: Module) -> None:
        """Which scope names which function of the tree: kept when the syntax tree is not."""
        if module.name in self._remembered:
            return
        self._remembered.add(module.name)
        parts = {part for _, target in module.imports.values() for part in target.split(".")}
        self._imports[module.name] = frozenset(parts | {"*"} if module.stars else parts)
        for scope in functions(module):
            here = (module.name, scope.name)
            # What a module only names at its top it does not call: a table of functions, an import.
            named = scope.called if scope.name == "" else scope.mentions
            words = {word for name in named for word in name.replace("()", "").split(".")} | set(scope.strings)
            for word in words:
                if self._defined.get(word.encode()) or word in scope.strings or word[:1].isupper():
                    self._mentions[word].append(here)

    @property
    def tired(self) -> bool:
        """Whether so much was parsed again that calls are followed no further."""
        return self._reparsed > _MOST_REPARSED

    def mentions(self, word: str) -> list[tuple[str, str]]:
        """Module and scope of whatever names a function (or sends a task by name); parses what was not yet."""
        if self.tired:
            return []
        for name in self.files_with(word.rpartition(".")[2]):
            if name not in self._remembered:
                self.module(name)
        return self._mentions.get(word, [])

    def callers(self, function: Scope, word: str) -> list[tuple[str, str]]:
        """Scopes that name a function and may mean this one: of a function its own module and those that import it or
        its module, of a method those first that import the class.
        """
        path = PurePosixPath(function.module.name)
        stem = path.parent.name if path.name == "__init__.py" else path.stem
        owner = function.owner.name.rpartition(".")[2] if function.owner else ""
        told = {word, stem, "*", owner} - {""}

        def may(candidate: tuple[str, str]) -> bool:
            return candidate[0] == function.module.name or not told.isdisjoint(self._imports.get(candidate[0], ()))

        named = self.mentions(word)
        likely = [candidate for candidate in named if may(candidate)]
        if owner:
            # Through what a function of a third module returns: worth a look where few functions share the name.
            most = _MOST_SCOPES_OF_A_NAME if self.defined(word) <= _FEW_ALIKE else 0
            likely += [candidate for candidate in named[: 4 * most] if not may(candidate)][:most]
        return likely[:_MOST_SCOPES_OF_A_NAME]

    def scope(self, name: str, function: str) -> Scope | None:
        """A function, class or the top of a module by names."""
        module = self.module(name)
        return module.scopes.get(function) if module else None

    def defined(self, function: str) -> int:
        """How many functions of the tree have this name."""
        return self._defined[function.encode()]

    def only_one(self, function: str) -> bool:
        """Whether a method is known by its name alone: one function of the tree has it, and hardly anything else."""
        return self.defined(function) == 1 and function not in _COMMON

    def files_with(self, word: str) -> list[str]:
        """Modules in which the name occurs, not more than a few hundred."""
        octets = word.encode()
        others = [name for name in self._unlisted if octets in self._data[name]]
        return (self._files_of.get(octets, []) + others)[:_MOST_FILES_OF_A_NAME]

    def dotted_name(self, name: str) -> str:
        """The name under which a module is imported: the longest that an import of the tree uses, else by its packages,
        else by its place in the tree, without a leading ``src``.
        """
        for suffix in _suffixes(name):
            if suffix in self.imported:
                return suffix
        parts = list(PurePosixPath(name).with_suffix("").parts)
        packages = 0
        for depth in range(len(parts) - 1, 0, -1):
            if "/".join((*parts[:depth], "__init__.py")) not in self._data:
                break
            packages += 1
        own = parts[len(parts) - 1 - packages :] if packages else parts[parts[0] == "src" :]
        return ".".join(own[:-1] if own[-1] == "__init__" else own)

    def learn_imports(self) -> None:
        """Note under which names modules are imported, before ``dotted_name`` is asked."""
        for data in self._data.values():
            for found in _IMPORT.finditer(data):
                for part in (found[1] or found[2]).split(b","):
                    name = part.split(b" as ")[0].strip().decode("utf-8", "replace")
                    self.imported.add(name)
                    for inner in (found[3] or b"").split(b",") if found[1] else ():
                        word = inner.split(b" as ")[0].strip(b" ()\t").decode("utf-8", "replace")
                        if word.isidentifier():
                            self.imported.add(f"{name}.{word}")

    def find_module(self, dotted_name: str, importer: str) -> str | None:
        """The module an absolute import finds: of those whose path ends so, the nearest to who imports it."""
        candidates = self._by_suffix.get(dotted_name)
        if not candidates:
            return None
        root = dotted_name.partition(".")[0]
        here = PurePosixPath(importer).parent.parts

        def near(candidate: str) -> tuple[int, int]:
            common = 0
            for ours, theirs in zip(here, PurePosixPath(candidate).parts, strict=False):
                if ours != theirs:
                    break
                common += 1
            return -common, len(candidate)

        for candidate in sorted(candidates, key=near):
            above = _above(candidate, dotted_name)
            in_package = bool(above) and f"{above}/__init__.py" in self._data
            if in_package or (root in _LIBRARIES and above not in ("", "src")):
                continue
            return candidate
        return None

    def resolve(self, module: Module, name: str, depth: int = 0) -> tuple[Module | None, str]:
        """What a dotted name of a module is: a module of the tree and the name within it, or None and the full name.

        Goes through imports, also of what another module only imported.
        """
        first, _, rest = name.partition(".")
        if depth > _DEEPEST:
            return None, name
        if first in module.scopes[""].names or first not in module.imports:
            if first not in module.scopes[""].names:
                for level, base in module.stars:
                    found = self._imported(module, level, f"{base}.{name}" if base else name)
                    if found and (found[1].partition(".")[0] in found[0].scopes[""].names):
                        return self.resolve(*found, depth + 1) if depth < _DEEPEST else found
            return module, name
        level, target = module.imports[first]
        full = f"{target}.{rest}" if rest else target
        found = self._imported(module, level, full)
        if not found:
            return None, full
        other, inner = found
        head = inner.partition(".")[0]
        if (
            head
            and other is not module
            and head not in other.scopes[""].names
            and (head in other.imports or other.stars)
        ):
            return self.resolve(other, inner, depth + 1)
        return other, inner

    def _imported(self, module: Module, level: int, name: str) -> tuple[Module, str] | None:
        parts = name.split(".") if name else []
        base = PurePosixPath(module.name).parent.parts
        for length in range(len(parts), -1, -1):
            found = None
            if level:
                where = "/".join((*base[: len(base) - level + 1], *parts[:length]))
                found = next((n for n in (f"{where}.py", f"{where}/__init__.py") if n in self._data), None)
                if not length and not where:
                    found = "__init__.py" if "__init__.py" in self._data else None
            elif length:
                found = self.find_module(".".join(parts[:length]), module.name)
            if found and (other := self.module(found)):
                return other, ".".join(parts[length:])
        return None

    def full_name(self, module: Module, name: str) -> str:
        """The full dotted name of what is not of the tree; empty for what is, and for what is bound here."""
        if name.partition(".")[0] not in module.imports:
            return ""
        found, full = self.resolve(module, name)
        return full if found is None else ""

    def function(self, node: ast.expr | None, scope: Scope) -> Scope | None:
        """The function or class of the tree that an expression names."""
        name = dotted(node)
        return self.named(name, scope) if name else None

    def named(self, name: str, scope: Scope) -> Scope | None:
        """The function or class of the tree that a dotted name means in a scope."""
        maker, _, method = name.partition("().")
        if method:
            made = self.named(maker, scope)
            return self.member(made, method) if made is not None and made.is_class else None
        first, _, rest = name.partition(".")
        if first in ("self", "cls") and scope.owner is not None and rest:
            return self.member(scope.owner, rest)
        around: Scope | None = scope
        while around is not None and not rest:
            prefix = f"{around.name}." if around.name not in ("", MAIN) else ""
            if not around.is_class and (found := scope.module.scopes.get(prefix + name)):
                return found
            around = around.parent
        module, inner = self.resolve(scope.module, name)
        if module is None or not inner:
            return None
        if found := module.scopes.get(inner):
            return found
        outer, _, last = inner.rpartition(".")
        owner = module.scopes.get(outer) if outer else None
        return self.member(owner, last) if owner is not None and owner.is_class else None

    def bases(self, owner: Scope) -> Iterator[Scope]:
        """A class and the classes of the tree that it inherits from."""
        waiting, seen = [owner], 0
        while waiting and seen < 12:
            seen += 1
            one = waiting.pop(0)
            yield one
            if isinstance(one.node, ast.ClassDef):
                for base in one.node.bases:
                    found = self.function(base, one.parent or one)
                    if found is not None and found.is_class and found is not one:
                        waiting.append(found)

    def member(self, owner: Scope, name: str) -> Scope | None:
        """A method of a class or of a base of it."""
        for one in self.bases(owner):
            if found := one.module.scopes.get(f"{one.name}.{name}"):
                return found
        return None

    def attribute(self, owner: Scope, name: str) -> list[tuple[Binding, Scope]]:
        """What a class, its methods (``self.x = …``) or a base bind an attribute to, and where that stands."""
        for one in self.bases(owner):
            if name in one.names:
                return [(binding, binding.where or one) for binding in one.names[name]]
        return []

    def sites(self, function: Scope) -> list[tuple[ast.Call, Scope]]:
        """Where a function of the tree is called, also as a task (``f.delay(…)``); not more than a few."""
        key = (function.module.name, function.name)
        if key not in self._sites:
            self._sites[key] = list(islice(self._sites_of(function), _MOST_SITES))
        scopes = ((self.scope(name, inner), number) for name, inner, number in self._sites[key])
        found = [(scope.calls[number], scope) for scope, number in scopes if scope is not None]
        return [(call, scope.module.inner.get(id(call), scope)) for call, scope in found]

    def _sites_of(self, function: Scope) -> Iterator[tuple[str, str, int]]:
        last = function.name.rpartition(".")[2]
        word = (function.owner.name.rpartition(".")[2] if function.owner else "") if last == "__init__" else last
        for name, inner in self.callers(function, word):
            scope = self.scope(name, inner)
            for number, call in enumerate(scope.calls if scope else ()):
                if scope and self._calls(call, scope, function, word):
                    yield name, inner, number

    def _calls(self, call: ast.Call, scope: Scope, function: Scope, word: str) -> bool:
        target = call.func
        if isinstance(target, ast.Attribute) and target.attr in ("delay", "s", "si", "signature", "apply"):
            target = target.value
        name = dotted(target) or made_by(target)
        if name.rpartition(".")[2] != word:
            return False
        named = self.named(name, scope)
        if named is not None:
            return _same(named, function) or (function.name.endswith("__init__") and _same(named, function.owner))
        # A method of something whose class is not told: only where no other function has the name.
        return isinstance(target, ast.Attribute) and self.only_one(word) and function.owner is not None


def _same(one: Scope, other: Scope | None) -> bool:
    return other is not None and one.module.name == other.module.name and one.name == other.name


def _suffixes(name: str) -> Iterator[str]:
    """Dotted names under which a module may be imported, the longest first."""
    parts = list(PurePosixPath(name).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    for start in range(min(len(parts), 12)):
        yield ".".join(parts[start:])


def _above(candidate: str, dotted_name: str) -> str:
    """The folder from which a module is imported under a name."""
    parts = list(PurePosixPath(candidate).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return "/".join(parts[: len(parts) - dotted_name.count(".") - 1])
