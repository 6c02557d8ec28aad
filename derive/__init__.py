"""derive: from an equation to a verified PyTorch module. The symbolic half: it imports neither torch nor templates.

Public names are resolved on first use, so that `import derive` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "derive.symbols": "Quantity Role constant draw input_ parameter state step_size target time velocity_of",
    "derive.functions": "elu gelu logsigmoid relu selu sigmoid silu softplus step tanh xlogx",
    "derive.operators": "concat dot fill logsumexp softmax total zeros",
    "derive.matrix_operators": "identity_like linear_solve matmul matvec outer transpose",
    "derive.past_values": "lag lags past taps with_lags",
    "derive.norms": "norm",
    "derive.layer_norms": "layer_norm",
    "derive.networks": "Network",
    "derive.program": "Assignment Builder Program",
    "derive.chains": "Chain",
    "derive.control": "OptimalControl",
    "derive.adaptive": "Adaptive",
    "derive.traces": "divergence",
    "derive.spec_parts": "DeckClaim Illustration Loss Lyapunov Reading Stack",
    "derive.recurrence": "Recurrence",
    "derive.systems": "ODE Spec",
    "derive.schemes": "AdditiveTableau ButcherTableau LinearMultistep MultistepFamily Splitting Start scheme_by_name",
    "derive.flow": "ContinuousFlow Flow",
    "derive.delay": "DelayODE delay_terms delayed",
    "derive.delay_cells": "DelayCell delay_cell",
    "derive.starting_values": "COLUMN ROW",
    "derive.sde": "SDE of_every_noise",
    "derive.sde_calculus": "correction drift_in",
    "derive.sde_density": "stationarity",
    "derive.sde_moments": "generator",
    "derive.stochastic.orders": "stochastic_orders",
    "derive.stochastic_steps": "stochastic_step",
    "derive.schemes.stochastic": "StochasticRungeKutta stochastic_scheme",
    "derive.laws": "Bernoulli Law Moments Normal Uniform",
    "derive.random_recurrence": "Draw RandomRecurrence",
    "derive.weak_limit": "WeakLimit",
    "derive.fixed_point": "FixedPoint",
    "derive.discretization": "at_step",
    "derive.linearization": "forward_sweep pushforward",
    "derive.explanation": "recurrences",
    "derive.showing": "explain",
    "derive.lagrangian": "forward_and_reverse quantities",
    "derive.derivation": "Kind Outcome Relation",
    "derive.relations": "cotangent gradient identity number relation",
    "derive.unrolling": "unrolled",
    "derive.convergence": "OrderCheck distance forward_run solution",
    "derive.checks": "IdentityCheck ProgramCheck ResidualCheck SampledCheck StationarityCheck",
    "derive.expansion": "solution_derivative",
    "derive.recursions.powers": "companion eigenvalues matrix_power",
    "derive.recursions.long_run": "long_run transition",
    "derive.recursions.transitions": "on_every_step reachable transitions",
    "derive.recursions.jury": "jury",
    "derive.recursions.scalar": "ScalarRecursion branch",
    "derive.recursions.gains": "discrete_lyapunov peak_gain",
    "derive.api": (
        "adjoint analyse discretize hamiltonian inverse lint logdet modified_equation moments stability weak_limit_of"
    ),
    "derive.loading": "catalog_entries load",
    "derive.errors": "DeriveError SpecError UnknownNameError UnsupportedError",
    "sympy": "Expr Integer Interval Rational Symbol cos erf exp log sin sqrt",
}
_WHERE = {name: module for module, names in _HOME.items() for name in names.split()}

__version__ = "0.1.0"
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'derive' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
