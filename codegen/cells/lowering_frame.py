"""Operations of a step as statements, wherever they take place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from codegen.cells.lowering import CellText, commented
from codegen.cells.lowering_past import many
from codegen.cells.lowering_statements import Statements
from codegen.cells.plan_forward import Activate, AddTerms, Compute, Hadamard, Keep, Operation, Product
from codegen.cells.plan_operands import joined
from derive.program import symbols_of
from derive.symbols import Quantity, Role, by_name


class Frame(ABC):
    """Where the operations of a step take place: one step of the loop, or all steps at once."""

    def __init__(self, cell: CellText) -> None:
        self.cell = cell
        self.parameters: dict[Quantity, None] = {}
        self.setup: list[str] = []
        self.bound: set[str] = set()
        self.statements = Statements()

    @abstractmethod
    def flat(self, rows: Sequence[int]) -> str:
        """Neighbouring rows side by side, (B, n H)."""

    @abstractmethod
    def wide(self, rows: Sequence[int]) -> str:
        """Neighbouring rows along an axis of their own, (B, n, H)."""

    @abstractmethod
    def vector(self, quantity: Quantity) -> str:
        """A quantity as a factor of a matrix product, (B, H)."""

    @abstractmethod
    def wide_vector(self, quantity: Quantity) -> str:
        """A quantity as a factor of several rows, (B, 1, H)."""

    @abstractmethod
    def transposed(self, matrices: Sequence[Quantity]) -> str:
        """Matrices one below the other, transposed."""

    @abstractmethod
    def tapped(self, operation: Product) -> list[str]:
        """Products of several past values, each with a matrix of its own."""

    @abstractmethod
    def use(self, quantity: Quantity) -> None:
        """See to it that a quantity can be read, or written, by its name."""

    @abstractmethod
    def compute(self, operation: Compute) -> list[str]:
        """An elementwise line."""

    @abstractmethod
    def keep(self, operation: Keep) -> list[str]:
        """Copy a quantity into a state's path."""

    @property
    def before(self) -> list[str]:
        """What is defined before the operations."""
        return [*self.cell.layout.bindings(self.parameters), *self.setup]

    def single(self, row: int) -> str:
        """One row, (B, H), by the name of what it holds in the end."""
        quantity = self.cell.held(row)
        self.use(quantity)
        return quantity.name

    def bind(self, name: str, value: str) -> str:
        """Define a name before the operations, once."""
        if name not in self.bound:
            self.bound.add(name)
            self.setup.append(f"{name} = {value}")
        return name

    def parameter(self, quantity: Quantity) -> str:
        """A parameter by its own name."""
        self.parameters[quantity] = None
        return quantity.name

    def read(self, quantities: set[Quantity]) -> None:
        """Make everything that an expression mentions readable."""
        for quantity in by_name(quantities):
            if quantity.role is Role.PARAMETER:
                self.parameter(quantity)
            else:
                self.use(quantity)

    def lines(self, operation: Operation) -> list[str]:
        """Statements of one operation, with their equation numbers."""
        return commented(self._statements(operation), self.cell.comment(operation.lines))

    def _statements(self, operation: Operation) -> list[str]:
        if isinstance(operation, Product):
            return self._product(operation)
        if isinstance(operation, Hadamard):
            return [self._hadamard(operation)]
        if isinstance(operation, AddTerms):
            self.read(symbols_of(operation.value))
            return self.statements.add(self.single(operation.row), operation.value)
        if isinstance(operation, Activate):
            return [f"{self.any(operation.rows)}.{operation.function.__name__}_()"]
        if isinstance(operation, Compute):
            self.read(symbols_of(operation.value))
            return self.compute(operation)
        assert isinstance(operation, Keep)
        return self.keep(operation)

    def _product(self, operation: Product) -> list[str]:
        if many(operation.vector):
            return self.tapped(operation)
        weight = self.transposed(operation.matrices)
        return [f"add_product({self.flat(operation.rows)}, {self.vector(operation.vector)}, {weight})"]

    def any(self, rows: Sequence[int]) -> str:
        """Neighbouring rows in whatever shape."""
        return self.single(rows[0]) if len(rows) == 1 else self.flat(rows)

    def _hadamard(self, operation: Hadamard) -> str:
        if len(operation.rows) == 1:
            self.use(operation.vector)
            parameter = self.parameter(operation.parameters[0])
            return f"{self.single(operation.rows[0])}.addcmul_({operation.vector.name}, {parameter})"
        block = self.cell.layout.wide(operation.parameters)
        if not block.isidentifier():
            name = self.cell.names(joined([q.name for q in operation.parameters]), operation.parameters)
            block = self.bind(name, block)
        return f"{self.wide(operation.rows)}.addcmul_({self.wide_vector(operation.vector)}, {block})"


def tapped_lines(frame: Frame, operation: Product, matrices: str, vectors: str, flat: str) -> list[str]:
    """The loop over several lags."""
    names, (matrix,) = frame.cell.names, operation.matrices
    one, value = names(f"{matrix.name}_k", matrix), names(f"{operation.vector.name}_k", operation.vector)
    return [
        f"for {one}, {value} in zip({matrices}, {vectors}, strict=True):",
        f"    add_product({frame.flat(operation.rows)}, {value}{flat}, {one})",
    ]
