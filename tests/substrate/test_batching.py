"""Leaves that are mapped together come out as if each were mapped alone."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb

COUNT = 37


@pytest.fixture
def two_groups(monkeypatch):
    """So many leaves of a kind are joined in two groups, which differ in size."""
    monkeypatch.setattr("bijectree.substrate.batching._TOGETHER", 32)


def elementwise(i):
    return jnp.ones((i % 4, 2)[i % 2 :]), bt.positive()


def numbers_that_differ(i):
    return jnp.full(3, i + 0.5), bt.interval(float(i), i + 1.0)


def arrays_of_numbers(i):
    lower = jnp.asarray([0.0, float(i)])
    return lower + 0.5, bt.interval(lower, lower + 1.0)


NUMBERS = [jnp.asarray(x) for x in (0.5, [0.5] * 3, [[0.5], [2.0]], [[0.5] * 3] * 2)]


def numbers_of_other_shapes(i):
    """Of one class, for leaves of one shape: they cannot be stacked."""
    number = NUMBERS[i % 4] * (1 + i)
    make = (
        tfb.Scale,
        lambda n: bt.interval(-n, n),
        lambda n: bt.affine(n, 2.0),
        bt.greater_than,
        lambda n: tfb.Softplus(hinge_softness=n),
        lambda n: tfb.Chain([tfb.Shift(n), tfb.Exp()]),
    )[i // 4 % 6]
    return 0.25 + jnp.broadcast_to(number, (2, 3)), make(number)


def events(i):
    size = 2 + i % 3
    return jnp.full(size, 1 / size), bt.simplex()


def matrices(i):
    return jnp.eye(3) * (i + 1.0), bt.positive_definite()


def mixed(i):
    return (elementwise, numbers_that_differ, events, matrices)[i % 4](i)


def scalars_and_large(i):
    return jnp.ones(() if i % 5 else 2_000), tfb.Softplus()


CASES = (
    mixed,
    scalars_and_large,
    arrays_of_numbers,
    numbers_of_other_shapes,
    *(
        pytest.param(case, marks=pytest.mark.slow)
        for case in (elementwise, numbers_that_differ, events, matrices)
    ),
)


@pytest.mark.usefixtures("two_groups")
@pytest.mark.parametrize(
    "dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"]
)
@pytest.mark.parametrize("case", CASES)
def test_together_is_one_by_one(case, dtype, getkey):
    with jax.enable_x64(dtype == "float64"):
        pairs = [case(i) for i in range(COUNT)]
        model = [x.astype(dtype) for x, _ in pairs]
        spec = [bijector for _, bijector in pairs]
        reparam = bt.Reparam(model, spec)
        free = reparam.unravel(jax.random.normal(getkey(), (reparam.dim,), dtype))
        forward = jax.jit(reparam.forward_and_log_det)(free)
        # what is not traced is mapped leaf by leaf
        assert_close(forward, reparam.forward_and_log_det(free), 300)
        assert_close(
            jax.jit(reparam.inverse)(forward[0]), reparam.inverse(forward[0]), 1e4
        )

        gradient = jax.jit(jax.grad(functools.partial(loss, reparam)))(free)
        for i in range(0, COUNT, 18):
            alone = functools.partial(loss, bt.Reparam([model[i]], [spec[i]]))
            assert_close(gradient[i], jax.grad(alone)([free[i]])[0], 1e3)


def loss(reparam, free):
    model, log_det = reparam.forward_and_log_det(free)
    return sum(jnp.sum(jnp.sin(x)) for x in model) + log_det


def assert_close(got, expected, ulps):
    for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        tolerance = ulps * float(jnp.finfo(a.dtype).eps)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("two_groups")
def test_half_precision_together_is_one_by_one():
    model = [jnp.full(3, 0.1 * i, jnp.bfloat16) for i in range(1, COUNT)]
    reparam = bt.Reparam(model, bt.positive())
    free = reparam.inverse(model)
    assert all(x.dtype == jnp.bfloat16 for x in free)
    found, expected = jax.jit(reparam.forward)(free), reparam.forward(free)
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


def test_what_does_not_depend_goes_together_and_what_does_follows():
    model = {f"a{i}": jnp.full(2, 0.1 * (i + 1)) for i in range(20)}
    model["top"] = jnp.asarray(5.0)
    spec = {**dict.fromkeys(model, bt.positive())}
    spec["top"] = bt.dependent(lambda m: bt.greater_than(m["a19"].max()), on=("a19",))
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(model)
    back, log_det = jax.jit(reparam.forward_and_log_det)(free)
    for a, b in zip(*map(jax.tree.leaves, (back, model)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    expected = sum(np.log(np.asarray(x)).sum() for k, x in model.items() if k != "top")
    np.testing.assert_allclose(log_det, expected + np.log(3.0), rtol=1e-5)


def places(x):
    return 1.0 + jnp.arange(x.shape[-1], dtype=x.dtype)


def by_place():
    return tfb.Inline(
        forward_fn=lambda x: x * places(x),
        inverse_fn=lambda y: y / places(y),
        forward_log_det_jacobian_fn=lambda x: jnp.log(places(x)) + 0 * x,
        forward_min_event_ndims=0,
    )


class Factors(tfb.Bijector):
    """A user's bijector that keeps one number an element."""

    def __init__(self, factors):
        super().__init__(forward_min_event_ndims=0, name="factors")
        self.factors = factors

    def _forward(self, x):
        return jnp.asarray(self.factors, x.dtype) * x

    def _inverse(self, y):
        return y / jnp.asarray(self.factors, y.dtype)

    def _forward_log_det_jacobian(self, x):
        return jnp.log(jnp.asarray(self.factors, x.dtype))


class Composite(tfb.AutoCompositeTensorBijector):
    """The same as TFP asks for: a list stays in the structure."""

    def __init__(self, factors, name="composite"):
        parameters = dict(locals())
        self.factors = factors
        super().__init__(forward_min_event_ndims=0, parameters=parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    _forward = Factors._forward
    _inverse = Factors._inverse
    _forward_log_det_jacobian = Factors._forward_log_det_jacobian


@pytest.mark.parametrize(
    "bijector",
    [
        by_place(),
        tfb.Chain([tfb.Scale(2.0), by_place()]),
        tfb.Invert(by_place()),
        Factors([1.0, 2.0, 3.0]),
        Factors(jnp.array([1.0, 2.0, 3.0])),
        Composite([1.0, 2.0, 3.0]),
        Composite(np.array([1.0, 2.0, 3.0])),
        tfb.Scale(np.array([1, 2, 3], np.int32)),
        tfb.Inline(  # declares too few event axes
            forward_fn=jnp.cumsum,
            inverse_fn=lambda y: jnp.diff(y, prepend=0.0),
            forward_log_det_jacobian_fn=jnp.zeros_like,
            forward_min_event_ndims=0,
        ),
    ],
    ids=lambda b: b.name,
)
def test_what_may_know_places_is_mapped_leaf_by_leaf(bijector):
    model = {key: 0.1 * jnp.arange(1.0, 4.0) for key in "abcdef"}
    reparam = bt.Reparam(model, bijector, verify=False)
    expected = reparam.forward_and_log_det(model)
    assert_close(jax.jit(reparam.forward_and_log_det)(model), expected, 10)
    alone = bt.Reparam(model["a"], bijector, verify=False)
    one, log_det = alone.forward_and_log_det(model["a"])
    assert_close(expected, (dict.fromkeys(model, one), 6 * log_det), 10)
    assert_close(jax.jit(reparam.inverse)(expected[0]), model, 100)


@pytest.mark.parametrize("count", [1, 6])
def test_a_reparam_made_under_vmap_is_refused_outside(count):
    model = [jnp.array(2.0)] * count
    bounds = jnp.array([0.0, 0.5, 1.0])
    make = eqx.filter_vmap(lambda bound: bt.Reparam(model, bt.greater_than(bound)))
    reparam = make(bounds)
    free = [jnp.array(0.1)] * count
    each = eqx.filter_vmap(lambda r: r.forward(free)[-1])(reparam)
    np.testing.assert_allclose(each, bounds + np.exp(0.1), rtol=1e-6)
    for function in (reparam.forward, jax.jit(reparam.forward_log_det_jacobian)):
        with pytest.raises(
            ValueError, match=r"'0': got numbers of shape \(3,\), bound with"
        ):
            function(free)


MEMBERS = {
    "interval": lambda u: bt.interval(0.0, u),
    "greater_than": lambda u: bt.greater_than(-u),
    "affine": lambda u: bt.affine(0.0, u),
    "scale": tfb.Scale,
    "chain": lambda u: tfb.Chain([tfb.Shift(u), tfb.Exp()]),
    "scaled softplus": lambda u: bt.positive(via="softplus", scale=u),
}


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("name", MEMBERS)
def test_an_ensemble_called_alone_is_refused_whatever_fits_its_numbers(name, shape):
    """The numbers of three members would broadcast against a leaf of three elements."""
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    make = eqx.filter_vmap(lambda number: bt.Reparam(leaf, MEMBERS[name](number)))
    reparam = make(jnp.array([1.0, 2.0, 3.0]))
    for call, value in (
        (reparam.forward, 0.0),
        (reparam.forward_and_log_det, 0.0),
        (reparam.inverse, 5.5),
    ):
        with pytest.raises(ValueError, match="made under vmap"):
            call(jnp.full(shape, value, jnp.float32))


@pytest.mark.usefixtures("two_groups")
def test_a_nan_stays_in_its_leaf():
    model = [jnp.arange(1.0, 4.0) for _ in range(COUNT)]
    for bijector in (bt.positive(), bt.ordered_vector()):
        reparam = bt.Reparam(model, bijector, verify=False)
        free = [jnp.zeros(3) for _ in model]
        free[17] = jnp.full(3, jnp.nan)
        found = jax.jit(reparam.forward)(free)
        assert [i for i, x in enumerate(found) if jnp.isnan(x).any()] == [17]


def test_equations_grow_with_kinds_of_leaf_not_with_leaves():
    def logs(n):
        model = {f"{i:03d}": jnp.ones(3) for i in range(n)}
        reparam = bt.Reparam(model, tfb.Softplus())
        gradient = jax.grad(lambda free: reparam.forward_and_log_det(free)[1])
        jaxpr = eqx.filter_make_jaxpr(gradient)(reparam.inverse(model))[0]
        text = str(jaxpr)
        return text.count("log1p")

    assert logs(128) == logs(64)  # one function, called twice
    assert logs(640) == logs(64)


def test_compiled_fusions_grow_with_groups_not_with_leaves():
    def exponentials(n):
        model = {f"{i:03d}": jnp.ones(3) for i in range(n)}
        reparam = bt.Reparam(model, tfb.Softplus())
        free = reparam.inverse(model)
        text = jax.jit(reparam.forward).lower(free).compile().as_text()
        return text.count(" exponential(")

    assert exponentials(64) == exponentials(16)
    assert exponentials(640) == 10 * exponentials(16)


def of_many(count=12):
    """A loss of leaves that are joined where one device has them, and coordinates."""
    model = [jnp.linspace(0.2, 0.8, 1 + i % 3) for i in range(count)]
    reparam = bt.Reparam(model, bt.interval(0.0, 1.0))
    return functools.partial(loss, reparam), reparam.inverse(model)


def descend(function, start):
    """Steps along gradients, in a loop whose carry keeps its type."""

    def step(free, _):
        gradient = jax.grad(function)(free)
        return jax.tree.map(lambda x, g: x - 0.1 * g, free, gradient), None

    return jax.lax.scan(step, start, length=3)[0]


@pytest.mark.parametrize("check_vma", [True, False])
def test_leaves_in_shard_map_keep_the_axes_of_their_types(check_vma):
    function, free = of_many()
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(
        lambda stacks: jax.vmap(functools.partial(descend, function))(stacks),
        mesh=mesh,
        in_specs=jax.P("i"),
        out_specs=jax.P("i"),
        check_vma=check_vma,
    )
    found = jax.jit(mapped)([x[None] for x in free])
    for got, expected in zip(found, descend(function, free), strict=True):
        np.testing.assert_allclose(got[0], expected, rtol=1e-5)


def test_leaves_with_explicit_axes_keep_them():
    function, free = of_many()
    explicit = jax.sharding.AxisType.Explicit
    mesh = jax.make_mesh((1,), ("i",), axis_types=(explicit,))
    sharding = jax.NamedSharding(mesh, jax.P("i"))
    with jax.set_mesh(mesh):
        placed = [jax.device_put(x, sharding) for x in free]
        stacks = [jax.device_put(jnp.stack([x, x]), sharding) for x in free]
        one = jax.jit(jax.grad(function))(placed)
        two = jax.jit(jax.vmap(jax.grad(function)))(stacks)
    assert all(x.sharding.spec[0] == "i" for x in (*one, *two))
    for a, b, expected in zip(one, two, jax.grad(function)(free), strict=True):
        np.testing.assert_allclose(a, expected, rtol=1e-5)
        np.testing.assert_allclose(b[1], expected, rtol=1e-5)


V = np.ones(3, np.float32)
OTHER_SHAPES = {
    "scale": [tfb.Scale(2.0), tfb.Scale(2.0), tfb.Scale(2 * V), tfb.Scale(2 * V)],
    "interval": [bt.interval(0.0, 1.0)] * 2 + [bt.interval(0 * V, V)] * 2,
    "affine": [bt.affine(0.0, 2.0), bt.affine(V, 2 * V), bt.affine(V, 2.0)] * 2,
    "softplus": [tfb.Softplus(low=0.1), tfb.Softplus(low=0.1 * V)] * 2,
    "chain": [tfb.Chain([tfb.Shift(s), tfb.Exp()]) for s in (0.1, 0.1 * V, 0.1, 0.1 * V)],
    "one column": [bt.interval(0.0, V[:1])] * 2 + [bt.interval(0.0, 1.0)] * 2,
}


@pytest.mark.parametrize("name", OTHER_SHAPES)
def test_leaves_of_one_class_with_numbers_of_other_shapes(name):
    """As an argument of `jit` too, where shapes are all that is known."""
    spec = {f"leaf{i}": item for i, item in enumerate(OTHER_SHAPES[name])}
    model = dict.fromkeys(spec, jnp.full(3, 0.5))
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(model)
    by_leaf = sum(
        bt.Reparam({"x": model[k]}, {"x": item}).forward_log_det_jacobian({"x": free[k]})
        for k, item in spec.items()
    )
    for forward in (
        bt.Reparam.forward_and_log_det,
        jax.jit(bt.Reparam.forward_and_log_det),
    ):
        back, log_det = forward(reparam, free)
        np.testing.assert_allclose(log_det, by_leaf, rtol=1e-6)
        for k, value in model.items():
            np.testing.assert_allclose(back[k], value, rtol=1e-6)
