"""`from_numpyro`: the posterior of a NumPyro model."""

from collections.abc import Callable
from typing import Any

from ..inference import optional_import
from ..posterior import Posterior
from ..reparam import Reparam
from ..trees import describe
from .by_site import by_site
from .observed_sites import ObservedSites
from .program import take_over
from .running import without_reparam


def from_numpyro(model: Callable[..., Any], *args: Any, **kwargs: Any) -> Posterior:
    optional_import("numpyro")
    if not callable(model):
        raise TypeError(
            "from_numpyro takes a NumPyro model, a function with numpyro.sample in it, "
            f"and its arguments; got {describe(model)}"
        )
    program, arrays = take_over(without_reparam(model), args, kwargs)
    found = by_site(program, arrays)
    reparam = Reparam(found.model, found.spec)
    return Posterior(reparam, ObservedSites(program, arrays), found.prior)
