"""An oracle that knows no trees: maps and flows of polynomial fields as truncated polynomials in h, exactly."""

from random import Random

from sympy import QQ, Poly, Rational, Symbol, diff, symbols
from sympy.polys.rings import ring

STEP = Symbol("h")


class Fields:
    """Random rational polynomial fields f_1, ..., f_parts of some unknowns, and a point where all is evaluated.

    Everything is a polynomial in (s, h) over `domain`, cut after h^limit.
    """

    def __init__(self, seed, dimension=2, parts=1, degree=3, limit=4, domain=QQ):
        random = Random(seed)
        self.limit, self.domain = limit, domain
        self.x = symbols(f"x1:{dimension + 1}")
        self.ring, self.s, self.h = ring("s,h", domain)
        self.parts = [[self._polynomial(random, degree) for _ in self.x] for _ in range(parts)]
        self.start = [Rational(random.randint(-4, 4), 3) for _ in self.x]

    def _polynomial(self, random, degree):
        powers = [[]]
        for _ in self.x:
            powers = [[*known, p] for known in powers for p in range(degree + 1)]
        total = 0
        for exponents in (e for e in powers if sum(e) <= degree):
            term = Rational(random.randint(-5, 5), random.randint(1, 4))
            for unknown, exponent in zip(self.x, exponents, strict=True):
                term *= unknown**exponent
            total += term
        return total

    def cut(self, value):
        """The value without powers of h above the limit."""
        return self.ring.from_dict({m: c for m, c in value.items() if m[1] <= self.limit})

    def at(self, expression, point):
        """A polynomial expression in the unknowns and `STEP` at polynomials in (s, h)."""
        total = self.ring.zero
        for exponents, coefficient in Poly(expression, *self.x, STEP).terms():
            term = self.ring(self.domain.from_sympy(coefficient)) * self.h ** exponents[-1]
            for base, exponent in zip(point, exponents[:-1], strict=True):
                for _ in range(exponent):
                    term = self.cut(term * base)
            total += term
        return self.cut(total)

    def constant(self, values):
        return [self.ring(self.domain.from_sympy(value)) for value in values]

    def numerical(self, tableaus, parts=None):
        """One step from the point: stages by fixed-point iteration, exact to h^limit; one tableau per part."""
        parts = self.parts if parts is None else parts
        start = self.constant(self.start)
        element = self.domain.from_sympy
        stages = range(len(tableaus[0].b))
        points = [start for _ in stages]
        for _ in range(self.limit + 1):
            slopes = [[[self.at(f, X) for f in part] for X in points] for part in parts]
            points = [self._moved(start, [t.A[i] for t in tableaus], slopes, element) for i in stages]
        return self._moved(start, [t.b for t in tableaus], slopes, element)

    def _moved(self, start, rows, slopes, element):
        moved = []
        for place, base in enumerate(start):
            total = self.ring.zero
            for row, values in zip(rows, slopes, strict=True):
                for weight, slope in zip(row, values, strict=True):
                    total += slope[place] * element(weight)
            moved.append(base + self.cut(self.h * total))
        return moved

    def flow(self, field, time=1, start=None):
        """Flow of x' = field(x, STEP) over time * h, by Picard iteration in s of x(s h)."""
        start = self.constant(self.start) if start is None else start
        point = start
        for _ in range(self.limit):
            velocity = [self.h * self.at(part, point) for part in field]
            point = [a + self._integral(self.cut(v)) for a, v in zip(start, velocity, strict=True)]
        return [self.cut(value.compose(self.s, self.ring(time))) for value in point]

    def _integral(self, value):
        weights = {(m[0] + 1, m[1]): c * self.domain.from_sympy(Rational(1, m[0] + 1)) for m, c in value.items()}
        return self.ring.from_dict(weights)

    def whole(self):
        """The sum of the parts."""
        return [sum(column) for column in zip(*self.parts, strict=True)]

    def differential(self, tau):
        """F(tau) as polynomials in the unknowns, by the definition: derivatives contracted with the branches."""
        branches = [self.differential(branch) for branch in tau.branches]
        return [self._contract(f, branches) for f in self.parts[tau.colour]]

    def _contract(self, expression, branches):
        if not branches:
            return expression
        first, *others = branches
        return sum((self._contract(diff(expression, x), others) * v for x, v in zip(self.x, first, strict=True)), 0)

    def combined(self, table):
        """Sum of coefficient times differential, as polynomials in the unknowns."""
        total = [Rational(0) for _ in self.x]
        for tau, coefficient in table.terms.items():
            total = [(t + coefficient * part).expand() for t, part in zip(total, self.differential(tau), strict=True)]
        return total

    def here(self, values):
        """Expressions in the unknowns at the point."""
        return [Rational(0) + value.subs(dict(zip(self.x, self.start, strict=True))) for value in values]

    def coefficients(self, value, power):
        """The coefficients of h^power of each unknown."""
        return [self.domain.to_sympy(part.get((0, power), self.domain.zero)) for part in value]
