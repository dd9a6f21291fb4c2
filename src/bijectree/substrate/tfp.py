"""TFP's JAX substrate: its import, or how to mend it."""

import importlib.metadata
from typing import Any

import jax


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _import_tfp() -> Any:
    """Import TFP's JAX substrate, or say what is installed and how to mend it."""
    stable = _installed("tensorflow-probability")
    nightly = _installed("tfp-nightly")
    mend = (
        "Mend it with\n"
        "    pip uninstall -y tensorflow-probability tfp-nightly\n"
        "    pip install --pre tfp-nightly"
    )
    if stable and nightly:
        raise ImportError(
            f"Both tensorflow-probability {stable} and tfp-nightly {nightly} are "
            "installed. They write the same folder, so what is imported is a mixture "
            f"of the two. {mend}"
        )
    try:
        from tensorflow_probability.substrates import jax as tfp
    except (ImportError, AttributeError) as error:
        if stable:
            why = (
                f"tensorflow-probability {stable} is installed: TFP's stable release, "
                f"which uses parts of JAX that JAX {jax.__version__} no longer has"
            )
        elif nightly:
            why = f"tfp-nightly {nightly} is installed and does not import"
        else:
            why = "TFP is not installed"
        raise ImportError(
            f"bijectree needs TFP's JAX substrate. {why} ({error}). {mend}"
        ) from error
    return tfp


tfp = _import_tfp()

tfb = tfp.bijectors

tfd = tfp.distributions


def is_bijector(x: Any) -> bool:
    """Whether `x` is a TFP bijector (which JAX would otherwise flatten)."""
    return isinstance(x, tfb.Bijector)
