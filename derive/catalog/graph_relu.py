"""A layer of rectified units on a batch of rows as a computational graph: where sums over the batch come from."""

import numpy as np

from derive import (
    Builder,
    IdentityCheck,
    Spec,
    forward_and_reverse,
    input_,
    matvec,
    parameter,
    relation,
    relu,
    transpose,
)

W = parameter("W", ("n", "m"), meaning="weights")
b = parameter("b", "m", meaning="bias")
rows = [input_(f"x_{row}", "n", meaning=f"row {row} of X") for row in (1, 2, 3)]
graph = Builder()
a = [graph.let(f"a_{r}", matvec(transpose(W), x) + b, meaning=f"row {r} of X W + b") for r, x in enumerate(rows, 1)]
H = [graph.let(f"H_{r}", relu(a_r), meaning=f"row {r} of H") for r, a_r in enumerate(a, 1)]
system = graph.build(H)
both = forward_and_reverse(system)
q = {quantity.name: quantity for quantity in (*both.inputs, *both.targets)}
D = [q[f"bar_a_{r}"] for r in (1, 2, 3)]

SPEC = Spec(
    id="graph_relu",
    class_name="",
    title="The graph of a layer of rectified units",
    source="lecture October 16, 'Computational graphs': H = max(0, X W + b); three rows stand for any number",
    system=system,
    relations=(
        relation(
            "gradient of the weights for the whole batch",
            "identity",
            r"\bar{W} = X^{\top} D, \qquad D = \bar{H} \odot \mathbf 1_{X W + b > 0}",
            text="bar_W = X^T D, D = bar_H * [X W + b > 0]",
            reason="the sum of the outer products of the rows is one matrix product",
            check=IdentityCheck(
                lambda known, _: np.stack([known[x] for x in rows]).T.dot(np.stack([known[d] for d in D])),
                both.value(q["bar_W"]),
                both.inputs,
                given=both,
            ),
            section="The whole batch",
        ),
        relation(
            "gradient of the bias for the whole batch",
            "identity",
            r"\bar{b} = \sum_{\mathrm{rows}} D",
            text="bar_b = sum of the rows of D",
            reason="b is added to every row, so it hears from every row",
            check=IdentityCheck(
                lambda known, _: np.stack([known[d] for d in D]).sum(axis=0),
                both.value(q["bar_b"]),
                both.inputs,
                given=both,
            ),
            section="The whole batch",
        ),
        relation(
            "cotangent of the whole batch",
            "identity",
            r"\bar{X} = D\, W^{\top}",
            text="bar_X = D W^T",
            reason="row by row the same product; shown for the first row",
            check=IdentityCheck(
                lambda known, _: np.stack([known[d] for d in D]).dot(known[W].T)[0],
                both.value(q["bar_x_1"]),
                both.inputs,
                given=both,
            ),
            section="The whole batch",
        ),
    ),
    no_module="torch.relu(torch.nn.Linear(n, m)(X)) is this graph; `derive generate dnn` emits chains of such layers",
)
