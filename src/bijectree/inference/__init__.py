"""What is learnt from a posterior: draws, modes, a normal approximation.

A *bridge* gives a Posterior to a sampler of another package as the function it takes.
"""

from .arguments import (
    listed,
    require_counts,
    require_free_posterior,
    require_host,
    typed_key,
)
from .bridges import potential_fn, target_log_prob_fn
from .diagnostics import condition_number, diagnose, load_statistics
from .doubt import R_HAT_LIMIT
from .draws import Draws
from .find_map import Mode, find_map
from .laplace import Laplace, laplace
from .nuts import first_tuning, take_steps
from .optional import optional_import
from .progress import bar
from .sampling_report import SamplingReport
