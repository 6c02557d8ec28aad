"""A sigmoid layer as a computational graph, in the row convention of the deck."""

from derive import Builder, Spec, input_, matvec, parameter, sigmoid, transpose

x = input_("x", "n", meaning="input")
W = parameter("W", ("n", "m"), meaning="weights")
b = parameter("b", "m", meaning="bias")
graph = Builder()
y = graph.let("y", sigmoid(matvec(transpose(W), x) + b), meaning="output")

SPEC = Spec(
    id="graph_sigmoid",
    class_name="",
    title="The graph of a sigmoid layer",
    source="lecture October 16, 'Computational graphs': y = sigma(x^T W + b)",
    system=graph.build([y]),
    no_module="`derive generate perceptron` emits this layer for one output, `derive generate dnn` chains of layers",
)
