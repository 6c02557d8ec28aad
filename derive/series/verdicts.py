"""What rooted trees say of any scheme whose local error and modified field are B-series."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

from sympy import Dummy, Expr, Rational, Symbol, factor, sqrt
from sympy.logic.boolalg import Boolean

from derive.series.bseries import BSeries
from derive.series.differentials import DifferentialTable


class SeriesVerdicts(ABC):
    """Local error and modified equation of a scheme, each computed once; None where a notion does not apply."""

    @property
    def stage_order(self) -> int | None:
        """The largest q, at most the order, to which every stage is exact on polynomials."""
        return None

    @property
    def embedded_order(self) -> int | None:
        """Order of the embedded scheme."""
        return None

    @property
    def dense_order(self) -> int | None:
        """The largest p for which the dense output errs by O(h^(p+1)) at every theta."""
        return None

    @property
    def error_constant(self) -> Expr | None:
        """C_{p+1}: the local error is C_{p+1} h^(p+1) u^(p+1); None where it is no multiple of that derivative."""
        return None

    @property
    def error_constant_normalized(self) -> Expr | None:
        """C_{p+1}/sigma(1), sigma(1) = 1 for one-step schemes."""
        return None

    @property
    @abstractmethod
    def order(self) -> int:
        """The largest p for which every condition up to p holds, for all values of the scheme's symbols."""

    @property
    @abstractmethod
    def limit(self) -> int:
        """An order that no values of the symbols pass."""

    @property
    @abstractmethod
    def local_error(self) -> BSeries:
        """Exact minus numerical after one step."""

    @property
    @abstractmethod
    def modified_field(self) -> BSeries:
        """The field (times h) whose flow is the step; of a multistep scheme that of its principal branch."""

    @abstractmethod
    def conditions(self, order: int) -> Boolean:
        """What the symbols must satisfy for an order: true, false, or equations, solved for a single symbol."""

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbols among the scheme's coefficients, by name."""
        return self.local_error.arithmetic.symbols

    def error_terms(self, power: int) -> DifferentialTable:
        """Coefficients of h^power in the local error, exact minus numerical."""
        return self.local_error.table(power)

    @cached_property
    def principal_error(self) -> DifferentialTable:
        """Coefficients of h^(p+1) in the local error, p the order."""
        return self.error_terms(self.order + 1)

    @cached_property
    def principal_error_norm(self) -> Expr:
        """Euclidean norm of the coefficients of the principal error, for real values of the symbols."""
        total = factor(sum((value**2 for value in self.principal_error.values()), Rational(0)))
        reals = {symbol: Dummy(symbol.name, real=True) for symbol in self.symbols}
        return sqrt(total.xreplace(reals)).xreplace({real: symbol for symbol, real in reals.items()})

    def modified_equation(self, order: int) -> dict[int, DifferentialTable]:
        """Power of h -> its terms in the modified field, up to h^order."""
        return {power: self.modified_field.table(power + 1) for power in range(order + 1)}
