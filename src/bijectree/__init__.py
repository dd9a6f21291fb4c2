"""Reparameterise any JAX pytree: bijectors beside an untouched model."""

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from .constraints import (
    Support,
    affine,
    circular,
    corr_cholesky,
    corr_matrix,
    greater_than,
    interval,
    less_than,
    lower_cholesky,
    ordered_vector,
    positive,
    positive_definite,
    positive_ordered_vector,
    real,
    simplex,
    sinh_arcsinh,
    sphere,
    support,
    unit_interval,
    zero_sum,
)
from .priors import (
    bijector_for,
    register,
)
from .reparam import (
    Reparam,
    SupportError,
    dependent,
    from_dynamax,
    from_paramax,
    frozen,
    joint,
    location_scale,
    masked,
    spec_from_fields,
    summary,
    tied,
)
from .substrate import (
    tfb,
    tfd,
)
from .trees import (
    by_path,
)

if TYPE_CHECKING:
    from .checks import (
        check,
    )
    from .inference import (
        Draws,
        Laplace,
        Mode,
        SamplingReport,
        find_map,
        laplace,
        potential_fn,
        target_log_prob_fn,
    )
    from .learned import (
        FitReport,
        fit_affine,
        fit_centeredness,
        fit_flow,
    )
    from .numpyro_models import (
        from_numpyro,
    )
    from .optimizer import (
        carry,
        eval_params,
        reparameterize,
    )
    from .plots import (
        plot_geometry,
        plot_prior,
    )
    from .posterior import (
        FlatPosterior,
        Posterior,
        observed,
        spec_from_prior,
    )
    from .sampling import (
        Calibration,
        MapsReport,
        calibrate,
        fit_maps,
        sample,
    )
    from .spec_files import (
        load_spec,
        save_spec,
    )

__version__ = _version("bijectree")

# Folders that are loaded when one of their names is asked for.
_ON_FIRST_USE = {
    "Calibration": "sampling",
    "Draws": "inference",
    "FitReport": "learned",
    "FlatPosterior": "posterior",
    "Laplace": "inference",
    "MapsReport": "sampling",
    "Mode": "inference",
    "Posterior": "posterior",
    "SamplingReport": "inference",
    "calibrate": "sampling",
    "carry": "optimizer",
    "check": "checks",
    "eval_params": "optimizer",
    "find_map": "inference",
    "fit_affine": "learned",
    "fit_centeredness": "learned",
    "fit_flow": "learned",
    "fit_maps": "sampling",
    "from_numpyro": "numpyro_models",
    "laplace": "inference",
    "load_spec": "spec_files",
    "observed": "posterior",
    "plot_geometry": "plots",
    "plot_prior": "plots",
    "potential_fn": "inference",
    "reparameterize": "optimizer",
    "sample": "sampling",
    "save_spec": "spec_files",
    "spec_from_prior": "posterior",
    "target_log_prob_fn": "inference",
}

__all__ = [
    "Calibration",
    "Draws",
    "FitReport",
    "FlatPosterior",
    "Laplace",
    "MapsReport",
    "Mode",
    "Posterior",
    "Reparam",
    "SamplingReport",
    "Support",
    "SupportError",
    "__version__",
    "affine",
    "bijector_for",
    "by_path",
    "calibrate",
    "carry",
    "check",
    "circular",
    "corr_cholesky",
    "corr_matrix",
    "dependent",
    "eval_params",
    "find_map",
    "fit_affine",
    "fit_centeredness",
    "fit_flow",
    "fit_maps",
    "from_dynamax",
    "from_numpyro",
    "from_paramax",
    "frozen",
    "greater_than",
    "interval",
    "joint",
    "laplace",
    "less_than",
    "load_spec",
    "location_scale",
    "lower_cholesky",
    "masked",
    "observed",
    "ordered_vector",
    "plot_geometry",
    "plot_prior",
    "positive",
    "positive_definite",
    "positive_ordered_vector",
    "potential_fn",
    "real",
    "register",
    "reparameterize",
    "sample",
    "save_spec",
    "simplex",
    "sinh_arcsinh",
    "spec_from_fields",
    "spec_from_prior",
    "sphere",
    "summary",
    "support",
    "target_log_prob_fn",
    "tfb",
    "tfd",
    "tied",
    "unit_interval",
    "zero_sum",
]


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'bijectree' has no attribute {name!r}")
    folder = importlib.import_module(f".{_ON_FIRST_USE[name]}", __name__)
    return getattr(folder, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
