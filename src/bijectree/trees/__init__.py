"""Any pytree, by path.

A *path* is written as users do: `layers.0.weight`. A *rule* picks leaves by a path, a
glob or a function of the model. An array is *spread* where it is split over processes, so
that none of them has it whole. A *static* leaf is compared by value, as a part of the
structure. What a function *reads* is what it computes with beside its arguments: globals,
closures, defaults.
"""

from .arrays import (
    gather,
    is_array,
    is_inexact,
    is_spread,
    on_host,
    same_bits,
    shape_and_dtype,
    split_axes,
)
from .by_path import apply_rules, by_path
from .differences import differences
from .dimension_names import dimension_names
from .modules import fields_only, in_nodes_of
from .paths import Paths, children, leaf_at, node_types, path_string
from .prefix import broadcast
from .reads import may_change
from .static import (
    HashedOnce,
    PicklableTreedef,
    StaticLeaf,
    reads_of_treedef,
    same_or,
)
from .unwrappable import UNWRAP_FIRST, unwrappable
from .wildcards import Match
from .words import as_text, cut_cell, cut_paths, describe, raise_all, short
