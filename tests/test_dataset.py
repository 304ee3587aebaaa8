"""What makes results a data set: meaning, splits, the index, provenance, `explain` and `export`."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
import tarfile

import h5py
import numpy as np
import pytest
from conftest import REPOSITORY, Dataset, content, copy_dataset, finished, products, quality

sys.path.append(str(REPOSITORY / "python/src"))

from droidflow.splits import split_of  # noqa: E402

STEPS = 12


@pytest.fixture(scope="module")
def data(synth) -> Dataset:
    return synth(episodes=6, steps=STEPS, seed=5)


@pytest.fixture(scope="module")
def out(droidflow, data, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("dataset") / "out"
    droidflow("metadata", -1, 2, *data.inputs, "--out", out, "--points", 8, code=0)
    return out


def lines(out: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (out / "meta/episodes.jsonl").read_text().splitlines()]


def annotation(data: Dataset, name: str) -> dict:
    return json.loads((data.annotations / name).read_text())


def metadata_of(data: Dataset, episode) -> dict:
    [path] = (data.raw / episode).glob("metadata_*.json")
    return json.loads(path.read_text())


def sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_quality_says_what_an_episode_means(data, out):
    language = annotation(data, "droid_language_annotations.json")
    keep = {
        key.split("--")[0].removeprefix("gs://bucket/").removesuffix("/recordings/MP4"): value
        for key, value in annotation(data, "keep_ranges_1_0_1.json").items()
    }
    seen = set()
    for episode in data.episodes():
        said, metadata = quality(out / episode), metadata_of(data, episode)
        instructions = language.get(metadata["uuid"], {}).values()
        assert said["language"] == [text for text in instructions if text]
        assert said["keep_ranges"] == keep.get(str(episode))
        for key in ("lab", "building", "scene_id", "current_task"):
            assert said[key] == metadata[key]
        with np.load(out / episode / "tracks.npz") as tracks:
            assert said["fps"] == tracks["fps"]
        seen.add((len(said["language"]), said["keep_ranges"] is None))
    assert {count for count, _ in seen} == {0, 1, 3} and {none for _, none in seen} == {True, False}


def idle_of(folder: pathlib.Path, speed_mm_s: float, enabled=None) -> np.ndarray:
    """By NumPy, from what is written and the definition in docs/formats.md."""
    with np.load(folder / "tracks.npz") as tracks:
        moved_mm = np.diff(tracks["cumulative_distance_mm"])
        grip = np.abs(np.diff(tracks["gripper_positions"]))
        seconds = np.diff(tracks["timestamps_ms"]) / 1000
    rests = (moved_mm < speed_mm_s * seconds) & (grip < 0.01)
    rests = np.append(rests, rests[-1])
    return rests if enabled is None else rests | ~enabled


def mask(ranges, steps: int) -> np.ndarray:
    found = np.zeros(steps, bool)
    for (begin, end), (next_, _) in zip(ranges, [*ranges[1:], (steps + 1, 0)]):
        assert 0 <= begin < end < next_
        found[begin:end] = True
    return found


def test_idle_steps_are_slow_or_not_enabled(droidflow, synth, tmp_path):
    data = copy_dataset(synth(episodes=2, steps=40, seed=9), tmp_path / "data")
    still, free = data.episodes()
    with h5py.File(data.raw / still / "trajectory.h5", "r+") as file:
        enabled = file["observation/controller_info/movement_enabled"]
        enabled[5:9] = 0
        enabled = enabled[:].astype(bool)
    speed = 60.0
    run = ("metadata", -1, 1, *data.inputs, "--out", tmp_path / "out", "--points", 8)
    droidflow(*run, "--idle-speed", speed, code=0)
    want = {still: idle_of(tmp_path / "out" / still, speed, enabled)}
    want[free] = idle_of(tmp_path / "out" / free, speed)
    for episode, idle in want.items():
        assert 0 < idle.sum() < 40
        said = quality(tmp_path / "out" / episode)
        assert mask(said["idle_ranges"], 40).tolist() == idle.tolist()
        assert said["config"]["idle_speed_mm_per_s"] == speed


def test_the_index_has_a_line_for_each_episode(data, out):
    found = lines(out)
    assert [line["uuid"] for line in found] == sorted(data.uuid(e) for e in data.episodes())
    for line in found:
        said = quality(out / line["folder"])
        same = ("outcome", "building", "scene_id", "num_frames", "fps", "keep_ranges", "idle_ranges")
        assert {key: line[key] for key in same} == {key: said[key] for key in same}
        assert line["language"] == (said["language"] or [said["current_task"]])
        assert [camera["serial"] for camera in line["cameras"]] == list(said["cameras"])
        assert line["warnings"] == sorted({warning["code"] for warning in said["warnings"]})
    everything = (out / "meta/episodes.jsonl").read_text() + (out / "meta/dataset.json").read_text()
    persons = [metadata_of(data, e)[key] for e in data.episodes() for key in ("user", "user_id")]
    persons = [name for name in persons if name not in "".join(data.uuid(e) for e in data.episodes())]
    assert persons and not [name for name in persons if name in everything]


def test_splits_are_the_python_packages(droidflow, out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    table = tmp_path / "out/meta/episodes.jsonl"
    scenes = set()
    for shares in ("80/10/10", "0.4/0.3/0.3", "0/1/0"):
        droidflow("index", tmp_path / "out", "--splits", shares, code=0)
        numbers = [float(share) for share in shares.split("/")]
        for line in lines(tmp_path / "out"):
            scene = line["lab"], line["building"], line["scene_id"]
            scenes.add(scene)
            assert line["split"] == split_of(*scene, numbers)
    assert len(scenes) > 2
    counts = json.loads((table.parent / "dataset.json").read_text())["splits"]["episodes"]
    assert counts == {"train": 0, "val": 6, "test": 0, "none": 0}
    for shares in ("80/20", "a/b/c", "0/0/0", "-1/1/1", "1/1/1/1"):
        done = droidflow("index", tmp_path / "out", f"--splits={shares}", code=2)
        assert "80/10/10" in done.stderr and f"'{shares}'" in done.stderr


def test_a_run_indexes_what_it_adds_and_index_makes_the_same(droidflow, data, out, tmp_path):
    run = ("metadata", *data.inputs, "--out", tmp_path / "out", "--points", 8, "--splits", "1/1/1")
    droidflow(*run[:1], 2, *run[1:], code=0)
    assert len(lines(tmp_path / "out")) == 2
    droidflow(*run[:1], -1, *run[1:], code=0)
    table, whole = (tmp_path / "out/meta" / name for name in ("episodes.jsonl", "dataset.json"))
    made = table.read_text(), whole.read_text()
    assert len(lines(tmp_path / "out")) == 6
    # A run that has nothing to do leaves it alone.
    stamp = table.stat().st_mtime_ns
    droidflow(*run[:1], -1, *run[1:], code=0)
    assert table.stat().st_mtime_ns == stamp
    shutil.rmtree(table.parent)
    droidflow("index", tmp_path / "out", "--splits", "1/1/1", code=0)
    assert (table.read_text(), whole.read_text()) == made


def test_splits_stay_as_they_were_unless_others_are_asked_for(droidflow, data, out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    droidflow("index", tmp_path / "out", "--splits", "1/1/1", code=0)
    made = (tmp_path / "out/meta/episodes.jsonl").read_text()
    droidflow("index", tmp_path / "out", code=0)
    assert (tmp_path / "out/meta/episodes.jsonl").read_text() == made
    run = ("metadata", 2, 1, *data.inputs, "--out", tmp_path / "new", "--points", 8)
    droidflow(*run, "--splits", "1/1/1", code=0)
    droidflow(*run[:1], 6, *run[2:], code=0)
    assert [line["split"] for line in lines(tmp_path / "new")] == [
        line["split"] for line in map(json.loads, made.splitlines())
    ]
    droidflow("index", tmp_path / "new", "--splits", "1/0/0", code=0)
    assert {line["split"] for line in lines(tmp_path / "new")} == {"train"}
    (tmp_path / "new/meta/dataset.json").write_text('{"splits": {"shares": [0, -1, 0]}}')
    droidflow("index", tmp_path / "new", code=0)
    shares = json.loads((tmp_path / "new/meta/dataset.json").read_text())["splits"]["shares"]
    assert np.allclose(np.divide(shares, sum(shares)), (0.8, 0.1, 0.1))
    droidflow("index", tmp_path / "new", "--splits", "", code=2)


def test_the_originals_results_are_indexed_by_what_their_files_say(droidflow, real, tmp_path):
    shutil.copytree(real.expected, tmp_path / "out")
    for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    droidflow("index", tmp_path / "out", code=0)
    [line] = lines(tmp_path / "out")
    [folder] = finished(tmp_path / "out")
    tracks = np.load(folder / "tracks.npz", allow_pickle=True)
    assert line["fps"] == float(tracks["fps"])
    assert line["path_length_mm"] == float(tracks["cumulative_distance_mm"][-1])
    told = quality(folder)
    assert [c["serial"] for c in line["cameras"]] == [*told["external_cameras"], told["wrist_camera"]]
    assert [c["role"] for c in line["cameras"]] == [None, None, "wrist"]
    assert line["cameras"][0]["metric_type"] == "IoU" and line["cameras"][0]["metric_value"] == 0.616


def test_a_damaged_episode_is_left_out_and_named(droidflow, out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    broken = sorted((tmp_path / "out").glob("*/*/*/*/quality.json"))[0]
    broken.write_text("{")
    done = droidflow("index", tmp_path / "out", code=3)
    assert str(broken) in done.stderr
    assert len(lines(tmp_path / "out")) == 5
    assert droidflow("index", tmp_path / "nothing", code=10).stderr


def test_provenance_names_what_was_read(data, out):
    for episode in data.episodes():
        said = quality(out / episode)
        made = said["provenance"]
        assert made["commit"] is None or re.fullmatch("[0-9a-f]{40}", made["commit"])
        config = json.dumps(said["config"], separators=(",", ":"))
        assert made["config_sha256"] == hashlib.sha256(config.encode()).hexdigest()
        assert re.fullmatch(r"\w+", made["instruction_set"])
        for file in made["annotations"]:
            path = data.annotations / file["file"]
            assert (file["bytes"], file["sha256"]) == (path.stat().st_size, sha256(path))
        assert len(made["annotations"]) == len(list(data.annotations.glob("*.json")))
        whole = set()
        for source in made["sources"]:
            name = source["file"]
            path = (data.conf if name.endswith(".conf") else data.raw / episode) / name
            assert source["bytes"] == path.stat().st_size
            if "sha256" in source:
                whole.add(path.suffix)
                assert source["sha256"] == sha256(path)
            else:
                assert source["modified_ms"] == path.stat().st_mtime_ns // 1_000_000
        assert {".json", ".h5", ".conf"} == whole
    dataset = json.loads((out / "meta/dataset.json").read_text())
    [made_with] = dataset["made_with"]
    assert made_with["episodes"] == dataset["episodes"] == 6
    assert list(dataset["configs"]) == [made_with["config_sha256"]]
    assert {file["episodes"] for file in dataset["annotations"]} == {6}


def test_full_reads_recordings_to_their_end(droidflow, synth, tmp_path):
    data = synth(episodes=1, steps=3, seed=8, video="stereo")
    run = ("full", -1, *data.inputs, "--out", tmp_path, "--points", 4, "--backend", "cpu")
    droidflow(*run, "--preset", "fast", "--max-disparity", 64, code=0, timeout=300)
    [episode] = data.episodes()
    sources = {s["file"]: s for s in quality(tmp_path / episode)["provenance"]["sources"]}
    recordings = [name for name in sources if name.startswith("recordings/")]
    whole = [name for name in recordings if "sha256" in sources[name]]
    assert len(whole) == 3 and len(recordings) == 6
    for name in whole:
        assert name.endswith("-stereo.mp4")
        assert sources[name]["sha256"] == sha256(data.raw / episode / name)


def test_annotations_are_hashed_once(droidflow, data, tmp_path):
    folder = pathlib.Path(shutil.copytree(data.annotations, tmp_path / "annotations"))
    inputs = ("--droid-root", data.raw, "--annotations", folder, "--points", 4)
    run = ("metadata", 1, 1, *inputs, "--out", tmp_path / "out", "--recompute")
    droidflow(*run, code=0)
    cache = tmp_path / "out/.droidflow/annotation_checksums.json"
    kept = json.loads(cache.read_text())
    assert {entry["sha256"] for entry in kept} == {sha256(p) for p in folder.glob("*.json")}
    # What the cache says is believed as long as the file is as it was.
    for entry in kept:
        entry["sha256"] = "0" * 64
    cache.write_text(json.dumps(kept))
    serials = folder / "camera_serials.json"
    serials.write_text(serials.read_text() + " ")
    droidflow(*run, code=0)
    [path] = (tmp_path / "out").glob("*/*/*/*/quality.json")
    found = {f["file"]: f["sha256"] for f in quality(path.parent)["provenance"]["annotations"]}
    assert found.pop(serials.name) == sha256(serials)
    assert set(found.values()) == {"0" * 64}


def test_stats_are_of_the_split_that_is_asked_for(droidflow, out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    droidflow("index", tmp_path / "out", "--splits", "1/1/1", code=0)
    frames = {"train": [], "val": [], "test": []}
    for line in lines(tmp_path / "out"):
        frames[line["split"]].append(line["path_length_mm"])
    assert sum(bool(values) for values in frames.values()) > 1
    for split, values in frames.items():
        code = 0 if values else 10
        done = droidflow("stats", tmp_path / "out", "--split", split, "--json", code=code)
        if not values:
            continue
        feature = json.loads(done.stdout)["features"]["path_length_mm"]
        assert feature["count"] == [len(values)]
        assert feature["mean"][0] == pytest.approx(np.mean(values))
    shutil.rmtree(tmp_path / "out/meta")
    done = droidflow("stats", tmp_path / "out", "--split", "val", code=10)
    assert "'droidflow index'" in done.stderr


# ---------------------------------------------------------------- explain


def explain(droidflow, data: Dataset, what, *flags, code: int = 0) -> dict:
    return droidflow.json("explain", what, *data.inputs, *flags, code=code)


def chosen(considered: list[dict]) -> str | None:
    names = [one["what"] for one in considered if one["chosen"]]
    assert len(names) <= 1
    return names[0] if names else None


def test_explain_says_what_a_run_writes(droidflow, data, out):
    for episode in data.episodes()[:3]:
        told = explain(droidflow, data, data.uuid(episode), "--points", 8)
        assert (told["uuid"], told["folder"]) == (data.uuid(episode), str(episode))
        assert (told["outcome"], told["status"]) == ("done", None)
        assert chosen(told["folders"]) == str(episode)
        said = quality(out / episode)
        assert [camera["serial"] for camera in told["cameras"]] == list(said["cameras"])
        for camera in told["cameras"]:
            have = said["cameras"][camera["serial"]]
            source = {"metadata": "metadata", "trajectory": "trajectory.h5"}.get(
                have["extrinsics_source"], f"{have['extrinsics_source']}.json"
            )
            assert (chosen(camera["pose"]) or "").startswith(source)
            assert chosen(camera["intrinsics"]) == have["intrinsics_source"]
            assert chosen(camera["recordings"]) == have["recording"]["file"]
            assert camera["recording_reason"] == have["recording"]["reason"]
        files = {file["file"]: file for file in told["files"]}
        assert set(files) == {n.removeprefix(f"{episode}/") for n in products(out / episode)}
        with np.load(out / episode / "tracks.npz") as tracks:
            want = {k: [tracks[k].dtype.str, list(tracks[k].shape)] for k in tracks.files}
        assert want == {
            name: [array["dtype"], array["shape"]]
            for name, array in files["tracks.npz"]["arrays"].items()
        }


def test_explain_ranks_calibrations_within_their_type(droidflow, data):
    best: dict[str, list[float]] = {}
    files = ("cam2base_extrinsic_superset.json", "cam2base_extrinsics.json")
    for entry in (e for name in files for e in annotation(data, name).values()):
        of_type: dict[str, list[float]] = {}
        for serial in (key for key in entry if key.isdecimal()):
            kind = entry.get(f"{serial}_metric_type", entry.get("metric_type"))
            value = entry.get(f"{serial}_quality_metric", entry.get("quality_metric"))
            of_type.setdefault(kind, []).append(value)
        for kind, values in of_type.items():
            pick = min if kind == "Reprojection_error" else max
            best.setdefault(kind, []).append(pick(values))
    seen = 0
    for episode in data.episodes():
        for one in explain(droidflow, data, episode, "--points", 2)["calibrations"]:
            kind, value = one["metric_type"], one["metric_value"]
            better = sum(v < value if kind == "Reprojection_error" else v > value for v in best[kind])
            assert one["rank"] == pytest.approx(1 - better / len(best[kind]))
            assert one["ranked_episodes"] == len(best[kind])
            seen += 1
    assert seen >= 4


def test_explain_tells_folders_and_files_that_will_not_do(droidflow, data, tmp_path):
    copy = copy_dataset(data, tmp_path / "data")
    first, second = copy.episodes()[:2]
    uuid = copy.uuid(first)
    paths = copy.annotations / "episode_id_to_path.json"
    paths.write_text(json.dumps({uuid: str(second)}))
    [recording, *_] = sorted((copy.raw / first).glob("recordings/MP4/*.mp4"))
    recording.write_bytes(b"")
    told = explain(droidflow, copy, uuid)
    assert told["folders"][0]["what"] == str(second)
    assert copy.uuid(second) in told["folders"][0]["finding"]
    assert chosen(told["folders"]) == str(first)
    findings = [one["finding"] for camera in told["cameras"] for one in camera["recordings"]]
    assert [text for text in findings if text.startswith("zero bytes")]
    (copy.raw / first / "trajectory.h5").write_bytes(b"")
    told = explain(droidflow, copy, uuid, code=3)
    assert (told["status"], told["stage"], told["files"]) == ("bad_trajectory", "trajectory", [])
    shutil.rmtree(copy.raw / first)
    told = explain(droidflow, copy, uuid, code=10)
    assert (told["status"], told["outcome"]) == ("not_found", "not_found")
    assert chosen(told["folders"]) is None
    assert len(told["folders"]) > 10


def test_explain_tells_of_other_folders_with_the_uuid(droidflow, data, tmp_path):
    copy = copy_dataset(data, tmp_path / "copy")
    episode = data.episodes()[0]
    twin = f"{episode}_copy"
    shutil.copytree(copy.raw / episode, copy.raw / twin)
    told = explain(droidflow, copy, data.uuid(episode), code=0)
    assert chosen(told["folders"]) == str(episode)
    [finding] = [c["finding"] for c in told["folders"] if c["what"] == twin]
    assert finding == "has this uuid too, and comes later"
    told = explain(droidflow, copy, twin, code=3)
    assert (told["outcome"], told["status"], told["stage"]) == ("skipped", "duplicate", "find")
    assert str(episode) in told["message"]


def test_explain_reads_well_and_leaves_nothing(droidflow, data, tmp_path):
    episode = data.episodes()[0]
    env = {"TMPDIR": str(tmp_path)}
    text = droidflow("explain", data.uuid(episode), *data.inputs, code=0, env=env).stdout
    assert re.search(f"^folder +{episode}$", text, re.M) and f"-> {episode}" in text
    assert re.search(f"^in +{data.raw}$", text, re.M) and "fetched" not in text
    assert "tracks_3d <f4 [12,960,3]" in text
    assert re.search(r"would be written\n", text) and not list(tmp_path.iterdir())
    assert droidflow("explain", "no-uuid", *data.inputs, code=2).stderr


# ---------------------------------------------------------------- export


def test_export_is_the_python_packages(droidflow, tmp_path):
    fake = tmp_path / "python"
    fake.write_text(
        '#!/bin/sh\ncase "$1" in -c) exit 0;; esac\necho "$@"\nexit 3\n'
    )
    fake.chmod(0o755)
    env = {"DROIDFLOW_PYTHON": str(fake)}
    words = ("--to", "lerobot", "out", "new", "--fps=5", "--size", "64x36")
    done = droidflow("export", *words, env=env, code=3)
    assert done.stdout.split() == ["-m", "droidflow", "export", *words]


def test_export_writes_shards_and_later_what_they_lack(droidflow, data, tmp_path):
    out, shards = tmp_path / "out", tmp_path / "shards"
    run = ("metadata", *data.inputs, "--points", 60, "--out", out)
    droidflow(*run[:1], 1, 1, *run[1:], "--hub", f"file:{tmp_path}/elsewhere", "--keep-uploaded", code=0)
    words = ("export", "--to", "webdataset", out, shards)
    for count, limit in ((1, 1), (2, 2), (0, 2)):
        droidflow(*run[:1], limit, 1, *run[1:], code=0)
        before = content(out)
        written = droidflow.json(*words, code=0)
        assert written["episodes"] == min(count, 1) and written["folder"] == str(shards)
        assert content(out) == before
    members = {}
    for path in shards.glob("data/*/shard-*.tar"):
        with tarfile.open(path) as archive:
            members |= {m.name: archive.extractfile(m).read() for m in archive}
    want = {}
    for folder in finished(out):
        uuid = quality(folder)["episode_id"]
        for path in (p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix().removeprefix("recordings/").replace("/", ".")
            want[f"{uuid}.{name}"] = path.read_bytes()
    assert members == want
    droidflow("export", "--to", "webdataset", tmp_path / "nowhere", shards, code=10)
    droidflow("export", "--to", "webdataset", data.raw, tmp_path / "new", code=10)
    assert not (tmp_path / "new").exists()
    droidflow("export", "--to", "webdataset", out, code=2)
    droidflow("export", "--to", "webdataset", out, "", code=2)


def test_export_without_the_package_says_what_to_install(droidflow, tmp_path):
    for python, have in ((sys.executable, "one without it"), (tmp_path / "none", "no such")):
        env = {"DROIDFLOW_PYTHON": str(python), "PYTHONPATH": "", "PYTHONNOUSERSITE": "1"}
        done = droidflow("export", "--to", "lerobot", "a", "b", env=env, code=1, cwd=tmp_path)
        assert "pip install ./python" in done.stderr and have in done.stderr


def test_export_reaches_the_real_package(droidflow, out, tmp_path):
    path = os.pathsep.join([str(REPOSITORY / "python/src"), *sys.path])
    env = {"DROIDFLOW_PYTHON": sys.executable, "PYTHONPATH": path}
    done = droidflow("export", "--to", "no-such", out, tmp_path / "new", env=env, code=2)
    assert "lerobot" in done.stderr
