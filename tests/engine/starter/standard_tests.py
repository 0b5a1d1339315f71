"""What LangChain's standard tests for chat models say to a model, read from the installed langchain-tests."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Pairs = frozenset[tuple[str, str]]

WORDS_OF_A_PROMPT = 5
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
_MODELS = ("BaseModel", "TypedDict", "BaseTool")
_NAME_KEYS = ("name", "function_name")


@dataclass(frozen=True)
class StandardTests:
    """What must not be in the training data.

    Attributes:
        prompts: Texts of five words or more, descriptions of tools included.
        names: Names of tools and of classes that stand for one.
        schemas: The (property, type) pairs of each tool and class.
    """

    prompts: frozenset[str]
    names: frozenset[str]
    schemas: frozenset[Pairs]


@cache
def read_standard_tests() -> StandardTests | None:
    """Read the installed langchain-tests, or return None if there are none."""
    spec = importlib.util.find_spec("langchain_tests")
    if spec is None or spec.origin is None:
        return None
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in Path(spec.origin).parent.rglob("*.py")]
    return StandardTests(
        frozenset(text for tree in trees for text in _texts(tree) if len(text.split()) >= WORDS_OF_A_PROMPT),
        frozenset(name for tree in trees for name in _names(tree)),
        frozenset(pairs for tree in trees for pairs in _schemas(tree) if pairs),
    )


def _texts(tree: ast.AST) -> Iterator[str]:
    """Yield strings that are no documentation, and the documentation of tools, as a model is told it."""
    documentation = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
            yield node.value
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and _is_tool(node):
            yield from (ast.get_docstring(node) or "").splitlines()


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and _is_tool(node):
            yield node.name
        elif isinstance(node, ast.Call):
            yield from _name_of_call(node)
        elif isinstance(node, ast.Dict) and {"args", "input", "input_schema"} & set(_keys(node)):
            yield from _constants(value for key, value in _items(node) if key in _NAME_KEYS)


def _name_of_call(node: ast.Call) -> Iterator[str]:
    """Yield the names in ``ToolMessage(name=…)``, ``ToolCall(name=…)`` and ``chain.as_tool(name=…)``."""
    if ast.unparse(node.func).startswith("Tool") or ast.unparse(node.func).endswith(".as_tool"):
        yield from _constants(word.value for word in node.keywords if word.arg in _NAME_KEYS)


def _schemas(tree: ast.Module) -> Iterator[Pairs]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ".as_tool(" in ast.unparse(node):
            yield frozenset((name, "string") for text in _texts(node) for name in re.findall(r"{(\w+)}", text))
        elif isinstance(node, ast.FunctionDef) and _is_tool(node):
            yield frozenset((one.arg, type_name(one.annotation)) for one in node.args.args)
        elif isinstance(node, ast.ClassDef) and _is_tool(node):
            fields = (field for field in node.body if isinstance(field, ast.AnnAssign))
            yield frozenset((ast.unparse(field.target), type_name(field.annotation)) for field in fields)
        elif isinstance(node, ast.Dict) and "properties" in _keys(node):
            yield from (_written_schema(value) for key, value in _items(node) if key == "properties")


def _written_schema(node: ast.expr) -> Pairs:
    try:
        properties = ast.literal_eval(node)
    except ValueError:
        return frozenset()
    return frozenset((name, str(definition.get("type"))) for name, definition in properties.items())


def type_name(annotation: ast.expr | None) -> str:
    """Return the JSON type of an annotation; of ``X | None`` and ``Annotated[X, …]`` it is that of X."""
    if isinstance(annotation, ast.BinOp):
        return type_name(annotation.left)
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice.elts[0] if isinstance(annotation.slice, ast.Tuple) else annotation.slice
        outer = ast.unparse(annotation.value)
        return type_name(inner) if outer in ("Annotated", "Optional", "Required") else _TYPES.get(outer, outer)
    return _TYPES.get(ast.unparse(annotation), ast.unparse(annotation)) if annotation else "any"


def _is_tool(node: ast.FunctionDef | ast.ClassDef) -> bool:
    if isinstance(node, ast.FunctionDef):
        return any(ast.unparse(decorator).partition("(")[0] == "tool" for decorator in node.decorator_list)
    return any(ast.unparse(base).startswith(_MODELS) for base in node.bases)


def _items(node: ast.Dict) -> Iterator[tuple[object, ast.expr]]:
    return (
        (key.value, value) for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)
    )


def _keys(node: ast.Dict) -> list[object]:
    return [key for key, _ in _items(node)]


def _constants(nodes: Iterator[ast.expr]) -> Iterator[str]:
    return (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
