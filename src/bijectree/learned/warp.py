"""`Warp`: a sinh–arcsinh map of each coordinate."""

import dataclasses

import numpy as np
from jaxtyping import Float

from ..constraints import SinhArcsinh
from ..substrate import Number


@dataclasses.dataclass(frozen=True)
class Warp:
    """The numbers of a `SinhArcsinh` of a vector, in float64 on the host.

    It maps u to y = loc + scale·sinh((arcsinh u + skewness)·tailweight).

    Attributes:
        loc: of each coordinate.
        scale: positive.
        skewness: 0 where a coordinate is not bent.
        tailweight: 1 where a coordinate is not bent.
    """

    loc: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    skewness: Float[np.ndarray, " dim"]
    tailweight: Float[np.ndarray, " dim"]

    @property
    def bent(self) -> Float[np.ndarray, " dim"]:
        """Which coordinates are bent."""
        return (self.skewness != 0) | (self.tailweight != 1)

    def bijector(self) -> SinhArcsinh:
        """The map as a TFP bijector."""
        numbers = (self.loc, self.scale, self.skewness, self.tailweight)
        return SinhArcsinh(*(Number(np.asarray(x, float)) for x in numbers))

    def forward(self, u: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
        """The points that `u` is mapped to."""
        after = (np.arcsinh(u) + self.skewness) * self.tailweight
        return self.loc + self.scale * np.where(self.bent, np.sinh(after), u)

    def inverse(self, y: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
        """The points that are mapped to `y`."""
        t = (y - self.loc) / self.scale
        before = np.arcsinh(t) / self.tailweight - self.skewness
        return np.where(self.bent, np.sinh(before), t)

    def log_slope(self, u: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
        """The log of dy/du, of each coordinate."""
        after = (np.arcsinh(u) + self.skewness) * self.tailweight
        bend = _log_cosh(after) - _log_cosh(np.arcsinh(u))
        return np.log(self.scale * self.tailweight) + bend

    def slope_of_log(self, u: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
        """The derivative of `log_slope`."""
        root = np.sqrt(1 + u * u)
        after = (np.arcsinh(u) + self.skewness) * self.tailweight
        bend = np.tanh(after) * self.tailweight / root - u / root**2
        return np.where(self.bent, bend, 0.0)

    def straightened(
        self, y: Float[np.ndarray, "*n dim"], gradients: Float[np.ndarray, "*n dim"]
    ) -> tuple[Float[np.ndarray, "*n dim"], Float[np.ndarray, "*n dim"]]:
        """The points that are mapped to `y`, and the gradients of the density there."""
        u = self.inverse(y)
        return u, gradients * np.exp(self.log_slope(u)) + self.slope_of_log(u)


def straight(dim: int) -> Warp:
    """The warp that changes nothing."""
    return Warp(np.zeros(dim), np.ones(dim), np.zeros(dim), np.ones(dim))


def _log_cosh(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, -x) - np.log(2.0)
