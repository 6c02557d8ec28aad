"""Coloured rooted trees, their notation, and tables of elementary differentials."""

import pytest
from sympy import Rational, Symbol, factorial

from derive.errors import DeriveError
from derive.series.differentials import DifferentialTable
from derive.series.notation import NotationError, differential, differential_latex, parse, words
from derive.series.trees import colours_of, density, symmetry, tree, trees

R = Rational
DOT = tree()
CHAIN = {1: DOT}
for n in range(2, 6):
    CHAIN[n] = tree(CHAIN[n - 1])


def bush(leaves):
    return tree(*(DOT,) * leaves)


def test_how_many_trees_there_are():
    assert [len(trees(n)) for n in range(9)] == [0, 1, 1, 2, 4, 9, 20, 48, 115]
    assert [len(trees(n, 2)) for n in range(1, 7)] == [2, 4, 14, 52, 214, 916]
    assert [len(trees(n, 3)) for n in range(1, 4)] == [3, 9, 45]


@pytest.mark.parametrize("colours", [1, 2, 3])
def test_trees_are_distinct_sorted_and_canonical(colours):
    for n in range(1, 6):
        found = trees(n, colours)
        assert list(found) == sorted(set(found))
        assert all(t.order == n and t == tree(*reversed(t.branches), colour=t.colour) for t in found)
        assert all(colours_of(t) <= colours for t in found)


@pytest.mark.parametrize(
    ("tau", "gamma", "sigma"),
    [
        (DOT, 1, 1),
        (CHAIN[2], 2, 1),
        (bush(2), 3, 2),
        (CHAIN[3], 6, 1),
        (bush(3), 4, 6),
        (tree(DOT, CHAIN[2]), 8, 1),
        (tree(bush(2)), 12, 2),
        (CHAIN[4], 24, 1),
        (bush(4), 5, 24),
        (tree(DOT, DOT, CHAIN[2]), 10, 2),
        (tree(DOT, bush(2)), 15, 2),
        (tree(DOT, CHAIN[3]), 30, 1),
        (tree(CHAIN[2], CHAIN[2]), 20, 2),
        (tree(bush(3)), 20, 6),
        (tree(tree(DOT, CHAIN[2])), 40, 1),
        (tree(tree(bush(2))), 60, 2),
        (CHAIN[5], 120, 1),
        (tree(bush(2), bush(2)), 63, 8),
        (tree(DOT, tree(colour=1)), 3, 1),
        (tree(tree(colour=1), tree(colour=1)), 3, 2),
    ],
)
def test_density_and_symmetry(tau, gamma, sigma):
    """Hairer, Norsett, Wanner, Solving ODEs I, table II.2.2 (one tree of order 7, and two of two colours)."""
    assert (density(tau), symmetry(tau)) == (gamma, sigma)


@pytest.mark.parametrize(("n", "colours"), [(n, 1) for n in range(1, 8)] + [(n, 2) for n in range(1, 6)])
def test_labellings_of_all_trees_of_an_order(n, colours):
    """The numbers n!/(gamma sigma) of monotonic labellings sum to (n - 1)! for each choice of the colours."""
    total = sum(factorial(n) / (density(t) * symmetry(t)) for t in trees(n, colours))
    assert total == factorial(n - 1) * colours**n


WRITTEN = {
    "f": DOT,
    "f'f": CHAIN[2],
    "f''(f,f)": bush(2),
    "f'f'f": CHAIN[3],
    "f''(f,f'f)": tree(DOT, CHAIN[2]),
    "f'''(f,f,f'f)": tree(DOT, DOT, CHAIN[2]),
    "f^{(4)}ffff": bush(4),
    "f'f'''(f,f,f)": tree(bush(3)),
    "f^{(4)}(f,f,f,f'f)": tree(DOT, DOT, DOT, CHAIN[2]),
    "g": tree(colour=1),
    "f'g": tree(tree(colour=1)),
    "g''(f,g)": tree(DOT, tree(colour=1), colour=1),
    "f_3'f_4": tree(tree(colour=3), colour=2),
}


@pytest.mark.parametrize(("text", "tau"), WRITTEN.items())
def test_differentials_are_written_in_the_notation_of_the_catalogue(text, tau):
    assert differential(tau) == text
    assert parse(text) == tau


@pytest.mark.parametrize("colours", [1, 2, 3])
def test_every_tree_is_read_back_from_what_is_written(colours):
    for n in range(1, 8 - 2 * (colours - 1)):
        for tau in trees(n, colours):
            assert parse(differential(tau)) == parse(differential_latex(tau)) == tau


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("f''''(f,f,f,f)", "f^{(4)}ffff"),
        ("f^{(4)}(f, f, f, f)", "f^{(4)}ffff"),
        ("f^(4)ffff", "f^{(4)}ffff"),
        ("f''(f'f, f)", "f''(f,f'f)"),
        ("f''ff", "f''(f,f)"),
        ("f'(f'(f))", "f'f'f"),
        (r"f^{\prime\prime}\left(f, f\right)", "f''(f,f)"),
        ("f″(f,f)", "f''(f,f)"),
        ("f’f", "f'f"),
        ("g''(g,f)", "g''(f,g)"),
        ("f_{3}'f", "f_3'f"),
        ("f_1'f_2", "f'g"),
    ],
)
def test_other_spellings_are_the_same_differential(text, same):
    assert differential(parse(text)) == same


@pytest.mark.parametrize(
    "text", ["", "f'", "h", "f''(f)", "f(f)", "ff", "f_0", "f''(f,f", "f'(f,f)", "f''(f,f))", "2f"]
)
def test_what_is_no_differential_is_refused(text):
    with pytest.raises(NotationError, match=r"elementary differential|derivative of count"):
        parse(text)


def test_words_and_latex():
    assert words(tree(DOT, CHAIN[2])) == "the second derivative of f along f and (the derivative of f along f)"
    assert words(bush(4)) == "the fourth derivative of f along f, f, f and f"
    assert words(parse("f'g")) == "the derivative of f along g"
    assert differential_latex(bush(2), "F") == "F''(F,F)"
    assert differential_latex(parse("f_3'f")) == "f_{3}'f"


def test_a_table_answers_any_spelling_and_lists_what_is_not_zero():
    table = DifferentialTable({bush(4): R(1, 3), CHAIN[2]: R(0), DOT: R(-1)})
    assert list(table) == ["f", "f^{(4)}ffff"] and len(table) == 2
    assert table["f''''(f,f,f,f)"] == R(1, 3) and table[bush(4)] == R(1, 3)
    assert table["f'f"] == table["f''(f,f)"] == 0
    assert "f" in table and "f'f" not in table and 3 not in table
    assert table.get("f^(4)ffff") == R(1, 3)
    assert dict(table) == {"f": -1, "f^{(4)}ffff": R(1, 3)}
    assert table == {"f''''(f,f,f,f)": R(1, 3), "f": -1, "f'f": 0}
    assert table != {"f": -1}


def test_a_table_refuses_what_it_cannot_hold():
    table = DifferentialTable({DOT: R(1)})
    with pytest.raises(DeriveError, match="parts of this field are f"):
        table["g"]
    with pytest.raises(KeyError, match="no elementary differential"):
        table["velocity"]
    assert DifferentialTable({DOT: R(1)}, 2)["g"] == 0


def test_how_a_table_is_shown():
    a = Symbol("a")
    table = DifferentialTable({bush(2): R(-1, 12), CHAIN[3]: R(1), DOT: a - 1, CHAIN[2]: R(-1)})
    assert str(table) == "(a - 1) f - f'f - 1/12 f''(f,f) + f'f'f"
    assert table.latex("F") == r"\left(a - 1\right)\, F - F'F - \frac{1}{12}\, F''(F,F) + F'F'F"
    assert str(DifferentialTable({})) == "0"
    assert "-1/12 f''(f,f): the second derivative of f along f and f" in table.words()
