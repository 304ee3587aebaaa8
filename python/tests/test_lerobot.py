"""Data sets of LeRobot, compared with the results and recordings they are made of."""

from __future__ import annotations

import io
import json
import pathlib
import shutil
import subprocess
import types

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")
av = pytest.importorskip("av", minversion="14")
pq = pytest.importorskip("pyarrow.parquet")

from droidflow import BadFile, NotFound, lerobot  # noqa: E402
from droidflow.__main__ import main  # noqa: E402
from droidflow.raw import RawEpisode  # noqa: E402

WIDTH, HEIGHT = 672, 376  # of the recordings
SHOWN = 13  # of 14 steps
ROLES = ("wrist", "ext1", "ext2")


def export(out, raw, destination: pathlib.Path, *words: str) -> int:
    where = [str(out), str(destination), "--droid-root", str(raw[1])]
    return main(["export", "--to", "lerobot", *where, *words])


@pytest.fixture(scope="session")
def exported(out, raw, tmp_path_factory) -> pathlib.Path:
    """With pictures of the recordings' size."""
    place = tmp_path_factory.mktemp("lerobot") / "new/data"
    assert export(out, raw, place, "--size", f"{WIDTH}x{HEIGHT}") == 0
    return place


def rows(place: pathlib.Path, which: str) -> list[dict]:
    """Of all files of `data` or `meta/episodes`, in order."""
    paths = sorted((place / which).glob("chunk-*/file-*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def info(place: pathlib.Path) -> dict:
    return json.loads((place / "meta/info.json").read_text())


def recorded(raw, folder: str, file: str) -> np.ndarray:
    """[frames, H, W, 3] of the left eye, by the program ffmpeg."""
    command = ["ffmpeg", "-v", "error", "-i", raw[1] / folder / file, "-vf", "crop=iw/2:ih:0:0"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    values = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(values, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)


def serials(out, folder: str) -> dict[str, str]:
    """role -> serial"""
    quality = json.loads((out / folder / "quality.json").read_text())
    return {camera["role"]: serial for serial, camera in quality["cameras"].items()}


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a / 255.0 - b / 255.0) ** 2)))


def test_every_value_is_that_of_the_results(out, raw, exported):
    frames = rows(exported, "data")
    assert [frame["index"] for frame in frames] == list(range(3 * SHOWN))
    for episode in rows(exported, "meta/episodes"):
        here = frames[episode["dataset_from_index"] : episode["dataset_to_index"]]
        assert episode["length"] == len(here) == SHOWN
        folder = out / episode["folder"]
        tracks, extrinsics = np.load(folder / "tracks.npz"), np.load(folder / "extrinsics.npz")
        with h5py.File(raw[1] / episode["folder"] / "trajectory.h5") as file:
            pose = file["action/cartesian_position"][:]
            gripper = file["action/gripper_position"][:]
        by_role = serials(out, episode["folder"])
        for t, frame in enumerate(here):
            assert (frame["step"], frame["frame_index"]) == (t, t)
            assert frame["episode_index"] == episode["episode_index"]
            assert frame["timestamp"] == np.float32(t / 15)
            assert frame["time_ms"] == tracks["timestamps_ms"][t]
            state = [*tracks["cartesian_positions"][t], tracks["gripper_positions"][t]]
            np.testing.assert_array_equal(frame["observation.state"], np.float32(state))
            np.testing.assert_array_equal(frame["action"], np.float32([*pose[t], gripper[t]]))
            np.testing.assert_array_equal(frame["tracks_3d"], tracks["tracks_3d"][t])
            for role, serial in by_role.items():
                # Calibrated at another size: pictures shrink by 672/1280 and 376/720.
                size = tracks[f"image_size_{serial}"]
                scale = np.array([WIDTH, HEIGHT]) / size
                pixels = (tracks[f"tracks_2d_{serial}"][t] + 0.5) * scale - 0.5
                np.testing.assert_allclose(frame[f"tracks_2d.{role}"], pixels, atol=1e-3)
                K = tracks[f"intrinsics_{serial}"]
                ray = np.linalg.solve(K, [200.0, 100.0, 1])
                u, v, _ = np.array(frame[f"K.{role}"]) @ ray
                np.testing.assert_allclose([u, v], ([200.5, 100.5] * scale) - 0.5, atol=1e-3)
                wrist = role == "wrist"
                pose_of_camera = (
                    extrinsics["wrist_extrinsics"][t] if wrist else extrinsics[f"external_{serial}"]
                )
                np.testing.assert_array_equal(
                    frame[f"T_base_cam.{role}"], np.float32(pose_of_camera)
                )


def test_pictures_are_those_of_the_recordings(out, raw, exported):
    for role in ROLES:
        key = f"observation.images.{role}"
        with av.open(str(exported / f"videos/{key}/chunk-000/file-000.mp4")) as file:
            stream = file.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.average_rate == 15
            shown = [
                (f.pts * stream.time_base, f.to_ndarray(format="rgb24"))
                for f in file.decode(stream)
            ]
        assert len(shown) == 3 * SHOWN
        moved_values = 0
        for episode in rows(exported, "meta/episodes"):
            first = round(episode[f"videos/{key}/from_timestamp"] * 15)
            assert episode[f"videos/{key}/to_timestamp"] == (first + SHOWN) / 15
            serial = serials(out, episode["folder"])[role]
            source = recorded(raw, episode["folder"], f"recordings/MP4/{serial}-stereo.mp4")
            assert len(source) == SHOWN
            for t in range(SHOWN):
                time_s, picture = shown[first + t]
                assert float(time_s) == pytest.approx((first + t) / 15, abs=1e-9)
                assert psnr_db(picture, source[t]) >= 35
                for other in source[max(t - 1, 0) : t + 2]:
                    moved = np.abs(np.int16(other) - source[t]) > 40
                    near, far = (np.abs(np.int16(picture) - s)[moved] for s in (source[t], other))
                    assert near.sum() <= far.sum() / 2
                    moved_values += moved.sum()
        assert moved_values > 1000


def test_what_is_said_of_the_whole_agrees(out, exported):
    said, episodes = info(exported), rows(exported, "meta/episodes")
    assert said["codebase_version"] == "v3.0"
    assert (said["total_episodes"], said["total_frames"], said["total_tasks"]) == (3, 39, 1)
    assert said["features"]["observation.images.ext1"]["shape"] == [HEIGHT, WIDTH, 3]
    assert said["features"]["tracks_3d"] == {
        "dtype": "float32",
        "shape": [40, 3],
        "names": None,
    }
    order = [episode["split"] for episode in episodes]
    for split, range_ in said["splits"].items():
        begin, end = map(int, range_.split(":"))
        assert set(order[begin:end]) == {split}
    assert sum(int(r.split(":")[1]) - int(r.split(":")[0]) for r in said["splits"].values()) == 3
    assert [episode["tasks"] for episode in episodes] == [["put the marker in the cup"]] * 3
    tasks = pq.read_table(exported / "meta/tasks.parquet").to_pylist()
    assert tasks == [{"task_index": 0, "__index_level_0__": "put the marker in the cup"}]
    assert "nobody" not in json.dumps(said) + str(episodes)


def test_statistics_are_those_of_all_frames(exported):
    stats, frames = json.loads((exported / "meta/stats.json").read_text()), rows(exported, "data")
    for key in ("observation.state", "action", "tracks_3d", "index"):
        values = np.array([frame[key] for frame in frames], np.float64)
        assert stats[key]["count"] == [39]
        for name in ("min", "max", "mean", "std"):
            want = getattr(np, name)(values, axis=0)
            np.testing.assert_allclose(np.squeeze(stats[key][name]), want, atol=1e-9)
        assert np.all(np.array(stats[key]["q01"]) <= stats[key]["q99"])
    with av.open(str(exported / "videos/observation.images.ext1/chunk-000/file-000.mp4")) as file:
        pictures = np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])
    assert "tracks_2d.wrist" in stats  # here no point is behind a camera
    of_pictures = stats["observation.images.ext1"]
    assert np.shape(of_pictures["q50"]) == (3, 1, 1)
    # The statistics are of the pictures before H.264.
    for name in ("mean", "std"):
        want = getattr(pictures, name)(axis=(0, 1, 2), dtype=np.float32) / 255
        np.testing.assert_allclose(np.ravel(of_pictures[name]), want, atol=0.01)


def test_pixels_are_those_of_smaller_pictures(out, raw, tmp_path):
    assert export(out, raw, tmp_path / "data", "--cameras", "ext2") == 0
    said = info(tmp_path / "data")
    assert said["features"]["observation.images.ext2"]["shape"] == [180, 320, 3]
    assert "tracks_2d.ext1" not in said["features"]
    [episode, *_], [frame, *_] = (rows(tmp_path / "data", w) for w in ("meta/episodes", "data"))
    serial = serials(out, episode["folder"])["ext2"]
    tracks = np.load(out / episode["folder"] / "tracks.npz")
    u, v = tracks[f"tracks_2d_{serial}"][0, 7]
    width, height = tracks[f"image_size_{serial}"]
    want = [(u + 0.5) * 320 / width - 0.5, (v + 0.5) * 180 / height - 0.5]
    np.testing.assert_allclose(frame["tracks_2d.ext2"][7], want, atol=1e-3)


def test_files_are_begun_anew_when_full(out, raw, tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot, "_DATA_FILE_MB", 0)
    monkeypatch.setattr(lerobot, "_VIDEO_FILE_S", 1)  # two episodes
    monkeypatch.setattr(lerobot, "_FILES_PER_CHUNK", 2)
    monkeypatch.setattr(lerobot, "_ROWS_AT_A_TIME", 1)
    place = tmp_path / "data"
    assert export(out, raw, place, "--cameras", "wrist") == 0
    key = "videos/observation.images.wrist"
    episodes = rows(place, "meta/episodes")
    for kind in ("data", "meta/episodes"):
        files = [(e[f"{kind}/chunk_index"], e[f"{kind}/file_index"]) for e in episodes]
        assert files == [(0, 0), (0, 1), (1, 0)]
        [row] = pq.read_table(place / kind / "chunk-001/file-000.parquet")["episode_index"][-1:]
        assert row.as_py() == 2
    assert [e[f"{key}/file_index"] for e in episodes] == [0, 0, 1]
    assert [e[f"{key}/from_timestamp"] for e in episodes] == [0, SHOWN / 15, 0]
    with av.open(str(place / key / "chunk-000/file-001.mp4")) as file:
        assert len(list(file.decode(video=0))) == SHOWN


def test_an_episode_that_lacks_a_recording_is_left_out(out, raw, tmp_path, capsys):
    droid_root = tmp_path / "raw"
    shutil.copytree(raw[1], droid_root)
    first, second, third = sorted(droid_root.glob("*/*/*/*"))
    gone = sorted(first.glob("recordings/MP4/*-stereo.mp4"))[0]
    gone.unlink()
    cut = sorted(second.glob("recordings/MP4/*-stereo.mp4"))[-1]
    cut.write_bytes(cut.read_bytes()[:4000])
    assert export(out, ["", droid_root], tmp_path / "data") == 3
    said = capsys.readouterr()
    serial = gone.name.split("-")[0]
    assert f"want a recording of camera {serial}, have none: {gone}" in said.err
    assert f"want frame 1, have 1 frames: {cut}" in said.err
    assert said.out.startswith("1 episodes, 13 frames, 2 episodes left out")
    [episode] = rows(tmp_path / "data", "meta/episodes")
    assert episode["folder"] == str(third.relative_to(droid_root))
    assert [frame["index"] for frame in rows(tmp_path / "data", "data")] == list(range(SHOWN))
    with av.open(
        str(tmp_path / "data/videos/observation.images.wrist/chunk-000/file-000.mp4")
    ) as file:
        assert len(list(file.decode(video=0))) == SHOWN


def test_a_recording_is_read_as_it_should_be_or_named(raw, tmp_path):
    place = tmp_path / "a/success/b/c"
    (place / "recordings/MP4").mkdir(parents=True)
    mono = place / "recordings/MP4/7.mp4"
    episode = RawEpisode(tmp_path, types.SimpleNamespace(folder="a/success/b/c", num_frames=14))
    of_svo = {"serial": "7", "kind": "svo2", "file": "recordings/SVO/7.svo2", "frames": SHOWN}

    def pictures(video: dict) -> list[np.ndarray]:
        return list(episode.pictures(video, [0, 3, 3, 12], (64, 36)))

    with pytest.raises(NotFound, match=f"want a recording of camera 7, have none: {mono}"):
        pictures(of_svo)
    mono.write_bytes(b"no video")
    with pytest.raises(BadFile, match=f"want a video, have .*: {mono}"):
        pictures(of_svo)
    shutil.copy(next(raw[1].glob("*/*/*/*/recordings/MP4/????????.mp4")), mono)
    first, fourth, again, last = pictures(of_svo)
    assert first.shape == (36, 64, 3)
    np.testing.assert_array_equal(fourth, again)
    assert (first != fourth).any() and (fourth != last).any()
    assert len(pictures({**of_svo, "frames": None})) == 4
    expected = f"want 12 frames, as recordings/SVO/7.svo2 has, have 13: {mono}"
    with pytest.raises(BadFile, match=expected):
        pictures({**of_svo, "frames": 12})


def test_steps_that_a_camera_misses_are_left_out(out, raw, tmp_path):
    place = tmp_path / "out"
    shutil.copytree(out, place)
    path = sorted(place.glob("*/*/*/*/recordings/*/video.json"))[0]
    video = json.loads(path.read_text())
    video["step_to_frame"][4] = -1
    path.write_text(json.dumps(video))
    assert export(place, raw, tmp_path / "data", "--cameras", "ext1") == 0
    folder = str(path.parents[2].relative_to(place))
    [episode] = [e for e in rows(tmp_path / "data", "meta/episodes") if e["folder"] == folder]
    begin, end = episode["dataset_from_index"], episode["dataset_to_index"]
    steps = [frame["step"] for frame in rows(tmp_path / "data", "data")[begin:end]]
    assert steps == [0, 1, 2, 3, *range(5, SHOWN)]


def test_without_raw_data_there_are_tracks_only(out, tmp_path):
    assert main(["export", "--to", "lerobot", str(out), str(tmp_path / "data")]) == 0
    said = info(tmp_path / "data")
    assert said["video_path"] is None and said["total_frames"] == 3 * 14
    assert "unknown" not in said["splits"]
    assert not {"action", "observation.images.wrist"} & set(said["features"])


def test_an_uncalibrated_camera_has_no_pixels(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    path = sorted((tmp_path / "out").glob("*/*/*/*/tracks.npz"))[1]
    arrays = dict(np.load(path))
    gone = serials(tmp_path / "out", str(path.parent.relative_to(tmp_path / "out")))["ext2"]
    kept = [serial for serial in arrays["cameras_with_2d_tracks"] if serial != gone]
    np.savez(path, **{**arrays, "cameras_with_2d_tracks": np.array(kept)})
    assert main(["export", "--to", "lerobot", str(tmp_path / "out"), str(tmp_path / "data")]) == 0
    frames = rows(tmp_path / "data", "data")
    folder = str(path.parent.relative_to(tmp_path / "out"))
    [bare] = [
        e["episode_index"]
        for e in rows(tmp_path / "data", "meta/episodes")
        if e["folder"] == folder
    ]
    assert sum(frame["episode_index"] == bare for frame in frames) == 14
    for key in ("tracks_2d.ext2", "K.ext2"):
        for frame in frames:
            finite = np.isfinite(np.array(frame[key], float))
            assert not finite.any() if frame["episode_index"] == bare else finite.all()
    pose = np.load(path.with_name("extrinsics.npz"))[f"external_{gone}"]
    for frame in frames:
        if frame["episode_index"] == bare:
            np.testing.assert_array_equal(frame["T_base_cam.ext2"], np.float32(pose))
    stats = json.loads((tmp_path / "data/meta/stats.json").read_text())
    assert "K.ext1" in stats and "K.ext2" not in stats


def test_a_camera_that_no_episode_has_is_refused(out, tmp_path, capsys):
    words = ["export", "--to", "lerobot", str(out), str(tmp_path / "data")]
    assert main([*words, "--cameras", "wrsit,ext1"]) == 1
    said = capsys.readouterr().err
    assert "want an episode with camera 'wrsit', have " in said and "ext1, ext2, wrist: " in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag, wrong", [("--size", "321x180"), ("--fps", "0")])
def test_words_that_are_wrong_are_refused(flag, wrong, capsys):
    with pytest.raises(SystemExit):
        main(["export", "--to", "lerobot", "out", "data", flag, wrong])
    assert f"have '{wrong}'" in capsys.readouterr().err


def test_it_says_where_it_comes_from(out, exported):
    said = json.loads((exported / "meta/droidflow.json").read_text())
    whole = json.loads((out / "meta/dataset.json").read_text())
    assert said["source"] == str(out)
    assert said["made_with"] == whole["made_with"] and said["made_with"][0]["commit"]
    assert said["configs"] == whole["configs"]
    by_file = sorted(said["annotations"], key=lambda file: file["file"])
    assert by_file == sorted(whole["annotations"], key=lambda file: file["file"])


def test_hard_pictures_are_coded_well():
    """Tiles of random brightness and tint that move; with crf 18 they have 34.8 dB."""
    random = np.random.default_rng(3)
    tiles = random.integers(60, 196, (30, 60, 1)) + random.integers(-15, 16, (30, 60, 3))
    scene = np.uint8(tiles.repeat(8, axis=0).repeat(8, axis=1))
    pictures = [np.ascontiguousarray(scene[t : t + 180, 3 * t : 3 * t + 320]) for t in range(8)]
    video = lerobot._encode(iter(pictures), lerobot.Options(), np.zeros((3, 256), np.int64))
    with av.open(io.BytesIO(video)) as file:
        shown = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert min(map(psnr_db, shown, pictures)) >= 35


def test_an_old_folder_stays_as_it_is(out, raw, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    assert export(out, raw, tmp_path / "data") == 1
    assert f"want a new folder, have an old one: {tmp_path / 'data'}" in capsys.readouterr().err


def test_what_fails_leaves_nothing(out, raw, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lerobot._Videos, "append", full)
    assert export(out, raw, tmp_path / "data") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_episode_is_no_data_set(out, tmp_path, capsys):
    assert export(out, ["", tmp_path / "none"], tmp_path / "data") == 1
    assert f"want an episode to export, have none: {out}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_lerobot_reads_it(out, raw, exported, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    reader = pytest.importorskip("lerobot.datasets.lerobot_dataset")
    keys = {"action": [0.0, 1 / 15], "observation.images.wrist": [-1 / 15, 0.0]}
    data = reader.LeRobotDataset("droid/test", root=exported, video_backend="pyav")
    windows = reader.LeRobotDataset(
        "droid/test", root=exported, video_backend="pyav", delta_timestamps=keys
    )
    assert (len(data), data.num_episodes, data.fps) == (3 * SHOWN, 3, 15)
    for episode in rows(exported, "meta/episodes"):
        folder = out / episode["folder"]
        tracks = np.load(folder / "tracks.npz")
        with h5py.File(raw[1] / episode["folder"] / "trajectory.h5") as file:
            actions = np.column_stack(
                [file["action/cartesian_position"][:], file["action/gripper_position"][:]]
            ).astype(np.float32)
        sources = {
            role: recorded(raw, episode["folder"], f"recordings/MP4/{serial}-stereo.mp4")
            for role, serial in serials(out, episode["folder"]).items()
        }
        for t in range(SHOWN):
            item = data[episode["dataset_from_index"] + t]
            assert item["task"] == "put the marker in the cup"
            assert tuple(item["tracks_3d"].shape) == (40, 3)
            np.testing.assert_array_equal(item["tracks_3d"], tracks["tracks_3d"][t])
            np.testing.assert_array_equal(
                item["observation.state"][:6], np.float32(tracks["cartesian_positions"][t])
            )
            np.testing.assert_array_equal(item["action"], actions[t])
            assert tuple(item["T_base_cam.wrist"].shape) == (4, 4)
            for role, source in sources.items():
                picture = item[f"observation.images.{role}"].permute(1, 2, 0).numpy() * 255
                assert psnr_db(picture, source[t]) >= 35
            window = windows[episode["dataset_from_index"] + t]
            np.testing.assert_array_equal(window["action"], actions[[t, min(t + 1, SHOWN - 1)]])
            before = window["observation.images.wrist"][0].permute(1, 2, 0).numpy() * 255
            assert psnr_db(before, sources["wrist"][max(t - 1, 0)]) >= 35
    part = reader.LeRobotDataset("droid/test", root=exported, episodes=[1], video_backend="pyav")
    assert len(part) == SHOWN
    assert set(data.meta.stats) >= {"observation.state", "action", "observation.images.wrist"}
