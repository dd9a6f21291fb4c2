"""Paths, globs, and trees that mirror a model."""

import equinox as eqx
import jax
import jax.numpy as jnp
import models
import pytest
from hypothesis import given, strategies as st

import bijectree as bt
from bijectree.trees.paths import _pattern, path_string
from bijectree.trees.prefix import broadcast


def picked(model, *rules):
    """The paths that each rule's value, its number, ends at."""
    tree = bt.by_path(model, {rule: number for number, rule in enumerate(rules)})
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree)
    found = [[] for _ in rules]
    for path, number in pairs:
        found[number].append(path_string(path))
    return found


@pytest.mark.parametrize(
    ("rule", "paths"),
    [
        ("layers.0.scale", ["layers.0.scale"]),
        ("layers.0", ["layers.0.scale", "layers.0.shift"]),
        ("layers.*.scale", ["layers.0.scale", "layers.1.scale"]),
        ("layers.*", [f"layers.{i}.{n}" for i in (0, 1) for n in ("scale", "shift")]),
        ("**.scale", ["layers.0.scale", "layers.1.scale"]),
        ("head.**", ["head.amplitude", "head.power"]),
        ("head.**.power", ["head.power"]),
        ("**.head.power", ["head.power"]),
        ("*.power", ["head.power"]),
        ("**.1.**.shift", ["layers.1.shift"]),
        ("layers.*.s*t", ["layers.0.shift", "layers.1.shift"]),
        ("head.p*", ["head.power"]),
    ],
)
def test_globs(rule, paths):
    assert picked(models.nested(), rule) == [paths]


@pytest.mark.parametrize("rule", ["**", "", "*"])
def test_everything(rule):
    assert len(picked(models.nested(), rule)[0]) == 6  # not the integers


def test_where_functions_name_leaves_nodes_and_several():
    model = models.nested()
    assert picked(model, lambda m: m.head.power) == [["head.power"]]
    assert picked(model, lambda m: m.layers[0]) == [["layers.0.scale", "layers.0.shift"]]
    both = lambda m: (m.head.power, m.layers[1].shift)  # noqa: E731
    assert picked(model, both) == [["layers.1.shift", "head.power"]]


def test_a_later_rule_wins_whatever_its_depth():
    found = picked(models.nested(), "layers", "**.scale", "layers.0")
    assert found == [
        ["layers.1.shift"],
        ["layers.1.scale"],
        ["layers.0.scale", "layers.0.shift"],
    ]


def test_default_and_leaves_that_are_no_inexact_arrays():
    tree = bt.by_path(models.nested(), {"head": "given"}, default="default")
    assert tree.head.power == "given"
    assert tree.layers[0].scale == "default"
    assert tree.count is tree.link is tree.table is tree.maybe is None
    assert type(tree) is models.Nested


def test_none_overrides_a_default():
    tree = bt.by_path({"a": jnp.ones(1), "b": jnp.ones(1)}, {"a": None}, default=1)
    assert tree == {"a": None, "b": 1}


@pytest.mark.parametrize("name", models.ALL)
def test_models_of_every_sort(name):
    model = models.ALL[name]()
    tree = bt.by_path(model, {}, default=1)
    inexact = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    assert jax.tree.leaves(tree) == [1] * len(inexact)


def test_shapes_serve_as_a_model():
    shapes = jax.eval_shape(lambda: {"a": jnp.ones(2), "n": jnp.arange(2)})
    assert bt.by_path(shapes, {"a": 1}) == {"a": 1, "n": None}


def test_every_bad_rule_is_reported_at_once():
    rules = {
        "layers.0.scal": 0,
        "**.powr": 1,
        "count": 2,
        "head.power": 3,
        "table": 4,
        (lambda m: m.head.missing): 5,
        (lambda m: m.maybe): 6,
        "head.*": 7,
    }
    with pytest.raises(ValueError, match="some rules have no effect") as caught:
        bt.by_path(models.nested(), rules)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 7
    assert "'layers.0.scal' matches nothing; nearest paths: 'layers.0.scale'" in lines[0]
    assert "'head.power'" in lines[1]
    assert "'count' matches only leaves that are not inexact" in lines[2]
    assert "'count' (int 7)" in lines[2]
    assert "'head.power' every match is overridden by 'head.*'" in lines[3]
    assert "int32 array of shape (4,)" in lines[4]
    assert "rule 6 (<lambda>) raised AttributeError" in lines[5]
    assert "rule 7 (<lambda>) does not return a part" in lines[6]


def test_a_python_float_is_no_array():
    with pytest.raises(ValueError, match=r"'a' \(float 1.0\); make a number"):
        bt.by_path({"a": 1.0, "b": jnp.ones(1)}, {"a": None})


@pytest.mark.parametrize(
    ("rules", "message"), [([("a", 1)], "rules must map"), ({3: 1}, "got int 3")], ids=str
)
def test_rules_of_the_wrong_type(rules, message):
    with pytest.raises(TypeError, match=message):
        bt.by_path({"a": jnp.ones(1)}, rules)


def test_keys_with_dots_and_stars_match_literally():
    model = {"a.b": jnp.ones(1), "a": {"c": jnp.ones(1)}, "x*": jnp.ones(1)}
    assert picked(model, "a.b") == [["a.b"]]
    assert picked(model, "a") == [["a.c"]]  # the node "a", not the key "a.b"
    assert picked(model, "x*") == [["x*"]]


names = st.sampled_from(["a", "b", "ab", "*", "**", "a*"])


def brute_force(glob: list[str], path: list[str]) -> bool:
    if not glob:
        return not path
    if glob[0] == "**":
        return any(brute_force(glob[1:], path[n:]) for n in range(len(path) + 1))
    if not path:
        return False
    head = glob[0]
    fits = path[0].startswith(head[:-1]) if head.endswith("*") else path[0] == head
    return fits and brute_force(glob[1:], path[1:])


@given(
    st.lists(names, min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=5),
)
def test_globs_agree_with_a_search_segment_by_segment(glob, path):
    found = _pattern(".".join(glob)).fullmatch("." + ".".join(path)) is not None
    assert found == brute_force(glob, path)


def leaf(x):
    return isinstance(x, str)


def test_broadcast_of_a_prefix():
    model = models.nested()
    groups, faults = broadcast(models.Nested("x", "y", None, None, None), model, leaf)
    assert not faults
    assert [group for group in groups if group[0]] == [("x", [0, 1, 2, 3]), ("y", [4, 5])]


@pytest.mark.parametrize(
    ("prefix", "faults"),
    [
        ({"a": "x"}, ["at the root: 'b' is missing"]),
        ({"a": "x", "b": "y", "c": "z"}, ["at the root: 'c' is not in the model"]),
        ({"a": "x", "b": ["y"]}, ["at 'b': got list with ['0'], the model has float32"]),
        ({"a": ("x",), "b": "y"}, ["at 'a': got tuple with ['0'], the model has list"]),
        ({"a": ["x"], "b": "y"}, ["at 'a': '1' is missing"]),
        (["x"], ["at the root: got list with ['0'], the model has dict with ['a', 'b']"]),
    ],
    ids=str,
)
def test_faults_of_a_prefix_say_where_and_what(prefix, faults):
    model = {"a": [jnp.ones(1), jnp.ones(1)], "b": jnp.ones(1)}
    _, found = broadcast(prefix, model, leaf)
    assert len(found) == len(faults)
    for line, start in zip(found, faults, strict=True):
        assert line.startswith(start)


def test_a_static_field_of_a_prefix_does_not_matter():
    prefix = models.Layer("x", "y", name="another")
    groups, faults = broadcast(prefix, models.nested().layers[0], leaf)
    assert (groups, faults) == ([("x", [0]), ("y", [1])], [])


@pytest.mark.jax_defaults  # TFP promotes dtypes
@pytest.mark.parametrize(
    "node",
    [
        bt.tfd.Normal(0.0, 2.0),
        bt.tfb.Scale(2.0),
        bt.tfd.TransformedDistribution(bt.tfd.Normal(0.0, 1.0), bt.tfb.Exp()),
    ],
    ids=["distribution", "bijector", "transformed"],
)
def test_a_model_whose_node_cannot_hold_other_leaves_is_refused(node):
    model = {"d": node, "x": jnp.array(1.0)}
    with pytest.raises(ValueError, match="converts its leaves.*'d'.*as arrays"):
        bt.Reparam(model, {"d": bt.frozen, "x": bt.positive()})


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ("layers.0.name", "layers.0.name"),
        ("**.name", "layers.0.name"),
        ("layers.*.name", "layers.0.name"),
        ("*.*.name", "layers.0.name"),
        ("layers.1.n*", "layers.1.name"),
    ],
)
def test_a_rule_at_a_static_field_says_so(rule, field):
    with pytest.raises(ValueError, match=f"names the static field '{field}' of Layer"):
        bt.by_path(models.nested(), {rule: bt.positive()})
