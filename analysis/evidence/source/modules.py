"""A Python module as its syntax tree tells it: functions, classes, imports, what names stand for, what calls what.

In: the bytes of a module, which is never run or imported. Out: a ``Module``. Knows neither Redis nor Celery.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

# A run of operators that nests: the parser recurses for each on the C stack, which a small stack does not outlive.
_NESTS = re.compile(rb"(?:(?:[-+~]|not\b|lambda\b[^:\n]{0,60}:|\*\*\s*\w{1,20})\s*){200}")
_MOST_BINDINGS = 24
MAIN = "__main__"

Function = ast.FunctionDef | ast.AsyncFunctionDef


class NotPython(Exception):
    """The bytes are no module that this Python can parse. ``line`` is where, if it is known."""

    def __init__(self, reason: str, line: int = 1) -> None:
        self.line = line
        super().__init__(reason)


@dataclass(frozen=True)
class Binding:
    """What a name is bound to, as ``how`` says.

    ``is`` the value, ``in`` a member of it, ``has`` a collection of which it is a member, ``item`` the ``index``-th of
    it, ``in item`` the ``index``-th of a member, ``with`` what it yields on entry, ``plus`` itself and the value after
    it, ``param`` an argument (the value is its annotation, if any), ``like`` something annotated so, ``any``, ``def``
    and ``class``. ``where`` is the scope in which the value stands, if that is not the one that binds.
    """

    how: str
    value: ast.expr | None = None
    index: int = 0
    default: ast.expr | None = None
    where: Scope | None = field(default=None, repr=False, compare=False)


@dataclass
class Scope:
    """A function, a class, the module, or what runs only as a script (``MAIN``).

    ``names`` are the names bound in it, ``owner`` is the class whose method it is (or in which it stands), ``mentions``
    the dotted names read in it, ``strings`` tasks it sends by name, ``of_module`` names it declares global.
    """

    module: Module
    name: str
    parent: Scope | None = None
    node: Function | ast.ClassDef | None = None
    owner: Scope | None = None
    names: dict[str, list[Binding]] = field(default_factory=lambda: defaultdict(list))
    calls: list[ast.Call] = field(default_factory=list)
    mentions: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)
    of_module: set[str] = field(default_factory=set)
    is_comprehension: bool = False

    @property
    def is_class(self) -> bool:
        return isinstance(self.node, ast.ClassDef) and not self.is_comprehension

    @property
    def function(self) -> str:
        """The function as the frame names it: empty for what stands in no function."""
        return "" if self.name == MAIN else self.name

    def bind(self, name: str, binding: Binding) -> None:
        if name in self.of_module:
            self.module.scopes[""].bind(name, replace(binding, where=self))
            return
        bindings = self.names[name]
        if len(bindings) < _MOST_BINDINGS:
            bindings.append(binding)

    def find(self, name: str) -> tuple[Scope, list[Binding]] | None:
        """Where Python would find the name: here, in the functions around it, in the module; not in a class around."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names and (scope is self or not scope.is_class):
                return scope, scope.names[name]
            scope = scope.parent
        return None


@dataclass
class Module:
    """A parsed module. ``imports``: local name -> (number of leading dots, dotted name). ``scopes`` by qualified name:
    ``""`` is the module, ``MAIN`` what runs only as a script.
    """

    name: str
    lines: list[bytes] = field(repr=False)
    imports: dict[str, tuple[int, str]] = field(default_factory=dict)
    stars: list[tuple[int, str]] = field(default_factory=list)
    scopes: dict[str, Scope] = field(default_factory=dict)
    statements: list[tuple[ast.stmt, Scope]] = field(default_factory=list)
    dicts: list[tuple[ast.Dict, Scope]] = field(default_factory=list)
    # A comprehension binds names of its own: it, and the calls in it, by identity.
    inner: dict[int, Scope] = field(default_factory=dict)

    def text(self, node: ast.AST) -> str:
        """The code of a node as it is written, of a long one its beginning."""
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1  # type: ignore[attr-defined]
        lines = self.lines[first : min(last, first + 40) + 1]
        if not lines:
            return ""
        if last == first + len(lines) - 1:
            lines[-1] = lines[-1][: node.end_col_offset]  # type: ignore[attr-defined]
        lines[0] = lines[0][node.col_offset :]  # type: ignore[attr-defined]
        return b"\n".join(lines).decode("utf-8", "backslashreplace")


def parse(name: str, data: bytes) -> Module:
    """The module that the bytes hold. Raises NotPython where they hold none; nothing in it is run."""
    if b"\0" in data:
        raise NotPython("null bytes")
    if _NESTS.search(data):
        raise NotPython("nested too deep")
    try:
        with warnings.catch_warnings():
            # What the module's own author did to an escape is not for whoever reads the report.
            warnings.simplefilter("ignore")
            tree = ast.parse(data)
        module = Module(name, _lines_of(data))
        _Walk(module).walk(tree)
        return module
    except SyntaxError as error:
        raise NotPython(error.msg or "invalid syntax", error.lineno or 1) from None
    except (RecursionError, MemoryError):
        raise NotPython("nested too deep") from None
    except (ValueError, LookupError, OverflowError) as error:
        raise NotPython(str(error)) from None


def _lines_of(data: bytes) -> list[bytes]:
    """Lines as the parser counts them, in UTF-8, in which it counts columns."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    head = b"\n".join(data.split(b"\n", 2)[:2])
    if coding := re.search(rb"coding[:=][ \t]*([-\w.]+)", head):
        try:
            data = data.decode(coding[1].decode("ascii")).encode()
        except (LookupError, UnicodeError):
            pass
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


class _Walk:
    """Visits every node once, with its own stack: a tree may be deeper than Python's."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.top = module.scopes[""] = Scope(module, "")
        self.stack: list[tuple[ast.AST, Scope]] = []

    def walk(self, tree: ast.Module) -> None:
        self.stack = [(node, self.top) for node in reversed(tree.body)]
        while self.stack:
            node, scope = self.stack.pop()
            visit = getattr(self, f"_{type(node).__name__}", None)
            if visit is None or visit(node, scope):
                self.stack += [(child, scope) for child in ast.iter_child_nodes(node)]

    def _FunctionDef(self, node: Function, scope: Scope) -> bool:
        scope.bind(node.name, Binding("def"))
        prefix = f"{scope.name}." if scope.name not in ("", MAIN) else ""
        name = prefix + node.name
        owner = scope if scope.is_class else scope.owner
        inner = Scope(self.module, name, scope, node, owner)
        if name in self.module.scopes and self.module.scopes[name].node is not None:
            # A property's setter, an overload: both are looked into, the last one is the name's.
            self.module.scopes[f"{name}:{node.lineno}"] = self.module.scopes[name]
        self.module.scopes[name] = inner
        self._parameters(node.args, inner, scope)
        self.stack += [(child, inner) for child in reversed(node.body)]
        self.stack += [(child, scope) for child in (*node.decorator_list, *node.args.defaults) if child]
        self.stack += [(child, scope) for child in node.args.kw_defaults if child]
        return False

    _AsyncFunctionDef = _FunctionDef

    def _Lambda(self, node: ast.Lambda, scope: Scope) -> bool:
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            scope.bind(argument.arg, Binding("any"))
        return True

    def _parameters(self, arguments: ast.arguments, inner: Scope, outer: Scope) -> None:
        positional = (*arguments.posonlyargs, *arguments.args)
        defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
        pairs = [*zip(positional, defaults, strict=True)]
        pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        for number, (argument, default) in enumerate(pairs):
            inner.bind(argument.arg, Binding("param", argument.annotation, number, default))
        if arguments.vararg:
            inner.bind(arguments.vararg.arg, Binding("param"))
        if arguments.kwarg:
            inner.bind(arguments.kwarg.arg, Binding("any"))

    def _ClassDef(self, node: ast.ClassDef, scope: Scope) -> bool:
        scope.bind(node.name, Binding("class"))
        name = f"{scope.name}.{node.name}" if scope.name not in ("", MAIN) else node.name
        inner = self.module.scopes[name] = Scope(self.module, name, scope, node)
        self.stack += [(child, inner) for child in reversed(node.body)]
        self.stack += [(child, scope) for child in (*node.decorator_list, *node.bases)]
        self.stack += [(keyword.value, scope) for keyword in node.keywords]
        return False

    def _If(self, node: ast.If, scope: Scope) -> bool:
        if scope is not self.top or not _asks_for_main(node.test):
            return True
        main = self.module.scopes.setdefault(MAIN, Scope(self.module, MAIN, self.top))
        # What a script binds, its functions see.
        main.names = self.top.names
        self.stack += [(child, main) for child in reversed(node.body)]
        self.stack += [(child, scope) for child in reversed(node.orelse)]
        return False

    def _Import(self, node: ast.Import, scope: Scope) -> bool:
        for alias in node.names:
            local = alias.asname or alias.name.partition(".")[0]
            self.module.imports[local] = (0, alias.name if alias.asname else local)
        return False

    def _ImportFrom(self, node: ast.ImportFrom, scope: Scope) -> bool:
        base = node.module or ""
        for alias in node.names:
            if alias.name == "*":
                self.module.stars.append((node.level, base))
            else:
                dotted = f"{base}.{alias.name}" if base else alias.name
                self.module.imports[alias.asname or alias.name] = (node.level, dotted)
        return False

    def _Global(self, node: ast.Global, scope: Scope) -> bool:
        if scope is not self.top:
            scope.of_module.update(node.names)
        return False

    def _Assign(self, node: ast.Assign, scope: Scope) -> bool:
        self.module.statements.append((node, scope))
        for target in node.targets:
            self._bind(target, Binding("is", node.value), scope)
        return True

    def _AnnAssign(self, node: ast.AnnAssign, scope: Scope) -> bool:
        self.module.statements.append((node, scope))
        if node.value is not None:
            self._bind(node.target, Binding("is", node.value), scope)
        self._bind(node.target, Binding("like", node.annotation), scope)
        self.stack.append((node.target, scope))
        if node.value is not None:
            self.stack.append((node.value, scope))
        return False

    def _ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: Scope) -> bool:
        inner = Scope(
            module=self.module,
            name=scope.name,
            parent=scope,
            node=scope.node,
            owner=scope if scope.is_class else scope.owner,
            calls=scope.calls,
            mentions=scope.mentions,
            called=scope.called,
            strings=scope.strings,
            is_comprehension=True,
        )
        self.module.inner[id(node)] = inner
        self.stack += [(child, inner) for child in ast.iter_child_nodes(node)]
        return False

    _SetComp = _GeneratorExp = _DictComp = _ListComp

    def _AugAssign(self, node: ast.AugAssign, scope: Scope) -> bool:
        if isinstance(node.op, ast.Add):
            self._bind(node.target, Binding("plus", node.value), scope)
        return True

    def _NamedExpr(self, node: ast.NamedExpr, scope: Scope) -> bool:
        self._bind(node.target, Binding("is", node.value), scope)
        return True

    def _For(self, node: ast.For | ast.AsyncFor | ast.comprehension, scope: Scope) -> bool:
        self._bind(node.target, Binding("in", node.iter), scope)
        return True

    _AsyncFor = _comprehension = _For

    def _withitem(self, node: ast.withitem, scope: Scope) -> bool:
        if node.optional_vars is not None:
            self._bind(node.optional_vars, Binding("with", node.context_expr), scope)
        return True

    def _Dict(self, node: ast.Dict, scope: Scope) -> bool:
        if any(isinstance(key, ast.Constant) and isinstance(key.value, str) for key in node.keys):
            self.module.dicts.append((node, scope))
        return True

    def _Call(self, node: ast.Call, scope: Scope) -> bool:
        scope.calls.append(node)
        if scope.is_comprehension:
            self.module.inner[id(node)] = scope
        if name := dotted(node.func) or made_by(node.func):
            scope.called.add(name)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if node.args and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            if method in ("append", "add", "appendleft"):
                scope.bind(node.func.value.id, Binding("has", ast.List([node.args[0]], ast.Load())))
            elif method in ("extend", "update"):
                scope.bind(node.func.value.id, Binding("has", node.args[0]))
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and method in ("send_task", "signature"):
            scope.strings.add(first.value)
        return True

    def _Attribute(self, node: ast.Attribute, scope: Scope) -> bool:
        name = dotted(node)
        if name:
            scope.mentions.add(name)
            return False
        scope.mentions.add(made_by(node) or f"?.{node.attr}")
        return True

    def _Name(self, node: ast.Name, scope: Scope) -> bool:
        if isinstance(node.ctx, ast.Load):
            scope.mentions.add(node.id)
        return False

    def _Constant(self, node: ast.Constant, scope: Scope) -> bool:
        return False

    def _bind(self, target: ast.expr, binding: Binding, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            scope.bind(target.id, binding)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, Binding("in", binding.value), scope)
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            if target.value.id in ("self", "cls") and scope.owner is not None:
                scope.owner.bind(target.attr, replace(binding, where=scope))
            else:
                scope.bind(f"{target.value.id}.{target.attr}", binding)
        elif isinstance(target, ast.Tuple | ast.List) and binding.value is not None:
            values = binding.value
            for number, part in enumerate(target.elts):
                if binding.how == "is" and isinstance(values, ast.Tuple | ast.List) and number < len(values.elts):
                    self._bind(part, Binding("is", values.elts[number]), scope)
                elif binding.how in ("is", "in"):
                    self._bind(part, Binding("item" if binding.how == "is" else "in item", values, number), scope)


def dotted(node: ast.expr | None) -> str:
    """``a.b.c`` of names and attributes; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < 20:
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def made_by(node: ast.expr) -> str:
    """``Store().purge`` of what is called on what a call gives; empty for anything else."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
        name = dotted(node.value.func)
        return f"{name}().{node.attr}" if name else ""
    return ""


def _asks_for_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def functions(module: Module) -> Iterator[Scope]:
    """Every scope of the module that is not a class."""
    yield from (scope for scope in module.scopes.values() if not scope.is_class)
