"""Run by test_scale.py in a process of its own, which has eight devices."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

import bijectree as bt
from bijectree import tfd
from bijectree.numerics.fingerprint import (
    fingerprint,
    fingerprint_by_turns,
    fingerprint_of_large,
)
from bijectree.sampling import chains_on_devices

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes

AUTO, EXPLICIT = (
    jax.make_mesh((2, 4), ("data", "model"), axis_types=(axis_type,) * 2)
    for axis_type in (jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit)
)
EVERYWHERE = ("all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def sharding(*axes, mesh=AUTO):
    return NamedSharding(mesh, P(*axes))


def noise(*shape):
    return jax.random.normal(jax.random.key(sum(shape)), shape)


# By leaf: its bijector, its value and how it is sharded.
LEAVES = {
    "scale": (bt.positive(), jnp.exp(noise(64, 32)), ("data", "model")),
    "soft": (bt.positive(via="softplus"), jnp.exp(noise(64)), ("model",)),
    "share": (bt.interval(0.0, 1.0), jax.nn.sigmoid(noise(16, 8)), (None, "model")),
    "weight": (None, noise(32, 16), ("model", None)),
    "large": (bt.tfb.Exp(), jnp.exp(noise(1024, 64)), ("model", "data")),
    "angle": (bt.circular(), noise(8), ("data",)),
    "parts": (bt.simplex(), jax.nn.softmax(noise(16, 5)), ("model", None)),
    "ends": (
        bt.ordered_vector(),
        jnp.cumsum(jnp.exp(noise(8, 4)), 1),
        (AUTO.axis_names,),
    ),
    "plus": (
        bt.positive_ordered_vector(),
        jnp.cumsum(jnp.exp(noise(8, 4)), 1),
        ("data",),
    ),
    "on": (
        bt.sphere(),
        noise(8, 5) / jnp.linalg.norm(noise(8, 5), axis=1)[:, None],
        ("data",),
    ),
    "sums": (bt.zero_sum(), noise(8, 5) - noise(8, 5).mean(1)[:, None], ("data",)),
    "corr": (bt.corr_cholesky(), jnp.broadcast_to(jnp.eye(3), (8, 3, 3)), ("data",)),
    "matrix": (bt.corr_matrix(), jnp.broadcast_to(jnp.eye(3), (8, 3, 3)), ("data",)),
    "factor": (bt.lower_cholesky(), jnp.broadcast_to(jnp.eye(3), (8, 3, 3)), ("data",)),
    "cov": (bt.positive_definite(), jnp.broadcast_to(jnp.eye(3), (8, 3, 3)), ("data",)),
    "sticks": (bt.tfb.IteratedSigmoidCentered(), jax.nn.softmax(noise(8, 5)), ("data",)),
    "lower": (bt.tfb.FillScaleTriL(), jnp.broadcast_to(jnp.eye(3), (8, 3, 3)), ("data",)),
}
SPEC = {name: bijector for name, (bijector, *_) in LEAVES.items()}
WHOLE = {name: value for name, (_, value, _) in LEAVES.items()}
SHARDINGS = {name: sharding(*axes) for name, (*_, axes) in LEAVES.items()}


def sharded(mesh=AUTO):
    axes = {name: sharding(*axes, mesh=mesh) for name, (*_, axes) in LEAVES.items()}
    return jax.device_put(WHOLE, axes)


@pytest.fixture(params=[AUTO, EXPLICIT], ids=["auto", "explicit"])
def mesh(request):
    """With shardings that XLA propagates, and with those that are part of the type."""
    return request.param


def loss(model):
    return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(model))


def training(reparam, inner=None):
    optimizer = bt.reparameterize(inner or optax.adam(1e-2), reparam)

    def step(model, state):
        updates, state = optimizer.update(jax.grad(loss)(model), state, model)
        return optax.apply_updates(model, updates), state

    return optimizer, step


def assert_scalars_alone_are_moved(function, *args, scalars):
    text = jax.jit(function).lower(*args).compile().as_text()
    for name in EVERYWHERE:
        assert not re.search(rf" {name}(?:-start)?\(", text), name
    reduced = re.findall(r" = (.*) all-reduce(?:-start)?\(", text)
    shapes = re.findall(r"\w+\[([\d,]*)\]", " ".join(reduced))
    assert set(shapes) <= {""}, reduced
    assert bool(reduced) == scalars


def assert_kept(tree, *, like=SHARDINGS):
    like = {name: like[name] for name in tree}
    leaves, structure = jax.tree.flatten(tree, is_leaf=lambda x: x is None)
    for x, expected in zip(leaves, structure.flatten_up_to(like), strict=True):
        if x is not None:
            assert x.sharding.is_equivalent_to(expected, x.ndim), (x.shape, x.sharding)


def assert_close(got, want):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), got, want
    )


def test_eight_devices():
    assert jax.device_count() == 8


def test_shardings_are_kept_and_scalars_alone_are_moved(mesh):
    model, reparam = sharded(mesh), bt.Reparam(WHOLE, SPEC)
    free = reparam.inverse(model)
    assert_kept(free)
    assert_kept(jax.jit(reparam.inverse)(model))
    assert_kept(jax.jit(reparam.forward)(free))
    assert_scalars_alone_are_moved(reparam.inverse, model, scalars=False)
    assert_scalars_alone_are_moved(reparam.forward, free, scalars=False)
    assert_scalars_alone_are_moved(reparam.forward_and_log_det, free, scalars=True)

    def density(free):
        model, log_det = reparam.forward_and_log_det(free)
        return loss(model) + log_det

    assert_scalars_alone_are_moved(jax.value_and_grad(density), free, scalars=True)
    assert_kept(jax.jit(jax.grad(density))(free))
    whole = reparam.inverse(WHOLE)
    assert_close(free, whole)
    assert_close(jax.jit(density)(free), density(whole))
    assert_close(jax.jit(jax.grad(density))(free), jax.grad(density)(whole))


def test_a_posterior_moves_scalars_alone():
    priors = {"scale": tfd.LogNormal(0.0, 1.0), "share": tfd.Beta(2.0, 2.0)}
    posterior = bt.Posterior(
        bt.Reparam(WHOLE, SPEC), lambda m: -loss(m), prior=bt.by_path(WHOLE, priors)
    )
    free = posterior.reparam.inverse(sharded())
    density = posterior.log_density
    assert_scalars_alone_are_moved(jax.value_and_grad(density), free, scalars=True)
    assert_kept(jax.jit(jax.grad(density))(free))
    one = posterior.log_density(posterior.reparam.inverse(WHOLE))
    np.testing.assert_allclose(posterior.log_density(free), one, rtol=1e-5)


def test_a_likelihood_of_sharded_data_moves_scalars_alone(mesh):
    there = sharding("data", "model", mesh=mesh)
    model = jax.device_put({"rate": jnp.ones((16, 8))}, there)
    y = jax.device_put(jnp.exp(noise(16, 8)), there)

    def log_likelihood(model, y):
        return tfd.Exponential(model["rate"]).log_prob(y).sum()

    reparam = bt.Reparam(model, bt.positive())
    posterior = bt.Posterior(reparam, log_likelihood, prior={"rate": tfd.Gamma(2.0, 1.0)})
    function, free = jax.value_and_grad(posterior.log_density), reparam.inverse(model)
    assert_scalars_alone_are_moved(function, free, y, scalars=True)
    assert_kept(jax.jit(function)(free, y)[1], like={"rate": there})


def test_small_leaves_of_one_kind_are_not_brought_together():
    model = {f"x{i}": jnp.exp(noise(8 * (1 + i % 3))) for i in range(12)}
    reparam = bt.Reparam(model, bt.positive())
    split = jax.device_put(model, sharding("data"))
    assert_scalars_alone_are_moved(reparam.inverse, split, scalars=False)
    free = reparam.inverse(split)
    assert_scalars_alone_are_moved(reparam.forward_and_log_det, free, scalars=True)


def test_an_optimizers_state_is_sharded_like_the_parameters(mesh):
    model, reparam = sharded(mesh), bt.Reparam(WHOLE, SPEC)
    optimizer, step = training(reparam)
    state = optimizer.init(model)
    for x in jax.tree.leaves(state):  # the count, too: a checkpoint keeps its place
        assert x.committed
        assert len(x.sharding.device_set) == 8
    assert_scalars_alone_are_moved(step, model, state, scalars=True)
    step = jax.jit(step, donate_argnums=(0, 1))
    there = jax.jit(step)
    one, one_state = WHOLE, optimizer.init(WHOLE)
    for _ in range(3):
        model, state = step(model, state)
        one, one_state = there(one, one_state)
        assert_kept(model)
        for tree in (state.free, state.inner[0].mu, state.inner[0].nu):
            assert_kept(tree)
    assert_close(model, one)
    assert_close(state.free, one_state.free)
    np.testing.assert_array_equal(state.fingerprints.shape, one_state.fingerprints.shape)


@pytest.mark.parametrize("bijector", [bt.positive(), bt.interval(0.0, 4.0)])
def test_a_donated_step_holds_little_more_than_plain_optax(bijector):
    model = {f"x{i}": jnp.full(800_000, 1.5) for i in range(4)}
    model = jax.device_put(model, sharding(AUTO.axis_names))
    reparam = bt.Reparam(model, bijector)
    optimizer, plain = bt.reparameterize(optax.adam(1e-2), reparam), optax.adam(1e-2)
    free = reparam.inverse(model)

    def held(optimizer, loss, params):
        def step(params, state):
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return optax.apply_updates(params, updates), state

        step = jax.jit(step, donate_argnums=(0, 1))
        memory = step.lower(params, optimizer.init(params)).compile().memory_analysis()
        copied = memory.output_size_in_bytes - memory.alias_size_in_bytes
        assert copied < 1000  # the count, the marks and where all arrays are
        return memory.temp_size_in_bytes

    extra = held(optimizer, loss, model) - held(plain, reparam.compose(loss), free)
    leaf = model["x0"].nbytes / jax.device_count()
    assert extra <= 1.1 * leaf


def test_a_line_searchs_state_is_sharded_like_the_parameters():
    # Not with explicit axes, which optax's own products do not take.
    there = {"w": sharding("data", "model"), "v": sharding()}
    model = jax.device_put({"w": jnp.exp(noise(16, 8)), "v": jnp.ones(4)}, there)
    reparam = bt.Reparam(model, bt.positive())
    optimizer = bt.reparameterize(optax.lbfgs(memory_size=3), reparam)

    @jax.jit
    def step(model, state):
        value, grad = jax.value_and_grad(loss)(model)
        updates, state = optimizer.update(
            grad, state, model, value=value, grad=grad, value_fn=loss
        )
        return optax.apply_updates(model, updates), state

    state = optimizer.init(model)
    history = {n: sharding(None, *x.spec) for n, x in there.items()}
    for _ in range(2):
        memory, _, search = state.inner
        assert_kept(memory.diff_params_memory, like=history)
        assert_kept(memory.diff_updates_memory, like=history)
        assert_kept(search.grad, like=there)
        assert_kept(state.free, like=there)
        model, state = step(model, state)
        assert_kept(model, like=there)


def test_clipping_and_decay_move_scalars_alone(mesh):
    names = ("scale", "weight", "parts")
    model = {name: sharded(mesh)[name] for name in names}
    reparam = bt.Reparam({n: WHOLE[n] for n in names}, {n: SPEC[n] for n in names})
    inner = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2))
    optimizer, step = training(reparam, inner)
    state = optimizer.init(model)
    assert_scalars_alone_are_moved(step, model, state, scalars=True)
    model, state = jax.jit(step)(model, state)
    assert_kept(model)
    assert_kept(state.free)


def test_a_count_lies_on_all_devices_where_there_are_two_meshes():
    all_in_one = jax.make_mesh((8,), ("all",), axis_types=AUTO.axis_types[:1])
    there = {"a": sharding("data"), "b": sharding("all", mesh=all_in_one)}
    model = jax.device_put({"a": jnp.ones(8), "b": jnp.ones(8)}, there)
    optimizer, step = training(bt.Reparam(model, bt.positive()))
    state = optimizer.init(model)
    for x in jax.tree.leaves(state):
        assert x.committed
        assert len(x.sharding.device_set) == 8
    model, _ = jax.jit(step)(model, state)
    assert all(len(x.sharding.device_set) == 8 for x in jax.tree.leaves(model))


def test_a_state_made_under_jit_is_sharded_where_it_depends_on_the_parameters(mesh):
    names = ("scale", "share", "parts", "cov")
    model = {name: sharded(mesh)[name] for name in names}
    reparam = bt.Reparam({n: WHOLE[n] for n in names}, {n: SPEC[n] for n in names})
    optimizer, _ = training(reparam)
    assert_kept(jax.jit(optimizer.init)(model).free)
    # The values are looked at where they lie.
    start = jax.jit(lambda model: optimizer.init(model).free)
    assert_scalars_alone_are_moved(start, model, scalars=True)
    outside = dict(model, share=model["share"] + 1.0)
    assert jnp.isnan(start(outside)["share"]).all()
    with pytest.raises(bt.SupportError, match="'share'"):
        optimizer.init(outside)


def test_in_a_context_with_explicit_axes():
    model, reparam = sharded(EXPLICIT), bt.Reparam(WHOLE, SPEC)
    free = reparam.inverse(sharded())
    with jax.set_mesh(EXPLICIT):
        assert_close(reparam.inverse(model), free)
        found = jax.jit(reparam.forward)(reparam.inverse(model))
    assert_kept(found)


# Leaves that others set, that are tied, frozen, or bounded by arrays.
RELATED = {
    "between": jnp.full((16, 8), 0.4),
    "below": jnp.full((16, 8), 0.4),
    "mu": jnp.linspace(-1.0, 1.0, 8),
    "tau": jnp.linspace(0.5, 2.0, 8),
    "theta": jnp.linspace(2.0, 3.0, 8),
    "part": jnp.full((16, 8), 0.3),
    "rest": jnp.full((16, 8), 0.5),
    "held": noise(16, 8),
    "weight": noise(8, 16),
    "mirror": noise(8, 16).T,
    "pair": {"first": jnp.array([0.5, 1.0]), "last": jnp.array([2.0, 3.0])},
}


def related_spec(mesh=None):
    ends = jnp.zeros((16, 8)), jnp.linspace(1.0, 2.0, 128).reshape(16, 8)
    if mesh is not None:
        ends = jax.device_put(ends, sharding("data", "model", mesh=mesh))
    return {
        "between": bt.interval(*ends),
        "below": bt.less_than(jnp.linspace(1.0, 2.0, 8)),  # nobody has placed it
        "mu": None,
        "tau": bt.positive(),
        "theta": bt.location_scale("mu", "tau"),
        "part": bt.unit_interval(),
        "rest": bt.dependent(lambda m: bt.tfb.Sigmoid(0.0, 1 - m["part"]), on=("part",)),
        "held": bt.frozen,
        "weight": None,
        "mirror": bt.tied("weight", fn=jnp.transpose),
        "pair": bt.joint(bt.positive_ordered_vector()),
    }


def related_shardings(mesh):
    rows = sharding("data", "model", mesh=mesh)
    columns = sharding("data", mesh=mesh)
    whole = sharding(mesh=mesh)
    there = {n: columns if n in ("mu", "tau", "theta") else rows for n in RELATED}
    there["mirror"] = sharding("model", "data", mesh=mesh)
    there["pair"] = {"first": whole, "last": whole}
    return there


@pytest.mark.parametrize(
    ("mesh", "context"), [(AUTO, False), (EXPLICIT, False), (EXPLICIT, True)]
)
def test_leaves_that_are_bound_to_others_are_not_moved(mesh, context):
    there = related_shardings(mesh)
    one = bt.Reparam(RELATED, related_spec())
    expected, log_det = one.forward_and_log_det(one.inverse(RELATED))
    with jax.set_mesh(mesh) if context else contextlib.nullcontext():
        model = jax.device_put(RELATED, there)
        reparam = bt.Reparam(model, related_spec(mesh))
        free = reparam.inverse(model)
        assert_kept(free, like=there)
        # What is closed over is whole on each device, so the Reparam is an argument.
        assert_kept(jax.jit(lambda r, free: r.forward(free))(reparam, free), like=there)
        function = reparam.forward_and_log_det
        assert_scalars_alone_are_moved(function, free, scalars=True)
        assert_close(function(free), (expected, log_det))
        optimizer, step = training(reparam)
        state = optimizer.init(model)
        assert_scalars_alone_are_moved(step, model, state, scalars=True)
        updates, _ = jax.jit(optimizer.update)(model, state, model)
        assert_kept(updates, like=there)
        model, state = jax.jit(step)(model, state)
        assert_kept(model, like=there)
        assert_kept(state.free, like=there)
    optimizer, step = training(one)
    assert_close(model, jax.jit(step)(RELATED, optimizer.init(RELATED))[0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int8"])
def test_marks_do_not_depend_on_where_an_array_lies(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = noise(256, 40).astype(dtype)
        everywhere = jax.device_put(x, sharding("model", "data"))
        fingerprints = {int(fingerprint(y)) for y in (x, everywhere, jnp.ravel(x))}
        for way in (fingerprint_of_large, fingerprint_by_turns):
            fingerprints.add(int(way(jnp.ravel(x))))
    assert len(fingerprints) == 1


def test_an_event_that_is_split_is_refused_with_its_path_and_axis():
    model = {
        "parts": jax.device_put(jax.nn.softmax(noise(8, 16)), sharding("data", "model")),
        "rate": jax.device_put(jnp.exp(noise(16)), sharding("model")),
    }
    spec = {"parts": bt.simplex(), "rate": bt.positive()}
    with pytest.raises(ValueError, match=r"'parts': simplex maps axis 1 .*'model'"):
        bt.Reparam(model, spec)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), model
    )
    with pytest.raises(ValueError, match="'parts'"):
        bt.Reparam(shapes, spec)
    joint = bt.joint(bt.ordered_vector())
    with pytest.raises(ValueError, match=r"'rate': .* maps axis 0"):
        bt.Reparam(model, {"parts": None, "rate": joint})
    # Bound without its sharding it is gathered, and right.
    reparam = bt.Reparam(jax.eval_shape(lambda: model), spec)
    one = jax.device_put(model, jax.devices()[0])
    assert_close(reparam.inverse(model), reparam.inverse(one))


def test_a_model_is_made_sharded_from_shapes_alone():
    def make(key):
        return {"scale": jnp.exp(jax.random.normal(key, (1024, 8)))}

    key = jax.random.key(0)
    shapes = jax.eval_shape(make, key)
    reparam = bt.Reparam(shapes, bt.positive())
    there = {"scale": sharding("data", "model")}
    make_free = jax.jit(lambda key: reparam.inverse(make(key)), out_shardings=there)
    free = make_free(key)
    assert {part.data.shape for part in free["scale"].addressable_shards} == {(512, 2)}
    text = make_free.lower(key).compile().as_text()
    assert "1024,8" not in text
    assert_kept(reparam.forward(free), like=there)


@pytest.mark.filterwarnings("ignore::UserWarning")  # so few draws
@pytest.mark.parametrize("chains", [8, 4])
def test_draws_do_not_depend_on_the_number_of_devices(chains, monkeypatch):
    def sample():
        model = {"mu": jnp.zeros(3), "tau": jnp.ones(3)}
        spec = {"mu": None, "tau": bt.positive()}
        prior = {"mu": tfd.Normal(0.0, 5.0), "tau": tfd.HalfCauchy(0.0, 5.0)}

        def log_likelihood(model, y):
            return tfd.Normal(model["mu"], model["tau"]).log_prob(y).sum()

        posterior = bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior=prior)
        return bt.sample(
            posterior,
            jax.random.key(0),
            noise(20, 3),
            chains=chains,
            warm_up=100,
            draws=50,
            progress=False,
        )

    mesh = chains_on_devices.chain_mesh(chains, ())
    assert mesh is not None
    assert mesh.size == chains
    with jax.set_mesh(EXPLICIT if chains == 8 else AUTO):  # it has its own
        shared = sample()
    monkeypatch.setattr(chains_on_devices, "chain_mesh", lambda *_: None)
    # All chains learn together, and each magnifies rounding.
    np.testing.assert_allclose(shared.vectors, sample().vectors, atol=0.02)


def test_chains_over_sharded_data_leave_it_sharded():
    model = {"mu": jnp.zeros(())}
    posterior = bt.Posterior(
        bt.Reparam(model, None),
        lambda m, y: tfd.Normal(m["mu"], 1.0).log_prob(y).sum(),
        prior=tfd.Normal(0.0, 5.0),
    )
    y = jax.device_put(2.0 + noise(64), sharding("data"))
    draws = bt.sample(
        posterior, jax.random.key(0), y, warm_up=200, draws=500, progress=False
    )
    assert abs(draws.models["mu"].mean() - y.mean()) < 0.1


def test_a_checkpoint_is_restored_onto_another_number_of_devices(tmp_path):
    names = ("scale", "large", "parts", "cov")
    model = {name: sharded()[name] for name in names}
    model["held"] = jax.device_put(noise(16, 8), sharding("data", "model"))
    model["between"] = jax.device_put(jnp.full((16, 8), 0.4), sharding("data"))
    spec = {n: SPEC[n] for n in names} | {"held": bt.frozen}
    spec["between"] = bt.interval(jnp.zeros((16, 8)), jnp.linspace(1.0, 2.0, 8))
    reparam = bt.Reparam(model, spec)
    optimizer, step = training(reparam)
    step = jax.jit(step)
    state = optimizer.init(model)
    model, state = step(model, state)
    saved = {"model": model, "state": state, "reparam": reparam}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "step", saved)
        checkpointer.wait_until_finished()
        two = jax.make_mesh(
            (2,), ("data",), axis_types=AUTO.axis_types[:1], devices=jax.devices()[:2]
        )

        def elsewhere(x):
            axes = ("data",) if x.ndim and x.shape[0] % 2 == 0 else ()
            return jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=sharding(*axes, mesh=two)
            )

        target = jax.tree.map(elsewhere, jax.eval_shape(lambda: saved))
        found = checkpointer.restore(tmp_path / "step", target)
    assert found["model"]["scale"].sharding.device_set == set(jax.devices()[:2])
    model, state = step(model, state)
    again, again_state = step(found["model"], found["state"])
    assert_close(again, model)
    assert_close(again_state.free, state.free)
    assert_close(found["reparam"].inverse(found["model"]), found["state"].free)
    changed = dict(found["model"], held=found["model"]["held"] + 1.0)
    with pytest.raises(ValueError, match="'held'"):  # which was restored, too
        found["reparam"].inverse(changed)
