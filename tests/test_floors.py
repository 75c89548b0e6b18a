"""The floors: a module imports only lower ones, and the theory and deep columns never meet below experiments/."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "linfair"

FLOORS = {
    -1: {"_check", "_native", "_numeric", "_quadrature"},  # they import nothing of linfair and serve everyone
    0: {"_union", "norms", "mixing", "ops.reference"},
    1: {"gaussian", "linear", "metrics", "runs", "ops", "data"},
    2: {"solvers", "plotting", "attacks", "models"},
    3: {"theory", "train", "groups"},
    4: {"cli", "verify", "evaluate", "explore", "info"},
    5: {"compare"},
}
THEORY = {"_numeric", "_quadrature", "mixing", "_union", "gaussian", "linear", "solvers", "theory", "verify"}
DEEP = {"ops", "ops.reference", "attacks", "models", "train", "groups", "evaluate", "compare"}
LAZY = {"cvxpy", "clarabel", "matplotlib", "torch"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def unit(module: str) -> str:
    """The entry of FLOORS a dotted name below linfair belongs to: 'solvers.convex' -> 'solvers'."""
    return "ops.reference" if module.startswith("ops.reference") else module.split(".")[0]


def floor(name: str) -> int:
    found = [level for level, names in FLOORS.items() if name in names]
    assert found, f"linfair/{name} is on no floor; add it to FLOORS in tests/test_floors.py"
    return found[0]


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree: ast.AST, package: str, inside: bool = False):
    """(absolute module, whether inside a function) of every import that runs; TYPE_CHECKING blocks do not."""
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node):
            for other in node.orelse:  # pyright: ignore[reportAttributeAccessIssue]
                yield from imports(ast.Module([other], []), package, inside)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1]]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield from ((f"{module}.{alias.name}", inside) for alias in node.names)
        else:
            deeper = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, package, deeper)


def imports_of(path: Path) -> list[tuple[str, bool]]:
    here = ["linfair", *path.relative_to(PACKAGE).parent.parts]
    return list(imports(ast.parse(path.read_text(encoding="utf-8")), ".".join(here)))


def below_linfair(path: Path) -> set[str]:
    """The units of linfair that a module imports, itself and the bare package excepted."""
    names = {name.removeprefix("linfair.") for name, _ in imports_of(path) if name.startswith("linfair.")}
    known = {n for n in names if (PACKAGE / n.split(".")[0]).is_dir() or (PACKAGE / f"{n.split('.')[0]}.py").exists()}
    return {unit(name) for name in known} - {unit(dotted(path))}


def test_every_folder_is_a_package():
    bare = {path.parent.name for path in MODULES if not (path.parent / "__init__.py").exists()}
    assert not bare, f"{bare} need an __init__.py, or they are left out of the wheel"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: dotted(p) or "linfair")
def test_imports_only_lower_floors(path):
    if not dotted(path):
        assert below_linfair(path) == set(), "linfair/__init__.py loads everything lazily"
        return
    mine = floor(unit(dotted(path)))
    wrong = {name: floor(name) for name in below_linfair(path) if floor(name) >= mine}
    assert not wrong, f"{dotted(path)} is on floor {mine} and imports {wrong}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: dotted(p) or "linfair")
def test_columns_never_meet(path):
    mine, used = unit(dotted(path)), below_linfair(path)
    if mine in THEORY:
        assert not used & DEEP
    if mine in DEEP:
        assert not used & THEORY


@pytest.mark.parametrize("path", MODULES, ids=lambda p: dotted(p) or "linfair")
def test_heavy_packages_load_late(path):
    mine = unit(dotted(path))
    for name, inside in imports_of(path):
        top = name.split(".")[0]
        if top == "torch":
            assert mine in DEEP, f"{dotted(path)} imports torch; only the deep column may"
        elif top in LAZY:
            assert inside, f"{dotted(path)} imports {top} at the top; import it inside the function that needs it"


def test_the_reader_of_imports_sees_through_nesting():
    source = """
from typing import TYPE_CHECKING
import numpy
if TYPE_CHECKING:
    import torch
else:
    import scipy
try:
    from . import gaussian
except ImportError:
    pass
def f():
    import cvxpy
    from linfair.solvers import convex
"""
    seen = dict(imports(ast.parse(source), "linfair"))
    assert seen == {
        "typing.TYPE_CHECKING": False,
        "numpy": False,
        "scipy": False,
        "linfair.gaussian": False,
        "cvxpy": True,
        "linfair.solvers.convex": True,
    }
