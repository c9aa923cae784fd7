"""Nothing outside the seam leans on a private name of a library: the source tree is searched for it.

What a line may not do there: touch `x._name` of anything but `self` and `cls`; touch a `self._name` that the tree never
defines, so that it must be a library's; import a private name or module; replace something in an imported module.
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterable, Iterator
from pathlib import Path

import faust
import pytest

ROOT = Path(__file__).resolve().parents[2]
SEAM = ROOT / "streams" / "seam"
PUBLIC_ALL_THE_SAME = {"_exit", "_replace", "_asdict", "_fields", "_make"}
"""Documented, of `os` and named tuples."""
Modules = dict[str, ast.Module]


def tree_outside_the_seam() -> Modules:
    paths = (path for package in ("allocator", "streams") for path in sorted((ROOT / package).rglob("*.py")))
    gc.disable()  # finalizers of other tests' garbage, run while CPython 3.11 builds a tree, make it lose count of its depth
    try:
        return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths if SEAM not in path.parents}
    finally:
        gc.enable()


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC_ALL_THE_SAME


def defined(modules: Iterable[ast.Module]) -> set[str]:
    """Every private name that is assigned, annotated, or given to a function or class."""
    names: set[str] = set()
    for node in (node for module in modules for node in ast.walk(module)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
    return {name for name in names if private(name)}


def imported(module: ast.Module) -> set[str]:
    """The names that imports bind."""
    found = (node for node in ast.walk(module) if isinstance(node, ast.Import | ast.ImportFrom))
    return {(alias.asname or alias.name).partition(".")[0] for node in found for alias in node.names}


def leaning(modules: Modules) -> list[str]:
    """A sentence for each line that does what it may not."""
    own = defined(modules.values())
    return [f"{at}:{line} {what}" for at, module in modules.items() for line, what in uses(module, own, imported(module))]


def uses(module: ast.Module, own: set[str], bound: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if private(name):
                if name not in own:
                    yield node.lineno, f"uses {name}, which only a base class of a library can have"
            case ast.Attribute(value=ast.Name(id=name), attr=what, ctx=ast.Store()) if name in bound:
                yield node.lineno, f"replaces {what} in the imported {name}"
            case ast.Attribute(value=of, attr=name) if private(name):
                yield node.lineno, f"uses {ast.unparse(of)}.{name}"
            case ast.Import(names=aliases) if any(map(private, ".".join(a.name for a in aliases).split("."))):
                yield node.lineno, f"imports {', '.join(a.name for a in aliases)}"
            case ast.ImportFrom(module=source, names=aliases) if source != "__future__":
                if any(map(private, [*(source or "").split("."), *(a.name for a in aliases)])):
                    yield node.lineno, f"imports {', '.join(a.name for a in aliases)} from {source}"


def test_nothing_outside_the_seam_leans_on_a_private_name() -> None:
    found = leaning(tree_outside_the_seam())
    assert not found, "private names belong into streams/seam, with a line in tests/unit/test_seam.py:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("await producer._sender.close()", "uses producer._sender"),
        ("self.client._closed = True", "uses self.client._closed"),
        ("self._update_channels()", "uses _update_channels, which only a base class of a library can have"),
        ("import aiokafka\naiokafka.AIOKafkaConsumer = Mine", "replaces AIOKafkaConsumer in the imported aiokafka"),
        ("from aiokafka.record import _crc32c", "imports _crc32c from aiokafka.record"),
        ("import aiokafka._vendor", "imports aiokafka._vendor"),
    ],
)
def test_each_way_of_leaning_is_found(line: str, complaint: str) -> None:
    (found,) = leaning({"streams/some.py": ast.parse(line)})
    assert found.startswith("streams/some.py:"), found
    assert complaint in found


@pytest.mark.parametrize("line", ["self._mine = 1\nself._mine", "os._exit(1)", "import os\nos.environ['A'] = '1'", "x.__class__"])
def test_what_is_our_own_or_public_is_not(line: str) -> None:
    assert leaning({"streams/some.py": ast.parse(line)}) == []


def test_the_app_has_no_name_that_faust_has_too() -> None:
    """`AllocatorApp` is outside the seam because it only adds to `faust.App`; an upgrade may come to use one of its names."""
    source = ast.parse((ROOT / "streams" / "app.py").read_text())
    (app,) = (node for node in source.body if isinstance(node, ast.ClassDef) and node.name == "AllocatorApp")
    added = {node.attr for node in ast.walk(app) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    added |= {node.name for node in app.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    added -= {"on_start", "on_stop"}  # overridden, as Faust documents
    stock = faust.App("stock")
    both = {name for name in added if hasattr(faust.App, name) or name in vars(stock)}
    assert not both, f"faust.App has {sorted(both)} too by now: give AllocatorApp's another name"
