"""Several devices and several processes, each in processes of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
TWO = HERE / "two_processes.py"
EXAMPLE = HERE.parent / "docs" / "several_processes.py"

pytestmark = pytest.mark.slow


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
        timeout=900,
    )
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
    assert re.search(r"\d+ passed", found.stdout)


@pytest.fixture
def start():
    """Starts the example, as many processes as asked for, of eight devices in all."""
    running = []

    def launch(folder, processes, *, script=EXAMPLE, **options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options |= {"coordinator": f"127.0.0.1:{port}", "processes": processes}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        started = [
            subprocess.Popen(
                [
                    sys.executable,
                    script,
                    f"--folder={folder}",
                    f"--process={i}",
                    *arguments,
                ],
                env=environment(8 // processes),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for i in range(processes)
        ]
        running.extend(started)
        return started

    yield launch
    for process in running:  # none outlives the test
        process.kill()
        process.communicate()


def outputs(started, timeout=120):
    """What they printed, when all have ended."""
    return [process.communicate(timeout=timeout)[0] for process in started]


def test_two_processes_give_what_one_gives(start, tmp_path):
    found = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        started = start(folder, processes, steps=40, draws=50)
        output = outputs(started)
        assert [process.returncode for process in started] == [0] * processes, output
        draws, model = folder.with_suffix(".draws.npy"), folder.with_suffix(".model.npz")
        found[processes] = {"draws": np.load(draws), **np.load(model)}
        # The first alone shows progress and warns.
        assert "theta.7" in output[0]
        assert "sampling" in output[0]
        assert all("theta" not in text and "sampling" not in text for text in output[1:])
    assert found[1]["draws"].shape == (8, 50, 10)
    np.testing.assert_array_equal(found[1].pop("draws"), found[2].pop("draws"))
    for name, expected in found[1].items():
        np.testing.assert_allclose(found[2][name], expected, rtol=2e-4, atol=2e-4)


def test_values_are_looked_at_where_processes_share_a_leaf(start, tmp_path):
    started = start(tmp_path / "two", 2, script=TWO)
    output = outputs(started)
    assert [process.returncode for process in started] == [0, 0], output
    assert all("all is well" in text for text in output), output


def last_step(folder):
    names = [path.name for path in folder.glob("*") if path.name.isdigit()]
    return max(map(int, names), default=0)


def test_a_killed_process_ends_the_other_and_training_goes_on(start, tmp_path):
    folder = tmp_path / "killed"
    started = start(folder, 2, steps=1_000_000, draws=0)
    until = time.monotonic() + 90
    while last_step(folder) < 20 and time.monotonic() < until:
        time.sleep(0.2)
        assert started[0].poll() is None, outputs(started)
    started[1].send_signal(signal.SIGKILL)
    output = outputs(started, timeout=90)  # an error, not a hang
    assert started[0].returncode != 0, output
    done = last_step(folder)
    assert done >= 20, output
    for name, processes in (("killed", 2), ("whole", 1)):
        started = start(tmp_path / name, processes, steps=done + 20, draws=0)
        output = outputs(started)
        assert [process.returncode for process in started] == [0] * processes, output
    again, expected = (np.load(tmp_path / f"{n}.model.npz") for n in ("killed", "whole"))
    for name in expected:
        np.testing.assert_allclose(again[name], expected[name], rtol=2e-4, atol=2e-4)
