"""Data sets of both layouts hold the same."""

from __future__ import annotations

import json
import pathlib
import pickle
import shutil

import numpy as np
import pytest
from conftest import load

from droidflow import BadFile, Dataset, NotFound


def assert_same_episodes(data: Dataset, out: pathlib.Path) -> None:
    """Everything, against NumPy and the files themselves."""
    folders = [path.parent for path in sorted(out.glob("*/*/*/*/quality.json"))]
    expected = {
        json.loads((folder / "quality.json").read_text())["episode_id"]: folder
        for folder in folders
    }
    assert len(data) == len(expected) == len(list(data))
    assert set(data) == set(expected)
    assert data.folders == [folder.relative_to(out).as_posix() for folder in folders]
    for uuid, folder in expected.items():
        episode = data[uuid]
        assert episode.uuid == uuid
        assert episode.quality == json.loads((folder / "quality.json").read_text())
        assert episode.files.names() == sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        )
        for name in ("tracks.npz", "extrinsics.npz"):
            for key, array in load(folder / name).items():
                assert np.array_equal(episode[key], array, equal_nan=array.dtype.kind == "f")
        for serial, intrinsics in episode.intrinsics.items():
            path = folder / f"recordings/{serial}/intrinsics.json"
            assert vars(intrinsics) == json.loads(path.read_text())
    local = Dataset(out)[uuid].depth("wrist")
    assert np.array_equal(data[uuid].depth("wrist")[1:3], local[1:3], equal_nan=True)


def test_a_folder_of_results_holds_every_episode(out):
    assert_same_episodes(Dataset(out), out)
    assert_same_episodes(Dataset(str(out)), out)


def test_shards_hold_every_episode(shards, out):
    assert_same_episodes(Dataset(shards), out)


@pytest.mark.parametrize("layout", ["out", "shards"])
def test_episodes_are_found_by_uuid_and_folder(request, layout):
    data = Dataset(request.getfixturevalue(layout))
    for uuid in list(data):
        folder = data[uuid].folder
        again = Dataset(data.place.name)
        assert uuid in again and folder in again
        assert again[uuid].folder == folder and again[folder].uuid == uuid
    assert "AUTOLab+0+2020-01-01-00h-00m-00s" not in data and 7 not in data
    with pytest.raises(NotFound, match="want episode nobody, have 3 others: .*"):
        data["nobody"]
    assert data.get("nobody") is None


def test_a_uuid_that_its_folder_does_not_tell_is_found(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    episode = next(iter(Dataset(tmp_path / "out").values()))
    uuid, folder = episode.uuid, pathlib.Path(episode.name)
    moved = folder.rename(folder.parent / "elsewhere")
    assert Dataset(tmp_path / "out")[uuid].name == str(moved)


def test_two_folders_of_one_uuid_are_said(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    first = pathlib.Path(next(iter(Dataset(tmp_path / "out").values())).name)
    shutil.copytree(first, first.parent / "copy")
    with pytest.raises(BadFile, match="want an episode_id that .* does not have"):
        list(Dataset(tmp_path / "out"))


def test_of_an_episode_in_several_shards_the_last_counts(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "hub")
    first = min((tmp_path / "hub/meta").glob("*.jsonl"))
    line = json.loads(first.read_text().splitlines()[0])
    line["quality"]["language"] = ["the second time"]
    (first.parent / f"{first.stem[:-5]}99999.jsonl").write_text(json.dumps(line) + "\n")
    data = Dataset(tmp_path / "hub")
    assert len(data) == 3
    assert data[line["key"]].language == ("the second time",)


def test_a_damaged_index_is_said(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "hub")
    index = min((tmp_path / "hub/meta").glob("*.jsonl"))
    index.write_text(index.read_text()[:100])
    with pytest.raises(BadFile, match="want a line of an index of shards, have .*key.*jsonl"):
        Dataset(tmp_path / "hub")


def test_an_archive_that_was_cut_off_is_said(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "hub")
    for archive in (tmp_path / "hub/data").rglob("*.tar"):
        archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(BadFile, match="want [0-9]+ bytes, have 2000: .*tar"):
        next(iter(Dataset(tmp_path / "hub").values())).tracks_3d


def test_a_place_that_is_none_is_said(tmp_path):
    with pytest.raises(NotFound, match="want a folder, have nothing: .*nowhere"):
        Dataset(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="want hf://datasets/NAMESPACE/NAME.*, have another form"):
        Dataset("hf://datasets/x")


@pytest.mark.parametrize(
    "level, said", enumerate(["a lab", "a folder of days", "a day", "an episode"])
)
def test_a_folder_within_a_data_set_is_said(out, level, said):
    folder = out.joinpath(*Dataset(out).folders[0].split("/")[: level + 1])
    wanted = "want episodes as LAB/OUTCOME/DATE/EPISODE/tracks.npz, or data/ and meta/ of shards"
    with pytest.raises(NotFound, match=f"{wanted}, have {said} of the data set {out}: {folder}$"):
        Dataset(folder)


def test_a_folder_without_episodes_is_said(shards, tmp_path):
    with pytest.raises(NotFound, match=f"want episodes as .*, have none: {tmp_path}$"):
        Dataset(tmp_path)
    data = shards / "data"
    with pytest.raises(NotFound, match=f"have the archives of the data set {shards}: {data}$"):
        Dataset(data)
    shutil.copytree(data, tmp_path / "data")
    with pytest.raises(NotFound, match="have archives without meta/shard-.*.jsonl: "):
        Dataset(tmp_path)


@pytest.mark.parametrize(
    "text, found", [("{", "want JSON"), ("{}", "want a text episode_id, have {}")]
)
def test_a_damaged_episode_does_not_hide_the_others(out, tmp_path, text, found):
    shutil.copytree(out, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/meta")
    first, *others = [(uuid, episode.folder) for uuid, episode in Dataset(out).items()]
    path = tmp_path / "out" / first[1] / "quality.json"
    path.write_text(text)
    data = Dataset(tmp_path / "out")
    with pytest.warns(UserWarning, match=f"{found}.*: {path}"):
        assert "unknown" not in data
    assert sorted(data) == sorted(uuid for uuid, _ in others) and len(data) == 2
    with pytest.raises(BadFile, match=f"{found}.*: {path}"):
        data[first[0]]
    with pytest.raises(BadFile, match=f"{found}.*: {path}"):
        data[first[1]].uuid


@pytest.mark.parametrize("layout", ["out", "shards"])
def test_a_pickled_data_set_reads_the_same(request, layout):
    data = Dataset(request.getfixturevalue(layout))
    other = pickle.loads(pickle.dumps(data))
    for uuid in data:
        assert np.array_equal(other[uuid].tracks_3d, data[uuid].tracks_3d)


def test_the_programs_table_tells_uuids_without_reading_episodes(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    uuids = sorted(Dataset(out))
    for path in (tmp_path / "out").glob("*/*/*/*/quality.json"):
        path.unlink()
    data = Dataset(tmp_path / "out")
    assert sorted(data) == uuids and uuids[0] in data
    folder = data[uuids[0]].folder
    assert data.line(folder)["uuid"] == uuids[0] and data.line("no/such/folder/x") is None
    (tmp_path / "out/meta/episodes.jsonl").write_text("[]\n")
    with pytest.raises(BadFile, match="want a line of an index of episodes"):
        Dataset(tmp_path / "out")
