"""Names of the parameters of recurrent modules: that of the cell's parameter, then layer and direction, as in torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from codegen.runtime.recurrent_function import Cell


def plain_name(name: str) -> str:
    """The name of a parameter without its layer and direction."""
    return re.sub(r"_l\d+(_reverse)?$", "", name)


def cells_named_so(
    cells: Mapping[tuple[str, ...], Cell], own: Iterable[str], given: Iterable[str]
) -> list[tuple[str, ...]]:
    """Options of the cells that have all the parameters that are given, where a module has none of them."""
    held, wanted = ({plain_name(n) for n in names if n != plain_name(n)} for names in (own, given))
    if not wanted or held & wanted:
        return []
    return [chosen for chosen, cell in cells.items() if wanted <= {name for names in cell.operands for name in names}]
