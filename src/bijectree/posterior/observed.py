"""`observed`: a likelihood as the distribution of the data."""

import abc
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .. import priors, substrate
from ..trees import describe


class ObservedByName(eqx.Module):
    """A likelihood that says what is observed, by name.

    All arguments are those of the likelihood.
    """

    @property
    def axes(self) -> dict[str, tuple[str | None, ...]]:
        """Names for the axes of leaves and of what is observed, where it knows some."""
        return {}

    @abc.abstractmethod
    def observations(self, *data: Any) -> dict[str, Any]:
        """What is observed.

        Raises:
            TypeError: no data are given where they are needed.
        """

    @abc.abstractmethod
    def terms_by_name(self, model: PyTree, *data: Any) -> dict[str, Array]:
        """The log-density of each observation."""

    @abc.abstractmethod
    def sample_by_name(
        self, model: PyTree, key: PRNGKeyArray, *data: Any
    ) -> dict[str, Array]:
        """New data in place of what is observed."""


class Observed(ObservedByName):
    """The type of `observed`."""

    function: Callable[..., Any]
    name: str = eqx.field(static=True)

    def __call__(self, model: PyTree, *data: Any) -> Float[Array, ""]:
        """The log-likelihood: of the last of the data, given those before."""
        return jnp.sum(self.terms(model, *data))

    def terms(self, model: PyTree, *data: Any) -> Float[Array, "..."]:
        """The log-density of each observation, in the batch shape of the distribution.

        Args:
            model: the model.
            *data: what the function takes after the model, then the observed value.

        Raises:
            TypeError: no data, or the function makes no distribution.
            ValueError: the observed value has another shape than the distribution.
        """
        self._require(data)
        *given, value = data
        distribution = self.distribution(model, *given)
        value, shape = jnp.asarray(value), _shape_of(distribution)
        if shape is not None and value.shape != shape:
            raise ValueError(
                f"observed '{self.name}': the observed value has shape {value.shape}, "
                f"and {priors.name(distribution)} has shape {shape} (batch "
                f"{tuple(distribution.batch_shape)}, event "
                f"{tuple(distribution.event_shape)}): a distribution is never broadcast "
                "to the data. Give it parameters of the data's shape; independent data "
                "of one distribution have "
                f"tfd.BatchBroadcast(distribution, {value.shape})"
            )
        own = getattr(distribution, "dtype", None)
        counts = jnp.issubdtype(value.dtype, jnp.integer) or value.dtype == bool
        if counts and own is not None and jnp.issubdtype(own, jnp.floating):
            value = value.astype(own)
        with substrate.exactly():
            return distribution.log_prob(value)

    def sample(self, model: PyTree, key: PRNGKeyArray, *given: Any) -> Array:
        """Draw data from a model.

        Args:
            model: the model.
            key: a PRNG key.
            *given: what the function takes after the model.

        Returns:
            A value such as the observed one, of the distribution's shape.

        Raises:
            ValueError: the distribution cannot be drawn from.
        """
        distribution = self.distribution(model, *given)
        with substrate.exactly():
            return priors.draw(distribution, (), key)

    def observations(self, *data: Any) -> dict[str, Any]:
        """The last of the data."""
        self._require(data)
        return {self.name: data[-1]}

    def terms_by_name(self, model: PyTree, *data: Any) -> dict[str, Array]:
        """The log-density of each observation."""
        return {self.name: self.terms(model, *data)}

    def sample_by_name(
        self, model: PyTree, key: PRNGKeyArray, *data: Any
    ) -> dict[str, Array]:
        """New data in place of what is observed."""
        return {self.name: self.sample(model, key, *data[:-1])}

    def _require(self, data: tuple[Any, ...]) -> None:
        if not data:
            raise TypeError(
                f"observed '{self.name}': no data are given; the observed value comes "
                "last, after what the function takes"
            )

    def _require_arguments(self, given: tuple[Any, ...]) -> None:
        """Raise if the function takes other data than those before the observed value."""
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):  # a function that Python cannot look into
            return
        try:
            signature.bind(None, *given)
        except TypeError as error:
            raise TypeError(
                f"observed '{self.name}': its function takes {signature}, and got the "
                f"model and {len(given)} more ({error}). The last of the data is the "
                "observed value, those before go to the function"
            ) from None

    def distribution(self, model: PyTree, *given: Any) -> Any:
        """The distribution of the data.

        Raises:
            TypeError: the function takes other data, or makes no distribution.
        """
        self._require_arguments(given)
        made = self.function(model, *given)
        if not priors.is_distribution(made):
            raise TypeError(
                f"observed '{self.name}': its function must return the distribution of "
                f"the data, got {describe(made)}"
            )
        return made


def observed(function: Callable[..., Any], *, name: str) -> Observed:
    """A likelihood as the distribution of what is observed.

    One function then serves the density, its terms and predictions. In a Posterior the
    observed value is the last of the data: `posterior.log_density(free, x, y)`.

    Args:
        function: takes a model, and what data it needs beside the observed value, and
            returns the distribution of that value, of any library. The batch and event
            shape of the distribution are those of the value.
        name: of the observed value.

    Returns:
        A function `(model, *data) -> scalar` for `bt.Posterior`, with the methods
        `terms(model, *data)`, the log-density of each observation, and
        `sample(model, key, *given)`, new data without the observed value.

    Raises:
        TypeError: `function` is no function, or `name` no string. When called: it
            returns no distribution.
        ValueError: when called: the observed value has another shape than the
            distribution, which is never broadcast.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> line = bt.observed(
        ...     lambda m, x: bt.tfd.Normal(m["slope"] * x, m["sigma"]), name="y"
        ... )
        >>> model = {"slope": jnp.array(2.0), "sigma": jnp.array(0.5)}
        >>> reparam = bt.Reparam(model, {"slope": None, "sigma": bt.positive()})
        >>> posterior = bt.Posterior(reparam, line)
        >>> x, y = jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])
        >>> print(f"{posterior.log_likelihood(model, x, y):.4f}")
        -0.4516
        >>> print(jnp.round(line.terms(model, x, y), 4))
        [-0.2258 -0.2258]
        >>> line.sample(model, jax.random.key(0), x).shape
        (2,)
    """
    if not callable(function) or priors.is_distribution(function):
        raise TypeError(
            "observed takes a function (model, *data) -> distribution, got "
            f"{describe(function)}"
        )
    if not isinstance(name, str):
        raise TypeError(f"observed: name must be a string, got {describe(name)}")
    return Observed(function, name)


def _shape_of(distribution: Any) -> tuple[int, ...] | None:
    """The shape of one draw; `None` where the distribution does not say."""
    if not hasattr(distribution, "event_shape"):
        return None
    return (*distribution.batch_shape, *distribution.event_shape)
