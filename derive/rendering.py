"""Derivations as plain text and as LaTeX documents."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from derive.derivation import ClaimVerdict, Derivation, Relation, Section
from derive.errors import UnknownNameError
from derive.formula_width import width
from derive.line_breaks import broken
from derive.plain_formula import plain_formula, plain_prose
from derive.prose import headline, looks_like_tex, to_tex
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


def to_text(derivation: Derivation, width: int = TEXT_WIDTH) -> str:
    """The derivation for a terminal; only a word that is longer than a line of that width passes it."""
    return "\n".join(line.rstrip() for line in _Page(width).lines(derivation)) + "\n"


def to_latex(derivation: Derivation) -> str:
    """The derivation as a document of its own, for any TeX engine."""
    return PREAMBLE + "\n".join(_document(derivation)) + "\n\\end{document}\n"


def display(latex: str, number: str = "") -> str:
    """A displayed formula, on as many lines as it needs, with its number."""
    tag = rf" \tag{{{number}}}" if number else ""
    return f"\\begin{{equation*}}\n\\fit{{{broken(latex)}}}{tag}\n\\end{{equation*}}"


@dataclass(frozen=True)
class _Page:
    """Lines of text that fit a width."""

    width: int

    def lines(self, derivation: Derivation) -> Iterator[str]:
        """All of a derivation."""
        yield from self.headed(f"{plain_prose(derivation.title)} ({derivation.id})", "=")
        yield from self.paragraph(plain_prose(derivation.source))
        if derivation.facts:
            yield ""
            size = min(max(map(len, derivation.facts)), self.width // 2)
            for name, text in derivation.facts.items():
                yield from self.paragraph(f"{name.ljust(size)}  {plain_prose(text)}", "", " " * (size + 2))
        if derivation.symbols:
            yield from ("", *self.headed(SYMBOLS, "-"), *self.symbols(derivation))
        for number, section in enumerate(derivation.sections, 1):
            yield from ("", *self.headed(f"{number}. {plain_prose(section.title)}", "-"))
            yield from self.paragraph(plain_prose(section.lead))
            for relation in section.relations:
                yield from ("", *self.relation(relation))
        if derivation.claims:
            yield from ("", *self.headed(CLAIMS, "-"))
            for claim in derivation.claims:
                yield from ("", *self.claim(claim))

    def headed(self, title: str, rule: str) -> list[str]:
        """A title with a rule below."""
        return [*self.paragraph(title), rule * min(len(title), self.width)]

    def paragraph(self, text: str, first: str = "", rest: str = "") -> list[str]:
        """Words on lines; no line at all where there are none. A rule is cut."""
        if not text.strip(" -+"):
            return [f"{first}{text}"[: self.width]] if text.strip() else []
        wrap = textwrap.TextWrapper(
            self.width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
        )
        return wrap.wrap(text)

    def symbols(self, derivation: Derivation) -> Iterator[str]:
        """The table of symbols."""
        rows = [(name, shape, role, plain_prose(meaning)) for _, name, shape, role, meaning in derivation.symbols]
        for line in _columns([("name", "shape", "role", "meaning"), *rows]):
            yield from self.paragraph(line, "", " " * 4)

    def relation(self, relation: Relation) -> Iterator[str]:
        """A numbered relation with its reason and proof."""
        mark = f"({relation.number})"
        indent = " " * (len(mark) + 2)
        title = f"{headline(plain_prose(relation.title), relation.name)}  [{relation.kind.value}]"
        yield from self.paragraph(title, f"{mark}  ", indent)
        text = plain_formula(relation.text) if looks_like_tex(relation.text) else relation.text
        for line in text.splitlines():
            yield from self.paragraph(line, indent + "    ", indent + "        ")
        yield from self.paragraph(plain_prose(reason_of(relation)), indent, indent)
        for step in relation.steps:
            yield from self.paragraph(_step_text(step), f"{indent}- ", f"{indent}  ")
        if relation.source:
            yield from self.paragraph(f"source: {plain_prose(relation.source)}", indent, indent)

    def claim(self, claim: ClaimVerdict) -> Iterator[str]:
        """What a deck says and what is derived."""
        yield from self.paragraph(f"{claim.id}  {claim.about}  ({plain_prose(claim.deck)})", "", " " * 4)
        hanging = " " * min(24, self.width // 3)
        yield from self.paragraph(claim.says, "    the deck says:  ", hanging)
        yield from self.paragraph(claim.derived, "    derived:        ", hanging)
        yield from self.paragraph(claim.verdict, "    verdict:        ", hanging)
        yield from self.paragraph(plain_prose(claim.note), "    ", "    ")


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _step_text(step: Step) -> str:
    return ": ".join(part for part in (plain_prose(step.words), plain_formula(step.formula)) if part)


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
