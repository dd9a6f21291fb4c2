"""Broken files: each its own error, with line, path and how to mend it.

Nothing of a file is run, and no file is changed.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree.spec_files.files import arrays_path

MODEL = {
    "count": 3,
    "high": jnp.array(3.0),
    "layers": [{"scale": jnp.ones(2)}, {"scale": jnp.ones(2)}],
    "low": jnp.array(1.0),
    "mix": jnp.array([0.2, 0.3, 0.5]),
    "rate": jnp.array([0.5, 2.0]),
}
HEAD = "format = 1\n[spec]\n"
LONG = '"rate" = {is = "greater_than", lower = '


def rate(data: str) -> str:
    return f'{HEAD}"rate" = {data}\n'


# What is wrong; the file; where the error says it is; what else it says.
BROKEN: dict[str, tuple[str | bytes, str, str]] = {
    # No TOML.
    "a bracket is missing": (
        'format = 1\n[spec\n"rate" = "positive"\n',
        "line 2",
        "mend that line",
    ),
    "a quote is missing": (rate('"positive'), "line 3", "mend that line"),
    "a path twice": (
        rate('"positive"') + '"rate" = "real"\n',
        "line 4",
        "mend that line",
    ),
    "no UTF-8": (
        HEAD.encode() + b'"rate" = "\xff"\n',
        "line 3",
        "save the file as UTF-8",
    ),
    "a control character": (rate('"posi\x00tive"'), "line 3", "mend that line"),
    "nested too deeply": (rate("[" * 3000 + "]" * 3000), "nested too deeply", "line 3"),
    # Another file.
    "empty": ("", "line 1", "is it another file"),
    "no format": ('[spec]\n"rate" = "positive"\n', "line 1", "begins with format = 1"),
    "a format in words": ('format = "1"\n[spec]\n', "line 1", "is it another file"),
    "a later format": ("\nformat = 2\n[spec]\n", "line 2", "update this one"),
    "another table": (
        rate('"positive"') + '[code]\nrun = "touch pwned"\n',
        "line 4",
        "'code' is no part of a spec, .*leave it out",
    ),
    "no table of paths": ("format = 1\nspec = 3\n", "line 2", r"write \[spec\] above"),
    "then is no list": (HEAD + "[then]\n", "line 3", r"write \[\[then\]\] above"),
    # Names.
    "a misspelt name": (rate('"positve"'), "line 3, at 'rate'", "nearest: positive"),
    "a misspelt class of TFP": (
        rate('"tfb.Expo"'),
        "line 3, at 'rate'",
        "nearest: tfb.Exp",
    ),
    "a function of Python": (
        rate('{is = "os.system", command = "touch pwned"}'),
        "line 3, at 'rate'",
        "'os.system' is no bijector.*functions=",
    ),
    "an expression of Python": (
        rate("\"__import__('os').system('touch pwned')\""),
        "line 3, at 'rate'",
        "is no bijector",
    ),
    "a class that is not given": (
        rate('{is = "Mine", shift = 1.0}'),
        "line 3, at 'rate'",
        "give it: load_spec",
    ),
    "a function that is not given": (
        HEAD + '"high" = {is = "dependent", function = "above", on = ["low"]}\n',
        "line 3, at 'high'",
        r"functions=\{'above': ...\}",
    ),
    "an item that is not given": (
        rate('{is = "given", name = "mine"}'),
        "line 3, at 'rate'",
        r"functions=\{'mine': ...\}",
    ),
    "a class that is none": (
        rate('"number"'),
        "line 3, at 'rate'",
        "must be the class of a bijector, got 3",
    ),
    "a class of something else": (
        rate('"text"'),
        "line 3, at 'rate'",
        "makes no bijector, but <",
    ),
    # Entries.
    "a number for an item": (rate("3"), "line 3, at 'rate'", "expected a name, or a tab"),
    "a list for an item": (rate('["positive"]'), "line 3, at 'rate'", "expected a name"),
    "a path without quotes": (
        HEAD + 'layers.0.scale = "positive"\n',
        "line 3, at 'layers'",
        "a path stands in quotes",
    ),
    "an argument is missing": (
        rate('{is = "interval", lower = 0.0}'),
        "line 3, at 'rate'",
        "needs the argument 'upper'; it takes lower, upper",
    ),
    "an argument too many": (
        rate('{is = "interval", lower = 0.0, upper = 1.0, uper = 1.0}'),
        "line 3, at 'rate'",
        "no argument 'uper'; it takes lower, upper",
    ),
    "a word for a number": (
        rate('{is = "greater_than", lower = "zero"}'),
        "line 3, at 'rate'",
        "lower must be a real number or an array, got 'zero'",
    ),
    "a truth value for a number": (
        rate('{is = "greater_than", lower = true}'),
        "line 3, at 'rate'",
        "lower of greater_than: expected a number or a word, got True",
    ),
    "a word for a truth value": (
        rate('{is = "tfb.Softplus", validate_args = "no"}'),
        "line 3, at 'rate'",
        "validate_args of tfb.Softplus: expected true or false",
    ),
    "a word for a number, and lines as on Windows": (
        rate('{is = "less_than", upper = "one"}').replace("\n", "\r\n"),
        "line 3, at 'rate'",
        "upper must be a real number",
    ),
    "a date for a number": (
        rate('{is = "greater_than", lower = 2026-01-01}'),
        "line 3, at 'rate'",
        "lower of greater_than: .* is no argument",
    ),
    "rows of unequal length": (
        rate('{is = "greater_than", lower = [1.0, [2.0, 3.0]]}'),
        "line 3, at 'rate'",
        "is no array of float64",
    ),
    "a number too large for its dtype": (
        rate('{is = "greater_than", lower = {float16 = 1e30}}'),
        "line 3, at 'rate'",
        "too large for float16; use a wider one",
    ),
    "a whole number with a fraction": (
        rate('{is = "tfb.Permute", permutation = {int32 = [0.5, 1.0]}}'),
        "line 3, at 'rate'",
        "permutation of tfb.Permute: expected whole numbers",
    ),
    "a number that is none": (
        rate('{is = "greater_than", lower = nan}'),
        "line 3, at 'rate'",
        "lower must be finite, got nan",
    ),
    "bounds the wrong way round": (
        rate('{is = "interval", lower = 2.0, upper = 1.0}'),
        "line 3, at 'rate'",
        "upper must exceed lower",
    ),
    "a chain of one": (
        rate('{is = "tfb.Chain", bijectors = "tfb.Exp"}'),
        "line 3, at 'rate'",
        "bijectors of tfb.Chain: expected a list of bijectors",
    ),
    "a chain with a number": (
        rate('{is = "tfb.Chain", bijectors = ["tfb.Exp", 3]}'),
        "line 3, at 'rate'",
        "bijectors of tfb.Chain: expected a name",
    ),
    "the same joint as none": (
        HEAD + '"high" = {is = "joint", same_as = "low"}\n',
        "line 3, at 'high'",
        "no joint stands at 'low' in a line before",
    ),
    "a mask of words": (
        rate('{is = "masked", bijector = "positive", mask = ["yes", "no"]}'),
        "line 3, at 'rate'",
        "the mask is of truth values",
    ),
    # The model.
    "a path that the model lacks": (
        HEAD + '"rates" = "positive"\n',
        "line 3, at 'rates'",
        "matches nothing; nearest paths: 'rate'",
    ),
    "an element": (
        HEAD + '"rate.0" = "positive"\n',
        "line 3, at 'rate.0'",
        "paths end at leaves; bt.masked",
    ),
    "a whole number of the model": (
        HEAD + '"count" = "positive"\n',
        "line 3, at 'count'",
        "make a number that is to be transformed an array",
    ),
    "a rule without effect": (
        rate('"positive"') + '"**" = "real"\n',
        "line 3, at 'rate'",
        r"every match is overridden by '\*\*'",
    ),
    "a leaf without axes": (
        HEAD + '"low" = "simplex"\n',
        "line 3, at 'low'",
        "needs at least 1 axes",
    ),
    "numbers of another shape": (
        rate('{is = "greater_than", lower = [0.0, 0.0, 0.0]}'),
        "line 3, at 'rate'",
        r"does not fit float32 array of shape \(2,\)",
    ),
    "a mask of another shape": (
        rate('{is = "masked", bijector = "positive", mask = [true]}'),
        "line 3, at 'rate'",
        r"expected \(2,\), one truth value an element",
    ),
    "a source that the model lacks": (
        HEAD + '"high" = {is = "tied", source = "lowest"}\n',
        "line 3, at 'high'",
        "nearest paths: 'low'",
    ),
    "leaves in a circle": (
        rate('"positive"')
        + '"high" = {is = "tied", source = "low"}\n'
        + '"low" = {is = "tied", source = "high"}\n',
        "line 4, at 'high'",
        "a cycle, .*high → low → high",
    ),
    "a map of another size": (
        rate('"positive"') + '\n[[then]]\nis = "tfb.Scale"\nscale = 2.0\n'
        '[[then]]\nis = "tfb.ScaleMatvecDiag"\nscale_diag = [1.0, 2.0]\n',
        "line 8",
        "does not fit a vector of 11 numbers",
    ),
    "a map without a name": (
        HEAD + "[[then]]\nscale = 2.0\n",
        "line 3",
        "expected a name, or a table",
    ),
}


class Text:
    """What makes no bijector."""


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        file.name: (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.iterdir()
    }


# What Python reports when it is asked to run, to import or to write something.
_HEARD: list[tuple[str, Any]] = []
_LISTENING: list[Path] = []


def _listen(event: str, arguments: Any) -> None:
    if not _LISTENING:
        return
    runs = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find")
    writes = event == "open" and isinstance(arguments[1], str) and "r" not in arguments[1]
    if event.startswith(runs) or writes or event in ("os.remove", "os.rename"):
        _HEARD.append((event, arguments))


sys.addaudithook(_listen)


def refused(folder: Path, content: str | bytes, where: str, what: str) -> str:
    """Read a broken file, and see that it is refused as it should be."""
    path = folder / "spec.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = snapshot(folder)
    _HEARD.clear()
    _LISTENING.append(folder)
    functions = {"number": 3, "text": Text}
    match = f"(?s)^load_spec: .*{where}.*{what}"
    try:
        with pytest.raises(ValueError, match=match) as info:
            bt.load_spec(path, MODEL, functions)
    finally:
        _LISTENING.clear()
    assert _HEARD == []
    assert snapshot(folder) == before
    assert str(path) in str(info.value)
    return str(info.value)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_has_an_error_of_its_own(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, *BROKEN[name])


@pytest.mark.parametrize(
    "broken",
    [
        '"count" = "positive"',
        '"rate" = {is = "greater_than", lower = [0.0, 0.0, 0.0]}',
        '"rate" = {is = "tfb.Shift", shift = inf}',
        '"rate" = {is = "tfb.Scale", scale = 0.0}',
        '"mix" = {is = "masked", bijector = "positive", mask = [true, false]}',
    ],
)
def test_an_entry_that_another_completes_is_no_fault(broken, tmp_path):
    """`low` alone, without the line of its scale, would have one that may be negative."""
    file = tmp_path / "spec.toml"
    low = '"low" = {is = "location_scale", loc = 0.0, scale = "high"}'
    file.write_text(f'{HEAD}"high" = "positive"\n{low}\n{broken}\n')
    with pytest.raises(ValueError, match="line 5") as wrong:
        bt.load_spec(file, MODEL)
    assert "line 4" not in str(wrong.value)


def test_all_faults_are_in_one_error(tmp_path):
    content = rate('"positve"') + '"mix" = {is = "simplex", axis = 3}\n"low" = 1\n'
    where = "line 3, at 'rate'.*line 4, at 'mix'.*line 5, at 'low'"
    message = refused(tmp_path, content, where, "expected a name")
    assert message.count("\n  - ") == 3


# The arrays beside it.

REST = "{dtype = 'float64', shape = [2], array = '0123456789abcdef'}"


class Pwned:
    def __reduce__(self) -> Any:
        return open, ("pwned", "w")


def saved(folder: Path, value: np.ndarray) -> tuple[str, bytes]:
    """The text and the arrays of a file, which are then taken away."""
    path = folder / "other.toml"
    bt.save_spec(path, {"mix": bt.affine(value, 1.0)})
    text, arrays = path.read_text(), arrays_path(path).read_bytes()
    path.unlink()
    arrays_path(path).unlink()
    return text, arrays


WIDE = np.linspace(0.0, 1.0, 20)


@pytest.mark.parametrize(
    ("make", "where", "what"),
    [
        (lambda text, arrays: (text, None), "line 7, at 'mix'", "copy both files"),
        (
            lambda text, arrays: (text, arrays[:200]),
            "spec.arrays.npz: no .npz file",
            "save the spec again",
        ),
        (
            lambda text, arrays: (text, b"words"),
            "spec.arrays.npz: no .npz file",
            "take the file from where it was whole",
        ),
        (
            lambda text, arrays: (text, pickle.dumps(Pwned())),
            "spec.arrays.npz: no .npz file",
            "save the spec again",
        ),
        (
            lambda text, arrays: (text, "objects"),
            "spec.arrays.npz: no .npz file of arrays",
            "save the spec again",
        ),
        (
            lambda text, arrays: (text, "other bits"),
            "line 7, at 'mix'",
            "another one than was saved",
        ),
        (
            lambda text, arrays: (text.replace("[20]", "[2, 10]"), arrays),
            "line 7, at 'mix'",
            "another one than was saved",
        ),
        (
            lambda text, arrays: (text.replace("float64", "complex64"), arrays),
            "line 7, at 'mix'",
            "is no array; save the spec again",
        ),
    ],
)
def test_broken_arrays(make, where, what, tmp_path):
    text, arrays = saved(tmp_path, WIDE)
    text, arrays = make(text, arrays)
    place = arrays_path(tmp_path / "spec.toml")
    if isinstance(arrays, bytes):
        place.write_bytes(arrays)
    elif arrays == "objects":
        np.savez(place, allow_pickle=True, x=np.array([Pwned()], dtype=object))
    elif arrays == "other bits":
        (key,) = np.load(_file(tmp_path, saved(tmp_path, WIDE)[1])).files
        np.savez(place, **{key: WIDE + 1})
        (tmp_path / "look.npz").unlink()
    path = tmp_path / "spec.toml"
    path.write_text(text)
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=f"(?s){where}.*{what}"):
        bt.load_spec(path, MODEL)
    assert snapshot(tmp_path) == before


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "look.npz"
    path.write_bytes(content)
    return path


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        bt.load_spec(tmp_path / "spec.toml", MODEL)
