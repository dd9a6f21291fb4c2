"""What neighbouring packages do where bijectree's feature table says that they differ.

Run it where bijectree is installed, with the neighbours:
`pip install paramax parax dynamax numpyro && python benchmarks/differences.py`.
It prints benchmarks/differences.md.
"""

import math
import warnings
from importlib.metadata import version

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import bijectree as bt
from bijectree import tfb, tfd

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)
    import distreqx.distributions
    import numpyro
    import paramax
    import parax
    from dynamax import parameters as dynamax

Properties = dynamax.ParameterProperties


def log_det() -> dict[str, str]:
    """Log-det of leaves of 3 numbers and of 1, both doubled: 4 log 2."""
    model = {"a": jnp.ones(3), "b": jnp.array(1.0)}
    props = {name: Properties(constrainer=tfb.Scale(2.0)) for name in model}
    reparam = bt.Reparam(model, tfb.Scale(2.0))
    ours = reparam.forward_log_det_jacobian(reparam.inverse(model))
    # parax takes its maps from the priors' supports: softplus here.
    gamma = distreqx.distributions.Gamma
    tree = {
        "a": parax.Random(gamma(jnp.full(3, 2.0), jnp.ones(3)), value=model["a"]),
        "b": parax.Random(gamma(jnp.array(2.0), jnp.array(1.0)), value=model["b"]),
    }
    found = parax.constraints.tree_leafwise_constraint(tree).bijector
    _, theirs = found.forward_and_log_det(found.inverse(model))
    softplus = bt.Reparam(model, bt.positive(via="softplus"))
    one = float(softplus.forward_log_det_jacobian(softplus.inverse(model))) / 4
    double = numpyro.distributions.transforms.AffineTransform(0.0, 2.0)
    each = [double.log_abs_det_jacobian(x / 2, x).sum() for x in model.values()]
    dynamax_got = float(dynamax.log_det_jac_constrain(model, props)) / math.log(2)
    naive = sum(tfb.Scale(2.0).forward_log_det_jacobian(x).sum() for x in model.values())
    return {
        "bijectree": f"{ours / math.log(2):.3g} log 2",
        "paramax": "none",
        "parax": f"array of shape {theirs.shape}; each {float(theirs[0]) / one:.3g} "
        "times one element's, where 4 times is right",
        "dynamax": f"{dynamax_got:.3g} log 2",
        "NumPyro": f"{float(sum(each)) / math.log(2):.3g} log 2",
        "TFP": f"{float(naive) / math.log(2):.3g} log 2 without event_ndims, "
        "4 log 2 with it",
    }


def simplex() -> dict[str, str]:
    """Integral of a Dirichlet of 2 parts over the free coordinate: 1."""
    y = np.linspace(-30, 30, 6001)
    prior = tfd.Dirichlet(jnp.array([2.0, 3.0]))

    def area(bijector):
        reparam = bt.Reparam(jnp.array([0.5, 0.5]), bijector)
        posterior = bt.Posterior(reparam, None, prior)
        return jax.vmap(posterior.flat().log_density)(jnp.asarray(y[:, None], float))

    their = numpyro.distributions.biject_to(numpyro.distributions.constraints.simplex)

    def numpyro_density(y):
        x = their(y)
        return prior.log_prob(x) + their.log_abs_det_jacobian(y, x)

    def shown(log_density):
        return f"{np.trapezoid(np.exp(log_density), y):.4f}"

    softmax = shown(area(tfb.SoftmaxCentered()))
    return {
        "bijectree": shown(area(bt.simplex())),
        "paramax": "no log-det",
        "parax": "no simplex",
        "dynamax": f"{softmax} (its models use SoftmaxCentered)",
        "NumPyro": shown(jax.vmap(numpyro_density)(jnp.asarray(y[:, None], float))),
        "TFP": f"{softmax} by SoftmaxCentered, "
        f"{shown(area(tfb.IteratedSigmoidCentered()))} by IteratedSigmoidCentered",
    }


def frozen() -> dict[str, str]:
    """A frozen leaf of 1 after one step of adamw with weight decay."""
    optimizer = optax.adamw(0.1, weight_decay=0.1)

    def step(free, loss):
        updates, _ = optimizer.update(jax.grad(loss)(free), optimizer.init(free), free)
        return optax.apply_updates(free, updates)

    model = {"a": jnp.array(1.0), "b": jnp.array(1.0)}

    def loss(model):
        return model["a"] * model["b"] ** 2

    reparam = bt.Reparam(model, {"a": bt.frozen, "b": None})
    ours = reparam.forward(step(reparam.inverse(model), reparam.compose(loss)))["a"]
    wrapped = {**model, "a": paramax.NonTrainable(model["a"])}
    params, static = eqx.partition(wrapped, eqx.is_inexact_array)
    moved = step(params, lambda p: loss(paramax.unwrap(eqx.combine(p, static))))
    props = {"a": Properties(trainable=False), "b": Properties()}
    free = dynamax.to_unconstrained(model, props)
    held = step(free, lambda p: loss(dynamax.from_unconstrained(p, props)))
    return {
        "bijectree": f"{ours:.3g}",
        "paramax": f"{moved['a'].tree:.3g}",
        "parax": "not tried",
        "dynamax": f"{held['a']:.3g}",
        "NumPyro": "no such thing",
        "TFP": "no such thing",
    }


def dtype() -> dict[str, str]:
    """A bound given as a Python float, on a float64 leaf."""
    with jax.enable_x64(True):
        x = jnp.ones(3, jnp.float64)
        reparam = bt.Reparam(x, tfb.Chain([tfb.Shift(0.5), tfb.Exp()]))
        got = reparam.forward(reparam.inverse(x)).dtype
        shift = numpyro.distributions.transforms.AffineTransform(0.5, 1.0)
        above = parax.constraints.GreaterThan(0.5).bijector
        try:
            theirs = str(tfb.Shift(0.5).forward(x).dtype)
        except TypeError:
            theirs = "TypeError"
        return {
            "bijectree": str(got),
            "paramax": str(
                paramax.unwrap(paramax.Parameterize(lambda y: y + 0.5, x)).dtype
            ),
            "parax": str(above.forward(x).dtype),
            "dynamax": f"{theirs} (its bijectors are TFP's)",
            "NumPyro": str(shift(x).dtype),
            "TFP": theirs,
        }


def main() -> None:
    """Print the tables."""
    names = ("jax", "paramax", "parax", "dynamax", "numpyro", "tfp-nightly")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print("# What neighbours do\n")
    print(f"Made by `benchmarks/differences.py` with {versions}.\n")
    print(
        "| package | log-det | Dirichlet | frozen leaf | dtype |\n|---|---|---|---|---|"
    )
    columns = [question() for question in (log_det, simplex, frozen, dtype)]
    for package in columns[0]:
        print(f"| {package} | {' | '.join(column[package] for column in columns)} |")
    print()
    titles = ("log-det", "Dirichlet", "frozen leaf", "dtype")
    for title, question in zip(titles, (log_det, simplex, frozen, dtype), strict=True):
        print(f"- {title}: {(question.__doc__ or '').strip()}")


if __name__ == "__main__":
    main()
