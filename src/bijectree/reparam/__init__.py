"""A spec bound to a model: a pair of maps with a log-det.

A *row* is what is known of one leaf; a *plan* is all rows, without an array. *Bound* is a
plan with its numbers, which each row finds at its *slot*, and with what is *held*: the
values that have no coordinates. The leaves of a joint are its *members*; the first of
them in the model is the *owner* of the others. *Outer* bijectors are those that `then`
has put over all free coordinates.
"""

from .bound import Bound as Bound
from .leaves import (
    free_leaves as free_leaves,
    kept_leaves as kept_leaves,
    model_leaves as model_leaves,
    same_array as same_array,
    tie_fault as tie_fault,
)
from .location_scale import (
    LocationScale as LocationScale,
    location_scale as location_scale,
)
from .outside import SupportError as SupportError
from .plan import Plan as Plan, Row as Row, owner as owner
from .reparam import Reparam as Reparam, of_bound as of_bound
from .spec_from_fields import spec_from_fields as spec_from_fields
from .spec_items import (
    dependent as dependent,
    frozen as frozen,
    joint as joint,
    tied as tied,
)
from .summary import summary as summary
