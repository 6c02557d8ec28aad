"""Antisymmetric ResNet: x' = tanh((K - K^T - gamma I) x + b), one K and b per layer (Haber, Ruthotto 2017; Chang 2019).

The spectrum of K - K^T is imaginary; forward Euler is unstable there, which the damping gamma > 0 mends.
"""

from derive import ODE, Spec, constant, matvec, parameter, state, tanh, transpose

x = state("x", "d", meaning="features")
K = parameter("K", ("d", "d"), per_layer=True, latex="K_n", meaning="coupling, made antisymmetric")
b = parameter("b", "d", per_layer=True, latex="b_n", meaning="bias")
gamma = constant("gamma", meaning="damping")

SPEC = Spec(
    id="antisymmetric_resnet",
    class_name="AntisymmetricResNet",
    title="Antisymmetric ResNet",
    source="Haber and Ruthotto, Stable architectures for deep neural networks, 2017; Chang et al. 2019",
    system=ODE(state=(x,), velocity=(tanh(matvec(K - transpose(K), x) - gamma * x + b),)),
    scheme="forward_euler",
    defaults={"gamma": 0.1},
)
