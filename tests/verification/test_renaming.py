"""Nothing by name: a catalogue file under another id and with other symbol names gives the same text, renamed."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from importlib import import_module

import pytest

from codegen.emission import emit
from derive import load
from derive.catalog import REGISTER
from derive.symbols import default_latex


def source(name: str) -> str:
    return inspect.getsource(import_module(f"derive.catalog.{name}"))


IDS = [listing.id for listing in REGISTER if listing.kind == "module"]
MODULES = [name for name in IDS if "SPEC = Spec(" in source(name)]  # others are these with exact values: no own names
MARK = "0q"  # what is appended to every name: it sorts before whatever may follow a name, so that orders stay
NAMING = {"state", "parameter", "input_", "constant", "time", "target", "Network", "let"}


class _Renamed(ast.NodeTransformer):
    """A spec's source with other names: of its symbols, its id and its class; what decks claim is left out."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in NAMING and node.args:
            if not any(keyword.arg == "latex" for keyword in node.keywords):
                latex = default_latex(ast.literal_eval(node.args[0]))
                node.keywords.append(ast.keyword("latex", ast.Constant(latex)))
            node.args[0] = _marked(node.args[0])
        if called == "quantities":  # the file looks its quantities up by their first names
            table = f"{{name.replace({MARK!r}, ''): value for name, value in {ast.unparse(node)}.items()}}"
            return ast.parse(table, mode="eval").body
        if called == "Spec":
            option = next((k.value.value for k in node.keywords if k.arg == "option"), "")
            kept = [keyword for keyword in node.keywords if keyword.arg != "claims"]
            node.keywords = [self._spec_keyword(keyword, option) for keyword in kept]
        return node

    @staticmethod
    def _spec_keyword(keyword: ast.keyword, option: str) -> ast.keyword:
        if keyword.arg in {"id", "class_name"}:
            keyword.value = _marked(keyword.value)
        if keyword.arg == "defaults" and isinstance(keyword.value, ast.Dict):
            keys = keyword.value.keys
            keyword.value.keys = [key if ast.literal_eval(key) == option else _marked(key) for key in keys]
        return keyword


def _marked(name: ast.expr) -> ast.expr:
    return ast.BinOp(name, ast.Add(), ast.Constant(MARK))


def renamed_source(name: str) -> str:
    tree = ast.parse(source(name))
    return ast.unparse(ast.fix_missing_locations(_Renamed().visit(tree)))


def essence(text: str) -> tuple[str, list[str]]:
    """Syntax tree and comments, whatever the length of names makes of the layout; without the digest of the program."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = " ".join(node.value.split())
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    return ast.dump(tree), [re.sub(r"[0-9a-f]{64}", "digest", comment) for comment in comments]


@pytest.mark.parametrize("name", MODULES)
def test_other_names_give_the_same_text(name, tmp_path):
    path = tmp_path / f"anything_{name}.py"
    path.write_text(renamed_source(name), encoding="utf-8")
    spec = load(path)
    assert spec.id == name + MARK and spec.class_name.endswith(MARK)
    text = emit(spec)
    assert text.count(MARK) > 20
    tree, comments = essence(text.replace(MARK, ""))
    expected_tree, expected_comments = essence(emit(load(name)))
    assert comments == expected_comments
    assert tree == expected_tree
