"""Sections on chains of layers."""

from __future__ import annotations

from derive.chains import Chain, input_of
from derive.derivation import Kind
from derive.drafts import Draft, remember
from derive.lagrangian import StepNames, write_graph
from derive.reverse_sweep import reverse_sweep


def explain_chain(draft: Draft, chain: Chain, names: StepNames) -> None:
    """Every kind of layer with its adjoint, and what connects two layers."""
    option = names.prefix
    chosen = f", {draft.spec.option} = {option}" if option else ""
    for kind, layer in chain.layers.items():
        of_kind = StepNames(f"{option}.{kind}" if option else kind)
        adjoint = write_graph(draft.author, layer, of_kind, f"{kind} layer{chosen}")
        remember(draft, layer, adjoint, of_kind.prefix)
    hidden = chain.hidden
    if hidden is None or "between_layers" in draft.author.numbers:
        return
    adjoint, into = reverse_sweep(hidden), input_of(hidden)
    if into not in adjoint.cotangents:
        return
    seed, sent = adjoint.seeds[hidden.outputs[0]], adjoint.cotangents[into]
    draft.author.relation(
        "what a layer hears from the next one",
        Kind.DEFINITION,
        rf"{seed.latex} = \left. {sent.latex} \right|_{{\text{{next layer}}}}",
        text=f"{seed} = {sent} of the next layer",
        reason="the output of a layer is the input of the next; the last layer hears from the loss alone",
        name="between_layers",
    )
    draft.author.close("Between the layers")
