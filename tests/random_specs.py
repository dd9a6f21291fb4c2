"""Random models with random specs, and what another process makes of their files.

Run as a script on a folder of such files, it prints a digest of each spec that it loads.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import bijectree as bt
from bijectree import tfb

# Functions that files name.


def doubled(x: Any) -> Any:
    return x + x


def above_first(model: Any) -> Any:
    first = jax.tree.leaves(model)[0]
    return bt.greater_than(jnp.sum(first) - 10.0)


class Shifted(tfb.AutoCompositeTensorBijector):
    """A user's own bijector, made of numbers."""

    def __init__(self, shift: Any, name: str = "shifted"):
        parameters = dict(locals())
        self.shift = jnp.asarray(shift)
        super().__init__(forward_min_event_ndims=0, parameters=parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        return {}

    def _forward(self, x: Any) -> Any:
        return x + self.shift.astype(x.dtype)

    def _inverse(self, y: Any) -> Any:
        return y - self.shift.astype(y.dtype)

    def _forward_log_det_jacobian(self, x: Any) -> Any:
        return jnp.zeros((), x.dtype)


FUNCTIONS = {"doubled": doubled, "above_first": above_first, "Shifted": Shifted}

# Models, described as JSON.

_NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="."),
    min_size=1,
    max_size=4,
).filter(lambda name: "*" not in name)
_LEAF = st.fixed_dictionaries(
    {
        "shape": st.sampled_from([[], [1], [2], [3], [2, 3], [2, 2], [20], [2, 3, 3]]),
        "dtype": st.sampled_from(["float32", "float16", "float32"]),
    }
)


def _is_leaf(node: Any) -> bool:
    return isinstance(node, dict) and node.keys() == {"shape", "dtype"}


DESCRIPTIONS = st.dictionaries(
    _NAMES,
    st.recursive(
        _LEAF,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3),
            st.dictionaries(_NAMES, inner, min_size=1, max_size=3),
        ),
        max_leaves=4,
    ),
    min_size=1,
    max_size=4,
)


def model_of(description: Any) -> Any:
    """A model of a description."""
    return jax.tree.map(
        lambda leaf: jnp.full(leaf["shape"], 0.5, leaf["dtype"]),
        description,
        is_leaf=_is_leaf,
    )


# Specs.

# What a float16 leaf holds as well, away from the ends of any interval.
_FLOATS = st.floats(-50.0, 50.0, width=64).map(lambda x: x if abs(x) > 1e-3 else 0.5)
_SCALES = st.floats(0.01, 50.0, width=64)


def _array(draw: Any, shape: tuple[int, ...], numbers: Any) -> Any:
    """A number, or an array of numbers that broadcasts to a shape, of some sort."""
    if not draw(st.booleans()):
        return draw(numbers)
    size = int(np.prod(shape, dtype=int))
    values = np.array(draw(st.lists(numbers, min_size=size, max_size=size)))
    sorts = [np.float64, np.float32, jnp.float32, jnp.bfloat16]
    sort = draw(st.sampled_from(sorts))
    array = values.reshape(shape)
    made = array.astype(sort) if sort in sorts[:2] else jnp.asarray(array, sort)
    return made if draw(st.booleans()) or made.ndim == 0 else made[..., :1]


@st.composite
def _bijectors(draw: Any, shape: tuple[int, ...]) -> Any:
    number, scale = (_array(draw, shape, x) for x in (_FLOATS, _SCALES))
    options = [
        bt.positive(),
        bt.positive(via="softplus"),
        bt.greater_than(number),
        bt.less_than(number),
        bt.interval(draw(_FLOATS), 100.0),
        bt.affine(number, scale),
        bt.sinh_arcsinh(number, scale, skewness=draw(_FLOATS) / 100, tailweight=1.1),
        bt.real(),
        tfb.Exp(),
        tfb.Softplus(low=draw(_SCALES)),
        tfb.Sigmoid(-1.0, draw(_SCALES)),
        tfb.Chain([tfb.Shift(draw(_FLOATS)), tfb.Scale(jnp.asarray(scale)), tfb.Exp()]),
        tfb.Chain([tfb.Exp(), tfb.Scale(np.float32(draw(_SCALES)))], name="mine"),
        tfb.Invert(tfb.Softplus(hinge_softness=draw(_SCALES))),
        Shifted(number),
    ]
    if shape and shape[-1] > 1:
        options += [
            bt.simplex(),
            bt.simplex(via="stick_breaking"),
            bt.ordered_vector(),
            bt.ordered_vector(via="softplus"),
            bt.zero_sum(),
            tfb.Ascending(),
            tfb.Permute(draw(st.permutations(range(shape[-1])))),
            tfb.ScaleMatvecDiag(np.linspace(0.5, 2.0, shape[-1])),
        ]
    if len(shape) > 1 and shape[-1] == shape[-2]:
        options += [bt.corr_cholesky(), bt.positive_definite(), tfb.FillScaleTriL()]
    return draw(st.sampled_from(options))


@st.composite
def specs(draw: Any) -> tuple[Any, Any]:
    """A description of a model, and a spec of it; what a spec may hold, not all fits."""
    description = draw(DESCRIPTIONS)
    pairs, treedef = jax.tree_util.tree_flatten_with_path(description, is_leaf=_is_leaf)
    paths = [jax.tree_util.keystr(p, simple=True, separator=".") for p, _ in pairs]
    joint = bt.joint(tfb.Softplus())
    items = []
    for n, (_, leaf) in enumerate(pairs):
        shape = tuple(leaf["shape"])
        bijector = draw(_bijectors(shape))
        mask = np.array(draw(st.lists(st.booleans(), min_size=18, max_size=18)))
        size = int(np.prod(shape, dtype=int))
        masked = None
        if size <= mask.size:
            masked = bt.masked(bt.positive(), mask[:size].reshape(shape))
        earlier = [p for p, (_, x) in zip(paths[:n], pairs, strict=False) if x == leaf]
        others = [*(p for p in paths[:1] if n)]
        options = [None, bt.frozen, bijector, bijector, bijector, masked]
        if leaf["dtype"] == "float32":
            options += [joint]
        if earlier:
            options += [bt.tied(earlier[0]), bt.tied(earlier[0], doubled)]
        if others:
            options += [
                bt.dependent(above_first, others[0]),
                bt.location_scale(others[0], draw(_SCALES), draw(st.floats(0, 1))),
            ]
        items.append(draw(st.sampled_from(options)))
    return description, treedef.unflatten(items)


def digest(files: list[Path]) -> str:
    """Of the bytes of files."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def written(path: Path) -> list[Path]:
    """The files of a spec."""
    beside = path.with_name(path.stem + ".arrays.npz")
    return [path, beside] if beside.exists() else [path]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for place in sorted(folder.glob("*.json")):
        model = model_of(json.loads(place.read_text()))
        spec = bt.load_spec(place.with_suffix(".toml"), model, FUNCTIONS)
        again = folder / f"{place.stem}-again.toml"
        bt.save_spec(again, spec, functions=FUNCTIONS)
        print(place.stem, digest(written(again)))
