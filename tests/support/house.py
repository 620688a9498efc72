"""The rules of the house that no linter knows, as functions from source text to violations.

A violation is one line of text, ``path:line: what``; no violation is the empty list.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

BANNED_MODULES = frozenset({"utils", "util", "helpers", "common", "misc", "manager", "handler"})
MAXIMUM_LINES = 400
BANNED_TEXT = re.compile(r"\b(?:TODO|FIXME|XXX)\b|\bNotImplementedError\b")
BANNED_IMPORTS = frozenset({
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
})
COMPOSITION_ROOTS = frozenset({
    Path("service/main.py"),
    Path("service/executors/bench.py"),
    Path("service/executors/engine.py"),
})

CONVERSION = Path("service/conversion_child.py")
"""The one place that opens pickles: a child process, and by torch's weights-only unpickler."""

Rule = Callable[[Path, str], list[str]]


def sources(*packages: str) -> Iterator[tuple[Path, str]]:
    """Yield the hand-written modules of the packages, with their text."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT)
            if relative.parts[:2] != ("service", "pb"):
                yield relative, path.read_text()


def violations(rule: Rule, *packages: str) -> list[str]:
    """Apply a rule to all modules of the packages."""
    return [found for path, text in sources(*packages) for found in rule(path, text)]


def flags(path: Path, text: str) -> list[str]:
    """Find parameters that may be a switch: annotated ``bool`` or with a boolean default."""
    found = []
    for function in _functions(ast.parse(text)):
        inherited = any(_is_override(decorator) for decorator in function.decorator_list)
        if inherited or function.name.startswith("_"):
            continue
        for argument, default in _parameters(function.args):
            if _says_bool(argument.annotation) or (
                isinstance(default, ast.Constant) and isinstance(default.value, bool)
            ):
                found.append(
                    f"{path}: {function.name}({argument.arg}) is a switch; pass a value that "
                    "says what is meant, or write two functions"
                )
    return found


def module_names(path: Path, text: str) -> list[str]:
    """Find modules and folders that are named by habit and not by content."""
    del text
    names = {*path.parts[:-1], path.stem}
    return [f"{path}:1: `{name}` says nothing of what is inside" for name in names & BANNED_MODULES]


def lengths(path: Path, text: str) -> list[str]:
    """Find files that cannot be read at one sitting."""
    lines = text.count("\n")
    return [f"{path}:{lines}: {lines} lines; split by idea"] if lines > MAXIMUM_LINES else []


def unpickling(path: Path, text: str) -> list[str]:
    """Find whatever could run code hidden in data."""
    found = []
    tree = ast.parse(text)
    harmless = {id(call.func) for call in ast.walk(tree) if path == CONVERSION and _plain(call)}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute() if id(node) in harmless:
                pass
            case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                found.append(f"{path}:{node.lineno}: torch.load unpickles; read safetensors")
            case ast.Import(names=names):
                found += [
                    f"{path}:{node.lineno}: {alias.name} runs code hidden in data"
                    for alias in names
                    if alias.name.split(".")[0] in BANNED_IMPORTS
                ]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in BANNED_IMPORTS:
                found.append(f"{path}:{node.lineno}: {module} runs code hidden in data")
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                found.append(f"{path}:{node.lineno}: allow_pickle runs code hidden in data")
            case _:
                pass
    return found


def _plain(node: ast.AST) -> bool:
    """Say whether a node is a call of ``torch.load`` that reads nothing but plain values."""
    return isinstance(node, ast.Call) and any(
        keyword.arg == "weights_only"
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is True
        for keyword in node.keywords
    )


def unfinished(path: Path, text: str) -> list[str]:
    """Find stubs and notes to oneself."""
    return [
        f"{path}:{number}: unfinished: {line.strip()[:60]}"
        for number, line in enumerate(text.splitlines(), start=1)
        if BANNED_TEXT.search(line)
    ]


def undocumented(path: Path, text: str) -> list[str]:
    """Find public modules, classes and functions without a docstring."""
    tree = ast.parse(text)
    found = [] if ast.get_docstring(tree) else [f"{path}:1: the module has no docstring"]
    return found + _undocumented_members(path, tree, prefix="")


def empty_packages(path: Path, text: str) -> list[str]:
    """Find ``__init__.py`` files that hold more than a docstring and exports."""
    if path.name != "__init__.py":
        return []
    allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)
    return [
        f"{path}:{node.lineno}: an __init__ holds a docstring and exports, nothing else"
        for node in ast.parse(text).body
        if not isinstance(node, allowed)
    ]


def global_torch_state(path: Path, text: str) -> list[str]:
    """Find calls that change torch for the whole process outside what owns the process."""
    banned = {
        "manual_seed", "set_default_dtype", "set_default_device", "use_deterministic_algorithms",
        "set_grad_enabled",
    }  # fmt: skip
    if path in COMPOSITION_ROOTS:
        banned -= {"use_deterministic_algorithms"}
    return [
        f"{path}:{node.lineno}: torch.{node.func.attr} changes the whole process"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "torch"
        and node.func.attr in banned
    ]


def drawn_tree(text: str) -> dict[str, str]:
    """Return child -> parent of a tree drawn with box characters; the root has parent ``""``."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in text.splitlines():
        match = re.match(r"^(?P<lead>[\s│├└─]*)(?P<name>[A-Z]\w*Error)\b", line)
        if match is None:
            continue
        lead = match["lead"].removeprefix("    ")
        depth = len(lead) // 4
        path = [*path[:depth], match["name"]]
        parents[match["name"]] = path[depth - 1] if depth else ""
    return parents


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _parameters(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    yield from zip(positional, [None] * missing + arguments.defaults, strict=True)
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _says_bool(annotation: ast.expr | None) -> bool:
    match annotation:
        case ast.Name(id="bool"):
            return True
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return {ast.unparse(left), ast.unparse(right)} == {"bool", "None"}
        case ast.Subscript(value=ast.Name(id="Optional"), slice=ast.Name(id="bool")):
            return True
        case _:
            return False


def _is_override(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).split(".")[-1] == "override"


def _undocumented_members(
    path: Path, parent: ast.Module | ast.ClassDef, *, prefix: str
) -> list[str]:
    found = []
    for node in parent.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        name = f"{prefix}{node.name}"
        exempt = node.name.startswith("_") or any(
            _is_override(decorator) or ast.unparse(decorator) == "overload"
            for decorator in node.decorator_list
        )
        if exempt:
            continue
        if ast.get_docstring(node) is None:
            found.append(f"{path}:{node.lineno}: {name} has no docstring")
        if isinstance(node, ast.ClassDef):
            found += _undocumented_members(path, node, prefix=f"{name}.")
    return found
