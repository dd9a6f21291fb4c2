"""`Posterior`: priors and a likelihood of the model, as a density of free coordinates."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..reparam import Reparam, free_leaves, held_leaves, model_leaves
from . import ancestral, prior_terms, prior_transform
from .doubts import warn_of_doubts
from .flat import FlatPosterior, _never_infinite, density_dtype
from .function import Function, _check_arguments, _is_function, _scalar
from .log_prior import log_prior, log_prior_terms
from .mismatch import warn_mismatch
from .prior_plan import PriorPlan
from .references import References
from .starts import find_starts


class Posterior(eqx.Module):
    """A log-density over a model, seen from its free coordinates.

    The likelihood and the prior are written for the model, in constrained coordinates;
    neither knows of a bijector. Two densities of free coordinates can be made of them:

    - With the Jacobian, `log_density(free, *data)`, the default: the log-density of the
      free coordinates themselves, prior + likelihood + log-det. It is what a sampler
      draws from; the draws, mapped to the model, have the posterior whatever the
      bijectors. The log-det is added here and nowhere else.
    - Without, `log_density(free, *data, jacobian=False)`: the density that was written,
      at the model that the free coordinates stand for. Its maximum is the MAP (or the
      MLE, without a prior) in the model's coordinates, whatever the bijectors.

    A Posterior is an immutable pytree: its leaves are the numbers in the prior, the
    arrays in the two functions and those of the Reparam, so none of them retraces when
    it changes, nor does an equal Posterior that is built again from the same functions.
    What these read beside their arguments, such as a global array, is that of the time of
    each call; under your own `jit` it is that of the first one, so pass data as arguments
    there. It hashes by identity: `jax.jit(posterior.log_density)` works.

    Args:
        reparam: the model's map from free coordinates.
        log_likelihood: a function `(model, *data) -> scalar`, the logarithm of the
            density of the data, or `bt.observed`, the distribution of the last of the
            data; `None` for the prior alone.
        prior: one of
            - a pytree of the model's structure, or of its upper part, as `bt.by_path`
              makes it: at each leaf a distribution, that is anything with a `log_prob`
              (TFP, NumPyro, distrax), or `bt.dependent`, a distribution that other
              leaves set, or `None`, which is flat and may be improper. A distribution of
              scalars at an array holds for each element, independently; one above
              several leaves holds for each of them.
            - a `tfd.JointDistributionNamed` or `tfd.JointDistributionCoroutine` whose
              parts have the paths of leaves as names. Each part counts once, whatever
              its batch shape; leaves without a part are flat.
            - a function `model -> scalar`.
            - `None`: flat everywhere, so that only the likelihood counts.
        verify: whether distributions of other classes than the table of facts knows are
            verified, for the numbers that they have: their own draws have a density and
            do not repeat, those of numbers integrate to 1, and the map of a transformed
            one is one to one with the Jacobian that its density says. One that other
            leaves set is verified for the numbers that three random models give. Nothing
            can be verified of traced numbers, nor is it of those that replace others
            later.

    Raises:
        ValueError: the prior does not fit the model: another structure, events of
            another shape than the last axes of the leaf, a batch of distributions that
            would broadcast the leaf, a prior where there is no array of floats, priors
            that depend on each other in a cycle. All faults are listed with their paths.

    Warns:
        UserWarning: the bijector of a leaf leaves the support of the leaf's prior; a
            prior counts more densities than its leaf has coordinates, holds for numbers
            in any order where the leaf's increase, or has mass where the leaf's dtype has
            no numbers.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> from bijectree import tfd
        >>> model = {"rate": jnp.array(1.0)}
        >>> reparam = bt.Reparam(model, bt.tfb.Exp())
        >>> def log_likelihood(model, counts):
        ...     return tfd.Poisson(model["rate"]).log_prob(counts).sum()
        >>> prior = bt.by_path(model, {"rate": tfd.Gamma(2.0, 1.0)})
        >>> posterior = bt.Posterior(reparam, log_likelihood, prior=prior)
        >>> counts = jnp.array([2.0, 0.0, 3.0])
        >>> free = reparam.inverse(model)
        >>> print(f"{posterior.log_density(free, counts):.4f}")
        -6.4849
    """

    reparam: Reparam
    _log_likelihood: Function | None
    prior_function: Function | None
    prior_plan: PriorPlan = eqx.field(static=True)
    prior_numbers: tuple[tuple[Any, ...], ...]

    def __init__(
        self,
        reparam: Reparam,
        log_likelihood: Callable[..., Any] | None,
        prior: PyTree | Callable[[PyTree], Any] = None,
        *,
        verify: bool = True,
    ):
        _check_arguments(reparam, log_likelihood)
        self.reparam = reparam
        self._log_likelihood = None
        if log_likelihood is not None:
            self._log_likelihood = Function(log_likelihood)
        self.prior_function = None
        self.prior_plan, self.prior_numbers = PriorPlan(), ()
        if _is_function(prior, reparam):
            self.prior_function = Function(prior)
        else:
            references = References(reparam.bound)
            found = prior_terms.make_prior_plan(prior, references, verify=verify)
            self.prior_plan, self.prior_numbers = found
            warn_mismatch(references, *found)
            if verify:
                warn_of_doubts(reparam, references, *found)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        names = {term.path: term.name for term in self.prior_plan.terms}
        rows = [row for row in self.reparam.bound.plan.rows if row.role == "free"]
        default = "flat" if self.prior_function is None else "see the function"
        lines = [f"  {row.path}: {names.get(row.path, default)}" for row in rows[:20]]
        more = ["  ..."] if len(rows) > 20 else []
        notes = [f"  note: {note}" for note in self.notes]
        return "\n".join(
            [f"Posterior of dimension {self.dim}; priors:", *lines, *more, *notes]
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the priors say that has no effect: those at frozen or tied leaves."""
        return self.prior_plan.notes

    @property
    def dim(self) -> int:
        """The number of free coordinates."""
        return self.reparam.dim

    @property
    def labels(self) -> list[str]:
        """One label a free coordinate, as `Reparam.labels`."""
        return self.reparam.labels

    def log_density(
        self, free: PyTree, *data: Any, jacobian: bool = True
    ) -> Float[Array, ""]:
        """The log-density at free coordinates, up to the constant of the evidence.

        Args:
            free: free coordinates, as `reparam.inverse` gives them.
            *data: what the log-likelihood takes after the model.
            jacobian: whether to add the log-det. `True`, the default, gives the
                log-density of the free coordinates: samplers need it, and a sampler
                without it is silently wrong. `False` gives the density as it was
                written, for a MAP or MLE in the model's coordinates.

        Returns:
            A scalar of the widest dtype of the free leaves, at least float32. It is
            never +∞: a prior is evaluated at the nearest number inside its support
            where a leaf has saturated onto the edge, and where an infinite density
            remains (a pole within the support) it is −∞.
        """
        total, model = self._log_prior_at(free, jacobian=jacobian)
        return _never_infinite(
            total + self.log_likelihood(model, *data).astype(total.dtype)
        )

    def _log_prior_at(
        self, free: PyTree, *, jacobian: bool = True
    ) -> tuple[Float[Array, ""], PyTree]:
        """The part of `log_density` that needs no data, and the model.

        Args:
            free: free coordinates.
            jacobian: whether to add the log-det, as in `log_density`.

        Returns:
            The log-prior with the log-det, in the dtype of `log_density`; the model.
        """
        bound = self.reparam.bound
        coordinates = free_leaves(bound.plan, free)
        dtype = density_dtype(coordinates)
        leaves = held_leaves(bound.plan, bound.held, None)
        if jacobian:
            coordinates, log_det = bound.fill_and_log_det(coordinates, leaves)
        else:
            coordinates, log_det = bound.fill(coordinates, leaves), jnp.zeros((), dtype)
        model = bound.plan.structure.treedef.unflatten(leaves)
        total = self._log_prior(model, coordinates).astype(dtype)
        return total + log_det.astype(dtype), model

    def log_prior(self, model: PyTree) -> Float[Array, ""]:
        """The logarithm of the prior's density at a model, in its own coordinates.

        Flat leaves count nothing. Nor do frozen leaves, whose prior is a constant unless
        free leaves set it, or tied ones, which are counted where they are tied to.
        """
        return self._log_prior(model, None)

    def _log_prior(self, model: PyTree, coordinates: list[Array] | None) -> Array:
        """The log-prior at a model; of leaves that have run out of numbers, at free."""
        if self.prior_function is not None:
            return _scalar(self.prior_function.build()(model), "the prior")
        bound, plan = self.reparam.bound, self.prior_plan
        leaves, dtype = self._leaves_of(model), density_dtype(self._free_of(model))
        return log_prior(bound, plan, self.prior_numbers, leaves, coordinates, dtype)

    def prior_terms(self, model: PyTree) -> dict[str, Float[Array, ""]]:
        """What each leaf adds to `log_prior`, by path.

        A leaf without a prior is not listed. Where the prior is a function of the whole
        model there is one term, at "".
        """
        if self.prior_function is not None:
            return {"": self.log_prior(model)}
        leaves = self._leaves_of(model)
        return log_prior_terms(
            self.reparam.bound, self.prior_plan, self.prior_numbers, leaves
        )

    def log_likelihood(self, model: PyTree, *data: Any) -> Float[Array, ""]:
        """The log-likelihood at a model; zero if there is none.

        Raises:
            ValueError: the function that was given does not return a real scalar; data,
                but no function was given.
        """
        if self._log_likelihood is None and data:
            raise ValueError(
                f"{len(data)} data given to a Posterior without a log-likelihood, which "
                "would not count; give it one, or leave the data out"
            )
        if self._log_likelihood is None:
            return jnp.zeros((), density_dtype(self._free_of(model)))
        return _scalar(self._log_likelihood.build()(model, *data), "the log-likelihood")

    @property
    def likelihood(self) -> Callable[..., Any] | None:
        """The log-likelihood that was given: a function, a `bt.observed`, or `None`."""
        return None if self._log_likelihood is None else self._log_likelihood.build()

    def sample_prior(self, key: PRNGKeyArray, n: int) -> PyTree:
        """Draw models from the prior: exactly, and whatever the likelihood says of them.

        Each leaf is drawn after those that set its distribution. Frozen leaves keep
        their values, as do the held entries of masked ones; tied leaves follow.

        Args:
            key: a PRNG key.
            n: how many models.

        Returns:
            Models: each array has a leading axis of length `n`, those of frozen leaves
            too.

        Raises:
            ValueError: the prior is a function of the whole model; leaves have no prior,
                or one that cannot be drawn from, or that their bijectors cut off; a held
                value has a distribution that free leaves set. All are listed by path.

        Example:
            >>> import bijectree as bt, jax, jax.numpy as jnp
            >>> model = {"tau": jnp.array(1.0), "theta": jnp.zeros(3)}
            >>> prior = {
            ...     "tau": bt.tfd.HalfNormal(1.0),
            ...     "theta": bt.dependent(lambda m: bt.tfd.Normal(0.0, m["tau"])),
            ... }
            >>> reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
            >>> posterior = bt.Posterior(reparam, None, prior)
            >>> posterior.sample_prior(jax.random.key(0), 500)["theta"].shape
            (500, 3)
        """
        return ancestral.sample_prior(self, key, n)

    def prior_transform(self, u: Float[Array, " dim"]) -> PyTree:
        """Map a point of the unit cube to a model: uniform points to draws of the prior.

        It is what nested samplers ask for. Each leaf comes from quantiles of its prior,
        those of a simplex or of a correlation matrix one after another; after the leaves
        that set it. Call it under `jit`, and under `vmap` for many points.

        Args:
            u: `dim` numbers from 0 to 1, the leaves' own in the order of the model. The
                ends are taken as the nearest numbers between them.

        Returns:
            A model.

        Raises:
            ValueError: as `sample_prior`; or priors without a quantile function, or
                such that the leaf has another number of coordinates. All are listed.

        Example:
            >>> import bijectree as bt, jax.numpy as jnp
            >>> model = {"tau": jnp.array(1.0), "theta": jnp.zeros(2)}
            >>> prior = {
            ...     "tau": bt.tfd.Exponential(1.0),
            ...     "theta": bt.dependent(lambda m: bt.tfd.Normal(0.0, m["tau"])),
            ... }
            >>> reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
            >>> posterior = bt.Posterior(reparam, None, prior)
            >>> made = posterior.prior_transform(jnp.array([0.5, 0.5, 0.9]))
            >>> print(f"{made['tau']:.4f} {made['theta'][1]:.4f}")  # log 2, 1.2816 log 2
            0.6931 0.8883
        """
        return prior_transform.prior_transform(self, u)

    def flat(self) -> "FlatPosterior":
        """The same density over one vector, for samplers and optimisers of arrays."""
        return FlatPosterior(self)

    def initial(
        self,
        key: PRNGKeyArray,
        *data: Any,
        start: Literal["uniform", "prior"] | PyTree = "uniform",
        jitter: float = 0.0,
        n: int | None = None,
        tries: int = 100,
    ) -> PyTree:
        """Find free coordinates to start a sampler or an optimiser from.

        The density and its gradient are finite there, with the Jacobian and without.

        One compiled program finds any number of starts, one after another. What is random
        in a start is of the key and of its number alone: the first start of eight is the
        one that is found without `n`.

        Args:
            key: a PRNG key.
            *data: what the log-likelihood takes after the model.
            start: where to look. "uniform": each free coordinate between -2 and 2,
                as Stan does. "prior": a draw of the prior at each leaf, and as
                "uniform" at leaves without one. A model: that model.
            jitter: the standard deviation of a normal perturbation of each free
                coordinate.
            n: how many starts; `None` for one, without a leading axis.
            tries: how often to look, for each start. A model without jitter is looked
                at once.

        Returns:
            Free coordinates; their leaves have a leading axis of length `n`, if given.

        Raises:
            ValueError: no finite start was found; the message says what is not finite
                at the last one tried: the likelihood, the prior of which leaf, the
                log-det, the gradient of which leaf, or the data.
            SupportError: a model given as start is outside its support.

        Warns:
            UserWarning: coordinates without a prior that the likelihood ignores: its
                gradient is exactly zero at each start and near the first.
        """
        # Equinox's wrapper of a method stands between.
        return find_starts(
            self,
            key,
            data,
            start=start,
            jitter=jitter,
            n=n,
            tries=tries,
            stacklevel=3,
        ).free

    def _free_of(self, model: PyTree) -> list[Any]:
        """The leaves of a model that have coordinates."""
        rows = self.reparam.bound.plan.rows
        pairs = zip(self._leaves_of(model), rows, strict=True)
        return [x for x, row in pairs if row.role == "free"]

    def _leaves_of(self, model: PyTree) -> list[Any]:
        return model_leaves(self.reparam.bound.plan, model, self.reparam.bound.held)
