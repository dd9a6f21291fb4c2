"""The tour: what `python -m bijectree` prints, and the picture that it draws."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import bijectree.__main__ as demonstration
from bijectree.__main__ import AU, PLANETS, YEAR, main, print_table

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What one run of the whole demonstration prints, and where its picture lies."""
    folder = tmp_path_factory.mktemp("kepler") / "made" / "on demand"
    forced = ("FORCE_COLOR", "TTY_COMPATIBLE")  # rich obeys them even in a pipe
    environment = {name: v for name, v in os.environ.items() if name not in forced}
    result = subprocess.run(
        [sys.executable, "-m", "bijectree", "--output", folder],
        capture_output=True,
        text=True,
        env=environment | {"COLUMNS": "120"},
    )
    return result, folder / "kepler.png"


def test_keplers_law_is_in_the_data():
    for axis, days in PLANETS.values():
        assert days / YEAR == pytest.approx((axis / AU) ** 1.5, rel=0.01)


def test_the_law_is_recovered_with_its_uncertainty(run):
    result, _ = run
    assert result.returncode == 0, result.stderr
    recovered = result.stdout.partition("Recovered from the planets")[2]
    for name, truth in {"law.power": 1.5, "law.amplitude": 1.0}.items():
        row = re.search(rf"{name}.*", recovered).group()
        mean, deviation, low, high, shown = map(float, re.findall(r"\d+\.?\d*", row))
        assert shown == truth
        assert low < truth < high
        assert abs(mean - truth) < 3 * deviation < 0.01


def test_check_summary_mode_and_draws_are_printed_as_plain_text(run):
    result, picture = run
    for expected in ("log-det", "bijector", "Mode: converged", "R-hat", str(picture)):
        assert expected in result.stdout
    assert "\x1b" not in result.stdout
    assert "warning" not in (result.stdout + result.stderr).lower()


def test_without_blackjax_the_draws_are_those_of_the_normal_approximation(
    monkeypatch, capsys
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    main(["--no-plot"])
    shown = capsys.readouterr().out
    assert "No BlackJAX here" in shown
    assert re.search(r"law.power +. 1\.(50|499)", shown)


def test_the_picture_is_a_png(run):
    _, picture = run
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_help_names_the_options(capsys):
    with pytest.raises(SystemExit) as leave:
        main(["--help"])
    assert leave.value.code == 0
    shown = capsys.readouterr().out
    assert "--output PATH" in shown
    assert "--no-plot" in shown


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()  # even root cannot make a folder beneath a file
    folder = tmp_path / "file" / "folder"
    with pytest.raises(SystemExit, match=r"^cannot write to .*\.png: .+$") as leave:
        main(["--output", str(folder)])
    assert "\n" not in leave.value.code


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("", "kepler.png"),
        ("plots", "plots/kepler.png"),
        ("plots/law.svg", "plots/law.svg"),
    ],
)
def test_output_is_a_picture_or_a_folder(given, made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(demonstration, "demonstrate", asked.append)
    main(["--output", given] if given else [])
    assert [str(path) for path in asked] == [made]
    assert (tmp_path / made).parent.is_dir()
    assert not (tmp_path / made).exists()  # the demonstration writes it


def test_a_picture_that_is_there_is_kept_until_the_new_one_is_drawn(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(demonstration, "demonstrate", lambda path: None)
    picture = tmp_path / "law.png"
    picture.write_bytes(b"old")
    main(["--output", str(picture)])
    assert picture.read_bytes() == b"old"


@pytest.mark.parametrize("width", [40, 60, 120])
def test_the_table_of_results_loses_no_digit(width):
    console = Console(width=width, file=io.StringIO())
    rows = [
        ("law.amplitude", "1.00012", "0.00123", "0.99771 to 1.00250", "1"),
        ("scatter [%]", "0.31234", "0.09876", "0.18001 to 0.55555", ""),
    ]
    print_table(console, "Recovered from the planets", rows)
    shown = console.file.getvalue()
    assert all(cell in shown for row in rows for cell in row)
    assert max(map(len, shown.splitlines())) <= width


def test_missing_matplotlib_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"^matplotlib is missing.*--no-plot$"):
        main([])


@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="not a checkout")
@pytest.mark.parametrize("name", ["a_file", "results.json"])
def test_benchmarks_say_before_they_start_that_they_cannot_write(name, tmp_path):
    (tmp_path / "a_file").touch()
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output"]
    result = subprocess.run(
        [*command, tmp_path / name], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode != 0
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert name in result.stderr.splitlines()[-1]
