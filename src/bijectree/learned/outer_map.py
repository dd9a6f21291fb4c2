"""`OuterMap`: what is learned above the leaves, a warp and an affine map."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from ..reparam import Reparam
from .low_rank import AffineMap
from .warp import Warp


@dataclasses.dataclass(frozen=True)
class OuterMap:
    """From the base, by an affine map and then a warp, to a vector of coordinates.

    Attributes:
        affine: the first.
        warp: the second; `None` where nothing is bent.
    """

    affine: AffineMap
    warp: Warp | None = None

    def over(self, reparam: Reparam) -> Reparam:
        """The map of a model, with this one before it."""
        if self.warp is not None:
            reparam = reparam.then(self.warp.bijector(), verify=False)
        return reparam.then(self.affine.bijector(), verify=False)

    @property
    def bent(self) -> int:
        """How many coordinates are bent."""
        return 0 if self.warp is None else int(np.sum(self.warp.bent))

    def simplified(self) -> "OuterMap":
        """The same map without a warp, where that bends nothing."""
        if self.warp is None or self.bent:
            return self
        affine = dataclasses.replace(
            self.affine,
            loc=self.warp.forward(self.affine.loc),
            scale=self.warp.scale * self.affine.scale,
        )
        return OuterMap(affine)

    def forward(self, z: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
        """The points that `z` is mapped to."""
        u = self.affine.forward(z)
        return u if self.warp is None else self.warp.forward(u)

    def to_base(self, *point: Any) -> tuple[Any, Any, Any]:
        """Points of the coordinates as points of the base.

        Args:
            *point: vectors, the log-density there, and its gradients.

        Returns:
            The same three of the density in the base.
        """
        vectors, density, gradients = self.straightened(*point)
        return (
            self.affine.inverse(vectors),
            density + self.affine.log_det,
            self.affine.pull(gradients),
        )

    def straightened(
        self, vectors: np.ndarray, density: np.ndarray, gradients: np.ndarray
    ) -> tuple[Any, Any, Any]:
        """Points of the coordinates as points between the two maps."""
        if self.warp is None:
            return vectors, density, gradients
        u, gradients = self.warp.straightened(vectors, gradients)
        return u, density + self.warp.log_slope(u).sum(axis=-1), gradients

    def from_base(
        self, vectors: np.ndarray, density: np.ndarray, gradients: np.ndarray
    ) -> tuple[Any, Any, Any]:
        """Undo `to_base`."""
        u = self.affine.forward(vectors)
        density = density - self.affine.log_det
        gradients = self.affine.push(gradients)
        if self.warp is None:
            return u, density, gradients
        log_slope = self.warp.log_slope(u)
        return (
            self.warp.forward(u),
            density - log_slope.sum(axis=-1),
            (gradients - self.warp.slope_of_log(u)) * np.exp(-log_slope),
        )
