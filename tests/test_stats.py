"""`droidflow stats` beside NumPy."""

from __future__ import annotations

import collections
import json
import pathlib
import shutil

import numpy as np
import pytest
from conftest import Dataset, load


@pytest.fixture(scope="module")
def results(droidflow, synth, tmp_path_factory) -> pathlib.Path:
    data: Dataset = synth(episodes=5, steps=30, seed=3)
    out = tmp_path_factory.mktemp("out")
    droidflow("metadata", -1, *data.inputs, "--out", out, code=0)
    return out


def folders(results) -> list[pathlib.Path]:
    return sorted(path.parent for path in results.glob("*/*/*/*/tracks.npz"))


def check(told: dict, values: np.ndarray) -> None:
    values = values.reshape(len(values), -1).astype(float)
    assert told["count"] == [len(values)] * values.shape[1]
    near = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(told["min"], values.min(axis=0), **near)
    np.testing.assert_allclose(told["max"], values.max(axis=0), **near)
    np.testing.assert_allclose(told["mean"], values.mean(axis=0), **near)
    np.testing.assert_allclose(told["std"], values.std(axis=0), rtol=1e-9, atol=1e-9)
    step = np.ptp(values, axis=0) / 65535
    for name, share in (("q01", 0.01), ("q99", 0.99)):
        exact = np.quantile(values, share, axis=0, method="inverted_cdf")
        assert (np.abs(np.array(told[name]) - exact) <= step + 1e-12).all(), name


def test_statistics_are_those_of_numpy(droidflow, results):
    stats = droidflow.json("stats", results)
    assert stats["episodes"] == 5
    tracks = [load(folder / "tracks.npz") for folder in folders(results)]
    for feature in ("cartesian_positions", "contact_centroids", "gripper_positions"):
        check(stats["features"][feature], np.concatenate([t[feature] for t in tracks]))
    qualities = [json.loads((f / "quality.json").read_text()) for f in folders(results)]
    for feature in ("num_frames", "path_length_mm", "idle_fraction"):
        check(stats["features"][feature], np.array([q[feature] for q in qualities]))
    fractions = [c["in_image_fraction"] for q in qualities for c in q["cameras"].values()]
    check(stats["features"]["in_image_fraction"], np.array(fractions))
    assert "depth_valid_fraction" not in stats["features"], "there is no depth"


def test_labs_are_counted(droidflow, results):
    wanted = collections.Counter(folder.relative_to(results).parts[0] for folder in folders(results))
    labs = droidflow.json("stats", results)["labs"]
    assert {lab: told["success"] + told["failure"] for lab, told in labs.items()} == wanted
    assert sum(told["steps"] for told in labs.values()) == 5 * 30


def test_one_episode_is_a_data_set(droidflow, results, tmp_path):
    (folder, *_) = folders(results)
    out = tmp_path / "stats.json"
    printed = droidflow("stats", folder, "-o", out, code=0).stdout
    assert "contact_centroids[2]" in printed
    stats = json.loads(out.read_text())
    assert stats["features"]["num_frames"]["std"] == [0]
    check(stats["features"]["gripper_positions"], load(folder / "tracks.npz")["gripper_positions"])


def test_what_is_damaged_or_missing_is_said(droidflow, results, tmp_path):
    assert droidflow("stats", tmp_path).returncode == 10
    damaged = tmp_path / "LAB/success/2023-07-01/a"
    damaged.mkdir(parents=True)
    (damaged / "tracks.npz").write_bytes(b"PK")
    done = droidflow("stats", tmp_path)
    assert done.returncode == 1 and str(damaged / "tracks.npz") in done.stderr
    shutil.rmtree(damaged)
    shutil.copytree(folders(results)[0], damaged)
    (damaged / "quality.json").write_text("{}")
    done = droidflow("stats", tmp_path)
    assert done.returncode == 1 and "want a JSON object with episode_id" in done.stderr
