"""Rules whose value names other leaves by the same wildcards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree.trees import Match

GROUPS = {
    "groups": {
        name: {
            "mu": jnp.array(float(i)),
            "tau": jnp.array(1.0 + i),
            "theta": jnp.array([0.5, 1.5]) * (i + 1),
        }
        for i, name in enumerate("ab")
    },
    "mu": jnp.array(9.0),
}


def same_map(a: bt.Reparam, b: bt.Reparam) -> bool:
    vector = np.linspace(-1.0, 1.0, a.dim).astype("float32")
    assert a.dim == b.dim
    found = [r.forward_and_log_det(r.unravel(jnp.asarray(vector))) for r in (a, b)]
    leaves = [jax.tree.leaves(x) for x in found]
    return all(np.array_equal(x, y) for x, y in zip(*leaves, strict=True))


def by_hand(model, item):
    """Each group with an item of its own."""
    rules = {"**.tau": bt.positive()}
    for name in model["groups"]:
        rules[f"groups.{name}.theta"] = item(name)
    return bt.Reparam(model, bt.by_path(model, rules))


def by_rule(model, key, item):
    return bt.Reparam(model, bt.by_path(model, {"**.tau": bt.positive(), key: item}))


@pytest.mark.parametrize(
    ("key", "loc", "scale"),
    [
        ("groups.*.theta", "groups.*.mu", "groups.*.tau"),
        ("groups.*.th*", "groups.*.mu", "groups.*.tau"),
        ("**.theta", "**.mu", "**.tau"),
        ("*.*.theta", "*.*.mu", "*.*.tau"),
        ("groups.*.theta", "mu", "groups.*.tau"),
        ("groups.*.theta", 0.5, "groups.*.tau"),
    ],
)
def test_location_scale_of_each_group(key, loc, scale):
    item = bt.location_scale(loc, scale, 0.25)

    def one(name: str):
        paths = [
            path
            if not isinstance(path, str) or "*" not in path
            else f"groups.{name}.{path.split('.')[-1]}"
            for path in (loc, scale)
        ]
        return bt.location_scale(*paths, 0.25)

    assert same_map(by_rule(GROUPS, key, item), by_hand(GROUPS, one))


def test_a_function_may_take_what_the_wildcards_stand_for():
    def above(model, group):
        return bt.greater_than(model["groups"][group]["mu"] - 10.0)

    found = by_rule(GROUPS, "groups.*.theta", bt.dependent(above, on="groups.*.mu"))

    def one(name: str):
        return bt.dependent(lambda m: above(m, name), on=f"groups.{name}.mu")

    assert same_map(found, by_hand(GROUPS, one))
    # Each reads its own group, and no other.
    assert "dependent on groups.b.mu" in repr(found)
    assert "groups.a.mu, groups.b.mu" not in repr(found)


def test_an_equal_rule_with_a_function_of_the_group_does_not_retrace():
    def above(model, group):
        return bt.greater_than(model["groups"][group]["mu"] - 10.0)

    traces = []

    @jax.jit
    def forward(reparam, free):
        traces.append(None)
        return reparam.forward(free)

    for _ in range(2):
        item = bt.dependent(above, on="groups.*.mu")
        reparam = by_rule(GROUPS, "groups.*.theta", item)
        forward(reparam, reparam.inverse(GROUPS))
    assert len(traces) == 1


def test_without_a_wildcard_in_the_key_on_names_all():
    model = {**GROUPS, "total": jnp.array(20.0)}

    def above(m):
        return bt.greater_than(sum(g["mu"] for g in m["groups"].values()))

    spec = bt.by_path(model, {"total": bt.dependent(above, on="groups.*.mu")})
    assert "dependent on groups.a.mu, groups.b.mu" in repr(bt.Reparam(model, spec))


def test_tied_leaves_of_each_layer():
    model = {
        "layers": [
            {"weight": i * jnp.ones((2, 3)), "copy": i * jnp.ones((3, 2))}
            for i in range(3)
        ]
    }
    item = bt.tied("layers.*.weight", jnp.transpose)
    reparam = bt.Reparam(model, bt.by_path(model, {"layers.*.copy": item}))
    assert reparam.dim == 18
    found = reparam.forward(reparam.inverse(model))
    for got, layer in zip(found["layers"], model["layers"], strict=True):
        assert np.array_equal(got["copy"], layer["weight"].T)


def test_leaves_under_one_match_have_one_item():
    item = bt.location_scale("groups.*.mu", "groups.*.tau")
    spec = bt.by_path(
        {"groups": [{"mu": jnp.ones(()), "tau": jnp.ones(()), "x": [jnp.ones(2)] * 2}]},
        {"groups.*.x": item},
    )
    assert spec["groups"][0]["x"][0] is spec["groups"][0]["x"][1]
    # What has no wildcard is the same for all.
    plain = bt.location_scale("mu", "groups.a.tau")
    spec = bt.by_path(GROUPS, {"groups.*.theta": plain})
    assert spec["groups"]["a"]["theta"] is plain


@pytest.mark.parametrize(
    ("key", "item", "message"),
    [
        (
            "groups.*.theta",
            bt.location_scale("groups.*.mean", "groups.*.tau"),
            r"at 'groups.a.theta': .* names 'groups.a.mean', which the model lacks; "
            r"nearest paths: .*'groups.a.mu'",
        ),
        (
            "groups.*.theta",
            bt.tied("groups.*.*"),
            r"'groups.\*.\*' has wildcards that the rule 'groups.\*.theta' has not",
        ),
        (
            "groups.*.theta",
            bt.dependent(lambda m: bt.positive(), on="**.mu"),
            r"'\*\*.mu' has wildcards that the rule",
        ),
    ],
)
def test_what_names_nothing_is_an_error_with_candidates(key, item, message):
    with pytest.raises(ValueError, match=message):
        bt.by_path(GROUPS, {key: item})


def test_what_may_name_several_is_an_error_with_candidates():
    model = {
        "a": {"b": {"theta": jnp.ones(()), "mu": jnp.ones(())}, "theta": jnp.ones(())},
        "a_b_c": jnp.ones(()),
        "m_a": jnp.ones(()),
        "m_a_b": jnp.ones(()),
    }
    with pytest.raises(ValueError, match=r"may stand for 'm_a' or 'm_a_b', for '\*_\*'"):
        bt.by_path({**model}, {"*_*": bt.tied("m_*")})
    # Without a wildcard in the key there is no one to be the same as.
    item = bt.location_scale("groups.*.mu", 1.0)
    spec = bt.by_path(GROUPS, {"groups.a.theta": item})
    message = r"'groups.\*.mu' names the leaves 'groups.a.mu', 'groups.b.mu'; name one"
    with pytest.raises(ValueError, match=message):
        bt.Reparam(GROUPS, spec)


@pytest.mark.parametrize(
    ("glob", "path", "other", "expected"),
    [
        ("a.*", "a.b", "c.*", "c.b"),
        ("a.*", "a.b.x.y", "c.*", "c.b"),  # the rule names a node above
        ("*_w", "q_w", "*_v", "q_v"),
        ("**.w", "w", "**.v", "v"),
        ("**.w", "p.q.w", "**.v", "p.q.v"),
        ("**.*.w", "p.q.w", "**.*.v", "p.q.v"),
        ("*.**.w", "p.q.w", "*.v", "p.v"),
        ("*", "a", "*", "a"),
        ("", "", "x", "x"),
    ],
)
def test_match(glob, path, other, expected):
    found, _ = Match(glob, path, {expected: None}).fill([other])
    assert found == {other: expected}


def test_a_label_is_no_path():
    model = {"w": jnp.ones((2, 2)), "v": {"0": jnp.ones(2)}, "n": 3}
    message = (
        r"'w.0.0' names an element of 'w' \(float32 array of shape \(2, 2\)\), and paths "
        r"end at leaves; bt.masked\(bijector, mask\) there"
    )
    with pytest.raises(ValueError, match=message):
        bt.by_path(model, {"w.0.0": bt.frozen})
    with pytest.raises(ValueError, match=r"'v.0.1' names an element of 'v.0'"):
        bt.by_path(model, {"v.0.1": bt.frozen})
    reading = bt.dependent(lambda m: bt.real(), on="w.1")
    with pytest.raises(ValueError, match=r"names 'w.1', which names an element of 'w'"):
        bt.Reparam(model, {"w": None, "v": reading, "n": None})
    with pytest.raises(ValueError, match="matches nothing"):
        bt.by_path(model, {"u.0": bt.frozen})


@pytest.mark.parametrize(
    ("loc", "scale", "mask"),
    [
        ("groups.*.mu", "groups.*.tau", [True, False]),
        ("groups.*.mu", 2.0, [True, False]),
        (0.0, "groups.*.tau", [False, True]),
        ("groups.*.mu", "groups.*.tau", [True, True]),
        ("groups.**.mu", "groups.**.tau", [False, True]),
    ],
)
def test_a_mask_over_what_names_the_leaves_of_its_group(loc, scale, mask):
    group = {"mu": jnp.array(1.0), "tau": jnp.array(2.0), "theta": jnp.ones(2)}
    other = {"mu": jnp.array(3.0), "tau": jnp.array(5.0), "theta": jnp.ones(2)}
    model = {"groups": {"a": group, "b": other}}
    stars = next(x for x in (loc, scale) if isinstance(x, str)).rpartition(".")[0]
    rules = {"**.tau": bt.positive()}
    item = bt.location_scale(loc, scale)
    one = bt.by_path(model, rules | {f"{stars}.theta": bt.masked(item, mask)})
    free = bt.Reparam(model, one).inverse(model)["groups"]
    for name, values in model["groups"].items():
        mu = values["mu"] if isinstance(loc, str) else loc
        tau = values["tau"] if isinstance(scale, str) else scale
        expected = ((values["theta"] - mu) / tau)[np.array(mask)]
        np.testing.assert_allclose(free[name]["theta"], expected, rtol=1e-6)
