"""Every linear multistep scheme on a field that is passed in: the weights are arguments of the module."""

from derive import (
    ODE,
    DeckClaim,
    LinearMultistep,
    MultistepFamily,
    Network,
    Rational,
    Spec,
    Symbol,
    scheme_by_name,
    state,
    time,
)

x, t = state("x", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)
GENERAL = LinearMultistep(
    alpha=(Rational(1, 4), Rational(1, 2), Rational(1, 4)),
    beta=(0, Rational(53, 24), Rational(-2, 3), Rational(11, 24)),
    title="all weights",
)
LOW = LinearMultistep(  # of order 2, so that forward Euler may start it, twice
    alpha=(1, 0, 0), beta=(0, 2, Rational(-3, 2), Rational(1, 2)), title="order 2 in three steps"
)

SPEC = Spec(
    id="linear_multistep",
    class_name="LinearMultistep",
    title="x' = f(t, x) by linear multistep",
    source="deck A, 'Formula', last line",
    system=ODE(state=(x,), velocity=(f(t, x),), time=t),
    scheme=MultistepFamily(
        starts={name: scheme_by_name(name) for name in ("forward_euler", "heun", "kutta3", "rk4")},
        samples=(*map(scheme_by_name, ("leapfrog", "ab3", "bdf2", "am3")), LOW, GENERAL),
    ),
    claims=(
        DeckClaim(
            id="E05",
            deck="deck A, 'Formula', last line: sum of beta_k from k = -1 to K - 1, of alpha_k from 0 to K",
            about="betas",
            says=Symbol("lags"),
            note="as many betas as alphas leave out the weight of the oldest field value: Adams-Bashforth needs a K "
            "larger by one and an alpha of zero",
            agrees=False,
        ),
    ),
)
