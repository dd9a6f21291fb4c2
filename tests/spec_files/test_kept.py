"""Files that were written once must load for ever, to the bit."""

import hashlib
from pathlib import Path

import jax
import pytest
from kept_specs import CASES, FOLDER, FUNCTIONS

import bijectree as bt
from bijectree.reparam import Then, is_spec_leaf, spec_of
from bijectree.spec_files.same import same_item

pytestmark = [
    pytest.mark.jax_defaults,
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype"),
]

# A file that is kept is never changed.
DIGESTS = {
    "constraints_1": "6feff28dd2cc4542",
    "tfp_1": "d96d4dbbd7ab3991",
    "items_1": "0527f5392bae4379",
    "numbers_1": "1bf9e57a5222f49c",
    "fitted_1": "67b505e6ee14c5a0",
}


def items(spec):
    pairs, _ = jax.tree_util.tree_flatten_with_path(spec, is_leaf=is_spec_leaf)
    return {jax.tree_util.keystr(path): item for path, item in pairs}


@pytest.mark.parametrize("name", CASES)
def test_it_loads_to_what_it_was(name):
    model, expected = CASES[name]()
    found = bt.load_spec(FOLDER / f"{name}.toml", model, FUNCTIONS)
    expected = spec_of(expected) if isinstance(expected, bt.Reparam) else expected
    if isinstance(expected, Then):
        assert len(found.maps) == len(expected.maps)
        assert all(map(same_item, found.maps, expected.maps))
        found, expected = found.spec, expected.spec
    found, expected = items(found), items(expected)
    assert found.keys() == expected.keys()
    joints: dict[int, int] = {}
    for path, item in expected.items():
        # A Reparam spells the identity out.
        same = same_item(found[path], item)
        assert same or (item is None and found[path] is None), path
        # What is one joint over several leaves is one again.
        assert joints.setdefault(id(found[path]), id(item)) == id(item) or not isinstance(
            item, type(bt.joint(bt.real()))
        ), path


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_was_written(name):
    files = [FOLDER / f"{name}.toml", FOLDER / f"{name}.arrays.npz"]
    content = b"".join(file.read_bytes() for file in files if file.exists())
    assert hashlib.sha256(content).hexdigest()[:16] == DIGESTS[name]


def test_every_file_has_a_case():
    names = {Path(file.name.split(".")[0]).name for file in FOLDER.iterdir()}
    assert names == CASES.keys() == DIGESTS.keys()
