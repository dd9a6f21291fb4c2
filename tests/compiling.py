"""How XLA compiles in the tests: lightly, and each program once."""

import os
import threading
from pathlib import Path
from typing import Any

import jax
import jaxlib
import pytest
from jax._src.interpreters import mlir

LEVEL = "--xla_backend_optimization_level"
LIGHT = [
    f"{LEVEL}=0",
    "--xla_llvm_disable_expensive_passes=true",
    # The programs are small: cut in 32 parts, each costs more than it saves.
    "--xla_cpu_parallel_codegen_split_count=1",
]
if jaxlib.version.__version_info__ < (0, 11):  # an unknown flag ends the process
    LIGHT.append("--xla_cpu_use_fusion_emitters=false")
MOST_BYTES = 1_000_000_000


def lightly() -> None:
    """Leave out the compiler's optimizations: most programs here run once.

    To be called before the first is compiled. Who sets the level in `XLA_FLAGS`, as
    `.ci/run` does for the wheel, gets that one.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if LEVEL not in given:
        os.environ["XLA_FLAGS"] = " ".join([given, *LIGHT]).strip()


def is_light() -> bool:
    """Whether programs are compiled so, and arithmetic is rounded as it is written."""
    return LIGHT[0] in os.environ.get("XLA_FLAGS", "")


def in_few_contexts() -> None:
    """Lower ten programs in one context of MLIR, as JAX does from 0.12 on.

    To make a context takes half of the time in which a small program is lowered.
    """
    if not (0, 10) <= jaxlib.version.__version_info__ < (0, 11):
        return
    make, last = mlir.make_ir_context, threading.local()

    def make_or_reuse() -> Any:
        last.uses = getattr(last, "uses", 0) + 1
        if last.uses % 10 == 1:
            last.context = make()
        return last.context

    mlir.make_ir_context = make_or_reuse


def once(config: pytest.Config) -> None:
    """Keep programs in pytest's cache, for the other workers and for later runs.

    JAX finds one by all that it was compiled from: the program, the compiler's version
    and flags, and the processor. `--cache-clear` throws them away.
    """
    if not hasattr(config, "cache"):  # -p no:cacheprovider
        return
    folder = Path(config.cache.mkdir("programs"))
    worker = hasattr(config, "workerinput")
    if not worker and sum(f.stat().st_size for f in folder.iterdir()) > MOST_BYTES:
        for file in folder.iterdir():
            file.unlink()
    # Where each operation was written: tracing it takes a tenth of the time.
    jax.config.update("jax_include_full_tracebacks_in_locations", False)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
