"""What an expression of a module comes to as a number of seconds, as far as it is literal.

In: an expression and its scope. Out: seconds, and the constants and environment variables they come from.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

from analysis.evidence.source.modules import Scope, dotted
from analysis.evidence.source.values import Values, argument

Number = tuple[float | None, frozenset[str]]
NOTHING: Number = (None, frozenset())
_DEEPEST = 12
_UNITS = {"weeks": 604800.0, "days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
_UNITS |= {"milliseconds": 1e-3, "microseconds": 1e-6}
_PLACES = ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks")
_DOES: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_SAME = frozenset("int float abs round max min".split())


def number(node: ast.expr | None, scope: Scope, values: Values, depth: int = 0) -> Number:
    """Seconds of a number, of arithmetic on numbers, of a ``timedelta``; None where it is not literal.

    ``None`` in the code is no number: whoever knows the setting knows what that means there.
    """
    if node is None or depth > _DEEPEST:
        return NOTHING
    depth += 1
    match node:
        case ast.Constant(value=int() | float() as given) if not isinstance(given, bool):
            return (float(given), frozenset()) if abs(given) < 1e15 else NOTHING
        case ast.Constant(value=str() as text):
            return seconds_in_text(text), frozenset()
        case ast.UnaryOp(op=ast.USub()):
            value, names = number(node.operand, scope, values, depth)
            return (None if value is None else -value), names
        case ast.BinOp():
            return _calculated(node, scope, values, depth)
        case ast.Call():
            return _of_call(node, scope, values, depth)
        case ast.Name() | ast.Attribute():
            return _of_name(node, scope, values, depth)
        case ast.BoolOp():
            found = [number(one, scope, values, depth) for one in node.values[:8]]
            return found[-1][0], frozenset().union(*(names for _, names in found))
        case ast.Subscript() if dotted(node.value).endswith("environ"):
            variable = values.texts(node.slice, scope)[0].literal
            return None, frozenset([variable] if variable else [])
    return NOTHING


def _calculated(node: ast.BinOp, scope: Scope, values: Values, depth: int) -> Number:
    left, names = number(node.left, scope, values, depth)
    right, others = number(node.right, scope, values, depth)
    does = _DOES.get(type(node.op))
    if does is None or left is None or right is None:
        return None, names | others
    try:
        result = does(left, right)
    except (ArithmeticError, ValueError):
        return None, names | others
    return (result if math.isfinite(result) and abs(result) < 1e15 else None), names | others


def _of_call(node: ast.Call, scope: Scope, values: Values, depth: int) -> Number:
    name = dotted(node.func)
    last = name.rpartition(".")[2] or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
    if last == "timedelta":
        given = [(_PLACES[place], value) for place, value in enumerate(node.args[: len(_PLACES)])]
        given += [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg in _UNITS]
        total, named = 0.0, frozenset[str]()
        for unit, value in given:
            amount, names = number(value, scope, values, depth)
            named |= names
            if amount is None:
                return None, named
            total += amount * _UNITS[unit]
        return total, named
    if last == "total_seconds" and isinstance(node.func, ast.Attribute):
        return number(node.func.value, scope, values, depth)
    if last in _SAME and len(node.args) == 1:
        return number(node.args[0], scope, values, depth)
    if name.endswith(("environ.get", "getenv", "config", "env.int", "env.float", "env")) and node.args:
        variable = values.texts(node.args[0], scope)[0].literal
        default, names = number(argument(node, 1, "default"), scope, values, depth)
        return default, names | frozenset([variable] if variable else [])
    if last == "Field":
        return number(argument(node, 0, "default"), scope, values, depth)
    return NOTHING


def _of_name(node: ast.expr, scope: Scope, values: Values, depth: int) -> Number:
    name = dotted(node)
    found: set[float | None] = set()
    named: frozenset[str] = frozenset()
    bindings = values.bindings(node, scope)
    for binding, where in bindings:
        value = binding.default if binding.how == "param" else binding.value
        if binding.how == "param" and value is None:
            continue
        amount, names = number(value, where, values, depth) if binding.how in ("is", "param") else NOTHING
        found.add(amount)
        named |= names
    if name.rpartition(".")[2].isupper() or (bindings and "." in name):
        named |= {name.removeprefix("self.")}
    return (found.pop() if len(found) == 1 else None), named


def seconds_in_text(text: str) -> float | None:
    """Seconds in a text, as an environment variable has them."""
    try:
        value = float(text) if len(text) < 20 else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
