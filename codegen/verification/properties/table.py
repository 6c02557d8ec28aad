"""Results as a file that is kept, and as the table of the README."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from codegen.verification.properties.matrix import EXCEPT, NONE, YES, Results
from codegen.verification.properties.register import CHEAP, PROPERTIES, Property
from derive.catalog import REGISTER
from derive.errors import DeriveError
from derive.files import make_folder, write_whole

STORE = Path("docs") / "properties.json"  # beside the README
BEGIN, END = "<!-- table of properties -->", "<!-- end of the table of properties -->"
WIDTH = 120  # of the README's lines
NO_GPU, NOT_RUN = "there was no GPU where the table was made", "not tested yet"


@dataclass
class Store:
    """What was found.

    Attributes:
        readme: where the table stands.
        full: ids of the modules whose results are shown in full, in the order of the columns.
        results: id -> what was found.
    """

    readme: Path
    full: Sequence[str] = ()
    results: dict[str, Results] = field(default_factory=dict)

    @classmethod
    def read(cls, readme: Path) -> Store:
        """The one beside a README; an empty one where there is none.

        Raises:
            DeriveError: it cannot be read.
        """
        path = readme.parent / STORE
        if not path.exists():
            return cls(readme)
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            return cls(readme, known["full"], known["results"])
        except (OSError, ValueError, KeyError) as error:
            raise DeriveError(f"{path} is no file of results: {error}; delete it to begin anew") from None

    def take(self, found: Mapping[str, Results]) -> None:
        """Put in what was found now, by the order of the catalogue; what was not tested now stays as it was."""
        keys = [each.key for each in PROPERTIES]
        merged = {one.id: {**self.results.get(one.id, {}), **found.get(one.id, {})} for one in REGISTER}
        self.results = {id: {key: known[key] for key in keys if key in known} for id, known in merged.items() if known}

    def write(self, found: Mapping[str, Results]) -> None:
        """With what was found now: itself, and the table into the README."""
        self.take(found)
        known = {"full": list(self.full), "results": self.results}
        replaced = with_table(self.readme.read_text(encoding="utf-8"), markdown(self), str(self.readme))
        make_folder((self.readme.parent / STORE).parent)
        write_whole(self.readme.parent / STORE, json.dumps(known, indent=1, ensure_ascii=False) + "\n")
        write_whole(self.readme, replaced)


def with_table(text: str, table: str, name: str) -> str:
    """A text with another table between its marks.

    Raises:
        DeriveError: the marks are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DeriveError(f"{name} has no place for the table; put these lines into it: {BEGIN} and {END}")
    return f"{before}{begin}\n{table}\n{end}{after}"


class Footnotes:
    """Reasons by number, in the order in which they are met."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def cell(self, each: Property, result: str | None) -> str:
        """A result as it stands in the table."""
        if result in (YES, NONE):
            return str(result)
        if result is None:
            return f"not run ({self._number(NO_GPU if each.needs_gpu else NOT_RUN)})"
        if result.startswith(EXCEPT):
            return f"yes ({self._number(f'but not with {result.removeprefix(EXCEPT)}')})"
        return f"no ({self._number(result)})"

    def lines(self) -> list[str]:
        """All of them."""
        return [_filled(f"{place}. {plain(reason)}", "   ") for place, reason in enumerate(self.reasons, 1)]

    def _number(self, reason: str) -> int:
        if reason not in self.reasons:
            self.reasons.append(reason)
        return 1 + self.reasons.index(reason)


def plain(reason: str) -> str:
    """Without what Markdown would read as more than words."""
    return reason.replace("<", "&lt;").replace("*", r"\*").replace("|", r"\|")


def markdown(store: Store) -> str:
    """The table of the modules that are shown in full, and what other modules do not do."""
    notes = Footnotes()
    rows = [("", *store.full), ("---", *("---" for _ in store.full))]
    for each in PROPERTIES:
        found = (store.results.get(id, {}).get(each.key) for id in store.full)
        rows.append((each.title, *(notes.cell(each, result) for result in found)))
    table = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*table, "", *notes.lines(), "", *_others(store)])


def _others(store: Store) -> list[str]:
    others = [id for id in store.results if id not in store.full]
    cheap = [each for each in PROPERTIES if each.cost == CHEAP and not each.needs_gpu]
    exceptions = []
    for each in cheap:
        by_reason: dict[str, list[str]] = {}
        for id in others:
            result = store.results[id].get(each.key, NOT_RUN)
            if result not in (YES, NONE):
                by_reason.setdefault(result, []).append(f"`{id}`")
        exceptions += [f"| {each.title} | {' '.join(ids)} | {plain(why)} |" for why, ids in by_reason.items()]
    left = ", ".join(each.title.partition(" (")[0] for each in PROPERTIES if each not in cheap)
    head = f"The other {len(others)} modules are tested with their default options, without {left}. All holds"
    if not exceptions:
        return [_filled(f"{head}.")]
    return [_filled(f"{head}, but:"), "", "| | not | why |", "| --- | --- | --- |", *exceptions]


def _filled(text: str, indent: str = "") -> str:
    """Text in lines of the README's width."""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def listed(found: Mapping[str, Results]) -> str:
    """Results for a terminal."""
    titles = {each.key: each.title.replace("`", "") for each in PROPERTIES}
    width = max(map(len, titles.values()))
    blocks = [
        "\n".join([id, *(f"  {titles[key]:<{width}}  {result}" for key, result in results.items())])
        for id, results in found.items()
    ]
    return "\n\n".join(blocks)
