"""The table of episodes, and splits."""

from __future__ import annotations

import collections
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest

from droidflow.__main__ import main
from droidflow.splits import split_of


def files_of(out: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path.parent for path in out.glob("*/*/*/*/tracks.npz"))


@pytest.fixture
def read():
    """read(path) -> the rows of a Parquet file"""
    parquet = pytest.importorskip("pyarrow.parquet")
    return lambda path: parquet.read_table(path).to_pylist()


def without_the_programs_table(out: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    shutil.copytree(out, to)
    shutil.rmtree(to / "meta")
    return to


@pytest.mark.parametrize("by", ["the program's table", "the files"])
def test_rows_are_what_the_files_say(by, out, raw, read, tmp_path):
    droid_root, table = raw[1], tmp_path / "new/episodes.parquet"
    if by == "the files":
        out = without_the_programs_table(out, tmp_path / "out")
    assert main(["index", str(out), "-o", str(table)]) == 0
    rows = read(table)
    assert len(rows) == 3
    for row, folder in zip(rows, files_of(out)):
        quality = json.loads((folder / "quality.json").read_text())
        tracks = np.load(folder / "tracks.npz")
        [path] = (droid_root / folder.relative_to(out)).glob("metadata_*.json")
        metadata = json.loads(path.read_text())
        assert row["uuid"] == metadata["uuid"]
        assert row["folder"] == str(folder.relative_to(out))
        assert (row["lab"], row["outcome"]) == (metadata["lab"], "success")
        assert (row["building"], row["scene_id"]) == (metadata["building"], metadata["scene_id"])
        assert row["split"] == split_of(row["lab"], row["building"], row["scene_id"])
        assert row["num_frames"] == metadata["trajectory_length"]
        assert row["fps"] == tracks["fps"]
        assert row["path_length_mm"] == pytest.approx(quality["path_length_mm"], rel=1e-6)
        assert row["current_task"] == metadata["current_task"]
        assert row["language"] == (quality["language"] or [metadata["current_task"]])
        assert row["keep_ranges"] == quality["keep_ranges"]
        assert row["idle_ranges"] == quality["idle_ranges"]
        assert row["warnings"] == sorted({warning["code"] for warning in quality["warnings"]})
        assert [camera["role"] for camera in row["cameras"]] == ["ext1", "ext2", "wrist"]
        for camera in row["cameras"]:
            said = quality["cameras"][camera["serial"]]
            metric = said["calibration_metric"] or {"type": None, "value": None}
            assert (camera["metric_type"], camera["metric_value"]) == tuple(metric.values())
            assert camera["in_image_fraction"] == said["in_image_fraction"]
        assert metadata["user"] == "nobody"
    assert {len(row["language"]) for row in rows} == {1, 3}
    assert "nobody" not in str(rows)


def test_language_ranges_and_shares_are_what_is_given(out, read, tmp_path):
    first, second, _ = files_of(out)
    uuid = json.loads((first / "quality.json").read_text())["episode_id"]
    language = tmp_path / "language.json"
    said = {f"language_instruction{i}": text for i, text in enumerate(["one", "two", "three"], 1)}
    language.write_text(json.dumps({uuid: said}))
    keep = tmp_path / "keep.json"
    key = f"gs://bucket/{second.relative_to(out)}/recordings/MP4--{second.name}/trajectory.h5"
    keep.write_text(json.dumps({key: [[0, 4], [6, 9]]}))
    table = tmp_path / "episodes.parquet"
    words = ["--language", str(language), "--keep-ranges", str(keep), "-o", str(table)]
    assert main(["index", str(out), *words, "--splits", "0/1/0"]) == 0
    rows = read(table)
    assert rows[0]["language"] == ["one", "two", "three"]
    assert [row["keep_ranges"] for row in rows] == [None, [[0, 4], [6, 9]], None]
    assert {row["split"] for row in rows} == {"val"}


def test_without_raw_metadata_the_originals_have_no_split(original, read, tmp_path):
    table = tmp_path / "episodes.parquet"
    assert main(["index", str(original), "-o", str(table)]) == 0
    assert {(row["building"], row["scene_id"], row["split"]) for row in read(table)} == {
        (None, None, None)
    }


def test_the_original_pipelines_results_have_a_table(original, read, tmp_path):
    table = tmp_path / "episodes.parquet"
    assert main(["index", str(original), "-o", str(table)]) == 0
    rows = read(table)
    assert len(rows) == len(files_of(original))
    assert {row["cameras"][0]["role"] for row in rows} == {"ext1"}


def test_scenes_divide_by_the_shares():
    scenes = [("REAL", "hall", scene) for scene in range(10_000)]
    counts = collections.Counter(split_of(*scene) for scene in scenes)
    assert counts["train"] == pytest.approx(8000, abs=150)
    assert counts["val"] == pytest.approx(1000, abs=120)
    assert counts["test"] == pytest.approx(1000, abs=120)
    assert {split_of(*scene, (0, 1, 0)) for scene in scenes} == {"val"}
    # A scene that trains with a small share does with a larger one.
    for scene in scenes[:500]:
        assert split_of(*scene, (50, 25, 25)) != "train" or split_of(*scene) == "train"


def test_a_split_is_the_same_for_ever():
    """By hand: sha256sum of '["AUTOLab", "lab", 1]' begins with dad42dba, which is 0.855."""
    assert split_of("AUTOLab", "lab", 1) == "val"


def test_a_missing_package_is_named(out, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "droidflow.index", raising=False)
    assert main(["index", str(out)]) == 1
    expected = "want the package pyarrow (pip install 'droidflow[export]'), have none"
    assert capsys.readouterr().err.strip() == expected


def test_missing_metadata_is_named(original, read, tmp_path, capsys):
    assert main(["index", str(original), "--droid-root", str(tmp_path)]) == 1
    folder = files_of(original)[0].relative_to(original)
    expected = f"left out {folder}: want metadata_*.json, have none: {tmp_path / folder}"
    first, *_, last = capsys.readouterr().err.strip().splitlines()
    assert (first, last) == (expected, f"want an episode for the table, have none: {original}")
    assert not (original / "meta").exists()


def test_a_damaged_episode_is_left_out(out, read, tmp_path, capsys):
    place = without_the_programs_table(out, tmp_path / "out")
    bad = files_of(place)[1] / "quality.json"
    bad.write_text("{")
    assert main(["index", str(place)]) == 3
    assert f"left out {bad.parent.relative_to(place)}: want JSON" in capsys.readouterr().err
    rows = read(place / "meta/episodes.parquet")
    assert [row["folder"] for row in rows] == [
        str(folder.relative_to(place)) for folder in files_of(place) if folder != bad.parent
    ]


def test_a_folder_without_episodes_has_no_table(tmp_path, capsys):
    assert main(["index", str(tmp_path)]) == 1
    assert "want episodes as LAB/OUTCOME/DATE/EPISODE/tracks.npz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_the_programs_table_lacks_is_filled(original, read, tmp_path):
    shutil.copytree(original, tmp_path / "out", copy_function=shutil.copyfile)
    droid_root, lines = tmp_path / "raw", []
    for folder in files_of(tmp_path / "out"):
        quality = json.loads((folder / "quality.json").read_text())
        below = str(folder.relative_to(tmp_path / "out"))
        said = dict.fromkeys(["building", "scene_id", "split", "fps", "path_length_mm"])
        said |= {"uuid": quality["episode_id"], "folder": below, "lab": below.split("/")[0]}
        said |= {"outcome": "success", "num_frames": quality["num_frames"], "cameras": []}
        lines.append(json.dumps(said))
        (droid_root / below).mkdir(parents=True)
        scene = {"building": "hall", "scene_id": 7}
        (droid_root / below / "metadata_x.json").write_text(json.dumps(scene))
    (tmp_path / "out/meta").mkdir()
    (tmp_path / "out/meta/episodes.jsonl").write_text("\n".join(lines))
    assert main(["index", str(tmp_path / "out"), "--droid-root", str(droid_root)]) == 0
    for row, folder in zip(read(tmp_path / "out/meta/episodes.parquet"), files_of(original)):
        tracks = np.load(folder / "tracks.npz")
        assert row["fps"] == tracks["fps"]
        assert row["path_length_mm"] == tracks["cumulative_distance_mm"][-1]
        quality = json.loads((folder / "quality.json").read_text())
        serials = [*quality["external_cameras"], quality["wrist_camera"]]
        assert [camera["serial"] for camera in row["cameras"]] == serials
        assert (row["building"], row["scene_id"]) == ("hall", 7)
        assert row["split"] == split_of(row["lab"], "hall", 7)


@pytest.mark.parametrize(
    "shares", ["80/20", "a/b/c", "0/0/0", "-1/1/1", "nan/1/1", "1/nan/1", "inf/1/1"]
)
def test_bad_shares_are_refused(shares, capsys):
    with pytest.raises(SystemExit):
        main(["index", "out", f"--splits={shares}"])
    expected = f"want three numbers of 0 or more as 80/10/10, not all 0, have {shares!r}"
    assert expected in capsys.readouterr().err
