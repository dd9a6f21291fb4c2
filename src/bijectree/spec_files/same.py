"""Whether two items of specs are the same, to the bit."""

from typing import Any

import numpy as np

from ..foreign import as_bijector
from ..reparam import AtStars, Dependent, Joint, LocationScale, Masked, Tied
from ..substrate import is_bijector, split
from ..trees import same_bits


def same_item(a: Any, b: Any) -> bool:
    """Whether two items of specs are the same, numbers to the bit."""
    if a is b:
        return True
    a, b = as_bijector(a), as_bijector(b)
    if is_bijector(a) and is_bijector(b):
        (recipe, numbers), (other, others) = split(a), split(b)
        return recipe == other and same_bits(numbers, others)
    if type(a) is not type(b):
        return False
    if isinstance(a, Joint):
        return a.over == b.over and same_item(a.bijector, b.bijector)
    if isinstance(a, Tied):
        same = a.function is b.function or (a.is_copy and b.is_copy)
        return a.source == b.source and same
    if isinstance(a, Dependent):
        # What a `location_scale` depends on is seen from its paths and functions.
        same_on = a.on == b.on or isinstance(a.function, LocationScale)
        return same_on and _same_function(a.function, b.function)
    if isinstance(a, Masked):
        return np.array_equal(a.mask, b.mask) and same_item(a.bijector, b.bijector)
    return False


def _same_function(a: Any, b: Any) -> bool:
    if isinstance(a, AtStars) and isinstance(b, AtStars):
        return a.function is b.function and a.stars == b.stars
    if not isinstance(a, LocationScale) or not isinstance(b, LocationScale):
        return a is b
    pairs = [(getattr(a, key), getattr(b, key)) for key in vars(a)]
    words = [pair for pair in pairs if any(isinstance(x, str) for x in pair)]
    made = [pair for pair in pairs if any(map(callable, pair))]
    numbers = [p for p in pairs if not any(isinstance(x, str) or callable(x) for x in p)]
    same = all(x == y for x, y in words) and all(_same_function(x, y) for x, y in made)
    return same and same_bits(*zip(*numbers, strict=True))
