"""Worst errors in ulp of the scalar maps: bijectree's, TFP's and NumPyro's.

    python benchmarks/accuracy.py > benchmarks/accuracy.md

The truth has 60 digits (mpmath); the points are the grid in tests/exact.py, where the
result is a normal number of the dtype.
"""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
from numpyro.distributions import transforms

import bijectree as bt
from bijectree import tfb

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from exact import FUNCTIONS, LOWER, UPPER, grid, worst

Pair = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def ours(bijector: tfb.Bijector) -> Callable[[type], Pair]:
    """A bijector through Reparam, which is how a user meets it."""

    def make(dtype: type) -> Pair:
        reparam = bt.Reparam(jax.ShapeDtypeStruct((), dtype), bijector)
        return reparam.forward_and_log_det

    return make


def tfp(make_bijector: Callable) -> Callable[[type], Pair]:
    """A bijector through TFP's own methods."""

    def make(dtype: type) -> Pair:
        bijector = make_bijector(dtype)

        def pair(y: jax.Array) -> tuple[jax.Array, jax.Array]:
            return bijector.forward(y), bijector.forward_log_det_jacobian(y, 0)

        return pair

    return make


def numpyro(*parts: transforms.Transform) -> Callable[[type], Pair]:
    """A composition of NumPyro's transforms."""
    transform = transforms.ComposeTransform(list(parts))

    def make(dtype: type) -> Pair:
        def pair(y: jax.Array) -> tuple[jax.Array, jax.Array]:
            x = transform(y)
            return x, transform.log_abs_det_jacobian(y, x)

        return pair

    return make


CASES: dict[str, tuple[str, dict[str, Callable[[type], Pair]]]] = {
    "positive()": (
        "exp",
        {
            "bijectree": ours(bt.positive()),
            "TFP": tfp(lambda dtype: tfb.Exp()),
            "NumPyro": numpyro(transforms.ExpTransform()),
        },
    ),
    "tfb.Exp()": ("exp", {"bijectree": ours(tfb.Exp())}),
    "greater_than(a)": (
        "lower",
        {
            "bijectree": ours(bt.greater_than(LOWER)),
            "TFP": tfp(lambda dtype: tfb.Chain([tfb.Shift(dtype(LOWER)), tfb.Exp()])),
            "NumPyro": numpyro(
                transforms.ExpTransform(), transforms.AffineTransform(LOWER, 1.0)
            ),
        },
    ),
    "less_than(b)": (
        "upper",
        {
            "bijectree": ours(bt.less_than(UPPER)),
            "TFP": tfp(
                lambda dtype: tfb.Chain(
                    [tfb.Shift(dtype(UPPER)), tfb.Scale(dtype(-1)), tfb.Exp()]
                )
            ),
            "NumPyro": numpyro(
                transforms.ExpTransform(), transforms.AffineTransform(UPPER, -1.0)
            ),
        },
    ),
    'positive(via="softplus")': (
        "softplus",
        {
            "bijectree": ours(bt.positive(via="softplus")),
            "TFP": tfp(lambda dtype: tfb.Softplus()),
            "NumPyro": numpyro(transforms.SoftplusTransform()),
        },
    ),
    "tfb.Softplus()": ("softplus", {"bijectree": ours(tfb.Softplus())}),
    "unit_interval()": (
        "sigmoid",
        {
            "bijectree": ours(bt.unit_interval()),
            "TFP": tfp(lambda dtype: tfb.Sigmoid()),
            "NumPyro": numpyro(transforms.SigmoidTransform()),
        },
    ),
    "tfb.Sigmoid()": ("sigmoid", {"bijectree": ours(tfb.Sigmoid())}),
    "interval(a, b)": (
        "interval",
        {
            "bijectree": ours(bt.interval(LOWER, UPPER)),
            "TFP": tfp(lambda dtype: tfb.Sigmoid(dtype(LOWER), dtype(UPPER))),
            "NumPyro": numpyro(
                transforms.SigmoidTransform(),
                transforms.AffineTransform(LOWER, UPPER - LOWER),
            ),
        },
    ),
    "tfb.Sigmoid(a, b)": (
        "interval",
        {"bijectree": ours(tfb.Sigmoid(np.float32(LOWER), np.float32(UPPER)))},
    ),
    "tfb.Tanh()": (
        "tanh",
        {
            "bijectree": ours(tfb.Tanh()),
            "TFP": tfp(lambda dtype: tfb.Tanh()),
            "NumPyro": numpyro(
                transforms.AffineTransform(0.0, 2.0),
                transforms.SigmoidTransform(),
                transforms.AffineTransform(-1.0, 2.0),
            ),
        },
    ),
}


def errors(pair: Pair, function: str, dtype: type) -> list[float]:
    """Worst ulp of value, log-det, and of the derivatives of the two."""
    points = grid(dtype)
    value, log_det, log_det_slope = FUNCTIONS[function]
    sign = -1 if function == "upper" else 1
    truths = (value, log_det, lambda y: sign * mp.exp(log_det(y)), log_det_slope)

    def each(y: jax.Array) -> tuple[jax.Array, ...]:
        # apart, so that no derivative meets 0·inf from the other
        slopes = [jax.grad(lambda y, k=k: pair(y)[k])(y) for k in (0, 1)]
        return (*pair(y), *slopes)

    results = jax.jit(jax.vmap(each))(jnp.asarray(points, dtype))
    return [
        worst(np.asarray(result), points, truth)
        for result, truth in zip(results, truths, strict=True)
    ]


def main() -> None:
    """Print the table."""
    names = ("jax", "tfp-nightly", "numpyro")
    print("# Worst error in ulp, value · log-det · their derivatives\n")
    print(
        "Made by `python benchmarks/accuracy.py` on a CPU with",
        ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names) + ".",
    )
    print(
        "Points: the 27 of tests/exact.py, |y| from 0 to 1e4, where the exact result is"
        f"\na normal number of the dtype; a = {LOWER}, b = {UPPER}.\n\n"
        "- A wrong 0 counts as about 1e7 (float32) or 1e16 (float64).\n"
        "- inf: the result was inf or NaN, or not 0 where it is 0 or underflows. "
        "NumPyro clips its\n  sigmoid to stay above 0.\n"
        "- In float64, b − exp(1) = −0.22 is a difference: 11 ulp of it are 0.7 of b's.\n"
        "- In float32, exp(−88) is subnormal, which XLA flushes to 0 on a CPU; "
        "(b − a)exp(−88) would\n  not be.\n"
    )
    for dtype in (np.float32, np.float64):
        print(f"\n## {dtype.__name__}\n")
        print("| map | package | value | log-det | d value | d log-det |")
        print("|---|---|---:|---:|---:|---:|")
        for case, (function, packages) in CASES.items():
            for package, make in packages.items():
                numbers = errors(make(dtype), function, dtype)
                shown = " | ".join(
                    f"{n:.1f}" if n < 1000 else f"{n:.1e}" for n in numbers
                )
                print(f"| `{case}` | {package} | {shown} |")


if __name__ == "__main__":
    with jax.enable_x64():
        main()
