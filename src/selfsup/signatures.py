"""What can be set, read from source text: parameters, types, defaults and help, without importing torch.

The command line must answer in a fraction of a second, and torch alone takes two. So signatures are read
with `ast` from the files that hold them: one reader for functions, for constructors of methods, and for the
`recipe` of a method. Annotations that a command line cannot fill (tensors, encoders, callbacks) are left out.
"""

import ast
import functools
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

from selfsup.methods import entry

REQUIRED = object()
"""Stands for the default of a parameter that must be given."""

TYPES: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "Path": Path, "object": str, "Any": str}
SEQUENCES = ("list", "Sequence", "Iterable", "Collection")
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


class Setting(NamedTuple):
    """One thing a user can set."""

    name: str
    annotation: Any
    """A type of `int`, `float`, `bool`, `str`, `Path`, `Literal`, `tuple`, unions of them, and None."""
    default: Any
    """`REQUIRED` where there is none; the source text where it is no plain value."""
    help: str
    positional: bool


class Signature(NamedTuple):
    """What a function or a constructor says of itself."""

    summary: str
    description: str
    settings: dict[str, Setting]
    accepts: frozenset[str]
    """All parameters, also those a command line cannot fill."""


class Unreadable(Exception):
    """An expression that has no plain value, or an annotation that a command line cannot fill."""


def of_function(module: str, name: str) -> Signature:
    """Read the signature of a function of a module."""
    node = _definition(module, name, ast.FunctionDef)
    return _signature(module, node, ast.get_docstring(node) or "")


def of_method(name: str) -> Signature:
    """Read the signature of a method's constructor: its hyperparameters."""
    module, class_name = _where(name)
    node = _definition(module, class_name, ast.ClassDef)
    constructors = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    if not constructors:
        return Signature(*_head(ast.get_docstring(node) or ""), {}, frozenset())
    return _signature(module, constructors[0], ast.get_docstring(node) or "", skip=1)


def of_recipe(method: str | None = None) -> Signature:
    """Read the settings of the training loop, with the defaults of a method where one is named."""
    module = "selfsup.recipe"
    node = _definition(module, "Recipe", ast.ClassDef)
    text = ast.get_docstring(node) or ""
    helps, own = arguments(text), recipe_of(method) if method else {}
    settings = {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            name = item.target.id
            default = own.get(name, _default(item.value, module))
            settings[name] = Setting(name, _annotation(item.annotation, module), default, helps.get(name, ""), False)
    return Signature(*_head(text), settings, frozenset(settings))


def recipe_of(method: str) -> dict[str, Any]:
    """Read the training settings that a method writes in its class: `recipe: ClassVar[Recipe] = Recipe(...)`."""
    module, class_name = _where(method)
    for item in _definition(module, class_name, ast.ClassDef).body:
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.value, ast.Call)
            and ast.unparse(item.target) == "recipe"
        ):
            return {word.arg: _value(word.value, module) for word in item.value.keywords if word.arg}
    return {}


def arguments(docstring: str) -> dict[str, str]:
    """Read the `Args:` section of a docstring: name -> help on one line."""
    found: dict[str, str] = {}
    name, inside, indent = "", False, 0
    for line in docstring.splitlines():
        depth = len(line) - len(line.lstrip())
        if re.fullmatch(r"\w+:", line.strip()) and (not inside or depth < indent):
            inside, indent = line.strip() == "Args:", depth + 1
            continue
        if not inside or not line.strip():
            continue
        if depth < indent:
            inside = False
            continue
        start = re.match(r"\s+(\w+): (.*)", line)
        if start and (not found or depth == indent):
            indent, name = depth, start[1]
            found[name] = start[2].strip()
        elif name:
            found[name] += " " + line.strip()
    return found


def _head(docstring: str) -> tuple[str, str]:
    """Give the first line of a docstring, and what stands before its sections."""
    summary, _, rest = docstring.partition("\n\n")
    description = re.split(r"(?m)^(?:Args|Raises|Returns|Yields|Example|Source)s?:", rest)[0]
    return " ".join(summary.split()), description.strip()


def _signature(module: str, node: ast.FunctionDef, docstring: str, skip: int = 0) -> Signature:
    """Read a function's parameters, `skip` first ones (self) left out."""
    helps = arguments(docstring)
    given = node.args
    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    rows = [(argument, default, True) for argument, default in zip(plain, defaults, strict=True)][skip:]
    rows += [(argument, default, False) for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    settings = {}
    for argument, default, positional in rows:
        try:
            annotation = _annotation(argument.annotation, module)
        except Unreadable:
            continue
        name = argument.arg
        settings[name] = Setting(name, annotation, _default(default, module), helps.get(name, ""), positional)
    return Signature(*_head(docstring), settings, frozenset(argument.arg for argument, _, _ in rows))


def _default(node: ast.expr | None, module: str) -> Any:
    if node is None:
        return REQUIRED
    try:
        return _value(node, module)
    except Unreadable:
        return ast.unparse(node)


def _value(node: ast.expr, module: str) -> Any:
    """Evaluate what can stand as a default: literals, arithmetic, constants of a module of ours, `Path("...")`."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        pass
    if isinstance(node, ast.Name):
        return _follow(node.id, module, _value)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left, module), _value(node.right, module))
    if isinstance(node, ast.Tuple):
        return tuple(_value(element, module) for element in node.elts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Path" and node.args:
        return Path(_value(node.args[0], module))
    raise Unreadable(ast.unparse(node))


def _annotation(node: ast.expr | None, module: str) -> Any:
    """Turn an annotation into a type that a command line can fill; of a union, the members that it can."""
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _annotation(ast.parse(node.value, mode="eval").body, module)
    if isinstance(node, ast.Name):
        return TYPES[node.id] if node.id in TYPES else _follow(node.id, module, _annotation)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union(_members(node, module))
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if node.value.id == "Literal":
            return Literal[tuple(ast.literal_eval(choice) for choice in inner)]
        if node.value.id == "Union":
            return _union([kind for choice in inner for kind in _members(choice, module)])
        if node.value.id == "Optional":
            return _union([*_members(inner[0], module), None])
        if node.value.id == "tuple":
            return tuple.__class_getitem__(
                tuple(... if _is_ellipsis(one) else _annotation(one, module) for one in inner)
            )
        if node.value.id in SEQUENCES:
            return tuple.__class_getitem__((_annotation(inner[0], module), ...))
    raise Unreadable(ast.unparse(node) if node else "no annotation")


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _members(node: ast.expr, module: str) -> list[Any]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _members(node.left, module) + _members(node.right, module)
    try:
        return [_annotation(node, module)]
    except Unreadable:
        return []


def _union(members: list[Any]) -> Any:
    kinds = list(dict.fromkeys(members))
    if str in kinds and Path in kinds:
        kinds.remove(Path)
    if not [kind for kind in kinds if kind is not None]:
        raise Unreadable("nothing that a command line can give")
    return functools.reduce(lambda one, other: Union[one, other], kinds)  # noqa: UP007 - members may be None or Literal


def _follow(name: str, module: str, read: Callable[[ast.expr, str], Any]) -> Any:
    """Read what a name stands for: an assignment of the module, or of the module of ours it was imported from."""
    for item in ast.walk(_tree(module)):
        if isinstance(item, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in item.targets):
            return read(item.value, module)
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and item.target.id == name
            and item.value
        ):
            return read(item.value, module)
        if isinstance(item, ast.ImportFrom) and (item.module or "").startswith("selfsup"):
            for alias in item.names:
                if (alias.asname or alias.name) == name and _is_module(item.module or ""):
                    return _follow(alias.name, item.module or "", read)
    raise Unreadable(name)


def _definition(module: str, name: str, kind: type[Any]) -> Any:
    for item in _tree(module).body:
        if isinstance(item, kind) and item.name == name:
            return item
    raise LookupError(f"{module} defines no {name}")


def _where(method: str) -> tuple[str, str]:
    found = entry(method)
    return f"selfsup.methods.{found.module}", found.class_name


def _file(module: str) -> Path:
    path = Path(__file__).parent.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _is_module(module: str) -> bool:
    return _file(module).is_file()


@functools.cache
def _tree(module: str) -> ast.Module:
    """Parse a module of ours without running it."""
    return ast.parse(_file(module).read_text(encoding="utf-8"))
