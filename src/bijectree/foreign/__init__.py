"""Transforms of distrax, flowjax and NumPyro, as TFP's bijectors.

A transform is *foreign* where it is of one of these packages. It is known by the names of
its classes, so that none of the packages need be installed, and none is imported.
"""

from .lookup import (
    as_bijector,
    is_constraint,
    is_transform,
    is_transform_class,
)
from .wrapped import Foreign
