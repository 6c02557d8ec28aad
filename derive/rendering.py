"""Derivations as plain text and as LaTeX documents."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace

from derive.derivation import ClaimVerdict, Derivation, Relation, Section
from derive.errors import UnknownNameError
from derive.formula_width import width
from derive.line_breaks import broken
from derive.plain_formula import plain_formula
from derive.prose import headline, looks_like_tex, plain, to_tex
from derive.verdict import Step

TEXT_WIDTH = 100
SYMBOLS, CLAIMS = "Symbols", "What the decks say"
ROWS_PER_TABLE = 40
BESIDE = 70  # letters of a title and its reason that stand on one line
INLINE = 60.0  # width up to which a claim's formula stands in the line
BESIDE_WORDS = 25.0  # the same for the formula of a step

PREAMBLE = r"""\documentclass[11pt,a4paper]{article}
\usepackage{amsmath,amssymb}
% Colours and the shrinking of a formula that no line break helped belong to every TeX, but nothing depends on them.
\IfFileExists{color.sty}{\usepackage{color}}{\newcommand{\definecolor}[3]{}\newcommand{\textcolor}[2]{#2}}
\IfFileExists{graphicx.sty}{\usepackage{graphicx}}{\newcommand{\resizebox}[3]{#3}}
\definecolor{soft}{rgb}{0.42,0.45,0.50}
\definecolor{good}{rgb}{0.10,0.45,0.25}
\definecolor{bad}{rgb}{0.72,0.15,0.12}
\setlength{\textwidth}{165mm}\setlength{\oddsidemargin}{-3mm}\setlength{\evensidemargin}{-3mm}
\setlength{\textheight}{242mm}\setlength{\topmargin}{-14mm}\setlength{\headheight}{0mm}
\ifdefined\pdfpagewidth\pdfpagewidth=210mm\pdfpageheight=297mm\fi
\setlength{\parindent}{0mm}\setlength{\parskip}{1ex plus 0.4ex}
\raggedbottom\allowdisplaybreaks\sloppy
\newsavebox{\formula}
\newcommand{\fit}[1]{\sbox{\formula}{\renewcommand{\arraystretch}{1.35}$\displaystyle #1$}%
  \ifdim\wd\formula>0.92\linewidth\resizebox{0.92\linewidth}{!}{\usebox{\formula}}\else\usebox{\formula}\fi}
\newcommand{\relation}[3]{\ifhead\headfalse\else\filbreak\fi\medskip
  \textbf{#1}\quad\textcolor{soft}{\small #2\hfill\textsc{#3}}\nopagebreak\par\vspace{-1.5ex}}
\newif\ifhead
\newcommand{\head}[1]{\filbreak\section{#1}\headtrue}
\newcommand{\reason}[1]{\nopagebreak{\small\textcolor{soft}{#1}\par}}
\newcommand{\step}[1]{\par{\small\hangindent=5mm\hangafter=1\hspace*{2mm}--\enspace #1\par}}
\begin{document}
"""


def only_section(derivation: Derivation, name: str) -> Derivation:
    """The part of a derivation under one title; a unique part of the title is enough, in any case.

    Raises:
        UnknownNameError: no section, or more than one, is meant.
    """
    titles = {section.title: (section,) for section in derivation.sections}
    parts: dict[str, tuple[Section, ...]] = {**titles, SYMBOLS: (), **({CLAIMS: ()} if derivation.claims else {})}
    wanted = name.strip().casefold()
    found = [title for title in parts if title.casefold() == wanted] or [t for t in parts if wanted in t.casefold()]
    if len(found) != 1:
        raise UnknownNameError("section", name, parts)
    return replace(
        derivation,
        sections=parts[found[0]],
        symbols=derivation.symbols if found[0] == SYMBOLS else (),
        claims=derivation.claims if found[0] == CLAIMS else (),
        facts={},
    )


def reason_of(relation: Relation) -> str:
    """Why it holds, where that is more than its kind says already."""
    return "" if relation.reason == relation.kind.value else relation.reason


def to_text(derivation: Derivation) -> str:
    """The derivation for a terminal."""
    head = f"{plain(derivation.title)} ({derivation.id})"
    lines = [head, "=" * len(head)]
    lines += _paragraph(plain(derivation.source))
    if derivation.facts:
        size = max(map(len, derivation.facts))
        facts = (f"{name.ljust(size)}  {plain(text)}" for name, text in derivation.facts.items())
        lines += ["", *(line for fact in facts for line in _paragraph(fact, "", " " * (size + 2)))]
    if derivation.symbols:
        lines += ["", SYMBOLS, "-" * len(SYMBOLS), *_symbol_lines(derivation)]
    for number, section in enumerate(derivation.sections, 1):
        title = f"{number}. {plain(section.title)}"
        lines += ["", title, "-" * len(title), *_paragraph(plain(section.lead))]
        for relation in section.relations:
            lines += ["", *_relation_lines(relation)]
    if derivation.claims:
        lines += ["", CLAIMS, "-" * len(CLAIMS)]
        for claim in derivation.claims:
            lines += ["", *_claim_lines(claim)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def to_latex(derivation: Derivation) -> str:
    """The derivation as a document of its own, for any TeX engine."""
    return PREAMBLE + "\n".join(_document(derivation)) + "\n\\end{document}\n"


def display(latex: str, number: str = "") -> str:
    """A displayed formula, on as many lines as it needs, with its number."""
    tag = rf" \tag{{{number}}}" if number else ""
    return f"\\begin{{equation*}}\n\\fit{{{broken(latex)}}}{tag}\n\\end{{equation*}}"


def _paragraph(text: str, first: str = "", rest: str = "") -> list[str]:
    if not text.strip():
        return []
    wrap = textwrap.TextWrapper(
        TEXT_WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return wrap.wrap(text)


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _symbol_lines(derivation: Derivation) -> list[str]:
    rows = ((name, shape, role, plain(meaning)) for _, name, shape, role, meaning in derivation.symbols)
    return list(_columns([("name", "shape", "role", "meaning"), *rows]))


def _relation_lines(relation: Relation) -> Iterator[str]:
    mark = f"({relation.number})"
    indent = " " * (len(mark) + 2)
    yield f"{mark}  {headline(plain(relation.title), relation.name)}  [{relation.kind.value}]"
    text = plain_formula(relation.text) if looks_like_tex(relation.text) else relation.text
    for line in text.splitlines():
        yield from _paragraph(line, indent + "    ", indent + "        ")
    yield from _paragraph(plain(reason_of(relation)), indent, indent)
    for step in relation.steps:
        yield from _paragraph(_step_text(step), f"{indent}- ", f"{indent}  ")
    if relation.source:
        yield from _paragraph(f"source: {plain(relation.source)}", indent, indent)


def _step_text(step: Step) -> str:
    return ": ".join(part for part in (plain(step.words), plain_formula(step.formula)) if part)


def _claim_lines(claim: ClaimVerdict) -> Iterator[str]:
    yield f"{claim.id}  {claim.about}  ({plain(claim.deck)})"
    yield from _paragraph(claim.says, "    the deck says:  ", " " * 24)
    yield from _paragraph(claim.derived, "    derived:        ", " " * 24)
    yield f"    verdict:        {claim.verdict}"
    yield from _paragraph(plain(claim.note), "    ", "    ")


def _document(derivation: Derivation) -> Iterator[str]:
    yield rf"{{\LARGE\bfseries {to_tex(derivation.title)}\par}}"
    yield rf"\textcolor{{soft}}{{\texttt{{{to_tex(derivation.id)}}}"
    yield rf"\quad {to_tex(derivation.source)}}}\par"
    if derivation.facts:
        yield r"\medskip\begin{tabular}{@{}p{46mm}p{112mm}@{}}"
        yield from (rf"{to_tex(name)} & {to_tex(text)} \\" for name, text in derivation.facts.items())
        yield r"\end{tabular}\par"
    if derivation.symbols:
        yield rf"\section*{{{SYMBOLS}}}"
        for start in range(0, len(derivation.symbols), ROWS_PER_TABLE):
            yield from _symbol_table(derivation.symbols[start : start + ROWS_PER_TABLE])
    for section in derivation.sections:
        yield rf"\head{{{to_tex(headline(section.title))}}}"
        if section.lead:
            yield to_tex(section.lead) + r"\par\nopagebreak"
        for relation in section.relations:
            yield from _relation_tex(relation)
    if derivation.claims:
        yield rf"\section*{{{CLAIMS}}}"
        for claim in derivation.claims:
            yield from _claim_tex(claim)


def _symbol_table(rows: Sequence[tuple[str, str, str, str, str]]) -> Iterator[str]:
    yield r"\begin{tabular}{@{}llllp{58mm}@{}}"
    yield r" & name & shape & role & meaning \\ \hline"
    for latex, *words in rows:
        yield rf"${latex}$ & " + " & ".join(to_tex(word) for word in words) + r" \\"
    yield r"\end{tabular}\par"


def _relation_tex(relation: Relation) -> Iterator[str]:
    notes = [reason_of(relation), f"source: {relation.source}" if relation.source else ""]
    note = to_tex("; ".join(note for note in notes if note))
    beside = note if len(relation.title) + len(note) < BESIDE else ""
    yield rf"\relation{{{to_tex(headline(relation.title, relation.name))}}}{{{beside}}}{{{relation.kind.value}}}"
    yield display(relation.latex, relation.number)
    if note and not beside:
        yield rf"\reason{{{note}}}"
    yield from (_step_tex(step) for step in relation.steps)


def _step_tex(step: Step) -> str:
    """A formula stands in the line where it is short enough, else below."""
    if not step.formula:
        return rf"\step{{{to_tex(step.words)}}}"
    if width(step.formula) <= BESIDE_WORDS:
        return rf"\step{{{to_tex(step.words)}: ${step.formula}$}}"
    return rf"\step{{{to_tex(step.words)}:}}" + "\n" + display(step.formula)


def _claim_tex(claim: ClaimVerdict) -> Iterator[str]:
    yield r"\filbreak\medskip\begingroup\raggedright"
    colour = "good" if claim.agrees else "bad"
    title = to_tex(f"{claim.id}: {claim.about}")
    yield rf"\textbf{{{title}}}\hfill\textcolor{{soft}}{{\small {to_tex(claim.deck)}}}\par"
    for label, formula in (("The deck says", claim.says), ("Derived", claim.derived)):
        yield rf"\makebox[28mm][l]{{{label}}}" + _claim_formula(formula)
    note = f" {to_tex(claim.note)}" if claim.note else ""
    yield rf"\textcolor{{{colour}}}{{{to_tex(claim.verdict)}.}}{note}\par\endgroup"


def _claim_formula(formula: str) -> str:
    if not looks_like_tex(formula):
        return rf"{to_tex(formula)}\par"
    return display(formula) if width(formula) > INLINE else rf"$\displaystyle {formula}$\par"
