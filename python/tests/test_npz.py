"""Arrays of .npz files against what NumPy reads of the same file."""

from __future__ import annotations

import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import load

from droidflow import BadFile, NotFound, place
from droidflow.npz import Npz
from droidflow.place import LocalBlob


def open_npz(path: pathlib.Path) -> Npz:
    return Npz(LocalBlob(path))


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


@pytest.mark.parametrize("small_bytes", [0, 1 << 18])
def test_arrays_of_a_local_file_are_views_that_cannot_be_written(out, monkeypatch, small_bytes):
    monkeypatch.setattr(place, "_SMALL_BYTES", small_bytes)
    path = next(out.glob("*/*/*/*/tracks.npz"))
    assert LocalBlob(path).mapped == (small_bytes == 0)
    assert_same_as_numpy(path)
    tracks = open_npz(path)["tracks_3d"]
    assert not tracks.flags.owndata and tracks.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        tracks[0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        tracks.flags.writeable = True


def test_what_is_more_than_the_system_maps_is_read(out, monkeypatch):
    monkeypatch.setattr(place, "_SMALL_BYTES", 0)
    most = len(place._Pages.mapped) + 1
    monkeypatch.setattr(place, "_most_mappings", lambda: most)
    path = next(out.glob("*/*/*/*/tracks.npz"))
    first, second = LocalBlob(path), LocalBlob(path)
    assert first.mapped and not second.mapped
    assert first.read(0, 1 << 30) == second.read(0, 1 << 30) == path.read_bytes()
    assert first.read(100, 200) == second.read(100, 200)
    assert_same_as_numpy(path)


HOLD_ALL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import droidflow
droidflow.place._SMALL_BYTES = int(sys.argv[2])
data = droidflow.Dataset(sys.argv[1])
large, small = zip(*[(data[f].tracks_3d, data[f].wrist_extrinsics) for f in data.folders])
assert len(large) == 100 and all((a == large[0]).all() for a in large)
assert len(small) == 100 and all((a == small[0]).all() for a in small)
mapped = lambda name: sum(name in line for line in open("/proc/self/maps"))
assert (mapped("/tracks.npz"), mapped("/extrinsics.npz")) == (100, 0)
del large
assert mapped("/tracks.npz") == 0
"""


def test_more_arrays_are_held_than_files_can_be_open(out, tmp_path):
    source, day = next(out.glob("*/*/*/*")), tmp_path / "LAB/success/2023-07-03"
    for number in range(100):
        shutil.copytree(source, day / f"{number}", copy_function=os.link)
    small_bytes = (source / "extrinsics.npz").stat().st_size
    assert small_bytes < (source / "tracks.npz").stat().st_size
    command = [sys.executable, "-c", HOLD_ALL, tmp_path, str(small_bytes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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


def test_an_array_shorter_than_its_shape_is_said(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(100))
    path.write_bytes(path.read_bytes().replace(b"(100,)", b"(101,)"))
    with pytest.raises(BadFile, match="want CRC .*a.npz, a"):
        open_npz(path)["a"]
    monkeypatch.setattr(place, "_SMALL_BYTES", 0)
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
