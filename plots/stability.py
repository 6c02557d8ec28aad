r"""The stability region of a scheme: filled, its boundary locus drawn, the ends of its intervals marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sympy import Expr, MatrixBase, Poly, S, Symbol, expand, lambdify, latex, pi, sympify, together

from derive.errors import UnsupportedError
from derive.linear_stability import (
    alpha_stability,
    imaginary_interval,
    real_interval,
    stability_function,
    stability_polynomial,
)
from derive.linear_stability.region import boundary_locus, contains
from derive.schemes import LinearMultistep, Scheme, Splitting
from derive.schemes.additive import AdditiveTableau
from plots import style
from plots.subject import Subject

ANGLES = 1200
CELLS = 420
MARGIN = 0.15
WHOLE = 60.0  # the locus of an implicit multistep scheme within this distance is shown whole
FAR = 3.0  # times the median distance: what of a locus lies farther out is not shown
LONGEST_FORMULA = 110
LONGEST_NUMBER = 12
Z = Symbol("z")


@dataclass(frozen=True)
class Region:
    """The region of one scheme in the plane of z = h lambda.

    Attributes:
        label: what distinguishes it from others in LaTeX; empty where it stands alone.
        formula: R(z), or the stability polynomial, in LaTeX; empty where it is too long.
        re: (columns,) and `im` (rows,): the grid.
        im: see above.
        inside: (rows, columns), whether a point of the grid belongs to it.
        locus: (branches, angles): continuous curves, NaN where they leave the plane.
        real: exact ends of the component on the real axis that contains 0; None where 0 does not belong to it.
        imaginary: the same on the imaginary axis, over i.
        angle: alpha of A(alpha)-stability in degrees, where 0 < alpha < 90.
    """

    label: str
    formula: str
    re: NDArray[np.float64]
    im: NDArray[np.float64]
    inside: NDArray[np.bool_]
    locus: NDArray[np.complex128]
    real: tuple[Expr, Expr] | None
    imaginary: tuple[Expr, Expr] | None
    angle: float | None


@dataclass(frozen=True)
class Oscillator:
    """The growth of one step of a partitioned scheme on the oscillator x' = w y, y' = -w x.

    Attributes:
        formula: the matrix of one step in LaTeX.
        z: h w, (points,); `radius` the spectral radius there.
        radius: see above.
        end: the exact end of the interval of stability.
    """

    formula: str
    z: NDArray[np.float64]
    radius: NDArray[np.float64]
    end: Expr | None


def data(subject: Subject) -> list[Region] | Oscillator:
    """Regions of a scheme's members, all over one grid; of a scheme in two parts, its growth on the oscillator."""
    if isinstance(subject.scheme, AdditiveTableau | Splitting):
        return _oscillator(subject.scheme)
    loci = [_tracked(boundary_locus(scheme, ANGLES)) for _, scheme in subject.members]
    whole = isinstance(subject.scheme, LinearMultistep) and not subject.scheme.explicit
    re, im = _grid(np.concatenate([locus.ravel() for locus in loci]), WHOLE if whole else 0.0)
    return [_region(label, scheme, locus, re, im) for (label, scheme), locus in zip(subject.members, loci, strict=True)]


def _region(label: str, scheme: Scheme, locus: Any, re: Any, im: Any) -> Region:
    angle = alpha_stability(scheme).value
    shown = angle is not None and angle not in (S.Zero, pi / 2) and angle.is_number
    return Region(
        label,
        _formula(scheme),
        re,
        im,
        contains(scheme, re[None, :] + 1j * im[:, None]),
        locus,
        real_interval(scheme).value,
        imaginary_interval(scheme).value,
        float(np.degrees(float(angle))) if shown else None,
    )


def _formula(scheme: Scheme) -> str:
    if isinstance(scheme, LinearMultistep):
        rho, sigma = _characteristic(scheme)
        text = rf"{rho} - z\,{sigma} = 0"
    else:
        ratio = sympify(stability_function(scheme, Z))
        text = f"R(z) = {latex(ratio if ratio.is_polynomial(Z) else together(ratio), order='rev-lex')}"
    return text.replace(r"\frac", r"\dfrac") if len(text) <= LONGEST_FORMULA else ""


def _characteristic(scheme: LinearMultistep) -> tuple[str, str]:
    """rho and sigma in LaTeX, without a common power of zeta."""
    zeta = Symbol("zeta")
    polynomial = Poly(stability_polynomial(scheme, zeta, Z), zeta, Z)
    rho, sigma = (expand(sign * polynomial.as_expr().coeff(Z, power)) for power, sign in ((0, 1), (1, -1)))
    return latex(rho), rf"\left({latex(sigma)}\right)" if sigma.is_Add else latex(sigma)


def _tracked(points: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Curves from roots in any order: each root follows the nearest one at the angle before."""
    curves = points.copy()
    for now in range(1, len(curves)):
        free = list(range(curves.shape[1]))
        for place, before in enumerate(curves[now - 1]):
            distances = [np.nan_to_num(abs(points[now, other] - before), nan=np.inf) for other in free]
            curves[now, place] = points[now, free.pop(int(np.argmin(distances)))]
    closed = np.concatenate([curves, np.full_like(curves[:1], np.nan)])
    for place in range(curves.shape[1]):  # a curve ends where some curve began: draw that last piece too
        gaps = np.nan_to_num(np.abs(curves[0] - curves[-1, place]), nan=np.inf)
        closed[-1, place] = curves[0, int(np.argmin(gaps))]
    return np.where(np.isfinite(closed), closed, np.nan).T


def _grid(points: NDArray[np.complex128], radius: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A window with 0 and all of the locus that is not far out, wide enough to see both half planes.

    A locus within the radius is shown whole.
    """
    finite = points[np.isfinite(points)]
    distance = np.abs(finite)
    near = finite[distance <= max(FAR * float(np.median(distance)), 1e-3)] if distance.max() > radius else finite
    high = max(float(np.abs(near.imag).max()), 0.5) * (1 + MARGIN)
    left, right = min(float(near.real.min()), 0.0), max(float(near.real.max()), 0.0)
    room = MARGIN * max(right - left, high)
    left, right = left - room, right + 2 * room
    lack = max(0.0, 1.6 * high - (right - left)) / 2
    high = max(high, 0.35 * (right - left))
    return np.linspace(left - lack, right + lack, CELLS), np.linspace(-high, high, CELLS)


def _oscillator(scheme: Scheme) -> Oscillator:
    matrix = stability_function(scheme, Z)
    if not isinstance(matrix, MatrixBase) or matrix.free_symbols - {Z}:
        raise UnsupportedError(f"{scheme.title}: a stability plot is for schemes of one or two parts without symbols")
    interval = imaginary_interval(scheme).value
    end = None if interval is None else interval[1]
    reach = 1.5 * float(end) if end is not None and end.is_finite and end != 0 else 4.0
    z = np.linspace(0, reach, 600)
    numeric = lambdify(Z, matrix, "numpy")
    radius = np.array([np.abs(np.linalg.eigvals(np.array(numeric(point), dtype=float))).max() for point in z])
    text = latex(matrix, mat_delim="", mat_str="array")
    return Oscillator(text if len(text) <= LONGEST_FORMULA else "", z, radius, end)


def draw(subject: Subject, found: list[Region] | Oscillator) -> Figure:
    """The regions side by side, or the growth over h w."""
    if isinstance(found, Oscillator):
        return _draw_oscillator(subject, found)
    wide = 4.8 if len(found) == 1 else 2.9 * len(found)
    ratio = (found[0].im[-1] - found[0].im[0]) / (found[0].re[-1] - found[0].re[0])
    each = wide / len(found) - 0.6
    figure, axes = style.panels(len(found), width=wide, height=min(max(ratio * each, 1.8), 5.0) + 1.75)
    for one, region in zip(axes, found, strict=True):
        _draw_region(one, region)
    formula = found[0].formula if len(found) == 1 or subject.scheme is None else _formula(subject.scheme)
    lines = [f"{subject.title}: stability region", f"${formula}$" if formula else ""]
    figure.suptitle("\n".join(filter(None, lines)), x=0.01, ha="left", fontsize=10.5)
    if len(found) > 1:
        for one, region in zip(axes, found, strict=True):
            style.title(one, f"${region.label}$")
    style.legend_below(figure, axes, 2 if len(found) == 1 else 4)
    return figure


def _draw_region(axes: Axes, region: Region) -> None:
    single = region.label == ""
    axes.fill([], [], color=style.PALE, label="stability region")
    axes.contourf(region.re, region.im, region.inside.astype(float), levels=[0.5, 1.5], colors=[style.PALE])
    style.cross(axes)
    for place, curve in enumerate(region.locus):
        axes.plot(curve.real, curve.imag, color=style.BLUE, linewidth=1.1, label=None if place else "boundary locus")
    if region.angle is not None:
        reach = 4 * max(abs(region.re[0]), abs(region.im[0]))
        tip = reach * np.exp(1j * (np.pi - np.radians(region.angle)))
        label = rf"$A(\alpha)$, $\alpha = {region.angle:.2f}°$" if single else r"sector of $A(\alpha)$"
        axes.plot([tip.real, 0, tip.real], [tip.imag, 0, -tip.imag], "--", color=style.GREEN, linewidth=1, label=label)
    _mark(axes, "real interval", region.real, 1, style.RED, "o", single)
    _mark(axes, "imaginary interval", region.imaginary, 1j, style.ORANGE, "D", single)
    axes.set(
        xlim=(region.re[0], region.re[-1]),
        ylim=(region.im[0], region.im[-1]),
        xlabel=r"$\mathrm{Re}\, z$",
        ylabel=r"$\mathrm{Im}\, z$",
        aspect="equal",
    )


def _mark(axes: Axes, name: str, ends: Any, unit: complex, colour: str, marker: str, single: bool) -> None:
    """The interval as a thick line on its axis, its finite ends as marks; the values in the legend."""
    if ends is None or ends[0] == ends[1]:
        return
    window = np.array([*axes.get_xlim()]) if unit == 1 else np.array([*axes.get_ylim()])
    reach = 10 * float(np.abs(window).max())
    points = unit * np.clip([float(end) for end in ends], -reach, reach)
    finite = [point for point, end in zip(points, ends, strict=True) if end.is_finite]
    label = f"{name} {_interval(ends)}" if single else name
    axes.plot(points.real, points.imag, color=colour, linewidth=2.2, solid_capstyle="butt", zorder=3)
    if finite:
        axes.plot(np.real(finite), np.imag(finite), marker, color=colour, zorder=4)
    axes.plot([], [], marker=marker if finite else "", color=colour, linewidth=2.2, label=label)


def _interval(ends: tuple[Expr, Expr]) -> str:
    left, right = ends
    if left == -right and left.is_finite:
        return rf"$\pm${_number(right)}"
    brackets = "[" if left.is_finite else "(", "]" if right.is_finite else ")"
    return f"{brackets[0]}{_number(left)}, {_number(right)}{brackets[1]}"


def _number(value: Expr) -> str:
    exact = latex(value)
    if value.is_finite and (len(str(value)) > LONGEST_NUMBER or "CRootOf" in str(value)):
        return rf"${float(value):.4g}\ldots$"
    return f"${exact}$"


def _draw_oscillator(subject: Subject, found: Oscillator) -> Figure:
    figure, (axes,) = style.panels(width=5.2, height=3.4)
    axes.plot(found.z, found.radius, color=style.BLUE, label="spectral radius of one step")
    axes.axhline(1, color=style.GREY, linewidth=0.6)
    if found.end is not None and found.end.is_finite:
        end = float(found.end)
        axes.axvspan(0, end, color=style.PALE, linewidth=0, label=rf"stable: $0 < h\omega <$ {_number(found.end)}")
        axes.plot([end], [1], "o", color=style.RED, zorder=4)
    top = float(np.clip(found.radius.max() * 1.05, 1.5, 4.0))
    axes.set(xlim=(0, found.z[-1]), ylim=(0, top), xlabel=r"$h\omega$", ylabel="growth per step")
    style.title(axes, f"{subject.title}: stability on the oscillator", r"$\dot x = \omega y,\ \dot y = -\omega x$")
    style.legend_below(figure, [axes], 2)
    return figure
