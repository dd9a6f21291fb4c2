"""Any pytree, by path.

A *path* is written as users do: `layers.0.weight`. A *rule* picks leaves by a path, a
glob or a function of the model. An array is *spread* where it is split over processes, so
that none of them has it whole; `whole` and `at_hand` gather it. A *static* leaf is
compared by value, as a part of the structure.
"""

from .arrays import (
    at_hand as at_hand,
    is_array as is_array,
    is_inexact as is_inexact,
    is_spread as is_spread,
    shape_and_dtype as shape_and_dtype,
    split_axes as split_axes,
    whole as whole,
)
from .by_path import apply_rules as apply_rules, by_path as by_path
from .differences import differences as differences
from .modules import fields_only as fields_only, in_nodes_of as in_nodes_of
from .paths import (
    Paths as Paths,
    children as children,
    leaf_at as leaf_at,
    node_types as node_types,
    path_string as path_string,
)
from .prefix import broadcast as broadcast
from .static import (
    HashedOnce as HashedOnce,
    PicklableTreedef as PicklableTreedef,
    StaticLeaf as StaticLeaf,
)
from .unwrappable import UNWRAP_FIRST as UNWRAP_FIRST, unwrappable as unwrappable
from .wildcards import Match as Match
from .words import (
    as_text as as_text,
    cut_cell as cut_cell,
    cut_paths as cut_paths,
    describe as describe,
    raise_all as raise_all,
    short as short,
)
