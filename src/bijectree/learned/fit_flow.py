"""`fit_flow`: a normalising flow that brings a posterior near a standard normal."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from .. import inference
from ..posterior import Posterior, Target
from ..reparam import Reparam
from ..substrate import Number
from . import evidence_bound, held_out, low_rank
from .evidence_bound import EvidenceBound
from .fit_report import FitReport
from .flow import Flow, FlowKind, Weights, flow_and_log_det, masked, new_weights
from .held_out import CHAINS


def fit_flow(
    posterior: Posterior,
    key: PRNGKeyArray,
    *data: Any,
    flow: FlowKind = "autoregressive",
    layers: int = 2,
    width: int = 32,
    start: Literal["uniform", "prior"] | PyTree = "uniform",
    steps: int = 2000,
    samples: int = 16,
    learning_rate: float = 0.01,
    patience: int = 20,
    progress: bool = True,
) -> tuple[Reparam, FitReport]:
    """Fit a normalising flow of the free vector, to bring the posterior near N(0, I).

    A flow and a diagonal affine map after it are trained by Adam on the
    evidence bound (Hoffman et al. 2019, "NeuTra-lizing bad geometry in Hamiltonian Monte
    Carlo using neural transport"). Their numbers are fixed in what is returned; the
    sampler is exact whatever they are. Where they would be worse than the coordinates
    that were given, on draws that the training did not see, these are returned, and the
    report says so. Half of these come from chains that start where a sampler of the
    given coordinates would, so that a mode that the flow has missed is seen. To fit
    further, hand in a Posterior with what was returned: another flow goes on top.

    Args:
        posterior: a Posterior.
        key: a PRNG key.
        *data: what its log-likelihood takes after the model.
        flow: "autoregressive" (fast to the model, as many passes as coordinates back) or
            "coupling" (fast both ways).
        layers: how many layers it has, the order reversed between each two.
        width: the width of the hidden layer of its conditioners.
        start: where the affine map starts, the `start` of `Posterior.initial`.
        steps: how many steps Adam makes at most, rounded up to fifties.
        samples: how many draws each of its gradients is a mean of, in pairs ±z.
        learning_rate: of Adam, which falls to zero along a cosine.
        patience: how many times fifty steps to go on for without a better bound.
        progress: whether to show a progress bar, on the standard error.

    Returns:
        The Reparam, and a report.

    Raises:
        ImportError: BlackJAX is not installed, which draws for the report.
        ValueError: no finite start, or gradients that are not finite.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> reparam = bt.Reparam({"rate": jnp.ones(2)}, bt.tfb.Exp())
        >>> posterior = bt.Posterior(reparam, None, bt.tfd.Gamma(0.5, 1.0))
        >>> fitted, report = bt.fit_flow(
        ...     posterior, jax.random.key(0), layers=1, width=8, steps=300, progress=False
        ... )
        >>> report.fisher_after < report.fisher_before
        True
    """
    inference.require_free_posterior(posterior, "fit_flow")
    inference.require_counts(
        "fit_flow",
        layers=layers,
        width=width,
        steps=steps,
        samples=samples,
        patience=patience,
    )
    if flow not in ("autoregressive", "coupling"):
        raise ValueError(
            f"fit_flow: flow must be 'autoregressive' or 'coupling', got {flow!r}"
        )
    reparam, target = posterior.reparam, Target(posterior, data)
    key_start, key_flow, key_fit, key_held, key_other = jax.random.split(key, 5)
    loc = reparam.ravel(posterior.initial(key_start, *data, start=start))
    weights = new_weights(key_flow, posterior.dim, layers, width, loc.dtype)
    numbers = _Numbers(weights, loc, jnp.zeros_like(loc))
    with evidence_bound.show_progress(steps, progress=progress) as advance:
        found = evidence_bound.maximise(
            _Flowed(target, flow),
            numbers,
            key_fit,
            steps=steps,
            samples=samples,
            learning_rate=learning_rate,
            patience=patience,
            project=_anywhere,
            advance=advance,
        )
    numbers = found.numbers
    affine = low_rank.diagonal(
        np.asarray(numbers.loc, np.float64),
        np.exp(np.asarray(numbers.log_scale, np.float64)),
    )
    trained = Flow(tuple(Number(np.asarray(x)) for x in numbers.weights), flow)
    fitted = reparam.then(affine.bijector()).then(trained)
    notes = []
    if found.rising:
        notes.append("the evidence bound was still rising: give more `steps`")
    after = target.through(fitted)
    window = held_out.sample(after, key_held, low_rank.identity(posterior.dim, 0))
    key_start, key_run = jax.random.split(key_other)
    free = posterior.initial(key_start, *data, start=start, n=CHAINS)
    there = held_out.move(target, after, jax.vmap(reparam.ravel)(free))
    other = held_out.sample_from(after, key_run, there)
    windows = [window] if other is None else [window, other]
    draws = [w.vectors.reshape(-1, posterior.dim) for w in windows]
    spent = found.spent + sum(w.spent for w in windows)
    held = held_out.compare(target, after, after, *draws)
    if other is None or held.worse:
        why = (
            f"its Fisher divergence was {held.fisher[1]:.4g}"
            if other is not None
            else "a chain could not leave its start"
        )
        notes.append(
            "the flow was worse than the coordinates that were given: these are returned "
            f"({why})"
        )
        fitted = reparam
        held = held._replace(
            fisher=(held.fisher[0],) * 2, condition=(held.condition[0],) * 2
        )
    report = held.report(
        f"fit_flow, {flow}, {layers} layers of width {width}",
        objective="evidence bound",
        trace=found.trace,
        gradients=1 + spent + held.spent,
        spent=spent - found.spent + held.spent,
        divergences=int(sum(w.diverged.sum() for w in windows)),
        notes=notes,
    )
    return fitted, report


class _Numbers(eqx.Module):
    """The numbers that are trained: of a flow, and of a diagonal affine map after it."""

    weights: Weights
    loc: Array
    log_scale: Array


class _Flowed(EvidenceBound):
    """The bound through a flow and an affine map."""

    target: Target
    kind: str = eqx.field(static=True)

    def __call__(self, numbers: _Numbers, z: Array) -> Array:
        y, log_det = flow_and_log_det(masked(numbers.weights, self.kind), z)
        x = numbers.loc + jnp.exp(numbers.log_scale) * y
        return self.target(x) + log_det + jnp.sum(numbers.log_scale)


def _anywhere(numbers: PyTree) -> PyTree:
    return numbers
