"""A flat vector in a file: whole, or refused with a reason."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings

from ps_common import weights_file
from ps_common.errors import CheckpointError
from ps_common.layout import Entry, Layout
from support_disks import small_disk
from support_layouts import layouts

LAYOUT = Layout([Entry("0.weight", (3, 2)), Entry("scale", ()), Entry("m", (3,), "float16", "slot")])
MEANING = {"version": 7, "sums": {"loss": [0.5, 2.0]}, "text": 'a "quoted" ü'}


def filled(layout: Layout, seed: int = 0) -> np.ndarray:
    vector = layout.empty()
    rng = np.random.default_rng(seed)
    for view in layout.views(vector).values():
        view[...] = rng.normal(size=view.shape)
    return vector


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "weights.safetensors"
    weights_file.write(path, LAYOUT, filled(LAYOUT), MEANING)
    return path


def test_what_was_written_is_read(path):
    layout, vector, meaning = weights_file.read(path)
    assert layout == LAYOUT
    assert vector.tobytes() == filled(LAYOUT).tobytes()
    assert meaning == MEANING
    assert os.listdir(path.parent) == [path.name]


def test_other_programs_read_the_tensors_by_name(path):
    tensors = safetensors.numpy.load_file(path)
    assert {name: (t.shape, str(t.dtype)) for name, t in tensors.items()} == {
        entry.name: (entry.shape, entry.dtype) for entry in LAYOUT.entries
    }


@settings(deadline=None, max_examples=30)
@given(layouts())
def test_any_layout_is_written_and_read(tmp_path_factory, layout):
    path = tmp_path_factory.mktemp("any") / "x.safetensors"
    weights_file.write(path, layout, filled(layout), {})
    again, vector, meaning = weights_file.read(path)
    assert (again, vector.tobytes(), meaning) == (layout, filled(layout).tobytes(), {})


def test_a_file_cut_at_any_length_is_refused(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"is damaged|no file of this project"):
            weights_file.read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError):
        weights_file.read(path)


@pytest.mark.parametrize("flip", [0x01, 0x02, 0x10, 0x80, 0xFF])
def test_a_file_with_any_byte_changed_is_refused(path, flip):
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
        with pytest.raises(CheckpointError):
            weights_file.read(path)


def remade(path, **changes):
    """The file with other metadata, as somebody would make it by hand."""
    layout, vector, meaning = weights_file.read(path)
    text = json.dumps({"layout": layout.to_plain(), **meaning})
    metadata = {"format": weights_file.FORMAT, "meaning": text, "checksum": "0", **changes}
    views = layout.views(vector)
    safetensors.numpy.save_file(views, path, {k: v for k, v in metadata.items() if v is not None})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "its checksum is"),
        ({"checksum": None}, "the file says None"),
        ({"format": "other"}, "its format is 'other'"),
        ({"format": None}, "its format is None"),
        ({"meaning": None}, "meaning"),
        ({"meaning": "{"}, "is damaged"),
        ({"meaning": "[]"}, "is damaged"),
        ({"meaning": "3"}, "is damaged"),
        ({"meaning": "{}"}, "is damaged: 'layout'"),
        ({"meaning": "[" * 100_000}, "is damaged"),
        ({"meaning": '{"layout": [["0.weight", [9], "float32", "weight"]]}'}, "0.weight is (3, 2) float32"),
        (
            {"meaning": '{"layout": [["0.weight", [3, 2], "float64", "weight"]]}'},
            "0.weight is (3, 2) float32",
        ),
        ({"meaning": '{"layout": [["gone", [2], "float32", "weight"]]}'}, "is damaged"),
        (
            {"meaning": '{"layout": [["0.weight", [1000000000], "float32", "weight"]]}'},
            "shorter than its layout",
        ),
        ({"meaning": '{"layout": [["0.weight", [2], "object", "weight"]]}'}, "a layout's entry is"),
    ],
)
def test_a_file_made_by_hand_is_refused_with_the_reason(path, changes, told):
    remade(path, **changes)
    with pytest.raises(CheckpointError) as caught:
        weights_file.read(path)
    assert told in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        weights_file.read(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="is damaged"):
        weights_file.read(tmp_path)


def test_a_full_disk_is_an_os_error_and_leaves_the_old_file_and_nothing_else(path):
    whole = path.read_bytes()
    big = Layout([Entry("w", (100_000,))])
    with small_disk(50_000), pytest.raises(OSError, match="cannot be written"):
        weights_file.write(path, big, big.empty(), {})
    assert path.read_bytes() == whole
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_in_the_files_place_is_an_os_error_and_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        weights_file.write(tmp_path / "taken", LAYOUT, LAYOUT.empty(), {})
    assert os.listdir(tmp_path) == ["taken"]


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="cannot be written"):
        weights_file.write(tmp_path / "gone" / "x", LAYOUT, LAYOUT.empty(), {})


def test_a_meaning_that_is_no_json_leaves_no_file(path):
    with pytest.raises(TypeError):
        weights_file.write(path.with_name("other"), LAYOUT, filled(LAYOUT), {"what": object()})
    assert os.listdir(path.parent) == [path.name]


def test_a_new_file_takes_the_old_ones_place(path):
    weights_file.write(path, LAYOUT, filled(LAYOUT, 1), {"version": 8})
    assert weights_file.read(path)[2] == {"version": 8}
    assert os.listdir(path.parent) == [path.name]


def test_what_a_file_means_is_read_alone(path):
    assert weights_file.read_meaning(path) == MEANING
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # a vector that nobody looks at
    assert weights_file.read_meaning(path) == MEANING


def test_a_meaning_nested_without_end_is_damage_too(path):
    remade(path, meaning="[" * 100_000)
    with pytest.raises(CheckpointError, match="is damaged"):
        weights_file.read_meaning(path)


@pytest.mark.parametrize("data", [b"", b"{", b"\0" * 100])
def test_a_file_that_means_nothing_is_damaged(path, data):
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged"):
        weights_file.read_meaning(path)
    with pytest.raises(CheckpointError, match="is damaged"):
        weights_file.read_meaning(path.with_name("gone"))


def test_the_digest_of_a_vector_is_of_its_runs_and_not_of_what_lies_between():
    vector = filled(LAYOUT)
    digest = weights_file.vector_digest(LAYOUT, vector)
    inside = {at for run in LAYOUT.runs for at in range(run.start, run.stop)}
    for at in range(LAYOUT.nbytes):
        changed = vector.copy()
        changed[at] ^= 1
        assert (weights_file.vector_digest(LAYOUT, changed) != digest) == (at in inside)
