"""A flow of one's own: a shift across a hyperplane by a sigmoid, and a scale for every component.

Its determinant, the condition for an inverse, the inverse and all adjoints are derived from the three lines of the map.
"""

from derive import Builder, Flow, Spec, dot, parameter, sigmoid, softplus, state

x = state("x", "d", meaning="data")
u, w = parameter("u", "d", meaning="direction of the shift"), parameter("w", "d", meaning="normal of the hyperplane")
b, k = parameter("b", meaning="place of the hyperplane"), parameter("k", meaning="logarithm of the scale, about")

graph = Builder()
scale = graph.let("scale", softplus(k), meaning="scale of all components")
s = graph.let("s", sigmoid(dot(w, x) + b), meaning="which side of the hyperplane")
y = graph.let("y", scale * x + u * s, meaning="image")
along = dot(u, w)

SPEC = Spec(
    id="sigmoid_flow",
    class_name="SigmoidFlow",
    title="Scaled shift across a hyperplane",
    source="examples/specs: Sylvester flows of rank one are of this kind (van den Berg et al. 2018)",
    system=Flow(
        graph.build([y]),
        constrained={u: u + (softplus(along) - 4 * softplus(k) - along) * w / dot(w, w)},
    ),
)
