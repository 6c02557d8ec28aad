"""The linter: what schemes are refused for, what is said of those that are not, typos that were found in the wild."""

from dataclasses import replace
from itertools import product

import pytest
from sympy import I, Rational, Symbol, nan, oo, sqrt, zoo

from derive.catalog.lm_resnet import SPEC as LM_RESNET
from derive.errors import SpecError
from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau, LinearMultistep, Splitting, Start
from derive.schemes.findings import unrefused
from derive.schemes.lint import Kind, lint

R = Rational
HALF = R(1, 2)
DOP853 = SCHEMES["dop853"]


def changed(name, **changes):
    """A shipped table with entries (row, column) of A or places of b, c replaced; made though it has errors."""
    scheme = SCHEMES[name]
    parts = {
        field: [list(row) for row in scheme.A] if field == "A" else list(getattr(scheme, field)) for field in "Abc"
    }
    for field, entries in changes.items():
        for place, value in entries.items():
            if field == "A":
                parts["A"][place[0] - 1][place[1] - 1] = value
            else:
                parts[field][place - 1] = value
    with unrefused():
        return replace(scheme, **parts)


def errors(scheme):
    return [(finding.row, finding.found, finding.expected) for finding in lint(scheme) if finding.kind is Kind.ERROR]


# Each stood in a published code and was found late.
WILD = {
    "RK4 with a_44 = 1 for a_43": (
        changed("rk4", A={(4, 3): 0, (4, 4): 1}),
        ("order: f'f'f", "1/4", "1/6"),
    ),
    "RKF45, a wrong a_53": (
        changed("rkf45", A={(5, 3): R(3680, 531)}),
        ("row 5 of A", f"sum {1 + R(3680, 531) - R(3680, 513)}", "c_5 = 1"),
    ),
    "DOP853, c_12 = 0": (
        changed("dop853", c={12: 0}),
        ("row 12 of A", "sum 1.0000000000000000000000000", "c_12 = 0"),
    ),
    "a missing digit": (changed("dopri5", b={4: R(25, 192)}), ("b", f"sum {1 - R(100, 192)}", "sum 1")),
    "c that is not the row sums": (
        changed("gauss4", c={1: HALF - sqrt(3) / 6, 2: HALF - sqrt(3) / 6}),
        ("row 2 of A", "sum sqrt(3)/6 + 1/2", "c_2 = 1/2 - sqrt(3)/6"),
    ),
    "weights of the 3/8 rule on classical stages": (
        changed("rk4", b={1: R(1, 8), 2: R(3, 8), 3: R(3, 8), 4: R(1, 8)}),
        ("order: f''(f,f)", "5/16", "1/3"),
    ),
}


@pytest.mark.parametrize("name", WILD)
def test_typos_from_the_wild_are_found_in_their_row(name):
    scheme, finding = WILD[name]
    assert finding in errors(scheme)


@pytest.mark.parametrize("name", WILD)
def test_typos_from_the_wild_are_refused(name):
    scheme, (_, found, expected) = WILD[name]
    with pytest.raises(SpecError) as refusal:
        replace(scheme)
    assert found.removeprefix("sum ") in str(refusal.value)
    assert expected.removeprefix("sum ").split(" = ")[-1] in str(refusal.value)


@pytest.mark.parametrize("name", ["rk4", "rk38", "kutta3", "gauss4", "lobatto3c_s3", "dop853"])
def test_every_small_change_that_keeps_the_sums_is_refused(name):
    """Two entries of a row moved against each other, and two weights."""
    scheme, tiny = SCHEMES[name], R(1, 10**20)
    used = [i for i in range(scheme.stages) if scheme.b[i] != 0]
    rows = [i for i in used if scheme.explicit is False or i >= 2]
    for i in rows:
        last = (i if scheme.explicit else i - 1) + 1
        for j, k in (
            [(1, last)] if name == "dop853" else [(j, k) for j, k in product(range(1, last + 1), repeat=2) if j < k]
        ):
            entries = {(i + 1, j): scheme.A[i][j - 1] + tiny, (i + 1, k): scheme.A[i][k - 1] - tiny}
            assert errors(changed(name, A=entries)), entries
    for j, k in [(used[0], used[-1]), (used[-1], used[-2])]:
        assert errors(changed(name, b={j + 1: scheme.b[j] + tiny, k + 1: scheme.b[k] - tiny}))


def test_published_decimals_are_compared_to_their_digits():
    """dop853 has 26 digits: a change in the 30th is rounding, one in the 20th is not and says so."""
    scheme = SCHEMES["dop853"]
    nudged = changed("dop853", b={1: scheme.b[0] + R(1, 10**30), 6: scheme.b[5] - R(1, 10**30)})
    assert not errors(nudged)
    bare = {"dense": None, "dense_stages": (), "dense_order": None}
    with unrefused():
        wrong = replace(changed("dop853", b={1: scheme.b[0] + R(1, 10**20), 6: scheme.b[5] - R(1, 10**20)}), **bare)
    assert "claims order 8 to 26 digits" in next(finding.message for finding in lint(wrong))


def test_floats_are_taken_as_the_decimals_they_write():
    assert ButcherTableau(A=[[0, 0], [0.5, 0]], b=[0, 1.0], c=[0, 0.5], order=2).order == 2
    table = {"A": [[0, 0], [2 / 3, 0]], "b": [0.25, 0.75], "c": [0, 2 / 3]}
    with pytest.raises(SpecError, match="entries are decimals: give exact ones, or say digits=n"):
        ButcherTableau(**table, order=2)
    assert ButcherTableau(**table, order=2, digits=15).order == 2


BAD = {
    "not square": (
        lambda: ButcherTableau(A=[[0, 0], [1]], b=[HALF, HALF], c=[0, 1]),
        "must be 2 x 2 and c have 2 entries; found A of 2 rows with 2, 1 entries",
    ),
    "row sum": (
        lambda: ButcherTableau(A=[[0, 0], [1, 0]], b=[HALF, HALF], c=[0, HALF]),
        "row 2 of A sums to 1, c_2 is 1/2",
    ),
    "order": (
        lambda: ButcherTableau(A=[[0, 0], [1, 0]], b=[HALF, HALF], c=[0, 1], order=3),
        r"claims order 3; the condition of f''\(f,f\) .*second derivative.* found 1/2, expected 1/3: it has order 2",
    ),
    "b_error sum": (
        lambda: ButcherTableau(A=[[0]], b=[1], c=[0], b_error=[2]),
        "b_error sums to 2, not 1",
    ),
    "b_error size": (lambda: ButcherTableau(A=[[0]], b=[1], c=[0], b_error=[1, 0]), "b_error has 2 entries, b has 1"),
    "embedded order": (
        lambda: replace(SCHEMES["bs32"], embedded_order=3),
        r"claims embedded order 3; the condition of f''\(f,f\) .* fails: found 3/8, expected 1/3",
    ),
    "embedded order without weights": (
        lambda: replace(SCHEMES["rk4"], embedded_order=3),
        "claims embedded_order but has no b_error",
    ),
    "dense order": (
        lambda: replace(SCHEMES["bs32"], dense_order=4),
        r"claims dense order 4; the condition of .* expected theta\^4/4",
    ),
    "dense order without output": (
        lambda: replace(SCHEMES["rk4"], dense_order=3),
        "claims dense_order but has no dense",
    ),
    "dense rows": (lambda: replace(SCHEMES["bs32"], dense=[[1]]), "dense has 1 rows, b has 4"),
    "dense rows with stages of its own": (
        lambda: replace(DOP853, dense=DOP853.dense[:12], dense_order=None),
        "dense has 12 rows, b has 12 and dense_stages 4 more",
    ),
    "stages of the dense output alone": (
        lambda: replace(DOP853, dense=None, dense_order=None),
        "dense_stages without dense: give both or none",
    ),
    "width of a stage of the dense output": (
        lambda: replace(
            DOP853, dense_stages=(DOP853.dense_stages[0], DOP853.dense_stages[1][:13], *DOP853.dense_stages[2:])
        ),
        "row 2 of dense_stages has 13 entries; b has 12 and dense_stages 4 more",
    ),
    "entry of a stage of the dense output": (
        lambda: replace(
            DOP853,
            dense_stages=(
                *DOP853.dense_stages[:3],
                (DOP853.dense_stages[3][0] + R(1, 10**9), *DOP853.dense_stages[3][1:]),
            ),
        ),
        r"claims dense order 7 to 26 digits; the condition of f'f .*: it has dense order 1",
    ),
    "dense end of a stage of its own": (
        lambda: replace(DOP853, dense=(*DOP853.dense[:15], (*DOP853.dense[15][:6], 0)), dense_order=None),
        "row 16 of dense sums to .* at theta = 1, b_16 is 0 to 26 digits",
    ),
    "dense end": (
        lambda: ButcherTableau(A=[[0]], b=[1], c=[0], dense=[[1, 1]]),
        "row 1 of dense sums to 2 at theta = 1, b_1 is 1",
    ),
    "parts": (lambda: AdditiveTableau((SCHEMES["heun"],)), "give two tableaus or more"),
    "stages of parts": (lambda: AdditiveTableau((SCHEMES["heun"], SCHEMES["rk4"])), r"the parts have \[2, 4\] stages"),
    "order of parts": (
        lambda: AdditiveTableau((SCHEMES["trapezoid"], SCHEMES["heun"]), order=3),
        r"claims order 3; the condition of f''\(f,f\)",
    ),
    "coupling order": (
        lambda: AdditiveTableau((SCHEMES["midpoint"], SCHEMES["trapezoid"]), order=2),
        r"claims order 2; the condition of f'g .* fails: found 1, expected 1/2",
    ),
    "multistep order": (
        lambda: LinearMultistep(alpha=(1, 0), beta=(0, R(3, 2), -HALF), order=3),
        "claims order 3; C_3 is 5/12, expected 0: it has order 2",
    ),
    "multistep without order": (
        lambda: LinearMultistep(alpha=(2, -1), beta=(0, 1, 0), order=1),
        r"claims order 1; rho'\(1\) is 0",
    ),
    "multistep that does not move": (
        lambda: LinearMultistep(alpha=(1, 0), beta=(0, 1, -1), order=1),
        r"claims order 1; sigma\(1\) is 0",
    ),
    "multistep without the field": (
        lambda: LinearMultistep(alpha=(1, 0), beta=(0, 0.0, 0)),
        r"all betas are 0: the field would never be evaluated; give one that is not, as in beta=\(0, 1\)",
    ),
    "splitting order": (
        lambda: Splitting(((0, HALF), (1, 1), (0, HALF)), order=3),
        "claims order 3; the word f f g has the coefficient 1/8, expected 1/6: it has order 2",
    ),
    "fractions": (lambda: Splitting(((0, 1), (1, HALF))), "the fractions of part 1 sum to 1/2, not 1"),
    "numbering": (lambda: Splitting(((0, 1), (2, 1))), r"stages of the parts \[0, 2\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_schemes_are_refused_with_row_found_and_expected(name):
    make, complaint = BAD[name]
    with pytest.raises(SpecError, match=complaint):
        make()
    with unrefused():
        (first, *_) = lint(make())
    assert first.kind is Kind.ERROR and first.row and first.found and first.expected


def test_all_errors_of_a_table_are_listed():
    with unrefused():
        scheme = ButcherTableau(A=[[0, 0], [1, 0]], b=[HALF, R(1, 3)], c=[0, HALF], b_error=[1, 1])
    assert [row for row, _, _ in errors(scheme)] == ["row 2 of A", "b", "b_error"]


@pytest.mark.parametrize("name", SCHEMES)
def test_shipped_schemes_have_no_errors(name):
    kinds = {finding.kind for finding in lint(SCHEMES[name])}
    assert kinds <= ({Kind.WARNING} if name == "unstable_explicit_2step" else {Kind.INFO})


def test_a_scheme_under_another_name_is_recognized():
    scheme = ButcherTableau(A=SCHEMES["rk38"].A, b=SCHEMES["rk38"].b, c=SCHEMES["rk38"].c, order=4, title="rk4")
    (finding,) = lint(scheme)
    assert (finding.kind, finding.message) == (Kind.INFO, "this is Kutta's 3/8 rule, shipped as 'rk38'")
    padded = LinearMultistep(alpha=(1, 0, 0), beta=(0, R(3, 2), -HALF, 0), order=2)
    assert [finding.message for finding in lint(padded)] == ["this is Adams-Bashforth, order 2, shipped as 'ab2'"]


def test_an_order_that_is_not_claimed_is_told():
    c = Symbol("c")
    family = ButcherTableau(A=[[0, 0], [c, 0]], b=[1 - 1 / (2 * c), 1 / (2 * c)], c=[0, c])
    assert [finding.message for finding in lint(family)] == ["has order 2, claims none"]
    assert [finding.message for finding in lint(replace(family, order=1))] == ["has order 2, claims 1"]


def test_an_estimate_that_is_always_zero_is_a_warning():
    scheme = replace(SCHEMES["bs32"], b_error=SCHEMES["bs32"].b, embedded_order=3)
    assert lint(scheme)[0].kind is Kind.WARNING and "always 0" in lint(scheme)[0].message


def test_lm_resnet_is_warned_of_and_not_refused():
    messages = [(finding.kind, finding.message) for finding in lint(LM_RESNET.scheme)]
    assert messages[:2] == [
        (Kind.WARNING, "sigma(1) is 1, rho'(1) is k + 1: consistent with u' = (1/(k + 1)) f, not with u' = f"),
        (Kind.INFO, "zero-stable for -1 < k <= 1 only"),
    ]


def test_substeps_that_spoil_the_order_are_an_error_of_the_linter():
    """Strang with steps of forward Euler has order 1, with steps of the midpoint rule order 2."""
    spoilt, kept = (replace(SCHEMES["strang"], substep=SCHEMES[name]) for name in ("forward_euler", "midpoint"))
    assert [(f.kind, f.message) for f in lint(spoilt)] == [(Kind.ERROR, "has order 1, claims 2")]
    assert lint(kept) == ()


def test_a_double_root_at_one_is_a_warning():
    kinds = [finding.kind for finding in lint(LinearMultistep(alpha=(2, -1), beta=(0, 1, 0)))]
    assert kinds[:2] == [Kind.WARNING, Kind.WARNING]


@pytest.mark.parametrize(
    ("entry", "what"),
    [(I, "complex"), (1 + Symbol("a") * I, "complex"), (nan, "finite"), (oo, "finite"), (zoo, "finite")],
)
def test_entries_that_are_no_real_numbers_are_named(entry, what):
    with pytest.raises(SpecError, match=f"row 2 of A holds .* at place 1.*{what}"):
        ButcherTableau(A=[[0, 0], [entry, 0]], b=[0, 1], c=[0, entry])
    with pytest.raises(SpecError, match=f"beta holds .* at place 2.*{what}"):
        LinearMultistep(alpha=(1,), beta=(0, entry))


def test_starts_are_tableaus():
    adams = {"alpha": (1, 0), "beta": (0, Rational(3, 2), Rational(-1, 2))}
    with pytest.raises(SpecError, match=r"start's scheme is 'forward_euler'; give a ButcherTableau"):
        LinearMultistep(**adams, start={"plain": Start("forward_euler")})
    with pytest.raises(SpecError, match=r"'plain': 'heun'; give names with Start"):
        LinearMultistep(**adams, start={"plain": "heun"})


def test_long_decimals_without_digits_are_warned_of():
    """0.6666666667 is taken as it is written; 0.25 is what is meant."""

    def warnings(c, **options):
        scheme = ButcherTableau(A=[[0, 0], [c, 0]], b=[0.25, 0.75], c=[0, c], **options)
        return [finding for finding in lint(scheme) if finding.kind is Kind.WARNING]

    found, other = warnings(0.6666666667)
    assert (
        other.row == "c"
        and found.row == "row 2 of A"
        and "Rational(2, 3)" in found.message
        and "digits=" in found.message
    )
    assert warnings(0.625) == warnings(Rational(2, 3)) == warnings(0.6666666667, digits=10) == []
    (found,) = [
        f for f in lint(LinearMultistep(alpha=(1,), beta=(0.3333333333333, 0.6666666666667))) if f.kind is Kind.WARNING
    ][:1]
    assert found.row == "beta"
