"""The house: which layer imports what, and how large a room may be."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STANDARD = frozenset(sys.stdlib_module_names)
SYMBOLIC = {"sympy", "mpmath", "numpy", "derive"}
GENERATOR = {"derive", "codegen", "sympy", "jinja2", "markupsafe", "latex2mathml", "ruff"}
RUNTIME = {"torch", "codegen"}
VERIFIER = {*GENERATOR, "torch", "numpy", "mpmath"}
PLOTS = {*SYMBOLIC, "plots", "matplotlib"}
PLOTS_OF_MODULES = (
    "plots/activations.py",
    "plots/density.py",
    "plots/equilibrium.py",
    "plots/gates.py",
    "plots/gradients.py",
    "plots/memory.py",
    "plots/modules.py",
    "plots/profile.py",
)  # they run emitted modules
LINES_PER_FILE, LINES_PER_FUNCTION = 400, 60
# Function-local imports outside cli.py: (file, module) -> why it cannot stand at the top.
LOCAL_IMPORTS = {
    ("codegen/__init__.py", "codegen"): "verification is resolved lazily: generating never imports torch",
}


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path.relative_to(ROOT) for path in found]


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield node.module or "", node.lineno


def allowed(path: Path) -> set[str]:
    place = path.as_posix()
    if place.startswith("derive/"):
        return SYMBOLIC
    if place.startswith("generated/"):
        return {"torch"}
    if place.startswith("codegen/runtime/"):
        return RUNTIME
    if place.startswith(("codegen/verification/", "codegen/diagnostics")):
        return VERIFIER
    if place.startswith("plots/"):
        return PLOTS | ({"torch", "codegen"} if place in PLOTS_OF_MODULES else set())
    return GENERATOR


def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("path", sources("derive", "codegen", "generated", "plots"), ids=str)
def test_imports_point_one_way(path):
    wrong = [
        f"{path}:{line} imports {name}"
        for name, line in imports(parse(path))
        if name.split(".")[0] not in STANDARD | allowed(path)
    ]
    assert not wrong


@pytest.mark.parametrize("path", sources("codegen"), ids=str)
def test_the_generator_leaves_torch_and_runtime_sources_alone(path):
    if path.as_posix().startswith(("codegen/runtime/", "codegen/verification/", "codegen/diagnostics")):
        return
    top = [node for node in parse(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name for node in top for name, _ in imports(node)}
    assert not {name for name in names if name.startswith(("torch", "codegen.runtime", "codegen.diagnostics"))}


@pytest.mark.parametrize("path", sources("codegen/runtime"), ids=str)
def test_inlined_sources_import_each_other_only(path):
    names = {name for name, _ in imports(parse(path)) if name.split(".")[0] in {"codegen", "derive"}}
    assert all(name.startswith("codegen.runtime") for name in names)


@pytest.mark.parametrize("path", sources("derive", "codegen", "generated", "plots"), ids=str)
def test_imports_stand_at_the_top(path):
    local = {
        name
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for name, _ in imports(node)
    }
    assert {name for name in local if (path.as_posix(), name.split(".")[0]) not in LOCAL_IMPORTS} == set()


@pytest.mark.parametrize("path", [Path("cli.py"), *sources("derive", "codegen", "plots")], ids=str)
def test_rooms_are_small(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert text.count("\n") <= LINES_PER_FILE
    long = [
        f"{path}:{node.lineno} {node.name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > LINES_PER_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize("path", [Path("cli.py"), *sources("derive", "codegen", "plots")], ids=str)
def test_public_names_have_docstrings_and_hints(path):
    tree = parse(path)
    assert ast.get_docstring(tree) is not None or not tree.body, "the module has no docstring"
    bare = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            hinted = isinstance(node, ast.ClassDef) or node.returns is not None
            if ast.get_docstring(node) is None or not hinted:
                bare.append(f"{path}:{node.lineno} {node.name}")
    assert not bare
