"""`Draws`: what a sampler found, as models, with what there is to say against it."""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..posterior import Function, Posterior
from ..trees import describe
from .arguments import require_counts
from .arviz_data import Options, arviz_data, variables
from .doubt import Summary, reasons_for_doubt, summarise
from .from_models import vectors_of
from .predict import predict
from .sampling_report import SamplingReport


class Draws(eqx.Module):
    """Draws from a Posterior, by any sampler.

    Args:
        posterior: what was drawn from.
        vectors: free coordinates, of shape (chains, draws, dim).
        stats: what the sampler says of each draw, arrays of shape (chains, draws), under
            the names that ArviZ gives them ("diverging", "acceptance_rate", "lp").
        report: what sampling cost and learned, from `sample`; `None` from elsewhere.

    Raises:
        ValueError: `vectors` or an array of `stats` has another shape.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> reparam = bt.Reparam({"scale": jnp.array(1.0)}, bt.tfb.Exp())
        >>> posterior = bt.Posterior(reparam, None, bt.tfd.LogNormal(0.0, 1.0))
        >>> vectors = jax.random.normal(jax.random.key(0), (4, 500, 1))
        >>> draws = bt.Draws(posterior, vectors)
        >>> draws.models["scale"].shape
        (4, 500)
        >>> draws.warnings()
        []
    """

    posterior: Posterior
    vectors: Float[Array, "chains draws dim"]
    stats: dict[str, Array]
    report: SamplingReport | None = eqx.field(static=True)

    def __init__(
        self,
        posterior: Posterior,
        vectors: Float[Array, "chains draws dim"],
        stats: Mapping[str, Any] | None = None,
        report: SamplingReport | None = None,
    ):
        vectors = jnp.asarray(vectors)
        stats = {name: jnp.asarray(value) for name, value in (stats or {}).items()}
        if vectors.ndim != 3 or vectors.shape[2] != posterior.dim:
            raise ValueError(
                f"vectors: expected shape (chains, draws, {posterior.dim}), got "
                f"{describe(vectors)}"
            )
        for name, value in stats.items():
            if value.shape[:2] != vectors.shape[:2]:
                raise ValueError(
                    f"stats['{name}']: expected leading axes {vectors.shape[:2]}, got "
                    f"{describe(value)}"
                )
        self.posterior, self.vectors, self.stats = posterior, vectors, stats
        self.report = report

    @classmethod
    def from_models(
        cls,
        posterior: Posterior,
        models: PyTree,
        stats: Mapping[str, Any] | None = None,
    ) -> "Draws":
        """Draws that somebody else made, from their values in the model's coordinates.

        Args:
            posterior: what was drawn from.
            models: a model whose arrays have leading axes (chains, draws). Arrays that
                are frozen may lack them, and what has no coordinates may be `None`.
            stats: as for `Draws`.

        Raises:
            SupportError: values outside their support; by draw, path and index.
            ValueError: another structure or other shapes than those of the posterior's
                model, another value where a leaf is held, axes that disagree.

        Example:
            >>> import bijectree as bt, jax.numpy as jnp
            >>> model = {"scale": jnp.array(1.0)}
            >>> reparam = bt.Reparam(model, bt.tfb.Exp())
            >>> posterior = bt.Posterior(reparam, None, bt.tfd.LogNormal(0.0, 1.0))
            >>> models = {"scale": jnp.array([[0.5, 2.0, 1.0], [3.0, 0.2, 1.0]])}
            >>> bt.Draws.from_models(posterior, models).vectors.shape
            (2, 3, 1)
        """
        return cls(posterior, vectors_of(posterior, models), stats)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def gradients(self) -> int | None:
        """How many gradients were spent in all, from `sample`; `None` from elsewhere."""
        return None if self.report is None else sum(self.report.gradients.values())

    def join(self, more: "Draws") -> "Draws":
        """Put draws that go on from these behind them, chain by chain.

        Args:
            more: what `sample` gave with `resume=` these draws.

        Returns:
            All draws, with what both cost.

        Raises:
            ValueError: there are other chains, or other coordinates.
        """
        if more.vectors.shape[::2] != self.vectors.shape[::2]:
            raise ValueError(
                f"join: expected draws of shape {self.vectors.shape}, but for their "
                f"number, got {more.vectors.shape}"
            )
        if self.report is None or more.report is None:
            raise ValueError("join: both must come from bt.sample")
        if more.report.follows != self.fingerprint_of_last():
            raise ValueError(
                "join: these draws do not go on from the last of the others; give "
                "`resume=` to bt.sample"
            )
        vectors = jnp.concatenate([self.vectors, more.vectors], axis=1)
        stats = {
            name: jnp.concatenate([value, more.stats[name]], axis=1)
            for name, value in self.stats.items()
        }
        report = self.report.plus(more.report)
        return Draws(self.posterior, vectors, stats, report)

    def fingerprint_of_last(self) -> int:
        """A number that tells the last draws of all chains from others."""
        return zlib.crc32(np.asarray(self.vectors[:, -1]).tobytes())

    @property
    def models(self) -> PyTree:
        """The models: each array of the model with leading axes (chains, draws).

        Frozen arrays get them too; `map` is kinder to memory where these are large.
        """
        return self.map(_itself)

    def map(self, function: Callable[[PyTree], Any]) -> Any:
        """Apply a function of one model to every draw, such as a prediction.

        Args:
            function: takes a model and returns a pytree.

        Returns:
            The same pytree; its arrays have leading axes (chains, draws).
        """
        return _map(self.posterior, Function(function), self.vectors)

    def predict(
        self,
        function: Callable[..., Any],
        key: PRNGKeyArray,
        *args: Any,
        batch_size: int | None = None,
    ) -> Any:
        """Call a function of one model and a random key for every draw.

        The key of a draw is made of `key` and of its numbers in its chain and of that
        chain, so it depends neither on the batches nor on how many draws there are. A
        function may ignore it, such as the mean of what is predicted.

        Args:
            function: takes a model, a PRNG key and `args`, and returns a pytree.
            key: a PRNG key.
            *args: what the function takes besides, the same for every draw.
            batch_size: how many draws to map side by side, one batch after another in
                one compiled loop: fewer need less memory. 256, if `None`.

        Returns:
            The same pytree; its arrays and numbers have leading axes (chains, draws).

        Raises:
            TypeError: `function` is none.
            ValueError: `batch_size` is not an integer of at least 1.

        Example:
            >>> import bijectree as bt, jax, jax.numpy as jnp
            >>> reparam = bt.Reparam({"scale": jnp.array(1.0)}, bt.tfb.Exp())
            >>> posterior = bt.Posterior(reparam, None, bt.tfd.LogNormal(0.0, 1.0))
            >>> draws = bt.Draws(posterior, jnp.zeros((4, 500, 1)))
            >>> def simulate(model, key, x):
            ...     return x + model["scale"] * jax.random.normal(key, x.shape)
            >>> draws.predict(simulate, jax.random.key(0), jnp.arange(3.0)).shape
            (4, 500, 3)
        """
        return predict(
            self.posterior, self.vectors, function, key, args, batch_size=batch_size
        )

    def summary(self) -> dict[str, Summary]:
        """Mean, spread, R-hat and effective sample size of each number of the model.

        R-hat and the effective sample size are those of Vehtari, Gelman, Simpson,
        Carpenter and Bürkner (2021), Bayesian Analysis 16, sections 3 and 4, by the
        package `arviz-stats`; NaN without it.

        Returns:
            One entry a number, by the path of its leaf and its index in it.

        Raises:
            ValueError: there are no draws.
        """
        return summarise(*self._numbers())

    def warnings(self) -> list[str]:
        """What speaks against trusting these draws, in plain words."""
        names, x = self._numbers()
        return reasons_for_doubt(self, summarise(names, x), x)

    def to_arviz(
        self,
        *data: Any,
        groups: Iterable[str] | None = None,
        coords: Mapping[str, Any] | None = None,
        dims: Mapping[str, Sequence[str]] | None = None,
        key: PRNGKeyArray | None = None,
        prior_draws: int = 500,
        batch_size: int | None = None,
    ) -> Any:
        """The draws as ArviZ data, with all that the Posterior knows besides.

        - posterior: the leaves that have coordinates, in constrained values, by path;
        - unconstrained_posterior: the free coordinates of each leaf, before any map that
          `then`, or a sampler, has put over all of them;
        - sample_stats: `stats`;
        - observed_data: what the likelihood, a `bt.observed`, says is observed;
        - log_likelihood: the log-density of each observation;
        - posterior_predictive: new data from each draw;
        - prior: exact draws of the prior, as `Posterior.sample_prior` makes them;
        - prior_predictive: new data from each of these.

        In half precision, numbers are given as float32. A slash in a path is a dot here,
        and the paths "chain" and "draw" end with an underscore.

        Args:
            *data: what the log-likelihood takes after the model.
            groups: which groups to make; all that can be made, if `None`. Without data,
                or with a function as likelihood, those of the data cannot; without a
                distribution at each leaf those of the prior cannot.
            coords: values along an axis, such as names of groups, by the axis' name.
            dims: names for the axes of a variable, by its path or its name. A leaf that
                a class annotates, as in `theta: Float[Array, "school"]`, has these names
                unless others are given, and a site of a NumPyro model its plates'.
            key: a PRNG key for the new data and the draws of the prior;
                `jax.random.key(0)` if `None`.
            prior_draws: how many draws of the prior.
            batch_size: as for `predict`.

        Returns:
            An `xarray.DataTree` from ArviZ 1, an `InferenceData` from ArviZ 0.

        Raises:
            ImportError: ArviZ is not installed.
            ValueError: a group that is asked for cannot be made; names or values of axes
                do not fit; `sample` drew from a posterior of other data.

        Warns:
            UserWarning: data, and a likelihood that does not say what is observed;
                observations that the model broadcasts.

        Example:
            >>> import bijectree as bt, jax, jax.numpy as jnp
            >>> line = bt.observed(
            ...     lambda m, x: bt.tfd.Normal(m["slope"] * x, m["sigma"]), name="y"
            ... )
            >>> model = {"slope": jnp.array(2.0), "sigma": jnp.array(0.5)}
            >>> prior = {
            ...     "slope": bt.tfd.Normal(0.0, 5.0),
            ...     "sigma": bt.tfd.HalfNormal(1.0),
            ... }
            >>> reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
            >>> posterior = bt.Posterior(reparam, line, prior)
            >>> vectors = jax.random.normal(jax.random.key(0), (4, 50, 2))
            >>> draws = bt.Draws(posterior, vectors)
            >>> x, y = jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])
            >>> found = draws.to_arviz(x, y, dims={"y": ["point"]}, coords={"point": x})
            >>> found["log_likelihood"]["y"].dims
            ('chain', 'draw', 'point')
            >>> found["prior"]["slope"].shape
            (1, 500)
        """
        require_counts("to_arviz", prior_draws=prior_draws)
        if data and self.report is not None:
            self._require_same_data(data)
        options = Options(groups, key, coords or {}, dims or {}, prior_draws, batch_size)
        return arviz_data(
            self.posterior, self.vectors, self.models, self.stats, data, options
        )

    def _require_same_data(self, data: tuple[Any, ...]) -> None:
        """Raise if the log-density with these data is not that of a last draw."""
        density = self.posterior.flat().log_density(self.vectors[0, -1], *data)
        found, expected = float(density), float(self.stats["lp"][0, -1])
        # The sum of many terms in float32 is not the same in every program.
        if not abs(found - expected) <= 1e-3 * max(1.0, abs(expected)):
            raise ValueError(
                "to_arviz: with these data the log-density of the last draw is "
                f"{found:.6g}, and it was {expected:.6g} when it was drawn: give the "
                "data that bt.sample was given"
            )

    def _numbers(self) -> tuple[list[str], Float[np.ndarray, "chains draws n"]]:
        """The names and the draws of all real numbers of the model."""
        names: list[str] = []
        if 0 in self.vectors.shape[:2]:
            raise ValueError(
                "there are no draws to say anything of: the vectors have shape "
                f"{self.vectors.shape}"
            )
        columns = [np.empty((*self.vectors.shape[:2], 0))]
        for path, values in variables(self.posterior, self.models).items():
            if np.iscomplexobj(values):
                continue
            shape = values.shape[2:]
            names += [".".join([path, *map(str, i)]) for i in np.ndindex(*shape)]
            flat = values.reshape(*values.shape[:2], -1)
            columns.append(flat.astype(np.float64))
        return names, np.concatenate(columns, axis=2)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        chains, draws, dim = self.vectors.shape
        head = f"{chains} chains of {draws} draws, {dim} free coordinates"
        if not chains * draws:
            return head
        names, x = self._numbers()
        summary = summarise(names, x)
        width = max([len(name) for name in summary] + [0])
        lines = [
            head,
            f"{'':{width}} {'mean':>10} {'sd':>10} {'5 %':>10} {'95 %':>10} "
            f"{'R-hat':>6} {'ESS':>6}",
        ]
        shown = list(summary.items())[:50]
        lines += [
            f"{name:{width}} {s.mean:10.4g} {s.sd:10.4g} {s.low:10.4g} {s.high:10.4g} "
            f"{s.r_hat:6.3f} {s.ess:6.0f}"
            for name, s in shown
        ]
        if len(summary) > len(shown):
            lines.append(f"... and {len(summary) - len(shown)} more")
        if self.report is not None:
            ess = min(
                (s.ess for s in summary.values() if s.ess > 0), default=float("nan")
            )
            lines += self.report.lines(ess)
        lines += [f"warning: {text}" for text in reasons_for_doubt(self, summary, x)]
        return "\n".join(lines)


def _itself(model: PyTree) -> PyTree:
    # A function of the module, so that an equal posterior does not compile anew.
    return model


@eqx.filter_jit
def _map(posterior: Posterior, function: Function, vectors: Array) -> Any:
    forward = posterior.flat().forward
    over_draws = eqx.filter_vmap(lambda vector: function.build()(forward(vector)))
    return eqx.filter_vmap(over_draws)(vectors)
