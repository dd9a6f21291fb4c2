"""The likelihood of a model function: its observed sites and factors."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..posterior import ObservedByName
from .program import Program
from .simulating import draw_observed


class ObservedSites(ObservedByName):
    """The likelihood of `from_numpyro`: a function of the model, which needs no data.

    Attributes:
        program: the model function.
        arrays: those among its arguments.
    """

    program: Program = eqx.field(static=True)
    arrays: tuple[Any, ...]

    def __call__(self, model: PyTree, *data: Any) -> Float[Array, ""]:
        """The log-likelihood: of all observed sites, and all factors."""
        terms = self._all_terms(model, data)
        return sum(map(jnp.sum, terms.values()), start=jnp.zeros((), float))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the observed sites, in the order of the model function."""
        record = self.program.trace().record
        return tuple(name for name in record.observed if not self._reads(name))

    @property
    def observed(self) -> dict[str, Array]:
        """The observed values, by the name of their site."""
        return self._part("value", self.names, {})

    def terms(self, model: PyTree, *data: Any) -> dict[str, Float[Array, "..."]]:
        """The log-densities of the observations, by the name of their site.

        Each has the batch shape of the site. A site that is scaled, as by a plate of
        which a part is observed, or masked, is so here: with what `numpyro.factor` adds,
        the sum of all is the log-likelihood.
        """
        terms = self._all_terms(model, data)
        return {name: terms[name] for name in self.names}

    def factors(self, model: PyTree) -> dict[str, Float[Array, "..."]]:
        """What else counts in the likelihood, by the name of its site."""
        terms, names = self._all_terms(model, ()), self.names
        return {name: term for name, term in terms.items() if name not in names}

    def deterministic(self, model: PyTree) -> dict[str, Any]:
        """The values of the sites of `numpyro.deterministic`, by name."""
        names = tuple(self.program.trace().shapes["deterministic"])
        return self._part("deterministic", names, model)

    def sample(self, model: PyTree, key: PRNGKeyArray, *given: Any) -> dict[str, Array]:
        """Draw new data at the observed sites.

        Args:
            model: the values of the latent sites.
            key: a PRNG key.
            *given: nothing; the arguments of the model function are known.

        Returns:
            Values by the name of their site. Where the model function reads an argument
            that is observed, it reads what was observed.
        """
        self._refuse_data(given)
        drawn = draw_observed(self.program, self.arrays, model, key)
        return {name: drawn[name] for name in self.names}

    @property
    def axes(self) -> dict[str, tuple[str | None, ...]]:
        """The plates of sites, axis by axis."""
        return self.program.trace().record.axes

    def observations(self, *data: Any) -> dict[str, Array]:
        """The observed values."""
        self._refuse_data(data)
        return self.observed

    def terms_by_name(self, model: PyTree, *data: Any) -> dict[str, Array]:
        """The log-density of each observation."""
        return self.terms(model, *data)

    def sample_by_name(
        self, model: PyTree, key: PRNGKeyArray, *data: Any
    ) -> dict[str, Array]:
        """New data at the observed sites."""
        return self.sample(model, key, *data)

    def _all_terms(self, model: PyTree, data: tuple[Any, ...]) -> dict[str, Array]:
        self._refuse_data(data)
        return self._part("terms", tuple(self.program.trace().shapes["terms"]), model)

    def _refuse_data(self, data: tuple[Any, ...]) -> None:
        if data:
            raise TypeError(
                f"{len(data)} data given to the likelihood of bt.from_numpyro, which has "
                "those of the arguments of the model function; leave them out"
            )

    def _part(self, kind: str, names: tuple[str, ...], model: PyTree) -> dict[str, Any]:
        part = self.program.trace().part(*((kind, name) for name in names))
        return dict(zip(names, part(dict(enumerate(self.arrays)), model), strict=True))

    def _reads(self, name: str) -> bool:
        """Whether the value of an observed site is computed from latent ones."""
        return bool(self.program.trace().part(("value", name)).values)
