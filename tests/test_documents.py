"""Derivations as text, LaTeX, HTML and PDF: complete, escaped, and nothing off the page."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from sample_derivation import DERIVATION, LONG, NESTED, ROWS

from codegen.documents import to_html, write_pdf
from codegen.mathml import block, inline
from derive import explain, load
from derive.catalog import CATALOG
from derive.errors import DeriveError, UnknownNameError
from derive.formula_width import width
from derive.line_breaks import PAGE, broken, rows_of
from derive.plain_formula import plain_formula, plain_prose
from derive.prose import headline, to_tex
from derive.rendering import only_section, to_latex, to_text
from derive.showing import explained

TEX = shutil.which("pdflatex")
needs_tex = pytest.mark.skipif(TEX is None, reason="no pdflatex")


def _derivations():
    yield pytest.param(lambda: DERIVATION, id="sample")
    for name in CATALOG:
        yield pytest.param(lambda name=name: explain(load(name)), id=name)
    for name in ("dopri5", "tsit5", "theta", "bdf3", "stormer_verlet", "strang"):
        yield pytest.param(lambda name=name: explained(name), id=f"scheme {name}")


DERIVATIONS = list(_derivations())


def balanced(latex):
    assert latex.count(r"\left") == latex.count(r"\right")
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")
    for opening, closing in ((r"\bigl", r"\bigr"), (r"\begin", r"\end")):
        assert latex.count(opening) == latex.count(closing)


@pytest.mark.parametrize("make", DERIVATIONS)
def test_the_text_holds_every_relation_and_verdict(make):
    derivation = make()
    text = to_text(derivation)
    assert all(f"({relation.number})" in text for relation in derivation.relations)
    assert all(claim.verdict in text for claim in derivation.claims)
    assert all(line == line.rstrip() for line in text.splitlines())
    assert "$" not in text


@pytest.mark.parametrize("make", DERIVATIONS)
def test_the_latex_numbers_every_relation(make):
    derivation = make()
    document = to_latex(derivation)
    assert re.findall(r"\\tag\{([^}]+)\}", document) == [relation.number for relation in derivation.relations]
    packages = re.findall(r"\\usepackage\{([^}]+)\}", document)
    assert set(packages) <= {"amsmath,amssymb", "color", "graphicx"}


@pytest.mark.slow
@needs_tex
@pytest.mark.parametrize("make", DERIVATIONS)
def test_the_latex_compiles_and_nothing_runs_off_the_page(make, tmp_path):
    source = tmp_path / "document.tex"
    source.write_text(to_latex(make()), encoding="utf-8")
    done = subprocess.run(
        [TEX, "-interaction=nonstopmode", "-halt-on-error", source.name],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=False,
    )
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    overfull = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)]
    assert all(points < 5 for points in overfull), log


@pytest.mark.parametrize("make", DERIVATIONS)
def test_the_page_is_self_contained_and_well_formed(make):
    derivation = make()
    page = to_html(derivation)
    assert not re.search(r"<script|<link|src=|@import|url\(|https?://(?!www\.w3\.org)", page)
    assert "{{" not in page
    assert all(f'id="eq-{relation.number}"' in page for relation in derivation.relations)
    assert all(claim.verdict in page for claim in derivation.claims)
    for formula in re.findall(r"<math.*?</math>", page, re.DOTALL):
        tree = ElementTree.fromstring(formula)
        words = "".join(tree.itertext())
        assert not re.search(r"\\[a-zA-Z]|&|\$", words), words


def test_the_page_escapes_what_a_spec_says():
    page = to_html(replace(DERIVATION, title="<script>alert(1)</script> & $a < b$"))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(("name", "title"), [("the step", "The step"), ("Trunc", "Truncation & stability")])
def test_one_section(name, title):
    part = only_section(DERIVATION, name)
    assert [section.title for section in part.sections] == [title]
    assert not part.symbols
    assert not part.claims


def test_symbols_and_claims_are_sections_too():
    assert only_section(DERIVATION, "symbols").symbols == DERIVATION.symbols
    assert only_section(DERIVATION, "what the decks say").claims == DERIVATION.claims
    assert not only_section(DERIVATION, "symbols").sections


@pytest.mark.parametrize(("name", "hint"), [("The stop", "did you mean The step"), ("s", "known:")])
def test_an_unknown_or_ambiguous_section(name, hint):
    with pytest.raises(UnknownNameError, match=hint):
        only_section(DERIVATION, name)


@pytest.mark.parametrize("formula", [LONG, NESTED, ROWS, f"a = {LONG.split('= ')[1]} = b", LONG.split("= ")[1]])
@pytest.mark.parametrize("limit", [40.0, 60.0, PAGE])
def test_long_formulas_are_broken_within_the_limit(formula, limit):
    text = broken(formula, limit)
    assert all(width(row) <= 1.1 * limit for row in rows_of(text))
    balanced(text)
    letters = re.sub(r"\\(left|right|bigl|bigr|quad|begin\{aligned\}|end\{aligned\}|\\)|[&{}\s]", "", text)
    assert letters == re.sub(r"\\(left|right|begin\{aligned\}|end\{aligned\}|\\)|[&{}\s]", "", formula)


def test_short_formulas_are_left_as_they_are():
    assert broken(" x = y ") == "x = y"
    rows = r"\begin{aligned}a &= b \\ c &= d\end{aligned}"
    assert broken(rows) == rows
    word = r"\text{unbreakable}"
    assert broken(word, 3.0) == word
    assert rows_of(rows) == ["a&=b", "c&=d"]


def test_a_sum_is_not_broken_inside_a_fraction_or_a_script():
    formula = r"y = \frac{" + " + ".join("a b c" for _ in range(30)) + r"}{x_{n+1} + z^{a - b}}"
    assert broken(formula, 30.0).count(r"\\") <= 1


def test_wider_formulas_are_wider():
    formulas = ["a", "ab", r"\frac{a}{b} + c", r"\tanh\left(a\right) + b + c", LONG]
    widths = [width(formula) for formula in formulas]
    assert widths == sorted(widths)
    assert width(r"\frac{abc}{d}") == width(r"\frac{d}{abc}")
    assert width(r"x_{n}^{2}") < width(r"x_{n} {}^{2}")


def test_running_text():
    assert plain_prose("order $p$ costs $5") == "order p costs $5"
    assert plain_prose(r"with $\det(I + V^\top D^{-1} U)$.") == "with det(I + VᵀD^(-1)U)."
    assert to_tex("a_b & 50% of $x_n$, λ ≤ 1, x²") == r"a\_b \& 50\% of $x_n$, $\lambda$ $\le$ 1, x${}^{2}$"
    assert to_tex("é – 漢") == "é -- ?"


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\frac{1 - k}{2}\, h^{2} u^{(2)}", "(1 - k)/2 h²u^(2)"),
        (r"\dot u = -\frac{\partial H}{\partial x_{n+1}}", "u̇ = -∂H/∂x_(n+1)"),
        (r"\left|\zeta\right| \le 1 \iff k \in \left(-1, 1\right]", "|ζ| ≤ 1 ⟺ k ∈ (-1, 1]"),
        (r"\begin{aligned}a &= b \\ c &= d\end{aligned}", "a = b\nc = d"),
        (r"e = \begin{pmatrix}a & b \\ c & d\end{pmatrix} + f", "e = [a, b; c, d] + f"),
        (r"\mathrm{relu}(x), \quad \text{for all } x", "relu(x),   for all x"),
    ],
)
def test_formulas_for_terminals(latex, text):
    assert plain_formula(latex) == text


def test_lines_end_before_relations_and_implications_rather_than_inside_brackets():
    formula = r"g(z)=0,\quad \det(I-J)\ne0\;\Rightarrow\;z\text{ is a smooth function of all that }f\text{ reads}"
    assert [row.count("(") - row.count(")") for row in rows_of(broken(formula, 60.0))] == [0, 0, 0]


def test_a_narrow_page_stacks_the_table_of_symbols():
    page = to_html(explain(load("resnet")))
    narrow = page.partition("@media (max-width: 34rem)")[2].partition("@media print")[0]
    assert "tbody, tr { display: block; }" in narrow and "td:last-child { display: block; }" in narrow


@pytest.mark.parametrize(
    ("title", "name", "shown"),
    [
        ("cotangent of f", "bar_f", "Cotangent of f"),
        ("heavy-ball form", "", "Heavy-ball form"),
        ("loss", "loss", "loss"),
        ("x_next", "", "x_next"),
        ("f is smooth", "", "f is smooth"),
    ],
)
def test_headlines(title, name, shown):
    assert headline(title, name) == shown


def test_mathml_lays_out_lines_and_drops_tags():
    lines = block(r"\begin{aligned}a &= b \\ &\quad {} + c\end{aligned} \tag{3}".replace(r" \tag{3}", ""))
    assert lines.count("<mtr>") == 2
    assert "&amp;" not in lines
    assert block(r"x = y \tag{3}") == block("x = y")
    assert inline(r"\mathrm{relu}").count("<mtext>") == 1
    assert 'stretchy="true"' not in block(r"f\left(x\right)")
    assert 'stretchy="true"' in block(r"\left(\frac{a}{b}\right)")


def test_a_formula_the_converter_refuses_is_shown_as_it_is(monkeypatch):
    def refuse(_):
        raise ValueError("no")

    monkeypatch.setattr("codegen.mathml.convert", refuse)
    assert "<mtext>a &lt; b</mtext>" in inline("a < b")


@pytest.mark.slow
@needs_tex
def test_a_pdf(tmp_path):
    path = write_pdf(DERIVATION, tmp_path / "sample.pdf")
    assert path.read_bytes().startswith(b"%PDF")
    assert [p.name for p in tmp_path.iterdir()] == ["sample.pdf"]


def test_without_an_engine_the_document_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("codegen.documents.shutil.which", lambda _: None)
    with pytest.raises(DeriveError, match=r"no TeX engine is installed .* wrote .*sample\.tex"):
        write_pdf(DERIVATION, tmp_path / "sample.pdf")
    assert (tmp_path / "sample.tex").read_text(encoding="utf-8") == to_latex(DERIVATION)


def test_an_engine_that_fails_is_quoted(tmp_path, monkeypatch):
    engine = tmp_path / "engine"
    engine.write_text("#!/bin/sh\necho 'chatter'\necho '! Undefined control sequence.'\nexit 1\n", encoding="utf-8")
    engine.chmod(0o755)
    monkeypatch.setattr("codegen.documents.ENGINES", ((str(engine),),))
    with pytest.raises(DeriveError, match=r"wrote .*sample\.tex instead. It says:\n! Undefined control sequence"):
        write_pdf(DERIVATION, tmp_path / "sample.pdf")
    assert not (tmp_path / "sample.pdf").exists()
