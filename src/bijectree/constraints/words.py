"""A bijector in a few words, as tables show it."""

from typing import Any

import numpy as np

from ..substrate import Number, tfb


def words_of(bijector: Any) -> str:
    """The name of a bijector, with what tells its map from others of the same set.

    The links of a chain come in its order, that next to the model first: "a, after b"
    maps by b and then by a.
    """
    if type(bijector) is tfb.Chain and bijector.name == _name_of_chain(bijector):
        return ", after ".join(words_of(link) for link in bijector.bijectors)
    given = getattr(bijector, "parameters", None) or {}
    words = [bijector.name]
    if given.get("via") is not None and given["via"] != _DEFAULTS.get(bijector.name):
        words[0] += f" via {given['via']}"
    scale = given.get("scale")
    if given.get("via") == "softplus" and isinstance(scale, Number):
        value = np.asarray(scale.value)
        shown = f"{value:.3g}" if value.ndim == 0 else f"an array {value.shape}"
        words.append(f"scale {shown}")
    if given.get("order") is not None:
        words.append(f"order {list(given['order'])}")
    return ", ".join(words)


_DEFAULTS = {
    "positive": "exp",
    "greater_than": "exp",
    "less_than": "exp",
    "simplex": "ilr",
    "ordered_vector": "exp",
    "positive_ordered_vector": "exp",
}


def _name_of_chain(chain: Any) -> str:
    """The name that TFP gives a chain."""
    return "_of_".join(["chain", *(link.name for link in chain.bijectors)])
