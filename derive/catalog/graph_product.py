"""The product of two numbers as a computational graph."""

from derive import Builder, Spec, input_

x, y = input_("x", ()), input_("y", ())
graph = Builder()
z = graph.let("z", x * y, meaning="product")

SPEC = Spec(
    id="graph_product",
    class_name="",
    title="The graph of a product",
    source="lecture October 16, 'Computational graphs': z = x y",
    system=graph.build([z]),
    no_module="a product has no parameters; write x * y, torch derives the same two lines",
)
