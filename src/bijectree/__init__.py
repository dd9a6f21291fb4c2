"""Reparameterise any JAX pytree: bijectors beside an untouched model."""

from importlib.metadata import version as _version

from ._reparam import Reparam as Reparam, SupportError as SupportError
from ._spec import frozen as frozen, spec_from_fields as spec_from_fields
from ._tfp import tfb as tfb, tfd as tfd
from ._tree import by_path as by_path

__version__ = _version("bijectree")
