"""Geometry of schemes: symplectic, symmetric, adjoint method, invariants, inverse; and what that means for adjoints."""

from __future__ import annotations

from derive.geometry.adjoints import adjoint_gap_order, backward_tableau, hager_partner
from derive.geometry.invariants import Invariant, invariants
from derive.geometry.modified_hamiltonian import modified_hamiltonian
from derive.geometry.reduction import reduced
from derive.geometry.symmetry import adjoint_method, is_symmetric
from derive.geometry.symplectic import is_symplectic, symplecticity_order
from derive.geometry.undoing import Undoing, undoing

__all__ = [
    "Invariant",
    "Undoing",
    "adjoint_gap_order",
    "adjoint_method",
    "backward_tableau",
    "hager_partner",
    "invariants",
    "is_symmetric",
    "is_symplectic",
    "modified_hamiltonian",
    "reduced",
    "symplecticity_order",
    "undoing",
]
