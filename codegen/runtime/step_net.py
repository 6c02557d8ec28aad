"""The module that is a loop over steps: it chooses between the derived and the plain form and checks its options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from codegen.runtime.arguments import as_floating, choose
from codegen.runtime.arities import field_arity
from codegen.runtime.block_errors import StepError, Where
from codegen.runtime.blocks import Blocks, Evaluation, Networks, networks_of
from codegen.runtime.finite_states import NotFiniteError, name_bad_step
from codegen.runtime.random_states import random_state, random_state_of
from codegen.runtime.step_functions import DerivedSteps, FiniteTest
from codegen.runtime.steps import (
    LARGEST_Q,
    Plan,
    Recording,
    Rules,
    Shared,
    State,
    checked_fields,
    rules_per_step,
    run_back,
    run_plain,
    solving,
    tol_name,
)

NOT_INVERTED = (
    "Modules have the mode where the inverse of the step solves nothing: the oldest state has a weight that is not 0, "
    "and the field is evaluated at newer ones alone. Where weights are arguments, emit the scheme itself: "
    "derive generate FILE"
)
DEFAULT_TOL = {torch.float64: 1e-6, torch.float32: 1e-3}  # for rebuilt states; lower precisions: 5e-2


class StepLoop(nn.Module):
    """A net or integrator that is a loop over the steps of `rules`.

    A subclass says which blocks the steps call (`step_blocks`), which parameters they use (`step_parameters`), and how
    it is called. A result that is not finite is an error that names the step; `check_finite=False` lets it pass (but
    not with memory="exact": fixed point has no such numbers), and spares the one host read.
    """

    step_parameters: Callable[..., tuple[tuple[Tensor, ...], Shared]]
    """Initial value of every stream, random draws -> (per-step parameters with a leading step axis, what all use)."""

    def __init__(
        self,
        rules: Rules,
        *,
        memory: str,
        gradient: str,
        tol: float | None = None,
        check_finite: bool = True,
        q: int = 256,
        implicit: Any = None,
    ) -> None:
        super().__init__()
        self.rules = rules
        self.check_finite = check_finite
        modes = ["store", "recompute", "checkpoint"]
        modes += ["invert"] * (rules.amplification is not None) + ["exact"] * (rules.exact is not None)
        if memory == "invert" and memory not in modes:
            raise ValueError(
                f"{type(self).__name__}: memory='invert'; allowed: {', '.join(map(repr, modes))}. {NOT_INVERTED}"
            )
        self.memory = choose(type(self).__name__, "memory", memory, modes)
        self.gradient = choose(type(self).__name__, "gradient", gradient, ["derived", "autograd"])
        if tol is not None and not (isinstance(tol, float | int) and tol > 0):
            what = f"{type(self).__name__}: {tol_name(implicit)}={tol!r}"
            raise ValueError(f"{what}; allowed: a number above 0, or None for the default")
        self.tol = tol
        if isinstance(q, bool) or not isinstance(q, int) or not 2 <= q <= LARGEST_Q:
            raise ValueError(f"{type(self).__name__}: q={q!r}; allowed: a whole number from 2 to {LARGEST_Q}")
        self.denominator = q
        self.varying: dict[int, int] = {}  # place among what steps share -> axes of it where it has one value for all
        self.implicit = implicit

    def step_blocks(self) -> Sequence[Networks]:
        """The block of each step or the tuple of its blocks; nothing for a system without opaque blocks."""
        return ()

    def step_count(self) -> int:
        """How many steps."""
        return len(self.step_blocks())

    def parameter_per_step(
        self, name: str, value: float | Sequence[float] | Tensor, rows: int, features: tuple[str, ...] = ()
    ) -> nn.Parameter:
        """A parameter with one row per step, from one value for all steps or from one for each."""
        owner = type(self).__name__
        if rows < 0:
            raise ValueError(f"{owner}: no blocks; allowed: one block or more")
        shape = ", ".join(["steps", *features])
        data = as_floating(owner, name, value, f"a number, or one for each step in shape ({shape})").detach()
        if data.dim() == 0:
            data = data.expand(rows)
        if data.dim() > 1 + len(features):
            raise ValueError(f"{owner}: {name} has shape {tuple(data.shape)}; allowed: a number, or shape ({shape})")
        if len(data) != rows:
            raise ValueError(f"{owner}: {name} has {len(data)} rows on axis 0; allowed: {rows}, or a single number")
        return nn.Parameter(data.clone())

    def checked(self, **streams: Tensor) -> State:
        """The tensors of the streams by name: floating, and with the same batch axes."""
        owner = type(self).__name__
        for name, x in streams.items():
            if not isinstance(x, Tensor):
                raise TypeError(f"{owner}: {name} is of type {type(x).__name__}; allowed: a Tensor of a floating dtype")
            if not x.is_floating_point():
                allowed = "a floating dtype, such as torch.float32"
                raise TypeError(f"{owner}: {name} has dtype {x.dtype}; allowed: {allowed}")
        (first, x), *others = streams.items()
        for name, other in others:
            if other.shape[:-1] != x.shape[:-1] or other.dim() != x.dim() or other.dtype != x.dtype:
                raise ValueError(
                    f"{owner}: {name} has shape {tuple(other.shape)} and dtype {other.dtype}; allowed: the batch axes "
                    f"and dtype of {first}, which has shape {tuple(x.shape)} and dtype {x.dtype}"
                )
        return tuple(streams.values())

    def extra_repr(self) -> str:
        """The options."""
        tol = "" if self.tol is None else f", {tol_name(self.implicit)}={self.tol:g}"
        times = {name: torch.as_tensor(getattr(self, name)).item() for name in ("t0", "t1") if hasattr(self, name)}
        shown = "".join(f", {name}={time:g}" for name, time in times.items())
        return f"steps={self.step_count()}{shown}, memory={self.memory!r}, gradient={self.gradient!r}{tol}"

    def run_steps(self, x: State, trajectory: bool, draws: tuple[Tensor, ...] = ()) -> State:
        """Run the steps; where they fail because of a number that the module was given, the error names it."""
        if torch.compiler.is_compiling():
            return self._run_with(x, trajectory, draws)
        try:
            return self._run_with(x, trajectory, draws)
        except StepError as error:
            self._check_numbers(error)
            raise

    def _check_numbers(self, error: StepError) -> None:
        """Refuse times, step sizes and parameters that are not finite; read only after a failure."""
        times = {name: getattr(self, name, None) for name in ("t0", "t1", "step_size")}
        for name, value in (*times.items(), *self.named_parameters(recurse=False)):
            if isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
                read = f"is {value.item()}" if value.dim() == 0 else "has values that are not finite"
                raise NotFiniteError(f"{type(self).__name__}: {name} {read}; allowed: finite numbers") from error

    def _run_with(self, x: State, trajectory: bool, draws: tuple[Tensor, ...]) -> State:
        """The same in the form that the options, the tensors and the compiler ask for."""
        functions = self.step_blocks()
        rules, local, shared = self._given(x, draws)
        if self.memory == "exact":
            if rules.exact is None:
                raise ValueError(
                    f"{type(self).__name__}: one step size for each layer with memory='exact'; allowed: one step size "
                    "for all, or memory='checkpoint'"
                )
            local, shared = rules.exact.rounded(type(self).__name__, self.denominator, x[0], local, shared)
        if self.gradient == "autograd" or self._needs_plain(rules, functions, x[0]):
            return self._run_plain(partial(run_plain, rules), x, functions, local, shared, trajectory)
        device, dtype = x[0].device, x[0].dtype
        casting = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
        # Equations are solved with graphs that are read several times; under autocast only autograd knows the casts.
        frozen, titles = self.implicit is not None, self._titles(functions)
        blocks = Blocks(
            functions, type(self).__name__, chains=not frozen and not casting[0], frozen=frozen, titles=titles
        )
        tensors = [value for value in shared if isinstance(value, Tensor)]
        inputs = (*x, *local, *tensors, *blocks.parameters)
        if not any(tensor.requires_grad for tensor in inputs):
            return self._run_plain(partial(run_plain, rules), x, functions, local, shared, trajectory)
        numbers = tuple(None if isinstance(v, Tensor) else v if isinstance(v, tuple) else float(v) for v in shared)
        plan = Plan(
            name=blocks.owner,
            rules=rules,
            blocks=blocks,
            steps=self.step_count(),
            memory=self.memory,
            tol=self.tol or DEFAULT_TOL.get(casting[1] if casting[0] else dtype, 5e-2),
            trajectory=trajectory,
            check_finite=self.check_finite,
            local_count=len(local),
            shared=numbers,
            device=device,
            autocast=casting,
            implicit=self.implicit,
        )
        outputs: State = DerivedSteps.apply(plan, Recording(), *inputs)
        return outputs[: len(x)]

    def undo_steps(self, x: State) -> State:
        """The initial state that the steps bring to x, through the inverse of every step; followed by autograd."""
        functions = self.step_blocks()
        rules, local, shared = self._given(x)
        return self._run_plain(partial(run_back, rules), x, functions, local, shared, False)

    def _given(self, x: State, draws: tuple[Tensor, ...] = ()) -> tuple[Rules, tuple[Tensor, ...], Shared]:
        """Rules and parameters; what has a value for each step, as a step size may, is a per-step parameter."""
        rules = self.rules
        local, shared = self.step_parameters(*x, *draws)
        places = [place for place, value in enumerate(shared) if self._rows_besides(place, value) >= 0]
        if any(self._rows_besides(place, shared[place]) > 0 for place in places):
            rules = rules._replace(sweeps=None)  # which have no batch axes in what steps share
        for place in reversed(places):  # what comes later in the tuple does not move what comes before it
            rules, local = rules_per_step(rules, place), (*local, shared[place])
            shared = (*shared[:place], *shared[place + 1 :])
        return rules, local, shared

    def _rows_besides(self, place: int, value: Any) -> int:
        """How many axes what has a value for each step has between that of the steps and its own; -1 of others."""
        own = 0 if value is getattr(self, "step_size", None) else self.varying.get(place)
        return value.dim() - own - 1 if isinstance(value, Tensor) and own is not None else -1

    def _needs_plain(self, rules: Rules, functions: Sequence[Networks], x: Tensor) -> bool:
        """Where the derived form cannot serve or has nothing to do.

        Forward mode needs the plain form because a rule of a Function loses the tangents of an outer forward mode. A
        plain function whose graph is kept is followed by autograd to tensors that cannot be seen from here. Sweeps of
        the rules say what they serve; where they do not, there may be no others.
        """
        modules = (isinstance(function, nn.Module) for row in functions for function in networks_of(row))
        hidden = self.memory == "store" and not all(modules)
        casting = torch.is_autocast_enabled(x.device.type)
        step_size = getattr(self, "step_size", None)
        own, per_step = rules.sweeps, isinstance(step_size, Tensor) and step_size.dim() > 0
        underived = rules.adjoint is None and not (own and own.serves(self.memory, casting, per_step))
        if hidden or underived:
            return True
        return torch.compiler.is_compiling() or not torch.is_grad_enabled() or forward_mode_on()

    def _run_plain(
        self,
        run: Callable[..., State],
        x: State,
        functions: Sequence[Networks],
        local: Sequence[Tensor],
        shared: Shared,
        trajectory: bool,
    ) -> State:
        name = type(self).__name__
        steps, field_at = self.step_count(), self._plain_fields(functions, x[0].device)
        checking = self.check_finite and not torch.compiler.is_compiling()
        random = random_state(x[0].device) if checking else None
        outputs = run(field_at, steps, x, local, shared, trajectory)
        if checking:
            answers: list[bool] = []
            FiniteTest.apply(answers, *(output.detach() for output in outputs))
            if answers == [False]:
                with torch.no_grad(), random_state_of(random, x[0].device):
                    watched: list[Where] = []
                    fields = self._plain_fields(functions, x[0].device, watched)
                    name_bad_step(name, run(fields, steps, x, local, shared, True), bool(functions), watched)
        return outputs

    def _titles(self, functions: Sequence[Networks]) -> dict[int, str]:
        """What the networks of every step are called that are arguments of their own, by their ids."""
        own = {id(value): name for name, value in (*vars(self).items(), *self._modules.items())}
        row = networks_of(functions[0]) if functions else ()
        return {id(one): str(own.get(id(one)) or getattr(one, "title", "")) for one in row}

    def _plain_fields(
        self, functions: Sequence[Networks], device: torch.device, watched: list[Where] | None = None
    ) -> Callable[[int], Any]:
        """The blocks of each step for the plain form; those of implicit steps are called again as they were."""
        name = type(self).__name__
        if self.implicit is not None and functions and not torch.compiler.is_compiling():
            blocks = Blocks(functions, name, frozen=True, titles=self._titles(functions))
            evaluation = Evaluation(blocks, blocks.parameters, {}, device, live=True)
            evaluation.watched = watched
            return solving(evaluation.field, self.implicit, blocks.has_buffers)
        titles = self._titles(functions)
        arities = {id(function): field_arity(function) for row in functions for function in networks_of(row)}

        def field_of(n: int) -> Any:
            return checked_fields(functions[n], arities, name, n, titles, watched) if functions else no_field

        return solving(field_of, self.implicit)


class StepNet(StepLoop):
    """A loop over steps whose state is one tensor."""

    def forward(self, x: Tensor) -> Tensor:
        """x_0 of shape (..., features) -> x_N of the same shape."""
        return self.solve(self.checked(x=x)[0], trajectory=False)

    def trajectory(self, x: Tensor) -> Tensor:
        """x_0 of shape (..., features) -> all states, (steps+1, ..., features)."""
        return self.solve(self.checked(x=x)[0], trajectory=True)

    def solve(self, x: Tensor, trajectory: bool) -> Tensor:
        """Run the steps."""
        return self.run_steps((x,), trajectory)[0]


def forward_mode_on() -> bool:
    """Whether a level of forward-mode differentiation is open: a second one cannot be opened then."""
    try:
        with forward_ad.dual_level():
            return False
    except RuntimeError:
        return True


def no_field(*points: Any) -> Tensor:
    """The field of a system that is written out: its rules never call it."""
    raise NotImplementedError("these rules have no opaque field")
