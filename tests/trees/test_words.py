"""Long paths in tables."""

import jax.numpy as jnp
import pytest

import bijectree as bt
from bijectree.trees import cut_cell, cut_paths

CTF = "image_model.transfer_theory.ctf."
PATHS = {
    "one field": [CTF + "astigmatism_angle", CTF + "astigmatism_in_angstroms"],
    "alike at both ends": [f"{'a' * 20}{i}{'b' * 40}" for i in range(30)],
    "alike in the middle": [f"{i}{'x' * 90}{i}" for i in range(12)],
    "as another is cut": ["a" * 60, f"{'a' * 13}…{'a' * 26}"],
    "all short": ["a", "b.c"],
    "two of one kind": ["a" * 50, "a" * 50],
}


@pytest.mark.parametrize("name", PATHS)
def test_no_two_paths_read_alike(name):
    paths = PATHS[name]
    shown = cut_paths(paths)
    assert len(set(shown)) == len(set(paths))
    for path, text in zip(paths, shown, strict=True):
        start, dots, end = text.partition("…")
        if dots and path != text:
            assert path.startswith(start)
            assert path.endswith(end)
            assert len(text) < len(path)
        else:
            assert text == path


def test_a_long_path_keeps_its_end():
    shown = cut_paths([CTF + "defocus_in_angstroms"])
    assert shown == ["image_model.t…y.ctf.defocus_in_angstroms"]
    assert cut_paths([]) == []
    assert cut_cell("x" * 41) == "x" * 39 + "…"


def test_tables_tell_long_paths_apart():
    model = {"image_model": {"transfer_theory": {"ctf": {}}}}
    names = ("astigmatism_in_angstroms", "astigmatism_angle")
    model["image_model"]["transfer_theory"]["ctf"] = {n: jnp.ones(()) for n in names}
    reparam = bt.Reparam(model, bt.positive())
    for table in (bt.summary(reparam, model), str(bt.check(reparam, model))):
        assert all(f"{name} " in table for name in names)
