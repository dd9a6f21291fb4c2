"""`summary`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
import together

import bijectree as bt
from bijectree import tfb


def test_shows_every_sort_of_leaf():
    model = {
        "rate": jnp.array([0.5, 2.0]),
        "shift": jnp.array(1.0),
        "count": 3,
        "link": jnp.tanh,
        "table": jnp.arange(30),
        "parts": jnp.array([0.2, 0.3, 0.5]),
    }
    rules = {"rate": tfb.Exp(), "shift": bt.frozen, "parts": bt.simplex()}
    text = bt.summary(bt.Reparam(model, bt.by_path(model, rules)), model)
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["rate"].split() == (
        "rate (2,) float32 exp positive numbers 2 [0.5, 2]".split()
    )
    assert "simplex" in lines["parts"]
    assert " 2  [0.2, 0.3, 0.5]" in lines["parts"]
    assert lines["shift"].split() == "shift () float32 frozen - - 1".split()
    assert lines["count"].split() == "count - int static - - 3".split()
    assert "tanh" in lines["link"]
    assert "..., 28, 29]" in lines["table"]
    assert text.splitlines()[-1] == (
        "6 leaves: 2 free, 1 frozen, 3 static; 4 free coordinates for 6 parameters"
    )


def test_is_plain_and_the_same_in_any_terminal(monkeypatch):
    model = {"a" * 60: jnp.ones((4, 5)), "b": jnp.array(1.0)}
    reparam = bt.Reparam(model, tfb.Exp())
    plain = bt.summary(reparam, model)
    assert "\x1b" not in plain
    assert f"{'a' * 13}…{'a' * 26} " in plain
    for name, value in {"COLUMNS": "20", "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    assert bt.summary(reparam, model) == plain
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert bt.summary(reparam, model) == plain
    widths = {len(line) for line in plain.splitlines()[:2]}
    assert max(widths) < 200
    assert len(plain.splitlines()) == 2 + 2 + 2


def test_of_joint_dependent_and_tied_leaves():
    model, spec = together.of_each_sort()
    text = bt.summary(bt.Reparam(model, spec), model)
    assert "dependent on alpha" in text
    assert "between 0 and 0.7" in text
    assert "tied to alpha" in text
    assert "ascending joint over knots.x, knots.y" in text
    assert "5 leaves: 4 free, 1 tied, 0 frozen, 0 static; 5 free coordinates" in text


def test_without_leaves():
    assert bt.summary(bt.Reparam((), None), ()) == (
        "0 leaves: 0 free, 0 frozen, 0 static; 0 free coordinates for 0 parameters"
    )


def test_of_one_array_and_of_an_equinox_model(getkey):
    leaf = jnp.array(2.0, jnp.bfloat16)
    assert "(the model)  ()     bfloat16" in bt.summary(bt.Reparam(leaf, None), leaf)
    model = eqx.nn.MLP(2, 1, 3, 1, key=getkey())
    text = bt.summary(bt.Reparam(model, None), model)
    assert "layers.0.weight" in text
    assert "4 free, 0 frozen, 2 static" in text


def test_of_shapes_alone_leaves_values_out():
    model = {"a": jax.ShapeDtypeStruct((2,), jnp.float32), "key": jax.random.key(0)}
    lines = bt.summary(bt.Reparam(model, None), model).splitlines()
    assert lines[2].split()[-1] == "-"
    assert lines[3].split()[-1] == "key<fry>"


def test_names_what_does_not_fit():
    reparam = bt.Reparam({"a": jnp.ones(2)}, None)
    with pytest.raises(ValueError, match=r"'a'.*\(3,\).*\(2,\)"):
        bt.summary(reparam, {"a": jnp.ones(3)})


def test_what_lies_over_all_leaves_is_in_the_last_lines():
    model = {"a": jnp.ones(2), "b": jnp.ones(())}
    reparam = bt.Reparam(model, bt.positive()).then(tfb.Scale(2.0)).then(tfb.Shift(1.0))
    assert bt.summary(reparam, model).splitlines()[-3:] == [
        "2 leaves: 2 free, 0 frozen, 0 static; 3 free coordinates for 3 parameters",
        "then: scale, over all free coordinates",
        "then: shift, over all free coordinates",
    ]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r, m: bt.summary(m, r), "summary: expected a bt.Reparam, got dict"),
        (lambda r, m: bt.check(m, r), r"the arguments are check\(reparam, model\)"),
        (lambda r, m: bt.check(bt.Posterior(r, None), m), "Give its `reparam`"),
        (lambda r, m: bt.summary(bt.Posterior(r, None), m), "Give its `reparam`"),
        (lambda r, m: bt.check({"a": bt.positive()}, m), "check: expected a bt.Reparam"),
        (lambda r, m: bt.dependent("a", bt.affine), r"are dependent\(function, on\)"),
    ],
)
def test_arguments_in_the_wrong_place(call, words):
    model = {"a": jnp.ones(2), "f": jnp.sin}
    with pytest.raises(TypeError, match=words):
        call(bt.Reparam(model, {"a": bt.positive(), "f": None}), model)


def test_a_model_with_functions_in_place_of_its_coordinates():
    model = {"a": jnp.ones(2), "f": jnp.sin}
    posterior = bt.Posterior(bt.Reparam(model, {"a": bt.positive(), "f": None}), None)
    with pytest.raises(ValueError, match="these are not free coordinates"):
        posterior.log_density(model)
