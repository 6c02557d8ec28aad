"""Derivations as one self-contained HTML file, and as PDF where a TeX engine is found."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from codegen.mathml import block, inline
from derive.derivation import Derivation
from derive.errors import DeriveError
from derive.files import write_whole
from derive.prose import headline, looks_like_tex, pieces
from derive.rendering import CLAIMS, SYMBOLS, reason_of, to_latex

ENGINES: tuple[tuple[str, ...], ...] = (
    ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"),
    ("tectonic",),
    ("xelatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"),
)
LOG_LINES = 4
TIMEOUT = 180  # seconds; tectonic may fetch packages at first


def to_html(derivation: Derivation) -> str:
    """One HTML file that needs nothing else: MathML and a style sheet, no script, no font, no link outside."""
    environment = Environment(
        loader=PackageLoader("codegen", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(block=_block, inline=_inline, prose=_prose, formula=_formula)
    environment.filters.update(headline=headline, reason=reason_of)
    page = environment.get_template("derivation.html.jinja")
    return page.render(derivation=derivation, symbols_title=SYMBOLS, claims_title=CLAIMS) + "\n"


def write_pdf(derivation: Derivation, path: Path) -> Path:
    """Typeset the derivation with the first TeX engine that is found.

    Raises:
        DeriveError: there is no engine, or it fails; the LaTeX document is then left beside the place of the PDF.
    """
    document = to_latex(derivation)
    engine = next((command for command in ENGINES if shutil.which(command[0])), None)
    if engine is None:
        kept = write_whole(path.with_suffix(".tex"), document)
        names = ", ".join(command[0] for command in ENGINES)
        raise DeriveError(
            f"no TeX engine is installed (looked for {names}); wrote {kept} instead: typeset it elsewhere"
        )
    with tempfile.TemporaryDirectory(prefix="derive-") as folder:
        source = Path(folder) / f"{derivation.id}.tex"
        source.write_text(document, encoding="utf-8")
        complaint = _typeset(engine, source)
        if complaint:
            kept = write_whole(path.with_suffix(".tex"), document)
            raise DeriveError(
                f"{engine[0]} could not typeset the derivation; wrote {kept} instead. It says:\n{complaint}"
            )
        return write_whole(path, source.with_suffix(".pdf").read_bytes())


def _typeset(engine: tuple[str, ...], source: Path) -> str:
    """Run an engine beside its source; what it complains of, empty where a PDF came out."""
    try:
        done = subprocess.run(
            [*engine, source.name],
            cwd=source.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0 and source.with_suffix(".pdf").exists():
        return ""
    lines = done.stdout.decode(errors="replace").splitlines()
    first = next((index for index, line in enumerate(lines) if line.startswith(("!", "error"))), -LOG_LINES)
    return "\n".join(lines[first:][:LOG_LINES])


def _block(latex: str) -> Markup:
    return Markup(block(latex))


def _inline(latex: str) -> Markup:
    return Markup(inline(latex))


def _prose(text: str) -> Markup:
    """Running text, its formulas between dollar signs as MathML."""
    return Markup("").join(_inline(piece) if formula else escape(piece) for piece, formula in pieces(text))


def _formula(text: str) -> Markup:
    """A formula where it is LaTeX, else the text as it is."""
    return _block(text) if looks_like_tex(text) else Markup("<code>{}</code>").format(text)
