"""Arrays of .npz files against what NumPy reads of the same file."""

from __future__ import annotations

import pathlib
import pickle

import numpy as np
import pytest
from conftest import load

from droidflow import BadFile, NotFound
from droidflow.npz import Npz
from droidflow.place import MappedBlob


def open_npz(path: pathlib.Path) -> Npz:
    return Npz(MappedBlob(path))


def assert_same_as_numpy(path: pathlib.Path) -> None:
    expected, archive = load(path), open_npz(path)
    assert list(archive) == list(expected)
    for key, array in expected.items():
        assert archive[key].dtype == array.dtype or array.dtype == object, key
        assert archive[key].shape == array.shape, key
        assert np.array_equal(archive[key], array, equal_nan=array.dtype.kind == "f"), key


def test_arrays_of_droidflow_are_those_that_numpy_reads(out):
    for path in out.glob("*/*/*/*/*.npz"):
        assert_same_as_numpy(path)


def test_arrays_of_the_original_are_those_that_numpy_reads(original):
    for path in original.rglob("*.npz"):
        assert_same_as_numpy(path)


ARRAYS = {
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "empty": np.empty((0, 3), np.float32),
    "no_texts": np.array([], dtype="U3"),
    "texts": np.array(["a", "längs"]),
    "scalar": np.int64(7),
    "big_endian": np.arange(3, dtype=">i2"),
    "odd": np.arange(5, dtype=np.uint8),
    "after_odd": np.arange(3.0),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_any_order_size_and_type_are_those_that_numpy_reads(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    assert_same_as_numpy(tmp_path / "a.npz")


def test_a_directory_longer_than_the_first_read_is_read_whole(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"key_{i:0100}": np.array(i) for i in range(700)})
    assert_same_as_numpy(tmp_path / "a.npz")


def test_arrays_of_a_local_file_are_views_that_cannot_be_written(out):
    tracks = open_npz(next(out.glob("*/*/*/*/tracks.npz")))["tracks_3d"]
    assert not tracks.flags.owndata and tracks.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        tracks[0] = 0


def test_a_missing_file_or_key_is_said(tmp_path):
    np.savez(tmp_path / "a.npz", here=1)
    with pytest.raises(NotFound, match="want a member 'gone', have here: .*a.npz"):
        open_npz(tmp_path / "a.npz")["gone"]
    with pytest.raises(NotFound, match="want a file, have none: .*b.npz"):
        open_npz(tmp_path / "b.npz")


@pytest.mark.parametrize("size", [0, 10, -1])
def test_a_file_that_was_cut_off_is_said(tmp_path, size):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(100))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BadFile, match="want a ZIP archive, have .*a.npz"):
        open_npz(path)


def test_bytes_that_changed_in_a_compressed_array_are_said(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.random.default_rng(1).normal(size=1000))
    data = bytearray(path.read_bytes())
    data[4000] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(BadFile, match="want (CRC|deflated bytes|8128 bytes).*a.npz, a"):
        open_npz(path)["a"]


def test_an_array_shorter_than_its_shape_is_said(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(100))
    path.write_bytes(path.read_bytes().replace(b"(100,)", b"(101,)"))
    with pytest.raises(BadFile, match="want an array, have .*too small.*a.npz, a"):
        open_npz(path)["a"]


class Harmful:
    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def test_a_pickle_that_would_run_something_does_not(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([Harmful()], dtype=object))
    with pytest.raises(BadFile, match="a pickle of builtins.exec"):
        open_npz(tmp_path / "a.npz")["a"]
    with pytest.raises(SystemExit):  # it would have
        pickle.loads(pickle.dumps(Harmful()))
