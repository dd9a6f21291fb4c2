"""What is learnt from a posterior: draws, modes, a normal approximation.

A *bridge* is what a sampler that is not called here wants of a Posterior.
"""

from .arguments import (
    listed as listed,
    require_counts as require_counts,
    require_free_posterior as require_free_posterior,
)
from .bridges import (
    potential_fn as potential_fn,
    target_log_prob_fn as target_log_prob_fn,
)
from .diagnostics import condition_number as condition_number
from .draws import Draws as Draws
from .find_map import Mode as Mode, find_map as find_map
from .laplace import Laplace as Laplace, laplace as laplace
from .nuts import take_steps as take_steps
from .optional import optional_import as optional_import
from .progress import bar as bar
from .sample import sample_blackjax as sample_blackjax
