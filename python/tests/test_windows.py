"""Windows against slices of NumPy's arrays, and PyTorch's data sets on a stand-in of PyTorch."""

from __future__ import annotations

import concurrent.futures
import importlib
import json
import multiprocessing
import os
import pickle
import sys
import types

import numpy as np
import pytest
from conftest import STEPS, load

from droidflow import BadFile, Dataset, Windows, read_keep_ranges


@pytest.fixture
def data(out) -> Dataset:
    return Dataset(out)


def spans(windows: Windows) -> list[tuple[str, int]]:
    return [(w["uuid"], w["start"]) for w in windows]


def test_windows_are_every_slice_of_their_length(data, out):
    windows = Windows(data, 5, stride=3, keys=["tracks_3d", "gripper_positions"])
    starts = [0, 3, 6, 9]
    assert STEPS == 14 and spans(windows) == [(uuid, s) for uuid in data for s in starts]
    assert windows[-1]["start"] == 9 and [w["start"] for w in windows[1:3]] == [3, 6]
    for window in windows:
        arrays = load(out / data[window["uuid"]].folder / "tracks.npz")
        here = slice(window["start"], window["start"] + 5)
        for key in ("tracks_3d", "gripper_positions"):
            assert np.array_equal(window[key], arrays[key][here])
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_a_window_longer_than_an_episode_is_none(data):
    assert len(Windows(data, STEPS + 1)) == 0
    assert len(Windows(data, STEPS)) == len(data)


def test_a_camera_adds_its_tracks_and_poses(data, out):
    for window in Windows(data, 4, stride=4, camera="wrist"):
        episode = data[window["uuid"]]
        folder, serial = out / episode.folder, episode.serial("wrist")
        here = slice(window["start"], window["start"] + 4)
        tracks, extrinsics = load(folder / "tracks.npz"), load(folder / "extrinsics.npz")
        pixels = tracks[f"tracks_2d_{serial}"][here]
        assert np.array_equal(window["tracks_2d"], pixels, equal_nan=True)
        assert np.array_equal(window["visible"], episode.visible["wrist"][here])
        assert np.array_equal(window["K"], tracks[f"intrinsics_{serial}"])
        assert np.array_equal(window["T_base_cam"], extrinsics["wrist_extrinsics"][here])
        assert np.isfinite(window["tracks_2d"][window["visible"]]).all()
    assert len(Windows(data, 4, camera="ext7")) == 0


def test_windows_stay_within_the_ranges_to_keep(data, tmp_path):
    first, second, _ = data
    path = tmp_path / "keep.json"
    root = "gs://bucket/r2d2-data-full/"
    path.write_text(
        json.dumps(
            {
                f"{root}{data[uuid].folder}/recordings/MP4--{root}trajectory.h5": ranges
                for uuid, ranges in ((first, [[0, 4], [6, 12]]), (second, [[10, 99]]))
            }
        )
    )
    keep = read_keep_ranges(path)
    expected = [(first, 0), (first, 6), (first, 7), (first, 8), (second, 10)]
    assert spans(Windows(data, 4, keep=keep)) == expected
    assert spans(Windows(data, 4, keep={first: [(2, 7)]})) == [(first, 2), (first, 3)]


def test_keys_that_name_no_episode_are_said(tmp_path):
    (tmp_path / "keep.json").write_text('{"what": [[0, 1]]}')
    with pytest.raises(
        BadFile, match="want .lab.*recordings in each key, have 'what': .*keep.json"
    ):
        read_keep_ranges(tmp_path / "keep.json")


def test_windows_have_valid_steps_only(data):
    first = next(iter(data))
    windows = Windows(data, 3, uuids=[first], valid=lambda e: np.arange(e.num_frames) % 6 != 5)
    assert spans(windows) == [(first, s) for s in (0, 1, 2, 6, 7, 8)]
    with pytest.raises(
        ValueError, match=f"want valid of {STEPS} steps, have shape .3,.: {first[:4]}"
    ):
        Windows(data, 3, valid=lambda e: [True] * 3)


def test_a_key_without_an_entry_per_step_is_said(data):
    with pytest.raises(BadFile, match="want contact_points_local of each of 14 steps, have .20, 3"):
        Windows(data, STEPS, keys=["contact_points_local"], uuids=[next(iter(data))])[0]


@pytest.mark.parametrize("options", [{"length": 0}, {"length": 3, "stride": 0}])
def test_a_length_or_stride_below_one_is_refused(data, options):
    with pytest.raises(ValueError, match="want a length and stride of 1 or more, have "):
        Windows(data, **options)


def total(windows: Windows, index: int) -> tuple[int, float]:
    return os.getpid(), float(windows[index]["tracks_3d"].sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_read_the_same(data, method, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    windows = Windows(data, 5)
    here = [total(windows, i)[1] for i in range(len(windows))]  # and files are open
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, context) as workers:
        there = list(workers.map(total, [windows] * len(here), range(len(here))))
    assert [value for _, value in there] == here
    assert os.getpid() not in {process for process, _ in there}


def test_a_cache_holds_the_episodes_used_last(data):
    windows = Windows(data, STEPS, cached_episodes=2)
    views = [windows[i]["tracks_3d"] for i in (0, 1, 0, 2, 0, 1)]
    shared = [np.shares_memory(views[0], view) for view in views]
    assert shared == [True, False, True, False, True, False]
    assert not np.shares_memory(views[1], views[5])  # 2 took its place


# -------------------------------------------------------------------------------------- PyTorch


class Tensor:
    """What from_numpy makes: it shares the array's memory, which must be writable."""

    def __init__(self, array: np.ndarray):
        assert (
            isinstance(array, np.ndarray) and array.flags.writeable and array.dtype.kind in "fiub"
        )
        self.array = array


@pytest.fixture
def droidflow_torch(monkeypatch):
    """droidflow.torch on a module with the interface that it uses."""
    torch, utils, utils_data = (types.ModuleType(n) for n in ("torch", "utils", "data"))
    torch.from_numpy, torch.utils, utils.data = Tensor, utils, utils_data
    utils_data.Dataset = type("Dataset", (), {"__class_getitem__": classmethod(lambda cls, _: cls)})
    for name, module in (
        ("torch", torch),
        ("torch.utils", utils),
        ("torch.utils.data", utils_data),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "droidflow.torch", raising=False)
    yield importlib.import_module("droidflow.torch")
    sys.modules.pop("droidflow.torch", None)


def test_samples_are_episodes_of_tensors(data, droidflow_torch):
    episodes = droidflow_torch.EpisodeDataset(data, keys=["tracks_3d"])
    assert isinstance(episodes, sys.modules["torch"].utils.data.Dataset)
    assert len(episodes) == len(data)
    for i, uuid in enumerate(data):
        sample = episodes[i]
        assert list(sample) == ["uuid", "tracks_3d"] and sample["uuid"] == uuid
        assert np.array_equal(sample["tracks_3d"].array, data[uuid].tracks_3d)
    with pytest.raises(IndexError):
        episodes[len(data)]


def test_samples_are_windows_of_tensors(data, droidflow_torch):
    options = {"stride": 2, "camera": "ext1", "keys": ["gripper_positions"]}
    windows, plain = droidflow_torch.WindowDataset(data, 3, **options), Windows(data, 3, **options)
    assert len(windows) == len(plain) > 0
    for i in (0, len(plain) - 1):
        sample, expected = windows[i], plain[i]
        assert list(sample) == list(expected)
        for key, value in expected.items():
            same = sample[key].array if isinstance(value, np.ndarray) else sample[key]
            assert np.array_equal(same, value, equal_nan=key == "tracks_2d")


def test_a_transform_makes_what_the_loader_gets(data, droidflow_torch):
    for dataset in (
        droidflow_torch.EpisodeDataset(data, transform=lambda sample: sample["uuid"]),
        droidflow_torch.WindowDataset(data, STEPS, transform=lambda sample: sample["uuid"]),
    ):
        assert [dataset[i] for i in range(len(dataset))] == list(data)


def test_data_sets_of_pytorch_can_be_pickled(data, droidflow_torch):
    for dataset in (
        droidflow_torch.EpisodeDataset(data),
        droidflow_torch.WindowDataset(data, 5),
    ):
        dataset[0]
        other = pickle.loads(pickle.dumps(dataset))
        assert np.array_equal(other[0]["tracks_3d"].array, dataset[0]["tracks_3d"].array)
