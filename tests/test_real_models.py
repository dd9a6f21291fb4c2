"""The real classes of cryoJAX, GPJax and dLux, where the extra `real` is installed.

The command is in `docs/how-to.md`.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bijectree as bt
from bijectree import tfd

pytestmark = [
    pytest.mark.jax_defaults,
    pytest.mark.filterwarnings("default"),  # what other packages warn of
    pytest.mark.usefixtures("double"),
]


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def log_likelihood(model: Any, image: Any) -> Any:
    return model.log_likelihood(image)


class TestCryoJAX:
    """A simulated image: NumPy arrays, booleans and strings among its leaves."""

    RULES = {
        "**.positions": bt.frozen,
        "**.amplitudes": bt.frozen,
        "**.offset_in_angstroms": bt.real(),
        "**.phi_angle": bt.circular(period=360.0),
        "**.theta_angle": bt.interval(0.0, 180.0),
        "**.psi_angle": bt.circular(period=360.0),
        "**.defocus_in_angstroms": bt.positive(),
        "**.astigmatism_in_angstroms": bt.positive(via="softplus"),
        "**.astigmatism_angle": bt.circular(period=180.0),
        "**.amplitude_contrast_ratio": bt.unit_interval(),
        "**.ctf.spherical_aberration_in_mm": bt.frozen,
        "**.volume.variances": bt.positive(),
        "variance": bt.positive(),
        "signal_scale_factor": bt.positive(),
        "signal_offset": bt.real(),
    }

    @pytest.fixture
    def cxs(self):
        return pytest.importorskip("cryojax.simulator")

    def model(self, cxs, *pose, variance=1e-4):
        atoms = 10 * np.random.default_rng(0).normal(size=(8, 3))
        volume = cxs.GaussianMixtureVolume(atoms, 8.0, 16.0)
        config = cxs.BasicImageConfig((32, 32), 2.5, 300.0)
        ctf = cxs.AstigmaticCTF(9000.0, 300.0, 25.0)
        optics = cxs.ContrastTransferTheory(ctf, amplitude_contrast_ratio=0.1)
        pose = cxs.EulerAnglePose(*pose or (3.0, -2.0, 40.0, 70.0, -25.0))
        image = cxs.make_image_model(volume, config, pose, optics)
        return cxs.GaussianWhiteNoiseModel(image, variance)

    def bind(self, model):
        return bt.Reparam(model, bt.by_path(model, self.RULES, default=bt.frozen))

    def test_its_leaves_are_of_all_sorts_and_bound(self, cxs):
        model = self.model(cxs)
        sorts = {type(x) for x in jax.tree.leaves(model)}
        assert {np.ndarray, bool, str, int} <= sorts
        reparam = self.bind(model)
        roles = [row.role for row in reparam.bound.plan.rows]
        assert roles.count("free") == 12
        assert bt.check(reparam, model).ok
        rows = bt.summary(reparam, model).splitlines()[2:-2]
        leaves = [row.split()[0] for row in rows]
        assert len({*leaves}) == len(leaves) == len(roles)
        free = reparam.inverse(model)
        back = reparam.forward(free)
        assert type(back) is type(model)
        np.testing.assert_allclose(
            back.image_model.simulate(), model.image_model.simulate(), rtol=1e-9
        )
        batch = jax.tree.map(lambda x: jnp.stack([x, x]), free)
        models = eqx.filter_vmap(reparam.forward)(batch)
        assert models.variance.shape == (2,)
        assert models.image_model.translate_mode == "fft"

    def test_a_look_at_its_pose_changes_nothing(self, cxs):
        model = self.model(cxs)
        image = model.sample(jax.random.key(0))  # looks at what the modules cache
        assert model.image_model.pose.rotation is not None
        untouched = self.model(cxs)
        assert jax.tree.structure(model) != jax.tree.structure(untouched)
        for reparam in (self.bind(model), self.bind(untouched)):
            for given in (model, untouched):
                reparam.inverse(given)
                assert bt.check(reparam, given).ok
        optimizer = bt.reparameterize(optax.adam(1e-3), self.bind(untouched))
        params = model
        state = optimizer.init(untouched)
        for _ in range(3):
            loss = -params.log_likelihood(image)  # an eager look between two steps
            assert np.isfinite(loss)
            grads = eqx.filter_grad(lambda m: -m.log_likelihood(image))(params)
            updates, state = optimizer.update(grads, state, params)
            params = eqx.apply_updates(params, updates)
        assert params.variance > 0
        assert params.variance != model.variance

    @pytest.mark.slow
    def test_a_pose_is_recovered(self, cxs):
        truth = self.model(cxs)
        image = truth.sample(jax.random.key(0))
        start = self.model(cxs, 0.0, 0.0, 30.0, 60.0, -15.0, variance=4e-4)
        prior = bt.by_path(
            start,
            {
                "**.offset_in_angstroms": tfd.Normal(0.0, 5.0),
                "**.theta_angle": tfd.Uniform(0.0, 180.0),
                "**.phi_angle": tfd.Normal(30.0, 30.0),
                "**.psi_angle": tfd.Normal(-15.0, 30.0),
                "**.defocus_in_angstroms": tfd.LogNormal(np.log(9000.0), 0.1),
                "variance": tfd.LogNormal(np.log(1e-4), 2.0),
            },
        )
        reparam = bt.Reparam(start, bt.spec_from_prior(start, prior, rest=bt.frozen))
        assert reparam.dim == 7
        posterior = bt.Posterior(reparam, log_likelihood, prior)
        mode = bt.find_map(posterior, start, image)
        assert mode.converged
        assert mode.gradients < 120
        normal = bt.laplace(posterior, mode.model, image)
        deviations = np.linalg.norm(normal.scale_tril, axis=1)
        expected = reparam.ravel(
            reparam.inverse(
                eqx.tree_at(
                    lambda m: (m.image_model.pose, m.variance),
                    start,
                    (self.model(cxs).image_model.pose, jnp.asarray(1e-4)),
                )
            )
        )
        assert np.abs((normal.mean - expected) / deviations).max() < 4


class TestGPJax:
    """A Gaussian process: wrapped parameters, and data that check themselves."""

    @pytest.fixture
    def gpx(self):
        return pytest.importorskip("gpjax")

    def problem(self, gpx):
        random = np.random.default_rng(0)
        x = np.sort(random.uniform(-3.0, 3.0, 40))[:, None]
        y = np.sin(2 * x) + 0.2 * random.normal(size=x.shape)
        data = gpx.Dataset(jnp.asarray(x), jnp.asarray(y))
        mean, kernel = gpx.mean_functions.Zero(), gpx.kernels.RBF()
        prior = gpx.gps.Prior(mean_function=mean, kernel=kernel)
        return prior * gpx.likelihoods.Gaussian(), data

    def priors(self, model):
        return bt.by_path(
            model,
            {
                "**.lengthscale": tfd.LogNormal(0.0, 1.0),
                "**.variance": tfd.HalfNormal(2.0),
                "**.obs_stddev": tfd.HalfNormal(1.0),
            },
        )

    def test_a_raw_number_is_refused(self, gpx):
        wrapped, _ = self.problem(gpx)
        rules = {"**.lengthscale": bt.positive()}
        message = "the PositiveReal at 'prior.kernel.lengthscale'"
        with pytest.raises(ValueError, match=message):
            bt.Reparam(wrapped, bt.by_path(wrapped, rules))
        with pytest.raises(ValueError, match=message):
            bt.spec_from_prior(wrapped, self.priors(wrapped))

    def test_its_own_optimum_is_met_to_six_digits(self, gpx):
        import paramax

        wrapped, data = self.problem(gpx)
        model = paramax.unwrap(wrapped)
        spec = bt.spec_from_prior(model, self.priors(model), rest=bt.frozen)
        posterior = bt.Posterior(bt.Reparam(model, spec), gpx.objectives.conjugate_mll)
        mode = bt.find_map(posterior, model, data)
        own, history = gpx.fit_scipy(
            model=wrapped,
            objective=lambda gp, data: -gpx.objectives.conjugate_mll(gp, data),
            train_data=data,
            verbose=False,
        )
        np.testing.assert_allclose(mode.log_density, -history[-1], rtol=1e-6)
        own = jax.tree.leaves(paramax.unwrap(own))
        np.testing.assert_allclose(jax.tree.leaves(mode.model), own, rtol=1e-3)

    @pytest.mark.slow
    def test_its_data_are_sampled_with(self, gpx):
        import paramax

        wrapped, data = self.problem(gpx)
        model = paramax.unwrap(wrapped)
        priors = self.priors(model)
        spec = bt.spec_from_prior(model, priors, rest=bt.frozen)
        posterior = bt.Posterior(
            bt.Reparam(model, spec), gpx.objectives.conjugate_mll, priors
        )
        fitted, _ = bt.fit_affine(
            posterior, jax.random.key(0), data, start=model, progress=False
        )
        assert fitted.dim == 3


class TestDLux:
    """A telescope: optics with a dictionary of layers, and a source."""

    @pytest.fixture
    def dl(self):
        return pytest.importorskip("dLux")

    def telescope(self, dl):
        grid = dl.utils.pixel_coords(64, 1.0)
        basis = dl.utils.zernike_basis(range(7, 11), grid, 1.0)
        mirror = dl.BasisOptic(
            basis, dl.utils.circle(grid, 0.5), jnp.zeros(4), normalise=True
        )
        optics = dl.AngularOpticalSystem(64, 1.0, [("mirror", mirror)], 32, 0.1)
        star = dl.PointSource(
            1e-6 * np.linspace(0.9, 1.1, 3), position=jnp.zeros(2), flux=1e5
        )
        return dl.Telescope(optics, star)

    def test_a_mirror_and_a_star_are_recovered(self, dl):
        start = self.telescope(dl)
        arcsecond = np.pi / 180 / 3600
        names = ["position", "flux", "mirror.coefficients"]
        aberrations = 1e-8 * jnp.array([4.0, -3.0, 2.0, 1.0])
        values = [arcsecond * jnp.array([0.1, -0.05]), 1.3e5, aberrations]
        truth = start.set(names, values)
        image = truth.model()
        rules = {
            "source.position": bt.affine(0.0, arcsecond),
            "source.flux": bt.positive(),
            "**.coefficients": bt.affine(0.0, 1e-8),
        }
        reparam = bt.Reparam(start, bt.by_path(start, rules, default=bt.frozen))
        assert reparam.dim == 7
        assert bt.check(reparam, start).ok

        def log_density(telescope, image):
            return tfd.Poisson(telescope.model() + 1.0).log_prob(image + 1.0).sum()

        mode = bt.find_map(bt.Posterior(reparam, log_density), start, image)
        assert mode.converged
        for name, value in zip(names, values, strict=True):
            np.testing.assert_allclose(mode.model.get(name), value, rtol=1e-3)
