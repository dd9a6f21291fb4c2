"""Specs go to text and back, to the bit, also in another process."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_specs
from catalogue import CATALOGUE
from random_specs import FUNCTIONS, digest, model_of, specs, written

import bijectree as bt
from bijectree import substrate, tfb
from bijectree.learned import flow as flow_module
from bijectree.learned.low_rank import AffineMap
from bijectree.reparam import is_spec_leaf
from bijectree.spec_files import files, items as items_module, load, text
from bijectree.spec_files.same import same_item

pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")


def items(spec: Any) -> dict[str, Any]:
    pairs, _ = jax.tree_util.tree_flatten_with_path(spec, is_leaf=is_spec_leaf)
    return {jax.tree_util.keystr(path): item for path, item in pairs}


def bound_rows(reparam: bt.Reparam) -> list[Any]:
    """The rows of a Reparam with their numbers' bits, wherever these are kept.

    Equal entries of a file are one bijector, which is kept once.
    """
    bound = reparam.bound
    return [
        (
            dataclasses.replace(row, slot=0),
            [_bits(n) for n in bound.numbers[row.slot]] if row.slot >= 0 else [],
        )
        for row in bound.plan.rows
    ]


def _bits(number: Any) -> tuple[Any, ...]:
    array = np.asarray(number)
    return array.dtype.name, array.shape, array.tobytes()


def test_fifty_random_specs_in_another_process(tmp_path):
    expected: dict[str, str] = {}

    @hypothesis.settings(max_examples=50, suppress_health_check=[*hypothesis.HealthCheck])
    @hypothesis.given(specs())
    def write(case: Any) -> None:
        description, spec = case
        model = model_of(description)
        try:
            reparam = bt.Reparam(model, spec)
        except ValueError:
            hypothesis.reject()
        name = f"{len(expected):03}"
        path = tmp_path / f"{name}.toml"
        bt.save_spec(path, spec, functions=FUNCTIONS)
        path.with_suffix(".json").write_text(json.dumps(description))
        expected[name] = digest(written(path))
        # Here: the same items, the same joints, and a Reparam of the same bits.
        back = bt.load_spec(path, model, FUNCTIONS)
        pairs = [
            (a, b)
            for a, b in zip(items(spec).values(), items(back).values(), strict=True)
            if a is not None
        ]
        assert all(b is not None and same_item(a, b) for a, b in pairs)
        assert len({(id(a), id(b)) for a, b in pairs if type(a) is bt_joint}) <= 1
        again = bt.Reparam(model, back)
        assert bound_rows(again) == bound_rows(reparam)

    bt_joint = type(bt.joint(bt.real()))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        write()
    assert len(expected) >= 50
    environment = {**os.environ, "PYTHONHASHSEED": "4321"}
    script = Path(random_specs.__file__)
    run = subprocess.run(
        [sys.executable, script, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert dict(line.split() for line in run.stdout.splitlines()) == expected


def back_and_forth(folder: Path, item: Any, functions: Any = None) -> tuple[Any, str]:
    """An item of a spec after it was written, and the line it was written as."""
    path = folder / "spec.toml"
    bt.save_spec(path, {"x": item}, functions=functions)
    (line,) = (x for x in path.read_text().splitlines() if x.startswith('"x" = '))
    writing = load.Reading(functions or {}, files.read_arrays(path))
    data = text.from_text(line)["x"]
    return items_module.item_of_data(data, writing), line.removeprefix('"x" = ')


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_constraint(name, precision, tmp_path):
    bijector = CATALOGUE[name][0]()
    back, _ = back_and_forth(tmp_path, bijector)
    assert same_item(bijector, back)
    # Taken apart and made again, as a Reparam holds it.
    recipe, numbers = substrate.split(bijector)
    back, _ = back_and_forth(tmp_path, recipe.build(numbers))
    assert same_item(bijector, back)


_TFP = {
    "Ascending": lambda: tfb.Ascending(),
    "Blockwise": lambda: tfb.Blockwise([tfb.Exp(), tfb.Scale(2.0)], [1, 2]),
    "Chain": lambda: tfb.Chain([tfb.Shift(1.0), tfb.Exp()]),
    "Chain named": lambda: tfb.Chain([tfb.Shift(1.0), tfb.Exp()], name="mine"),
    "Chain empty": lambda: tfb.Chain([]),
    "CholeskyOuterProduct": lambda: tfb.CholeskyOuterProduct(),
    "CorrelationCholesky": lambda: tfb.CorrelationCholesky(),
    "Cumsum": lambda: tfb.Cumsum(axis=-2),
    "Exp": lambda: tfb.Exp(name="e"),
    "FillScaleTriL": lambda: tfb.FillScaleTriL(),
    "FillScaleTriL None": lambda: tfb.FillScaleTriL(tfb.Exp(), diag_shift=None),
    "FillTriangular": lambda: tfb.FillTriangular(upper=True),
    "FrechetCDF": lambda: tfb.FrechetCDF(1.0, 2.0, 3.0),
    "GeneralizedExtremeValueCDF": lambda: tfb.GeneralizedExtremeValueCDF(),
    "GeneralizedPareto": lambda: tfb.GeneralizedPareto(1.0, 2.0, 3.0),
    "GompertzCDF": lambda: tfb.GompertzCDF(1.0, 2.0),
    "Householder": lambda: tfb.Householder(jnp.ones(3)),
    "Invert": lambda: tfb.Invert(tfb.Invert(tfb.Chain([tfb.Scale(0.1)]))),
    "JointMap": lambda: tfb.JointMap([tfb.Exp(), tfb.Log()]),
    "KumaraswamyCDF": lambda: tfb.KumaraswamyCDF(1.0, 0.3),
    "Pad": lambda: tfb.Pad(((0, 1),), constant_values=1),
    "Permute": lambda: tfb.Permute([1, 0]),
    "Permute array": lambda: tfb.Permute(jnp.array([1, 0])),
    "Power": lambda: tfb.Power(3.0),
    "PowerTransform": lambda: tfb.PowerTransform(0.3),
    "RationalQuadraticSpline": lambda: tfb.RationalQuadraticSpline(
        jnp.full(4, 0.5), jnp.full(4, 0.5), jnp.ones(3)
    ),
    "Reshape": lambda: tfb.Reshape((2, 2), (4,)),
    "Scale": lambda: tfb.Scale(0.1),
    "Scale int": lambda: tfb.Scale(2),
    "Scale float32": lambda: tfb.Scale(np.float32(0.1)),
    "Scale float64": lambda: tfb.Scale(np.float64(2.1)),
    "Scale list": lambda: tfb.Scale([1.0, 2.0]),
    "Scale NumPy": lambda: tfb.Scale(np.array([1.0, 2.1])),
    "Scale JAX": lambda: tfb.Scale(jnp.array([1.0, 2.1])),
    "Scale long": lambda: tfb.Scale(np.linspace(0.1, 1.0, 20)),
    "Scale log": lambda: tfb.Scale(log_scale=jnp.array(0.1)),
    "ScaleMatvecDiag": lambda: tfb.ScaleMatvecDiag([1.0, 2.0]),
    "ScaleMatvecLU": lambda: tfb.ScaleMatvecLU(jnp.eye(2), jnp.array([1, 0])),
    "ScaleMatvecTriL": lambda: tfb.ScaleMatvecTriL(np.eye(2)),
    "Sigmoid": lambda: tfb.Sigmoid(0.0, 0.75),
    "SinhArcsinh": lambda: tfb.SinhArcsinh(0.1, 1.0),
    "SoftClip": lambda: tfb.SoftClip(0.0, 1.0),
    "Softplus": lambda: tfb.Softplus(low=1e-3, validate_args=True),
    "Split": lambda: tfb.Split([1, 2]),
    "TransformDiagonal": lambda: tfb.TransformDiagonal(tfb.Exp()),
    "Transpose": lambda: tfb.Transpose([1, 0]),
    "Transpose rightmost": lambda: tfb.Transpose(rightmost_transposed_ndims=2),
    "WeibullCDF": lambda: tfb.WeibullCDF(0.1, 0.2),
}


@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", _TFP)
def test_tfp(name, precision, tmp_path):
    bijector = _TFP[name]()
    back, _ = back_and_forth(tmp_path, bijector)
    assert same_item(bijector, back)
    recipe, numbers = substrate.split(bijector)
    back, _ = back_and_forth(tmp_path, recipe.build(numbers))
    assert same_item(bijector, back)


@pytest.mark.parametrize(
    ("bijector", "line"),
    [
        (bt.positive(), '"positive"'),
        (bt.unit_interval(), '{is = "interval", lower = 0.0, upper = 1.0}'),
        (bt.zero_sum(axis=(-2, -1)), '{is = "zero_sum", axis = [-2, -1]}'),
        (tfb.Scale(0.1), '{is = "tfb.Scale", scale = 0.1}'),
        (
            bt.greater_than(np.float32(0.1)),
            '{is = "greater_than", lower = {float32 = 0.1}}',
        ),
        (
            bt.less_than(jnp.array([0.1, 3e-5], jnp.bfloat16)),
            '{is = "less_than", upper = {bfloat16 = [0.1, 3e-05]}}',
        ),
        (
            bt.interval(np.array([-np.inf, -0.0]), [0.0, np.inf]),
            '{is = "interval", lower = [-inf, -0.0], upper = [0.0, inf]}',
        ),
        (
            tfb.Chain([tfb.Exp(), tfb.Invert(tfb.Scale(2.0))]),
            '{is = "tfb.Chain", bijectors = ["tfb.Exp", {is = "tfb.Invert", bijector = '
            '{is = "tfb.Scale", scale = 2.0}}]}',
        ),
        (
            bt.masked(bt.positive(), [True, False]),
            '{is = "masked", bijector = "positive", mask = [true, false]}',
        ),
        (
            bt.location_scale("mu", 2.0, 0.5),
            '{is = "location_scale", loc = "mu", scale = 2.0, centeredness = 0.5}',
        ),
        (bt.tied("a.b"), '{is = "tied", source = "a.b"}'),
        (bt.frozen, '"frozen"'),
    ],
)
def test_what_a_line_looks_like(bijector, line, tmp_path):
    back, found = back_and_forth(tmp_path, bijector)
    assert found == line
    assert same_item(bijector, back)


@pytest.mark.parametrize(
    "value",
    [
        *(0.1, -0.0, 5e-324, 1e22, 1 / 3, np.float32(1 / 3), np.float32(1e-45)),
        *(np.float16(0.1), np.linspace(0, 1, 17), np.zeros((0, 3)), np.zeros(0)),
        np.arange(16.0).reshape(2, 2, 4) / 7,
        jnp.linspace(0.0, 1.0, 17, dtype=jnp.bfloat16),
        np.frombuffer(np.uint64(0x7FEFFFFFFFFFFFFF).tobytes()),  # the largest
    ],
    ids=repr,
)
def test_numbers_come_back_to_the_bit(value, tmp_path):
    bijector = bt.affine(value, 1.0)
    back, _ = back_and_forth(tmp_path, bijector)
    assert same_item(bijector, back)
    path = tmp_path / "spec.toml"
    first = digest(written(path))
    bt.save_spec(path, {"x": back})
    assert digest(written(path)) == first


# Functions, classes and items that a file only names.


def test_functions_have_names(tmp_path):
    model = {"a": jnp.array(0.3), "b": jnp.array(0.5), "c": jnp.ones(2), "d": jnp.ones(2)}
    below = bt.dependent(lambda m: bt.interval(0.0, 1.0 - m["a"]), "a")

    def same(x: Any) -> Any:
        return x

    spec = {"a": bt.unit_interval(), "b": below, "c": None, "d": bt.tied("c", same)}
    path = tmp_path / "spec.toml"
    bt.save_spec(path, spec)
    assert 'function = "b"' in path.read_text()
    assert 'fn = "same"' in path.read_text()
    functions = {"b": below.function, "same": same}
    back = bt.load_spec(path, model, functions)
    assert back["b"].function is below.function
    bt.save_spec(path, spec, functions={"f": below.function, "same": same})
    assert 'function = "f"' in path.read_text()
    # Two of one name, and one of the caller's name.
    twins = [bt.tied("c", lambda x: x), bt.tied("c", lambda x: x + 0)]
    bt.save_spec(path, {"d": [twins[0], twins[1]]}, functions={})
    assert 'fn = "d.0"' in path.read_text()
    assert 'fn = "d.1"' in path.read_text()


def test_functions_of_a_rule_with_wildcards(tmp_path):
    model = {"groups": {g: {"mu": jnp.ones(()), "x": 3 * jnp.ones(2)} for g in "ab"}}

    def above(model: Any, group: str) -> Any:
        return bt.greater_than(model["groups"][group]["mu"])

    spec = bt.by_path(model, {"groups.*.x": bt.dependent(above, "groups.*.mu")})
    path = tmp_path / "spec.toml"
    bt.save_spec(path, spec)
    text_ = path.read_text()
    assert 'function = "above", on = ["groups.b.mu"], stars = ["b"]' in text_
    back = bt.load_spec(path, model, {"above": above})
    plans = [bt.Reparam(model, s).bound.plan for s in (spec, back)]
    assert plans[0] == plans[1]


def test_own_classes_and_whole_items(tmp_path):
    shifted = random_specs.Shifted(np.float32(0.5))
    back, line = back_and_forth(tmp_path, shifted, FUNCTIONS)
    assert line == '{is = "Shifted", shift = 0.5}'
    assert same_item(back, shifted)
    opaque = tfb.RealNVP(1, shift_and_log_scale_fn=lambda x, n: (x, x))
    with pytest.raises(ValueError, match="at 'x': .*; give .* a name: functions="):
        bt.save_spec(tmp_path / "spec.toml", {"x": opaque})
    back, line = back_and_forth(tmp_path, opaque, {"flow": opaque})
    assert line == '{is = "given", name = "flow"}'
    assert back is opaque


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (bt.positive, "got the function positive.*Call it"),
        (bt.tfd.Normal(0.0, 1.0), "got the distribution Normal"),
        (jnp.ones(2), "got float32 array"),
        (tfb.LambertWTail(0.0, 1.0, 0.1), "cannot|read as another|needs the argument"),
    ],
)
@pytest.mark.jax_defaults
def test_what_text_cannot_hold_is_refused_by_path(item, message, tmp_path):
    path = tmp_path / "spec.toml"
    with pytest.raises(ValueError, match=f"at 'x': .*({message})"):
        bt.save_spec(path, {"x": item, "y": bt.positive()})
    assert not [*tmp_path.iterdir()]


def test_traced_numbers_and_double_paths_are_refused(tmp_path):
    path = tmp_path / "spec.toml"

    def save(x: Any) -> Any:
        bt.save_spec(path, {"x": bt.greater_than(x)})
        return x

    with pytest.raises(ValueError, match="traced numbers"):
        jax.jit(save)(1.0)
    with pytest.raises(ValueError, match="two leaves have the path 'a.b'"):
        bt.save_spec(path, {"a.b": bt.positive(), "a": {"b": bt.real()}})


# Reparams.


def fitted_affine(dim: int) -> Any:
    random = np.random.default_rng(0)
    directions = np.linalg.qr(random.normal(size=(dim, 2)))[0]
    scale, root = np.exp(random.normal(size=dim)), np.exp(random.normal(size=2))
    return AffineMap(random.normal(size=dim), scale, directions, root).bijector()


def test_a_fitted_reparam_is_saved_with_its_maps(tmp_path):
    model = {
        "mu": jnp.array(0.5),
        "tau": jnp.array(2.0),
        "theta": jnp.ones(3),
        "parts": jnp.array([[0.2, 0.8, 0.0], [0.2, 0.3, 0.5]]),
        "low": jnp.array(1.0),
        "high": jnp.array(2.0),
        "fixed": jnp.ones(2),
        "copy": jnp.array(2.0),
        "half": jnp.array([1.0, 2.0]),
        "count": 3,
    }
    rules = {
        "tau": bt.positive(),
        "theta": bt.location_scale("mu", "tau", np.array([0.0, 0.5, 1.0])),
        "parts": bt.masked(bt.simplex(), model["parts"] > 0),
        "low": bt.joint(bt.tfb.Ascending(), over=("low", "high")),
        "fixed": bt.frozen,
        "copy": bt.tied("tau"),
        "half": bt.masked(bt.greater_than(np.array([0.5, 1.5])), [False, True]),
    }
    reparam = bt.Reparam(model, bt.by_path(model, rules))
    reparam = reparam.then(tfb.Scale(0.5)).then(fitted_affine(reparam.dim))
    path = tmp_path / "spec.toml"
    bt.save_spec(path, reparam)
    again = bt.Reparam(model, bt.load_spec(path, model))
    assert again.bound.plan == reparam.bound.plan
    numbers = [jax.tree.leaves(r.bound.numbers) for r in (again, reparam)]
    for a, b in zip(*numbers, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    first = digest(written(path))
    bt.save_spec(path, bt.load_spec(path, model))
    assert digest(written(path)) == first


def test_a_fitted_flow_is_saved(tmp_path):
    weights = flow_module.new_weights(jax.random.key(0), 3, 2, 4, jnp.float32)
    flow = flow_module.Flow(tuple(map(substrate.Number, weights)), "autoregressive")
    reparam = bt.Reparam(jnp.ones(3), bt.positive()).then(flow)
    path = tmp_path / "spec.toml"
    bt.save_spec(path, reparam)
    again = bt.Reparam(jnp.ones(3), bt.load_spec(path, jnp.ones(3)))
    free = jnp.array([0.1, -0.5, 1.0])
    assert jnp.array_equal(again.forward(free), reparam.forward(free))
    assert again.bound.plan == reparam.bound.plan


def test_equal_entries_are_one_object(tmp_path):
    model = [jnp.ones(2) for _ in range(4)]
    bt.save_spec(tmp_path / "spec.toml", [bt.interval(0.0, 2.0) for _ in model])
    back = bt.load_spec(tmp_path / "spec.toml", model)
    assert len({id(item) for item in back}) == 1


def test_a_prefix_and_a_whole_model(tmp_path):
    model = {"a": {"b": jnp.ones(2), "c": jnp.ones(3)}, "d": jnp.ones(())}
    path = tmp_path / "spec.toml"
    bt.save_spec(path, {"a": bt.positive(), "d": None})
    back = bt.load_spec(path, model)
    assert back["a"]["b"] is back["a"]["c"]
    assert back["d"] is None
    bt.save_spec(path, bt.positive())
    assert '"" = "positive"' in path.read_text()
    assert bt.load_spec(path, model)["d"].name == "positive"


def test_rules_by_hand(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(
        """\ufeff# by hand
format = 1
[spec]
"**.scale" = "positive"     # any depth
"layers.*.theta" = {is = "location_scale", loc = "layers.*.mu", scale = "layers.*.scale"}
'layers.0' = "frozen"
"layers.1.mu" = "identity"
[spec."last"]
is = "interval"
lower = 0
upper = [
  1,
  2.5,
]
""",
        encoding="utf-8",
    )
    layer = {"mu": jnp.zeros(()), "scale": jnp.ones(()), "theta": jnp.ones(2)}
    model = {"layers": [layer, layer], "last": jnp.array([0.5, 0.5])}
    reparam = bt.Reparam(model, bt.load_spec(path, model))
    assert reparam.dim == 6
    assert reparam.forward(reparam.inverse(model))["last"].tolist() == [0.5, 0.5]
    assert "location_scale on layers.1.mu, layers.1.scale" in repr(reparam)


@pytest.mark.parametrize(
    "bijector",
    [
        bt.sinh_arcsinh(-0.0),
        tfb.Chain([bt.positive(), bt.sinh_arcsinh(1.0, 2.0, skewness=-0.0)]),
        tfb.SinhArcsinh(skewness=-0.0),
        tfb.Shift(-0.0),
        bt.greater_than(-0.0),
    ],
)
def test_minus_zero_is_kept_where_zero_is_the_default(bijector, tmp_path):
    bt.save_spec(tmp_path / "spec.toml", {"a": bijector})
    found = bt.load_spec(tmp_path / "spec.toml", {"a": jnp.ones(3)})["a"]
    assert same_item(found, bijector)
    assert any(np.signbit(x).all() for x in jax.tree.leaves(found) if np.all(x == 0))
