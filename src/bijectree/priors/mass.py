"""What a density of numbers integrates to, over the line of a free coordinate."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Nodes and weights of Gauss and Kronrod's pair of rules with 7 and 15 points.
_NODES = np.array(
    [
        *(0.0, 0.20778495500789848, 0.4058451513773972, 0.5860872354676911),
        *(0.7415311855993945, 0.8648644233597691, 0.9491079123427585),
        0.9914553711208126,
    ]
)
_KRONROD = np.array(
    [
        *(0.20948214108472782, 0.20443294007529889, 0.19035057806478542),
        *(0.1690047266392679, 0.14065325971552592, 0.10479001032225019),
        *(0.06309209262997856, 0.022935322010529224),
    ]
)
_GAUSS = np.array(
    [
        *(0.4179591836734694, 0.0, 0.3818300505051189, 0.0),
        *(0.27970539148927664, 0.0, 0.1294849661688697, 0.0),
    ]
)
_X = np.concatenate([-_NODES[:0:-1], _NODES])
_W = np.concatenate([_KRONROD[:0:-1], _KRONROD])
_W_GAUSS = np.concatenate([_GAUSS[:0:-1], _GAUSS])

# How far t goes, in `mass`; into how many panels that is cut; and how often the worst
# panels are halved.
_REACH = 12.0
_PANELS = 48
_ROUNDS = 12
# How many free coordinates one call of the density takes.
POINTS = _PANELS * len(_X)

# A function of free coordinates that gives, for each element of a batch, the log-density,
# which is −∞ where the value has rounded onto an end of its set, and whether it has.
LogDensity = Callable[
    [Float[np.ndarray, "points *batch"]],
    tuple[Float[np.ndarray, "points *batch"], np.ndarray],
]


def mass(
    log_density: LogDensity,
    center: Float[np.ndarray, "*batch"],
    spread: Float[np.ndarray, "*batch"],
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """Integrate the densities of a batch over their free coordinates.

    The rule is adaptive in t, where the free coordinate is center + spread·sinh t. The
    density is extrapolated as an exponential: in the free coordinate from where values
    round onto an end of their set, and in t from the outermost points. A density with a
    pole at an end is just that.

    Args:
        log_density: of free coordinates of shape (720, *batch).
        center: about where most of the mass is.
        spread: about how far it reaches.

    Returns:
        The integrals, and about how far they may be off.
    """
    edges = np.linspace(-_REACH, _REACH, _PANELS + 1)
    panels = np.stack([edges[:-1], edges[1:]], axis=1)
    seen: list[_Panels] = []
    total, error = np.zeros_like(center), np.zeros_like(center)
    for left in reversed(range(_ROUNDS)):
        found = _evaluate(log_density, center, spread, panels)
        seen.append(found)
        bad = found.to_halve() if left else np.zeros(len(panels), bool)
        total = total + found.fine[~bad].sum(axis=0)
        error = error + found.off[~bad].sum(axis=0)
        if not bad.any():
            break
        a, b = panels[bad].T
        halves = [[a, 0.5 * (a + b)], [0.5 * (a + b), b]]
        panels = np.concatenate(np.swapaxes(halves, 1, 2))
        # All calls are of one size: a panel that is not needed has no width.
        spare = np.zeros((_PANELS - len(panels), 2))
        panels = np.concatenate([panels, spare])
    return total + _tails(seen, center), error


class _Panels(NamedTuple):
    """The density in some panels, which are intervals of t.

    Attributes:
        t: the points, panel by panel.
        log_g: the log-density of t.
        rounded: whether the value has rounded onto an end of its set.
        fine: the integral over each panel.
        off: about how far that may be off.
    """

    t: np.ndarray
    log_g: np.ndarray
    rounded: np.ndarray
    fine: np.ndarray
    off: np.ndarray

    def to_halve(self) -> np.ndarray:
        """Which panels to look at more closely, at most half of them."""
        count = len(self.fine)
        off = self.off.reshape(count, -1).max(axis=1)
        # A peak between two points shows by the slopes that lead to it alone.
        log_g = np.nan_to_num(self.log_g, nan=-np.inf).reshape(count, len(_X), -1)
        high, low = log_g.max(axis=1), log_g.min(axis=1)
        # This is no difference, which would be NaN for two that are −∞.
        steep = (high > high.max(axis=0) - 5) & (high > low + 20)
        rank = np.where(steep.any(axis=1), np.inf, off)
        wide = np.ptp(self.t.reshape(count, len(_X)), axis=1) > 1e-9
        chosen = np.zeros(count, bool)
        chosen[np.argsort(rank)[count - count // 2 :]] = True
        return chosen & (rank > _SMALL) & wide


# An error of a panel that need not be halved.
_SMALL = 1e-7


def _evaluate(
    log_density: LogDensity, center: np.ndarray, spread: np.ndarray, panels: np.ndarray
) -> _Panels:
    half = 0.5 * np.diff(panels, axis=1)[:, 0]
    t = (panels.mean(axis=1)[:, None] + half[:, None] * _X).ravel()
    column = t.reshape(-1, *[1] * center.ndim)
    with np.errstate(over="ignore", invalid="ignore"):
        log_f, rounded = log_density(center + spread * np.sinh(column))
        log_g = log_f + np.log(spread * np.cosh(column))
        g = np.exp(log_g).reshape(len(panels), len(_X), *center.shape)
    # A spare panel, without width, may be where the density has a pole.
    wide = half.reshape(-1, *[1] * center.ndim, 1)
    g = wide * np.where(wide > 0, np.moveaxis(g, 1, -1), 0)
    fine = g @ _W
    return _Panels(t, log_g, rounded, fine, np.abs(fine - g @ _W_GAUSS))


def _tails(seen: list[_Panels], center: np.ndarray) -> np.ndarray:
    """What lies beyond the points at both ends, as far as it is exponential there."""
    t = np.concatenate([found.t for found in seen])
    order = np.argsort(t)
    t, columns = t[order], []
    for part in ("log_g", "rounded"):
        column = np.concatenate([getattr(found, part) for found in seen])[order]
        columns.append(column.reshape(len(t), -1))
    found = np.zeros(center.size)
    for element in range(center.size):
        log_g, rounded = (column[:, element] for column in columns)
        held = np.flatnonzero(~rounded & np.isfinite(log_g))
        for ends, outwards in ((held, -1), (held[::-1], 1)):
            if not len(ends):
                continue
            beyond = ends[0] + outwards
            # Where the density is 0 beyond a point, it does not fall: it has ended.
            if not 0 <= beyond < len(t) or rounded[beyond]:
                found[element] += _tail(t, log_g, ends)
    return found.reshape(center.shape)


def _tail(t: np.ndarray, log_g: np.ndarray, inwards: np.ndarray) -> float:
    """What lies beyond the first of some points that lead inwards."""
    end = inwards[0]
    cut_off = abs(t[end]) < _REACH - 1
    # The density is exponential in the free coordinate where values round, else in t.
    x = np.sinh(t) if cut_off else t
    density = log_g - np.log(np.cosh(t)) if cut_off else log_g
    before = inwards[np.argmax(np.abs(x[inwards]) <= 0.8 * abs(x[end]))]
    rise = density[before] - density[end]
    distance = abs(x[end] - x[before])
    if rise <= 0 or distance == 0:
        return 0.0
    return float(np.exp(density[end]) * distance / rise)
