"""Driven oscillator m s'' = -k s + A cos t, as a first-order system."""

from derive import ODE, DeckClaim, Spec, at_step, constant, cos, parameter, state, step_size, time

s = state("s", (), meaning="displacement")
v = state("v", (), meaning="velocity")
t = time("t")
m = parameter("m", meaning="mass")
k = parameter("k", meaning="stiffness")
A = parameter("A", meaning="amplitude of the drive")
h = step_size("h")
n = constant("n", meaning="number of the step")
s_n, v_n = at_step(s, 0), at_step(v, 0)
t_n = time("t", latex="t_n")

SPEC = Spec(
    id="driven_oscillator",
    class_name="DrivenOscillator",
    title="Driven harmonic oscillator",
    source="Lecture October 16, 'Example'",
    system=ODE(state=(s, v), velocity=(v, A / m * cos(t) - k / m * s), time=t),
    scheme="forward_euler",
    may_vary=(A,),
    invariants={"energy": ((m * v**2 + k * s**2) / 2, {A: 0})},
    statements=(
        (
            r"|\lambda| > 1\ \text{for every}\ h > 0",
            "the lecture does not say it of its recurrence (E002-5)",
        ),
        (
            r"\dot s = v(t)",
            "the lecture writes v(s, t), line 70 (E002-4): v is an unknown of its own, no function of s",
        ),
    ),
    defaults={"m": 1.0, "k": 1.0, "A": 1.0},
    claims=(
        DeckClaim(
            id="E002-1",
            deck="lecture October 16, line 77",
            about="v_next",
            says=v_n + h * (A / m * cos(n) - k / m * s_n),
            where={t_n: n * h},
            note="the number of the step is used as the time; cos(n) in place of cos(n h) does not converge: from rest "
            "with m = k = A = 1 its error at t = 1 tends to sin(1)/2 = 0.42, with cos(n h) it is 1.6e-4 at h = 1/800",
            agrees=False,
        ),
        DeckClaim(
            id="step of s",
            deck="lecture October 16, line 77",
            about="s_next",
            says=s_n + h * v_n,
            note="correct as printed",
            agrees=True,
        ),
    ),
)
