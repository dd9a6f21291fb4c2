"""A spec bound to a model: a pair of maps with a log-det.

A *row* is what is known of one leaf; a *plan* is all rows, without an array. *Bound* is a
plan with its numbers, which each row finds at its *slot*, and with what is *held*: the
values that have no coordinates. The leaves of a joint are its *members*; the first of
them in the model is the *owner* of the others. *Outer* bijectors are those that `then`
has put over all free coordinates.
"""

from .binding_faults import not_a_spec_leaf as not_a_spec_leaf
from .bound import Bound as Bound
from .dependence import trace as trace
from .from_dynamax import from_dynamax as from_dynamax
from .from_paramax import from_paramax as from_paramax
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
from .masked import Picked as Picked, masked as masked
from .outside import SupportError as SupportError
from .plan import Plan as Plan, Row as Row, owner as owner
from .reparam import Reparam as Reparam, of_bound as of_bound
from .spec_from_fields import spec_from_fields as spec_from_fields
from .spec_items import (
    AtStars as AtStars,
    Dependent as Dependent,
    Joint as Joint,
    Masked as Masked,
    Then as Then,
    Tied as Tied,
    dependent as dependent,
    frozen as frozen,
    is_spec_leaf as is_spec_leaf,
    joint as joint,
    tied as tied,
)
from .spec_leaves import is_distribution as is_distribution, leaf_of_spec as leaf_of_spec
from .spec_of import spec_of as spec_of
from .summary import summary as summary
