"""A named set: its map, its membership test, its edge.

A *fact* is what is known of a class of bijectors: where it is one to one, and onto which
set. *Knowledge* is what the facts say of one bijector, link by link. A set has a *tag*
that says which it is, and is *solid* where it has as many dimensions as entries, unlike a
simplex.
"""

# These modules are imported for what they register.
from . import (
    tfp_facts as tfp_facts,
    tfp_numbers as tfp_numbers,
    tfp_pairs as tfp_pairs,
)
from .affine import affine as affine, real as real
from .arguments import finite_number as finite_number
from .correlation import corr_cholesky as corr_cholesky, corr_matrix as corr_matrix
from .covariance import (
    lower_cholesky as lower_cholesky,
    positive_definite as positive_definite,
)
from .directions import circular as circular, sphere as sphere
from .dtype_limits import dtype_fault as dtype_fault
from .edges import (
    Place as Place,
    exp_continued as exp_continued,
    knows_edges as knows_edges,
    log_parts_of as log_parts_of,
    place as place,
)
from .elementwise import Elementwise as Elementwise
from .half_line import (
    greater_than as greater_than,
    less_than as less_than,
    positive as positive,
)
from .inside import (
    Add as Add,
    snap_inside as snap_inside,
    snap_inside_interval as snap_inside_interval,
    step_inside as step_inside,
)
from .interval import interval as interval, unit_interval as unit_interval
from .ordered import (
    ordered_vector as ordered_vector,
    positive_ordered_vector as positive_ordered_vector,
)
from .ranges import Range as Range
from .sets import SetTag as SetTag, Support as Support
from .simplex import Simplex as Simplex, simplex as simplex
from .simplexes import simplexes as simplexes
from .support import (
    Knowledge as Knowledge,
    interval_of as interval_of,
    knowledge_of as knowledge_of,
    support as support,
)
from .verdict import (
    Verdict as Verdict,
    is_augmented as is_augmented,
    judge as judge,
    judge_in_use as judge_in_use,
)
from .verification import (
    MOST_COORDINATES as MOST_COORDINATES,
    MOST_ENTRIES as MOST_ENTRIES,
    differentiable as differentiable,
    raised as raised,
    verify as verify,
    why_unproven as why_unproven,
)
from .zero_sum import zero_sum as zero_sum
