"""Schemes by name, built here: the tests of linear stability do not lean on the shipped tables."""

from sympy import Poly, Rational, Symbol, expand, sqrt

from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau, LinearMultistep, Splitting

FORWARD_EULER, HEUN, MIDPOINT, RK4 = (SCHEMES[name] for name in ("forward_euler", "heun", "midpoint", "rk4"))
R = Rational
HALF = R(1, 2)


def tableau(rows, weights, **options):
    return ButcherTableau(A=rows, b=weights, c=[sum(row) for row in rows], **options)


def bashforth(denominator, *weights):
    """Adams-Bashforth: alpha = (1, 0, ...), beta_{-1} = 0."""
    return LinearMultistep(
        alpha=(1, *[0] * (len(weights) - 1)), beta=(0, *[R(weight, denominator) for weight in weights])
    )


def moulton(denominator, *weights):
    """Adams-Moulton of len(weights) - 1 steps."""
    return LinearMultistep(alpha=(1, *[0] * (len(weights) - 2)), beta=[R(weight, denominator) for weight in weights])


def bdf(steps):
    """From the generating function: sum_j (1/j) zeta^(K - j) (zeta - 1)^j = z zeta^K."""
    zeta = Symbol("zeta")
    rho = Poly(expand(sum(R(1, j) * zeta ** (steps - j) * (zeta - 1) ** j for j in range(1, steps + 1))), zeta)
    lead, *rest = rho.all_coeffs()
    return LinearMultistep(alpha=[-a / lead for a in rest], beta=[1 / lead] + [0] * steps)


LEAPFROG = LinearMultistep(alpha=(0, 1), beta=(0, 2, 0))
MILNE = LinearMultistep(alpha=(0, 1), beta=(R(1, 3), R(4, 3), R(1, 3)))
UNSTABLE = LinearMultistep(alpha=(-4, 5), beta=(0, 4, 2))
MULTISTEP = {
    "ab1": bashforth(1, 1),
    "ab2": bashforth(2, 3, -1),
    "ab3": bashforth(12, 23, -16, 5),
    "ab4": bashforth(24, 55, -59, 37, -9),
    "ab5": bashforth(720, 1901, -2774, 2616, -1274, 251),
    "am1": LinearMultistep(alpha=(1,), beta=(1, 0)),
    "am2": moulton(2, 1, 1),
    "am3": moulton(12, 5, 8, -1),
    "am4": moulton(24, 9, 19, -5, 1),
    "am5": moulton(720, 251, 646, -264, 106, -19),
    **{f"bdf{steps}": bdf(steps) for steps in range(1, 8)},
    "leapfrog": LEAPFROG,
    "milne_simpson": MILNE,
    "nystrom3": LinearMultistep(alpha=(0, 1, 0), beta=(0, R(7, 3), R(-2, 3), R(1, 3))),
    "unstable": UNSTABLE,
}

s2, s3, s6, s15 = (sqrt(n) for n in (2, 3, 6, 15))
GAMMA = 1 - s2 / 2
EXPLICIT = {
    "forward_euler": FORWARD_EULER,
    "midpoint": MIDPOINT,
    "heun": HEUN,
    "rk4": RK4,
    "kutta3": tableau([[0, 0, 0], [HALF, 0, 0], [-1, 2, 0]], [R(1, 6), R(2, 3), R(1, 6)]),
}
TRAPEZOID = tableau([[0, 0], [HALF, HALF]], [HALF, HALF])
IMPLICIT_MIDPOINT = tableau([[HALF]], [1])
LOBATTO_3B = tableau([[HALF, 0], [HALF, 0]], [HALF, HALF])
IMPLICIT = {
    "backward_euler": tableau([[1]], [1]),
    "implicit_midpoint": IMPLICIT_MIDPOINT,
    "trapezoid": TRAPEZOID,
    "gauss4": tableau([[R(1, 4), R(1, 4) - s3 / 6], [R(1, 4) + s3 / 6, R(1, 4)]], [HALF, HALF]),
    "gauss6": tableau(
        [
            [R(5, 36), R(2, 9) - s15 / 15, R(5, 36) - s15 / 30],
            [R(5, 36) + s15 / 24, R(2, 9), R(5, 36) - s15 / 24],
            [R(5, 36) + s15 / 30, R(2, 9) + s15 / 15, R(5, 36)],
        ],
        [R(5, 18), R(4, 9), R(5, 18)],
    ),
    "radau3": tableau([[R(5, 12), R(-1, 12)], [R(3, 4), R(1, 4)]], [R(3, 4), R(1, 4)]),
    "radau5": tableau(
        [
            [(88 - 7 * s6) / 360, (296 - 169 * s6) / 1800, (-2 + 3 * s6) / 225],
            [(296 + 169 * s6) / 1800, (88 + 7 * s6) / 360, (-2 - 3 * s6) / 225],
            [(16 - s6) / 36, (16 + s6) / 36, R(1, 9)],
        ],
        [(16 - s6) / 36, (16 + s6) / 36, R(1, 9)],
    ),
    "lobatto3b": LOBATTO_3B,
    "lobatto3c": tableau([[HALF, -HALF], [HALF, HALF]], [HALF, HALF]),
    "sdirk2": tableau([[GAMMA, 0], [1 - GAMMA, GAMMA]], [1 - GAMMA, GAMMA]),
    "trbdf2": tableau(
        [[0, 0, 0], [GAMMA, GAMMA, 0], [s2 / 4, s2 / 4, GAMMA]],
        [s2 / 4, s2 / 4, GAMMA],
    ),
}
OUTER = 1 / (2 - R(2) ** R(1, 3))
INNER = 1 - 2 * OUTER
VERLET = Splitting(((1, HALF), (0, 1), (1, HALF)))
TWO_PARTS = {
    "symplectic_euler": Splitting(((0, 1), (1, 1))),
    "verlet": VERLET,
    "yoshida4": Splitting(
        (
            (0, OUTER / 2),
            (1, OUTER),
            (0, (OUTER + INNER) / 2),
            (1, INNER),
            (0, (OUTER + INNER) / 2),
            (1, OUTER),
            (0, OUTER / 2),
        )
    ),
    "ruth3": Splitting(((0, R(7, 24)), (1, R(2, 3)), (0, R(3, 4)), (1, R(-2, 3)), (0, R(-1, 24)), (1, 1))),
    "lobatto_pair": AdditiveTableau(parts=(TRAPEZOID, LOBATTO_3B)),
    "euler_pair": AdditiveTableau(parts=(EXPLICIT["forward_euler"], IMPLICIT["backward_euler"])),
    "rk4_pair": AdditiveTableau(parts=(RK4, RK4)),
    "implicit_midpoint_pair": AdditiveTableau(parts=(IMPLICIT_MIDPOINT, IMPLICIT_MIDPOINT)),
}
FIXED = {**EXPLICIT, **IMPLICIT, **MULTISTEP, **TWO_PARTS}
