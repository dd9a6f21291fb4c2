import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def environment(devices):
    """One with as many CPU devices, which a process has to be told before it starts."""
    flag = f"--xla_force_host_platform_device_count={devices}"
    return {**os.environ, "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}


def test_on_eight_devices():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"]
    found = subprocess.run(
        [*command, str(HERE / "eight_devices.py")],
        cwd=HERE.parent,
        env=environment(8),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
