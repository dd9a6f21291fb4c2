"""Draws as ArviZ data: up to eight groups, with names for their axes."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..posterior import ObservedByName, Posterior
from ..priors import NoDrawsError
from ..trees import as_text, dimension_names, raise_all
from .axis_names import axis_names
from .optional import optional_import
from .predict import predict, predict_of_models

GROUPS = (
    "posterior",
    "unconstrained_posterior",
    "sample_stats",
    "observed_data",
    "log_likelihood",
    "posterior_predictive",
    "prior",
    "prior_predictive",
)
# The groups that need the data, with a likelihood that says what is observed.
_OF_DATA = ("observed_data", "log_likelihood", "posterior_predictive", "prior_predictive")

# The variables of a group, by name.
_Group = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Options:
    """What `Draws.to_arviz` was told, but for the data."""

    groups: Iterable[str] | None
    key: PRNGKeyArray | None
    coords: Mapping[str, Any]
    dims: Mapping[str, Sequence[str]]
    prior_draws: int
    batch_size: int | None


def arviz_data(
    posterior: Posterior,
    vectors: Float[Array, "chains draws dim"],
    models: PyTree,
    stats: Mapping[str, Array],
    data: tuple[Any, ...],
    options: Options,
) -> Any:
    """Make the groups, as `Draws.to_arviz` documents."""
    arviz = optional_import("arviz")
    observations, missing = _observations(posterior, data)
    missing |= {} if stats else {"sample_stats": "the draws come without stats"}
    wanted = _wanted(options.groups, missing)
    likelihood, size = posterior.likelihood, options.batch_size
    key = jax.random.key(0) if options.key is None else options.key
    key_new, key_prior, key_of_prior = jax.random.split(key, 3)
    made: dict[str, _Group] = {
        "posterior": variables(posterior, models),
        "sample_stats": {name: np.asarray(x) for name, x in stats.items()},
        "observed_data": observations,
    }

    def attempt(group: str, make: Callable[[], _Group]) -> None:
        """Make a group; where there is nothing to draw from, only if it is asked for."""
        if group not in wanted:
            return
        try:
            made[group] = make()
        except NoDrawsError as error:
            if options.groups is not None:
                raise ValueError(f"to_arviz: the group '{group}': {error}") from error

    @functools.cache
    def drawn() -> PyTree:
        return _prior_draws(posterior, key_prior, options.prior_draws)

    def of_prior(function: _OfDraw) -> _Group:
        return predict_of_models(
            posterior, drawn(), function, key_of_prior, data, batch_size=size
        )

    def of_draws(function: _OfDraw) -> _Group:
        return predict(posterior, vectors, function, key_new, data, batch_size=size)

    terms, new = _OfDraw(likelihood, draws=False), _OfDraw(likelihood, draws=True)
    attempt("unconstrained_posterior", lambda: _free_variables(posterior, vectors))
    attempt("log_likelihood", lambda: of_draws(terms))
    _warn_of_broadcast(made)
    attempt("posterior_predictive", lambda: of_draws(new))
    attempt("prior", lambda: variables(posterior, drawn()))
    attempt("prior_predictive", lambda: of_prior(new))
    made = {
        group: {_name(name): _at_least_single(x) for name, x in found.items()}
        for group, found in made.items()
    }
    structure = posterior.reparam.bound.plan.structure.treedef
    own = dimension_names(structure.unflatten(range(structure.num_leaves)))
    own |= likelihood.axes if isinstance(likelihood, ObservedByName) else {}
    own = {_name(path): names for path, names in own.items()}
    given = {_name(path): names for path, names in options.dims.items()}
    dims = axis_names(made, own, given, options.coords)
    groups = {
        group: _dataset(arviz, group, made[group], options.coords, dims[group])
        for group in GROUPS
        if group in wanted and group in made
    }
    if _is_new(arviz):
        return optional_import("xarray").DataTree.from_dict(groups)
    return arviz.InferenceData(**groups)


def variables(posterior: Posterior, models: PyTree) -> _Group:
    """The leaves of models that have coordinates, in constrained values, by path."""
    rows = posterior.reparam.bound.plan.rows
    return {
        row.path or "model": np.asarray(leaf)
        for row, leaf in zip(rows, jtu.tree_leaves(models), strict=True)
        if row.role in ("free", "tied")
    }


class _OfDraw(eqx.Module):
    """What is made of the model of a draw: new data, or log-densities of the data."""

    likelihood: Any
    draws: bool = eqx.field(static=True)

    def __call__(self, model: PyTree, key: PRNGKeyArray, *data: Any) -> dict[str, Array]:
        if self.draws:
            return self.likelihood.sample_by_name(model, key, *data)
        return self.likelihood.terms_by_name(model, *data)


def _observations(
    posterior: Posterior, data: tuple[Any, ...]
) -> tuple[_Group, dict[str, str]]:
    """What is observed, and why the groups that need it cannot be made."""
    why = "the likelihood does not say what is observed; write it with bt.observed"
    if not isinstance(posterior.likelihood, ObservedByName):
        if data:
            warnings.warn(f"to_arviz: the data make no group, for {why}", stacklevel=4)
        return {}, dict.fromkeys(_OF_DATA, why)
    try:
        found = posterior.likelihood.observations(*data)
    except TypeError as error:
        if data:
            raise
        return {}, dict.fromkeys(_OF_DATA, str(error))
    why = "the model observes nothing"
    return found, {} if found else dict.fromkeys(_OF_DATA, why)


def _warn_of_broadcast(made: Mapping[str, _Group]) -> None:
    """Warn where there are not as many log-densities as observations."""
    for name, x in made.get("log_likelihood", {}).items():
        shape, whole = x.shape[2:], np.shape(made["observed_data"][name])
        if whole[: len(shape)] != shape:
            warnings.warn(
                f"to_arviz: '{name}' of shape {whole} has log-densities of shape "
                f"{shape}: the model broadcasts it, and LOO would count these. Give the "
                "data the shape of their distribution",
                stacklevel=4,
            )


def _wanted(groups: Iterable[str] | None, missing: Mapping[str, str]) -> set[str]:
    """The groups that can be made, or those that are asked for.

    Raises:
        ValueError: a group of no such name, or one that cannot be made.
    """
    if groups is None:
        return {name for name in GROUPS if name not in missing}
    asked = [groups] if isinstance(groups, str) else list(groups)
    faults = [
        f"{as_text(name)}: there is no such group; there are {', '.join(GROUPS)}"
        for name in asked
        if name not in GROUPS
    ]
    faults += [f"'{name}': {missing[name]}" for name in asked if name in missing]
    raise_all("to_arviz: some groups cannot be made", faults)
    return set(asked)


def _prior_draws(posterior: Posterior, key: PRNGKeyArray, n: int) -> PyTree:
    """Models drawn from the prior, in one chain."""
    models = posterior.sample_prior(key, n)
    return jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, models)


def _free_variables(
    posterior: Posterior, vectors: Float[Array, "chains draws dim"]
) -> _Group:
    """The free coordinates of each leaf, beneath what `then` has put over them all."""
    plan = posterior.reparam.bound.plan
    found = _own_coordinates(posterior, vectors)
    names = [
        "+".join(plan.rows[i].path for i in row.members) if row.members else row.path
        for _, row in plan.free
    ]
    return {name or "model": np.asarray(x) for name, x in zip(names, found, strict=True)}


@eqx.filter_jit
def _own_coordinates(
    posterior: Posterior, vectors: Float[Array, "chains draws dim"]
) -> list[Array]:
    bound = posterior.reparam.bound

    def one(vector: Float[Array, " dim"]) -> list[Array]:
        dtypes = [row.free_dtype for _, row in bound.plan.free]
        return bound.peel_outer(bound.split(vector, dtypes))[0]

    return jax.vmap(jax.vmap(one))(vectors)


def _name(path: str) -> str:
    # A DataTree takes a slash as the way to another group, and these two are axes.
    return f"{path}_" if path in ("chain", "draw") else path.replace("/", ".")


def _at_least_single(x: Any) -> np.ndarray:
    """An array, in float32 for half precision: xarray takes no mean of bfloat16."""
    x = np.asarray(x)
    half = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4
    return x.astype(np.float32) if half else x


def _is_new(arviz: Any) -> bool:
    return int(arviz.__version__.split(".")[0]) >= 1


def _dataset(
    arviz: Any,
    group: str,
    variables: _Group,
    coords: Mapping[str, Any],
    dims: dict[str, list[str]],
) -> Any:
    """A group as an `xarray.Dataset`."""
    of_draws = [] if group == "observed_data" else ["chain", "draw"]
    named = {"sample_dims" if _is_new(arviz) else "default_dims": of_draws}
    used = {name for names in dims.values() for name in names}
    return arviz.dict_to_dataset(
        variables,
        coords={k: np.asarray(x) for k, x in coords.items() if k in used},
        dims=dims,
        attrs={
            "inference_library": "bijectree",
            "inference_library_version": version("bijectree"),
        },
        **named,
    )
