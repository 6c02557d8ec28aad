"""A hand-made derivation with everything that a renderer meets: long formulas, odd characters, verdicts."""

from derive.derivation import ClaimVerdict, Derivation, Kind, Relation, Section

LONG = r"\bar{c} = " + " + ".join(
    rf"\bar{{h}}_{{{i}}} \odot \sigma\left(a_{{{i}}}\right) \odot \left(1 - \tanh^{{2}}\left(c_{{{i}}}\right)\right)"
    for i in range(8)
)
NESTED = (
    r"H = \lambda_{n+1}^{\top} \left(\left(1 - k\right) x_n + k \, x_{n-1} + h \, f\left(x_n;\, \theta_n\right)"
    r" + \frac{h^{2}}{2} \left(f_{x} f + f_{t}\right) + \frac{h^{3}}{6} "
    r"\left(f_{x x}\left[f,\, f\right] + f_{x} f_{x} f + 2 f_{x t} f\right)\right)"
)
ROWS = (
    r"\begin{aligned}x_{n+1} &= (1-k)\,x_n + k\,x_{n-1} + h f(x_n) \\ " + LONG.replace("=", "&=", 1) + r"\end{aligned}"
)

DERIVATION = Derivation(
    id="sample_net",
    title="A sample net: x' = f(x) & 100% of its odd characters",
    source="Lecture notes #3, §2 (É. Cartan), p. 5–7",
    symbols=(
        ("x_n", "x", "(d)", "state", "state at $t_n$"),
        (r"\theta_{f}", "theta_f", "(theta_f)", "parameter", "all parameters of the network f_n"),
        ("h", "h", "()", "step size", "step size"),
    ),
    sections=(
        Section(
            "The step",
            (
                Relation(
                    "1",
                    "Step",
                    Kind.DEFINITION,
                    r"x_{n+1} = x_n + h \, f\left(x_n;\, \theta_n\right)",
                    "x_next = x + h*f(x)",
                    "forward Euler",
                ),
                Relation(
                    "2",
                    "Adjoint",
                    Kind.IDENTITY,
                    LONG,
                    "bar_c = bar_h*sigmoid(a)*(1 - tanh(c)**2)",
                    "stationarity of the Lagrangian in $c_n$",
                    name="bar_c",
                ),
            ),
            "One step of the scheme, with $h > 0$ and λ → 0.",
        ),
        Section(
            "Truncation & stability",
            (
                Relation("3", "Hamiltonian", Kind.ASYMPTOTIC, NESTED, "H = lambda . F", "power series"),
                Relation("4", "All lines", Kind.IDENTITY, ROWS, "x_next = ...\nbar_c = ...", "one after the other"),
                Relation("5", "Root condition", Kind.INEQUALITY, r"-1 < k \le 1", "-1 < k <= 1", "roots 1 and -k"),
                Relation(
                    "6",
                    "Tableau",
                    Kind.DEFINITION,
                    r"\begin{array}{c|cc}0 &  &  \\ 1 & 1 &  \\ \hline  & \frac{1}{2} & \frac{1}{2}\end{array}",
                    "c | A / b",
                    "Heun",
                ),
                Relation(
                    "7",
                    "Limit",
                    Kind.STATEMENT,
                    r"\lim_{h \to 0} x_{T/h} = x(T)",
                    "x_N -> x(T)",
                    "convergence",
                    source="Dahlquist 1956",
                ),
            ),
        ),
    ),
    claims=(
        ClaimVerdict(
            "E05",
            "deck A, line 12",
            "step",
            r"x_n + f\left(x_n\right)",
            r"x_n + h \, f\left(x_n\right)",
            0.31,
            "the step size is missing",
        ),
        ClaimVerdict("E06", "deck B, line 7", "order", r"h^{2}", r"h^{2}", 0.0),
    ),
    facts={"order": "1, and 2 at $k = 1$", "stability": "−1 < k ≤ 1"},
)
