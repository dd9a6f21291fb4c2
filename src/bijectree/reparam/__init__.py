"""A spec bound to a model: a pair of maps with a log-det.

A *row* is what is known of one leaf; a *plan* is all rows, without an array. *Bound* is a
plan with its numbers, which each row finds at its *slot*, and with what is *held*: the
values that have no coordinates. The leaves of a joint are its *members*; the first of
them in the model is the *owner* of the others. *Outer* bijectors are those that `then`
has put over all free coordinates. A masked leaf has its *picked* entries mapped and the
others held.
"""

from .binding_faults import not_a_spec_leaf
from .bound import Bound
from .dependence import order_or_cycles, trace, view
from .from_dynamax import from_dynamax
from .from_paramax import from_paramax
from .leaves import free_leaves, held_leaves, model_leaves, same_array, tie_fault
from .location_scale import LocationScale, location_scale
from .masked import masked
from .outside import SupportError
from .plan import Plan, Row, owner
from .reparam import Reparam, of_bound
from .spec_from_fields import spec_from_fields
from .spec_items import (
    AtStars,
    Dependent,
    Joint,
    Masked,
    Then,
    Tied,
    dependent,
    frozen,
    is_spec_leaf,
    joint,
    tied,
)
from .spec_leaves import is_distribution, leaf_of_spec
from .spec_of import spec_of
from .summary import expect_reparam, summary
