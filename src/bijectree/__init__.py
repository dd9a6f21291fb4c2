"""Reparameterise any JAX pytree: bijectors beside an untouched model."""

from importlib.metadata import version as _version

__version__ = _version("bijectree")
