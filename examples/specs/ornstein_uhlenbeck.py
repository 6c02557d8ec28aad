"""A process that returns to its mean, with noise that grows with the distance from it."""

from derive import SDE, Spec, parameter, state

x = state("x", "d", meaning="state")
theta = parameter("theta", meaning="rate of return")
mu = parameter("mu", "d", meaning="mean")
sigma = parameter("sigma", meaning="noise at the mean")
kappa = parameter("kappa", meaning="noise for each unit of distance")

SPEC = Spec(
    id="ornstein_uhlenbeck",
    class_name="OrnsteinUhlenbeck",
    title="Ornstein-Uhlenbeck process with multiplicative noise",
    source="Uhlenbeck, Ornstein 1930",
    system=SDE(x, theta * (mu - x), sigma + kappa * (x - mu), scheme="milstein"),
    defaults={"theta": 1.0, "sigma": 0.5, "kappa": 0.2},
)
