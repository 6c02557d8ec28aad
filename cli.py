"""The command line: every command is one call into the library.

Exit status: 0 fine, 1 a finding (a stale file, a check that failed), 2 the input is at fault. Heavy imports wait for
the command that needs them, so that help is instant and generating never loads torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derive import __version__
from derive.errors import DeriveError
from derive.terminal import as_columns, fitted, terminal_width

if TYPE_CHECKING:
    from derive.systems import Spec

FINDING, USAGE = 1, 2
INTERRUPTED = 128 + 2  # as a shell says of what Ctrl-C ended
ALLOCATIONS = 100_000  # between two searches for garbage cycles while text is made; Python's own is 700
FORMATS = ("text", "latex", "html", "pdf")
FOLDER = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)


class Commands(click.Group):
    """A group of commands in the order they are defined in, whose own errors are one message and exit status 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of definition."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run; what the library refuses is said without a traceback."""
        try:
            return super().invoke(ctx)
        except DeriveError as error:
            click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
            ctx.exit(USAGE)
        except KeyboardInterrupt:
            click.echo("interrupted: nothing was written", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="derive %(version)s")
def main() -> None:
    """From an equation to a verified PyTorch module.

    A SPEC is an id of the catalogue (`derive list`) or a file of your own: path/to/spec.py, or path/to/spec.py:NAME
    where it holds several.
    """


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON: id, kind, class, family, title, source.")
@click.option("--schemes", is_flag=True, help="The shipped schemes: id, kind, stages or steps, order, title.")
def list_(as_json: bool, schemes: bool) -> None:
    """List the systems of the catalogue, or the shipped schemes."""
    from derive import catalog_entries

    if schemes:
        _list_schemes(as_json)
        return

    entries = catalog_entries()
    if as_json:
        fields = {"id": "id", "kind": "kind", "class": "class_name", "family": "family", "title": "title"}
        fields["source"] = "source"
        click.echo(_json([{key: getattr(entry, name) for key, name in fields.items()} for entry in entries]))
        return
    for line in as_columns(
        [(entry.id, entry.class_name or entry.kind, entry.family, entry.title) for entry in entries]
    ):
        click.echo(line)


@main.command()
@click.argument("spec")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="What to write.")
@click.option("--section", metavar="S", help="Only the section of that title.")
@click.option("-o", "--output", type=FILE, help="File to write [default: the terminal; for pdf <id>.pdf].")
def show(spec: str, form: str, section: str | None, output: Path | None) -> None:
    """Show the derivation of SPEC: a system, or a scheme by its id or from a file."""
    from derive.files import check_place, write_whole
    from derive.rendering import only_section
    from derive.showing import explained

    if output is not None:
        check_place(output)
    derivation = explained(spec)
    if section is not None:
        derivation = only_section(derivation, section)
    if form == "pdf":
        from codegen.documents import write_pdf

        click.echo(write_pdf(derivation, output or Path(f"{derivation.id}.pdf")))
        return
    text = _renderer(form, output is None)(derivation)
    click.echo(text if output is None else write_whole(output, text))


@main.command()
@click.argument("specs", nargs=-1, metavar="SPEC...")
@click.option("--all", "everything", is_flag=True, help="The whole catalogue.")
@click.option("--scheme", metavar="NAME|FILE", help="Solve with another scheme: its id, or a file that holds one.")
@click.option(
    "-o", "--output", type=FOLDER, help="Folder, made if missing [default: generated/ in a checkout, else this folder]."
)
def generate(specs: tuple[str, ...], everything: bool, scheme: str | None, output: Path | None) -> None:
    """Emit the PyTorch module of each SPEC; print paths."""
    _without_pauses()
    loaded = _load_all(specs, everything)
    from codegen import emit
    from derive.files import check_folder, make_folder, write_whole
    from derive.loading import check_target, load_scheme

    chosen = None if scheme is None else load_scheme(scheme)
    targets: dict[Path, str] = {}
    for reference, spec in loaded:
        path = _folder(reference, output) / f"{spec.id}.py"
        check_target(reference, path)
        check_folder(path.parent)
        if targets.setdefault(path, reference) != reference:
            raise DeriveError(f"{targets[path]} and {reference} would both be written to {path}: change one spec's id")
    texts = {}
    with _progress("generating", loaded) as items:
        for reference, spec in items:
            with _naming(reference):
                texts[_folder(reference, output) / f"{spec.id}.py"] = emit(spec, chosen)
    for path, text in texts.items():
        make_folder(path.parent)
        click.echo(write_whole(path, text))


@main.command()
@click.argument("specs", nargs=-1, metavar="[SPEC]...")
@click.option("-o", "--output", type=FOLDER, help="Folder of the emitted files [default: as for generate].")
@click.option("--diff", is_flag=True, help="Also what differs.")
def check(specs: tuple[str, ...], output: Path | None, diff: bool) -> None:
    """Compare emitted files with what would be emitted now.

    Exit status 1 where a file is stale. Without SPEC the whole catalogue is compared; outside of a checkout, the files
    of it that lie in the folder. A statement has no file and is passed over.
    """
    loaded = _load_all(specs, not specs)
    for reference, spec in loaded:
        if spec.no_module:
            click.echo(f"{reference}: a statement, no file to compare")
    loaded = [(reference, spec) for reference, spec in loaded if not spec.no_module]
    from codegen.freshness import compare, lying_in
    from derive.files import checkout

    if not specs:
        there = lying_in(_folder("", output), loaded)
        loaded = there if output is not None or checkout(Path.cwd()) is None else loaded
    stale, place = False, "" if output is None else f" -o {output}"
    with _progress("comparing", loaded) as items:
        for reference, spec in items:
            with _naming(reference):
                result = compare(spec, _folder(reference, output), reference + place)
            stale = stale or not result.fresh
            for line in result.report(diff).splitlines():
                click.secho(line, fg={"+": "green", "-": "red"}.get(line[:1]))
    sys.exit(FINDING if stale else 0)


@main.command()
@click.argument("specs", nargs=-1, metavar="SPEC...")
@click.option("--all", "everything", is_flag=True, help="The whole catalogue.")
@click.option("--json", "as_json", is_flag=True, help="The table as JSON.")
@click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True, help="Where to run.")
def verify(specs: tuple[str, ...], everything: bool, as_json: bool, device: str) -> None:
    """Prove the relations and the emitted module of each SPEC by numbers.

    One row per check: expected, measured, tolerance, verdict. Exit status 1 where one fails.
    """
    from dataclasses import asdict

    loaded = _load_all(specs, everything, kinds=("module", "statement"))
    from codegen import verify as rows_of
    from codegen.verification.report import table

    rows = []
    with _progress("verifying", loaded) as items:
        for reference, spec in items:
            with _naming(reference):
                rows += rows_of(spec, device=device)
    lines = [_json([asdict(row) for row in rows])] if as_json else table(rows).splitlines()
    for line in lines:
        click.echo(line if as_json else _coloured("\n".join(fitted(line))))
    sys.exit(0 if all(row.passed for row in rows) else FINDING)


@main.command()
@click.argument("specs", nargs=-1, metavar="SPEC...")
@click.option("--all", "everything", is_flag=True, help="The whole catalogue.")
@click.option("--slow", is_flag=True, help="Also what takes minutes: the compiler, two processes.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: id, property, result.")
@click.option("--readme", type=FILE, help="Write the table into this file, from what docs/properties.json keeps.")
def properties(specs: tuple[str, ...], everything: bool, slow: bool, as_json: bool, readme: Path | None) -> None:
    """Test what the emitted module of each SPEC can do: transforms, dtypes, copies, batches, frozen parameters.

    Named SPECs with every memory mode of the first option, every other option, and layers in both directions; --all
    with the defaults. What does not hold is told with the reason. docs/properties.json says which modules --readme
    shows in full; what is not tested now stays as it was.
    """
    loaded = _load_all(specs, everything)
    from codegen.verification.properties.matrix import matrix
    from codegen.verification.properties.table import Store, listed

    store, found = None if readme is None else Store.read(readme), {}
    with _progress("testing", loaded) as items:
        for reference, spec in items:
            full = spec.id in store.full if store is not None else not everything
            with _naming(reference):
                found[spec.id] = matrix(reference, spec, full, full and slow)
    if store is not None:
        store.write(found)
    click.echo(_json(found) if as_json else listed(found))


class Plot(click.Command):
    """Lists the registered kinds of plots under its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each kind with what it needs; nothing where plots cannot be drawn."""
        try:
            from plots.register import KINDS
        except ModuleNotFoundError:
            return
        with formatter.section("Kinds"):
            formatter.write_dl([(kind.name, f"of {kind.needs}") for kind in KINDS])


@main.command(cls=Plot)
@click.argument("reference", metavar="SPEC|SCHEME")
@click.option("--kind", metavar="KIND", help="What to plot, see below [default: the first kind that there is].")
@click.option("-o", "--output", type=FILE, help="File to write, .png or .svg [default: <id>-<kind>.png].")
def plot(reference: str, kind: str | None, output: Path | None) -> None:
    """Plot a scheme (by its id or from a file) or a SPEC; print the path.

    A kind that there is not for SPEC is refused, and those that there are named.
    """
    try:
        from plots import plot as write
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise DeriveError("plots need matplotlib, which is not installed: pip install 'derive[plots]'") from None

    click.echo(write(reference, kind, output))


@main.command()
@click.argument("references", nargs=-1, required=True, metavar="FILE|ID...")
def lint(references: tuple[str, ...]) -> None:
    """Check schemes: of a shipped scheme's id, of a SPEC, or all that a file holds.

    Sizes, row sums, sums of weights, claimed orders, zero stability. Exit status 1 where there is an error.
    """
    from derive.linting import lint_reference

    linted = [found for reference in references for found in lint_reference(reference)]
    for found in linted:
        for line in fitted(found.headline):
            click.echo(line)
        for finding in found.findings:
            colour, kind = {"error": "red", "warning": "yellow"}.get(finding.kind), f"{finding.kind}:"
            for line in fitted(f"  {kind} {finding.message}"):
                click.echo(line.replace(f"  {kind}", f"  {click.style(kind, fg=colour)}", 1))
    sys.exit(FINDING if any(found.faulty for found in linted) else 0)


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
def new(path: Path) -> None:
    """Write a commented spec to start from."""
    from derive.new_spec import write_new_spec

    click.echo(write_new_spec(path))


def _without_pauses() -> None:
    """For a command that makes text and ends: fewer searches for garbage cycles."""
    import gc

    gc.set_threshold(ALLOCATIONS)


def _list_schemes(as_json: bool) -> None:
    from derive.schemes.every import listing

    fields = ("id", "kind", "size", "order", "title")
    rows = listing()
    if as_json:
        click.echo(_json([dict(zip(fields, row, strict=True)) for row in rows]))
        return
    for line in as_columns([tuple(map(str, row)) for row in rows]):
        click.echo(line)


def _renderer(form: str, on_terminal: bool) -> Callable[[Any], str]:
    from functools import partial

    from derive.rendering import TEXT_WIDTH, to_latex, to_text

    if form == "html":
        from codegen.documents import to_html

        return to_html
    width = min(terminal_width() or TEXT_WIDTH, TEXT_WIDTH) if on_terminal else TEXT_WIDTH
    return to_latex if form == "latex" else partial(to_text, width=width)


def _load_all(specs: Sequence[str], everything: bool, kinds: tuple[str, ...] = ("module",)) -> list[tuple[str, Spec]]:
    """(reference, spec) of all that is asked for; nothing is begun before all of it is known to exist."""
    from derive import load
    from derive.catalog import REGISTER

    if everything == bool(specs):
        raise click.UsageError("give one or more SPECs, or --all")
    references = [listing.id for listing in REGISTER if listing.kind in kinds] if everything else specs
    return [(reference, load(reference)) for reference in references]


@contextmanager
def _naming(reference: str) -> Iterator[None]:
    """What is refused inside is said of the spec that was asked for."""
    try:
        yield
    except DeriveError as error:
        text = str(error)
        raise DeriveError(text if text.startswith(f"{reference}:") else f"{reference}: {text}") from None


def _folder(reference: str, output: Path | None) -> Path:
    """Where the emitted file of a spec belongs."""
    from derive.files import checkout
    from derive.loading import names_a_file

    if output is not None:
        return output
    root = None if names_a_file(reference) else checkout(Path.cwd())
    return Path() if root is None else _shortest(root / "generated")


def _shortest(path: Path) -> Path:
    """The path as seen from here, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=2, ensure_ascii=False)


def _coloured(text: str) -> str:
    """The verdicts of a table in colour, where the terminal has any."""
    return text.replace("passed", click.style("passed", fg="green")).replace(
        "FAILED", click.style("FAILED", fg="red", bold=True)
    )


@contextmanager
def _progress(what: str, loaded: list[tuple[str, Spec]]) -> Iterator[Iterator[tuple[str, Spec]]]:
    """The items one by one, with a bar on the terminal where there are several or they take long."""
    if not sys.stderr.isatty() or (len(loaded) < 2 and what != "verifying"):
        yield iter(loaded)
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=len(loaded))

        def items() -> Iterator[tuple[str, Spec]]:
            for reference, spec in loaded:
                progress.update(task, description=f"{what} {spec.id}")
                yield reference, spec
                progress.advance(task)

        yield items()


if __name__ == "__main__":
    main()
