"""Reparameterise any JAX pytree: bijectors beside an untouched model."""

from importlib.metadata import version as _version

from .checks import check as check
from .constraints import (
    Support as Support,
    affine as affine,
    circular as circular,
    corr_cholesky as corr_cholesky,
    corr_matrix as corr_matrix,
    greater_than as greater_than,
    interval as interval,
    less_than as less_than,
    lower_cholesky as lower_cholesky,
    ordered_vector as ordered_vector,
    positive as positive,
    positive_definite as positive_definite,
    positive_ordered_vector as positive_ordered_vector,
    real as real,
    simplex as simplex,
    sphere as sphere,
    support as support,
    unit_interval as unit_interval,
    zero_sum as zero_sum,
)
from .inference import (
    Draws as Draws,
    Laplace as Laplace,
    Mode as Mode,
    find_map as find_map,
    laplace as laplace,
    potential_fn as potential_fn,
    sample_blackjax as sample_blackjax,
    target_log_prob_fn as target_log_prob_fn,
)
from .learned import (
    FitReport as FitReport,
    fit_affine as fit_affine,
    fit_centeredness as fit_centeredness,
    fit_flow as fit_flow,
)
from .optimizer import (
    carry as carry,
    eval_params as eval_params,
    reparameterize as reparameterize,
)
from .plots import plot_geometry as plot_geometry, plot_prior as plot_prior
from .posterior import FlatPosterior as FlatPosterior, Posterior as Posterior
from .priors import (
    bijector_for as bijector_for,
    register as register,
    spec_from_prior as spec_from_prior,
)
from .reparam import (
    Reparam as Reparam,
    SupportError as SupportError,
    dependent as dependent,
    frozen as frozen,
    joint as joint,
    location_scale as location_scale,
    spec_from_fields as spec_from_fields,
    summary as summary,
    tied as tied,
)
from .substrate import tfb as tfb, tfd as tfd
from .trees import by_path as by_path

__version__ = _version("bijectree")
