"""A slice of the sweeps over TFP's and NumPyro's classes; `benchmarks/` has the whole."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("not a checkout", allow_module_level=True)
sys.path.insert(0, str(ROOT))
from benchmarks import sweep_bijectors, sweep_priors  # noqa: E402  of a checkout alone

pytestmark = [
    pytest.mark.jax_defaults,  # TFP and NumPyro promote dtypes and ranks themselves
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]


def test_every_class_has_a_case():
    assert sweep_bijectors.classes_without_a_case() == []
    assert sweep_priors.classes_without_a_case() == []


BIJECTORS = {
    "Ascending": "right",
    "Chain of Ascending, IteratedSigmoidCentered": "refused",
    "Chain of CholeskyOuterProduct, FillScaleTriL": "right",
    "CholeskyOuterProduct": "refused",
    "GeneralizedPareto": "right",
    "Inline, wrong log-det": "refused",
    "MaskedAutoregressiveFlow": "right",
    "Scale, zero": "refused",
    "SoftmaxCentered": "refused",
    "UnitVector": "refused",
}


@pytest.mark.parametrize("name", BIJECTORS)
def test_bijectors_are_bound_and_right_or_refused(name):
    found = sweep_bijectors.sweep([name], [(3, 3)], [np.float32])
    (one,) = (f for key, f in found.items() if key[0] == name)
    assert one.verdict == BIJECTORS[name], one.why
    assert not any(f.verdict == "WRONG" for f in found.values())
    assert f"| {name} | " in sweep_bijectors.as_table(found)


PRIORS = {
    ("NumPyro", "Beta"): "right",
    ("NumPyro", "FoldedDistribution"): "right",
    ("NumPyro", "HurdleGamma"): "refused",
    ("NumPyro", "TransformedDistribution, even"): "refused",
    ("NumPyro", "ZeroSumNormal"): "right",
    ("TFP", "BatchConcat of Poisson"): "refused",
    ("TFP", "Dirichlet"): "right",
    ("TFP", "Gamma with a pole"): "right",
    ("TFP", "GeneralizedExtremeValue of 0"): "refused",
    ("TFP", "SinhArcsinh of Exponential"): "right",
    ("TFP", "TransformedDistribution, even"): "refused",
    ("TFP", "VonMises"): "right",
}


@pytest.mark.parametrize("key", PRIORS, ids=" ".join)
def test_priors_are_right_or_refused(key):
    library, name = key
    found = sweep_priors.sweep([library], [name])
    assert {f.verdict for f in found.values()} == {PRIORS[key]}, found
    assert f"| {library} | {name} | {PRIORS[key]} |" in sweep_priors.as_table(found)


def test_what_is_wrong_would_be_seen(monkeypatch):
    """With verification left out, a wrong log-det and a density of mass 2 are found."""
    bound, posterior = sweep_bijectors.bt.Reparam, sweep_priors.bt.Posterior
    monkeypatch.setattr(sweep_bijectors.bt, "Reparam", lambda *a: bound(*a, verify=False))
    found = sweep_bijectors.look(
        sweep_bijectors.CASES["Inline, wrong log-det"], (3,), np.float32
    )
    assert found.verdict == "WRONG"
    assert "the log-det is" in found.why

    class Doubled(sweep_priors.tfd.Normal):
        def _log_prob(self, x):
            return super()._log_prob(x) + np.log(2.0)

    monkeypatch.setattr(
        sweep_priors.bt, "Posterior", lambda *a: posterior(*a, verify=False)
    )
    monkeypatch.setattr(sweep_priors.bt, "spec_from_prior", lambda *a: {"x": None})
    found = sweep_priors.look(lambda: Doubled(0.0, 1.0), np.float32)
    assert (found.verdict, found.why) == ("WRONG", "it integrates to 2")
