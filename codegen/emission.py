"""Spec -> text of the emitted module, and its way to disk."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from derive.adaptive import Adaptive
from derive.chains import Chain
from derive.delay import DelayODE
from derive.errors import DeriveError
from derive.explanation import explain_system
from derive.files import check_folder, make_folder, write_whole
from derive.fixed_point import FixedPoint
from derive.flow import ContinuousFlow, Flow
from derive.schemes.every import AnyScheme
from derive.sde import SDE
from derive.spec_schemes import with_scheme
from derive.systems import Spec

# Where the text of each kind of system is made. Loaded on use: no run needs all.
STEPS = ("codegen.steps.text", "step_text")
CELLS = ("codegen.cells.module", "recurrent_text")
OF_KIND: dict[type, tuple[str, str]] = {
    Chain: ("codegen.layers.module", "chain_text"),
    Flow: ("codegen.flows.module", "flow_text"),
    ContinuousFlow: ("codegen.flows.continuous", "continuous_text"),
    Adaptive: ("codegen.adaptive.module", "adaptive_text"),
    SDE: ("codegen.stochastic.module", "sde_text"),
    FixedPoint: ("codegen.fixed_points.module", "fixed_point_text"),
    DelayODE: ("codegen.delays.module", "delay_text"),
}


def emit(spec: Spec, scheme: AnyScheme | str | None = None) -> str:
    """Text of the module of a spec; another scheme may be put in the place of its own.

    Raises:
        DeriveError: the spec is a statement, or something in it has no form in torch.
    """
    if spec.no_module:
        raise DeriveError(f"{spec.id}: a statement has nothing to emit; {spec.no_module}")
    command = "derive generate " + spec.id
    if scheme is not None:
        spec = with_scheme(spec, scheme)
        command += f" --scheme {scheme}" if isinstance(scheme, str) else " --scheme FILE"
    of_recurrences = STEPS if spec.in_steps else CELLS
    module, function = OF_KIND.get(type(next(iter(spec.variants.values()))), of_recurrences)
    text: str = getattr(import_module(module), function)(spec, explain_system(spec), command)
    return text


def generate(spec: Spec, directory: Path, scheme: AnyScheme | str | None = None) -> list[Path]:
    """Write `<id>.py` into a folder, made if missing; a file that is there is replaced in one move or not at all.

    Raises:
        DeriveError: the text cannot be made, or the folder cannot be written.
    """
    check_folder(Path(directory))
    text = emit(spec, scheme)
    make_folder(Path(directory))
    return [write_whole(Path(directory) / f"{spec.id}.py", text)]
