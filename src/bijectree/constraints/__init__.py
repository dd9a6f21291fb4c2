"""A named set: its map, its membership test, its edge.

A *fact* is what is known of a class of bijectors: where it is one to one, and onto which
set. *Knowledge* is what the facts say of one bijector, link by link. A set has a *tag*
that says which it is, and is *solid* where it has as many dimensions as entries, unlike a
simplex.
"""

# These modules are imported for what they register.
from . import tfp_facts, tfp_numbers, tfp_pairs
from .affine import affine, real
from .alternatives import alternatives, three_digits
from .arguments import finite_number
from .correlation import corr_cholesky, corr_matrix
from .covariance import lower_cholesky, positive_definite
from .directions import circular, sphere
from .dtype_limits import dtype_fault
from .edges import (
    EdgeDistances,
    MatrixFactor,
    edge_distances,
    exp_continued,
    factor_of,
    knows_edges,
    log_parts_of,
)
from .elementwise import Elementwise
from .half_line import greater_than, less_than, positive
from .inside import (
    Add,
    nearest_inside,
    snap_inside,
    snap_inside_interval,
    step_inside,
)
from .interval import interval, unit_interval
from .ordered import ordered_vector, positive_ordered_vector
from .ranges import Range
from .sets import SetTag, Support
from .simplex import Simplex, simplex
from .simplexes import simplexes
from .sinh_arcsinh import SinhArcsinh, sinh_arcsinh
from .support import interval_of, knowledge_of, support
from .verdict import Verdict, is_augmented, judge, judge_precision
from .verification import (
    MOST_COORDINATES,
    differentiable,
    verdict_of_error,
    verify,
    why_unproven,
)
from .words import words_of
from .zero_sum import zero_sum
