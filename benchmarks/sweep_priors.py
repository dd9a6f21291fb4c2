"""Every density of TFP, NumPyro and distrax at a leaf that it fits: right, or refused.

    python -m benchmarks.sweep_priors

writes `sweep_priors.md` beside this file. Each distribution is the prior of one leaf,
whose bijector `bt.spec_from_prior` finds. Its density over free coordinates integrates to
1, by quadrature where there is one coordinate. The draws of its library are of that
density: with q another distribution over free coordinates, narrower than the draws, the
mean of q/p over draws of p is 1. distrax is left out where it is not installed.
"""

import dataclasses
import importlib.metadata
import importlib.util
import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
import numpyro.distributions as nd

import bijectree as bt
from bijectree import tfd
from bijectree.numerics import run_in_numpy
from bijectree.priors import sample_in_numpy, split

from ._pages import plain, write_page
from ._priors_of_others import NUMPYRO, distrax_cases
from ._priors_of_tfp import TFP

PRECISIONS = (np.float32, np.float64)
_DRAWS = 4000
# Of an integral by quadrature, as the package promises; of a mean over draws, beside five
# of its standard errors.
_MASS, _MEAN = 1e-3, 0.01
# A log-density below which nothing is seen of a distribution.
_UNSEEN = -20.0


LIBRARIES = {"TFP": TFP, "NumPyro": NUMPYRO, "distrax": distrax_cases()}
_CANNOT_BE_A_PRIOR = {
    "TFP": {
        "AutoCompositeTensorDistribution": "is a base class",
        "Distribution": "is a base class",
        **dict.fromkeys(
            (
                *("JointDistribution", "JointDistributionCoroutine"),
                *("JointDistributionCoroutineAutoBatched", "JointDistributionNamed"),
                "JointDistributionNamedAutoBatched",
                "JointDistributionSequentialAutoBatched",
            ),
            "has several parts, as JointDistributionSequential has",
        ),
    },
    "NumPyro": {"Distribution": "is a base class"},
}


@dataclasses.dataclass(frozen=True)
class Found:
    """What came of one prior at one leaf.

    Attributes:
        verdict: "right", "warned", "refused", or "WRONG", which is a defect.
        why: what a refusal or a warning says, or what is wrong.
        how: by what it was found right.
    """

    verdict: str
    why: str = ""
    how: str = ""


def classes_without_a_case() -> list[str]:
    """The classes that TFP and NumPyro export and this sweep does not build."""
    missing = []
    for library, module in (("TFP", tfd), ("NumPyro", nd)):
        built = {name.split(",")[0].split(" ")[0] for name in LIBRARIES[library]}
        built |= _CANNOT_BE_A_PRIOR[library].keys()
        for name in dir(module):
            cls = getattr(module, name)
            if inspect.isclass(cls) and issubclass(cls, module.Distribution):
                missing += [] if name in built else [f"{library} {name}"]
    return missing


def look(make: Callable[[], Any], dtype: Any) -> Found:
    """Give a leaf a prior, and hold the density over free coordinates to 1."""
    try:
        distribution = make()
    except (ValueError, TypeError, NotImplementedError) as error:
        return Found("refused", f"its library does not build it: {error}")
    shape = (*_ints(distribution.batch_shape), *_ints(distribution.event_shape))
    model = {"x": jax.ShapeDtypeStruct(shape, dtype)}
    prior = {"x": distribution}
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            spec = bt.spec_from_prior(model, prior)
            posterior = bt.Posterior(bt.Reparam(model, spec), None, prior)
        except (ValueError, TypeError) as error:
            return Found("refused", _reason(error))
    ours = [str(w.message) for w in heard if "the prior" in str(w.message)]
    if ours:
        return Found("warned", ours[0])
    try:
        return _measure(posterior, spec["x"], distribution, np.dtype(dtype))
    except Exception as error:  # noqa: BLE001  what was accepted must not raise, whatever
        return Found(
            "WRONG", f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        )


def _ints(shape: Any) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in shape)
    except (TypeError, ValueError):  # a shape of several parts
        return ()


def _reason(error: Exception) -> str:
    """The refusal without the leaf's path."""
    text = " ".join(str(error).split())
    return text.partition("'x': ")[2] or text


def _measure(posterior: Any, spec: Any, distribution: Any, dtype: np.dtype) -> Found:
    flat = posterior.flat()
    said: list[str] = []
    shape = (*distribution.batch_shape, *distribution.event_shape)
    normal = _of_the_radius(spec, shape)

    def densities(y: np.ndarray) -> np.ndarray:
        program = jax.make_jaxpr(jax.vmap(with_leaf))(y.astype(dtype))
        found, leaf = run_in_numpy(program, y.astype(dtype))
        finite = np.isfinite(leaf.reshape(len(y), -1)).all(axis=1)
        # Where a leaf has overflowed, a library need not know the density.
        overflown = np.isnan(found) & ~finite
        return np.where(overflown, -np.inf, found.astype(np.float64)) - normal

    def with_leaf(y: Any) -> tuple[Any, Any]:
        return flat.log_density(y), flat.forward(y)["x"]

    if isinstance(distribution, (nd.ImproperUniform, nd.Unit)):
        return Found("right", how="is not normalised, and says so")
    recipe, numbers = split(distribution)
    draws = sample_in_numpy(recipe, numbers, (_DRAWS, *shape))
    if flat.dim == 1 or (flat.dim == 2 and draws is None):
        total, fault = _quadrature(densities, flat.dim)
        if fault or abs(total - 1) > _MASS:
            return Found("WRONG", fault or f"it integrates to {total:.6g}")
        said.append(f"mass {total:.5f}")
    if draws is None:
        return Found("right" if said else "WRONG", "" if said else "no draws", *said)
    free = _free(posterior.reparam, spec, draws.astype(dtype))
    free = free[np.isfinite(free).all(axis=1)]  # others lie where the dtype ends
    log_q = _narrower(free)
    near = np.isfinite(log_q)
    ratio = np.zeros(_DRAWS)
    ratio[: near.sum()] = np.exp(log_q[near] - densities(free[near]))
    mean, error = ratio.mean(), ratio.std() / math.sqrt(_DRAWS)
    if not abs(mean - 1) <= _MEAN + 5 * error:
        return Found("WRONG", f"by its draws the mass is {1 / mean:.4g}")
    said.append(f"draws {mean:.3f} ± {error:.3f}")
    return Found("right", how=", ".join(said))


def _quadrature(densities: Callable[..., Any], dim: int) -> tuple[float, str]:
    """The integral over one free coordinate or two, or what is wrong at a point."""
    count, reach = ((8000, 9.5), (300, 4.0))[dim - 1]  # even, for a pole may be at 0
    t = np.linspace(-reach, reach, count)
    y = np.stack(np.meshgrid(*[np.sinh(t)] * dim), axis=-1).reshape(-1, dim)
    values = densities(y)
    # A square that overflows is NaN, as is a correlation matrix that has become singular:
    # that matters where there is a density.
    seen = np.nan_to_num(values, nan=-np.inf)
    beside = np.maximum(np.roll(seen, 1), np.roll(seen, -1))
    bad = (values == np.inf) | (np.isnan(values) & (beside > _UNSEEN))
    if bad.any():
        return math.nan, f"its log-density is {values[bad][0]} at free {y[bad][0]}"
    slopes = np.sqrt(1 + y * y).prod(axis=1)
    mass = np.sum(np.exp(seen) * slopes)
    return float(mass) * (t[1] - t[0]) ** dim, ""


def _of_the_radius(spec: Any, shape: tuple[int, ...]) -> float:
    """The logarithm of what the auxiliary density of a unit vector's radius adds."""
    if not _is_sphere(spec):  # that of a circle, of two coordinates, integrates to 1
        return 0.0
    return (0.5 * shape[-1] - 1) * math.log(2) + math.lgamma(0.5 * shape[-1])


def _is_sphere(spec: Any) -> bool:
    return spec is not None and bt.support(spec).description == "unit vectors"


def _free(reparam: Any, spec: Any, draws: np.ndarray) -> np.ndarray:
    """The free coordinates of draws; with a radius drawn where there is one."""
    inverse = jax.vmap(lambda x: reparam.ravel(reparam.inverse({"x": x})))
    free = run_in_numpy(jax.make_jaxpr(inverse)(draws), draws)[0].astype(np.float64)
    random = np.random.default_rng(0)
    shape = draws.shape[1:]
    if reparam.dim > math.prod(shape):
        pairs = free.reshape(len(free), -1, 2)
        radius = np.sqrt(random.chisquare(2, pairs.shape[:2]))[..., None]
        return (pairs * radius).reshape(free.shape)
    if _is_sphere(spec):
        return free * np.sqrt(random.chisquare(shape[-1], len(free)))[:, None]
    return free


def _narrower(free: np.ndarray) -> np.ndarray:
    """The log-density at draws of another distribution, where most of them are.

    That is the uniform one between two quantiles for one coordinate, else a normal one.
    """
    if free.shape[1] == 1:
        low, high = np.quantile(free, (0.1, 0.9))
        inside = (free[:, 0] > low) & (free[:, 0] < high)
        return np.where(inside, -math.log(high - low), -np.inf)
    center = np.median(free, axis=0)
    low, high = np.quantile(free, (0.16, 0.84), axis=0)
    scale = np.maximum(0.5 * (high - low), 1e-12)
    inside = np.all(np.abs(free - center) < 3 * scale, axis=1)
    correlation = np.cov((free[inside] / scale).T) + 1e-6 * np.eye(len(scale))
    factor = 0.7 * scale[:, None] * np.linalg.cholesky(correlation)
    z = np.linalg.solve(factor, (free - center).T)
    log_q = -0.5 * np.sum(z * z, axis=0) - np.linalg.slogdet(factor)[1]
    return log_q - 0.5 * len(scale) * math.log(2 * math.pi)


def sweep(
    libraries: Iterable[str] = tuple(LIBRARIES),
    names: Sequence[str] | None = None,
    precisions: Sequence[Any] = PRECISIONS,
) -> dict[tuple[str, str, str], Found]:
    """Look at each distribution at each precision."""
    found = {}
    with jax.enable_x64(True):
        for library in libraries:
            for name, make in LIBRARIES[library].items():
                if names is not None and name not in names:
                    continue
                for dtype in precisions:
                    key = library, name, np.dtype(dtype).name
                    found[key] = look(make, dtype)
    return found


_VERDICTS = ("right", "warned", "refused", "WRONG")


def as_table(found: dict[tuple[str, str, str], Found]) -> str:
    """The sweep as a page of Markdown."""
    dtypes = list(dict.fromkeys(dtype for _, _, dtype in found))
    count = {v: sum(f.verdict == v for f in found.values()) for v in _VERDICTS}
    packages = ("jax", "tfp-nightly", "numpyro", "distrax")
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in packages
        if importlib.util.find_spec(name.replace("tfp-nightly", "tensorflow_probability"))
    )
    rows = []
    for library, name in dict.fromkeys(key[:2] for key in found):
        ones = [found[library, name, dtype] for dtype in dtypes]
        verdicts = list(dict.fromkeys(one.verdict for one in ones))
        words = list(dict.fromkeys(plain(one.why or one.how) for one in ones))
        rows.append(
            f"| {library} | {name} | {' / '.join(verdicts)} | {' / '.join(words)} |"
        )
    return "\n".join(
        [
            "# Every density of TFP, NumPyro and distrax, at a leaf that it fits",
            "",
            f"Written by `python -m benchmarks.sweep_priors` with {versions}, at leaves "
            f"of {' and '.join(dtypes)}: {count['right']} right, {count['warned']} "
            f"accepted with a warning, {count['refused']} refused, {count['WRONG']} "
            "wrong. Mass is an integral over the free coordinate; draws, the mean over "
            "the library's draws that is 1 where they are of that density. Two entries "
            "are those of the two precisions.",
            "",
            "| library | distribution | verdict | by what, or why |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> None:
    """Sweep, and write the page."""
    write_page("sweep_priors", sweep, as_table)


if __name__ == "__main__":
    main()
