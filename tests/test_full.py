"""`full`: everything that `metadata` does, and depth; written from the specification."""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile
import threading
import time

import numpy as np
import pytest
from conftest import Dataset, content, copy_dataset, finished, load, products, quality
from full_runs import (
    DEPTH_FILES,
    QUICK,
    check_whole,
    differing,
    has_depth,
    metadata_products,
    names,
)
from recordings_reference import probe
from test_cli import setting
from test_depth import frames_of
from test_faults import by_path, no_leftovers, stat, told

OPTIONS = """
--limit --workers-per-gpu --gpus --workers --backend --preset --cameras --camera-jobs
--require-depth --depth-every --max-frames --min-depth --max-depth --max-disparity --max-staged-gb
--scratch-dir --staging-dir --batch-dir --batch-metadata-dir --dry-run --json --droid-root
--annotations --conf-dir --out --run-dir --episodes --points --episode-timeout --recompute
--retry-quarantined --deep-check --print-config --config
""".split()


def role_of(data: Dataset, episode: pathlib.Path) -> dict[str, str]:
    """role -> serial."""
    (path,) = (data.raw / episode).glob("metadata_*.json")
    metadata = json.loads(path.read_text())
    return {role: metadata[f"{role}_cam_serial"] for role in ("ext1", "ext2", "wrist")}


def recording(data: Dataset, episode: pathlib.Path, serial: str) -> pathlib.Path:
    return data.raw / episode / f"recordings/MP4/{serial}-stereo.mp4"


@pytest.fixture(scope="session")
def films(synth) -> Dataset:
    """Four episodes of five steps, three stereo recordings each."""
    return synth(episodes=4, steps=5, seed=5, video="stereo")


@pytest.fixture(scope="session")
def full(droidflow, tmp_path_factory):
    """full(dataset, *flags) -> the output folder of a finished run with these flags, made once."""

    @functools.cache
    def run(data: Dataset, *flags) -> pathlib.Path:
        out = tmp_path_factory.mktemp("full") / "out"
        droidflow("full", -1, *data.inputs, "--out", out, *QUICK, *flags, code=0, timeout=300)
        return out

    return run


def run_full(droidflow, data: Dataset, out: pathlib.Path, *flags, code: int = 0):
    flags = ["--out", out, *QUICK, *flags]
    return droidflow("full", -1, *data.inputs, *flags, code=code, timeout=300)


def left_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """What a run has forgotten on the way."""
    return [p for p in folder.rglob("*") if p.is_file()]


def without_depth(products_: dict[str, object]) -> dict[str, object]:
    return {n: p for n, p in products_.items() if pathlib.PurePath(n).name not in DEPTH_FILES}


def depths(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """serial -> [F,H,W] millimetres."""
    return {
        serial: frames_of(folder / f"recordings/{serial}/depth.mkv") for serial in has_depth(folder)
    }


def meta(folder: pathlib.Path, serial: str) -> dict:
    return json.loads((folder / f"recordings/{serial}/depth_meta.json").read_text())


# ------------------------------------------------------------------------------- help and bad usage


def test_help_has_every_option_an_example_and_the_exit_statuses(droidflow):
    text = droidflow("full", "--help", code=0).stdout
    assert [flag for flag in OPTIONS if not re.search(rf"(^|[\s,]){flag}\b", text)] == []
    assert re.search(r"[Ee]xample.*\n?.*droidflow full", text)
    assert re.search(r"130", text) and re.search(r"\b3\b.*quarantined", text)
    assert re.search(r"^\s+full\b", droidflow("--help", code=0).stdout, re.M)


@pytest.mark.parametrize(
    "words, named",
    [
        ("ten", "limit"),
        ("-1 0", "workers.per.gpu"),
        ("-1 -3", "workers.per.gpu"),
        ("-1 3 two", "gpus"),
        ("--workers-per-gpu 0", "workers.per.gpu"),
        ("--workers-per-gpu many", "workers.per.gpu"),
        ("--gpus -1", "gpus"),
        ("--gpus 1.5", "gpus"),
        ("--workers 0", "workers"),
        ("--camera-jobs 0", "camera.jobs"),
        ("--backend best", "backend"),
        ("--backend external:", "external|backend"),
        ("--preset slow", "preset"),
        ("--require-depth some", "require.depth"),
        ("--depth-every 0", "depth.every"),
        ("--depth-every -2", "depth.every"),
        ("--max-frames 0", "max.frames"),
        ("--min-depth nan", "min.depth"),
        ("--min-depth 5 --max-depth 4", "depth"),
        ("--max-depth 66", "65.535"),
        ("--max-disparity 0", "max.disparity"),
        ("--max-staged-gb -1", "max.staged.gb"),
        ("--max-staged-gb nan", "max.staged.gb"),
        ("--cameras ,", "camera"),
        ("--no-such-flag", "no-such-flag"),
    ],
)
def test_nonsense_is_exit_2_and_named(droidflow, films, tmp_path, words, named):
    given = ["--out", tmp_path / "out", *films.inputs]
    done = droidflow("full", *words.split(), *given, code=2)
    assert re.search(named, done.stderr, re.I), done.stderr
    assert "terminate" not in done.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, value",
    [
        ("DROID_WORKERS_PER_GPU", "many"),
        ("DROID_WORKERS_PER_GPU", "0"),
        ("DROID_NUM_GPUS", "-3"),
        ("DROID_NUM_WORKERS", "several"),
    ],
)
def test_nonsense_of_the_environment_is_exit_2_and_named(droidflow, films, tmp_path, name, value):
    given = ["--out", tmp_path / "out", *films.inputs]
    assert name in droidflow("full", *given, env={name: value}, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_one_folder_for_both_queues_holds_whole_episodes(droidflow, films, tmp_path):
    queue = tmp_path / "queue"
    flags = ["--batch-dir", queue, "--batch-metadata-dir", queue]
    run_full(droidflow, films, tmp_path / "out", *flags)
    for episode in films.episodes():
        check_whole(queue / episode, depth=True)


@pytest.mark.parametrize("flag", ["--droid-root", "--annotations"])
def test_a_missing_folder_is_exit_10_and_named(droidflow, films, tmp_path, flag):
    absent = tmp_path / "absent"
    inputs = list(films.inputs)
    inputs[inputs.index(flag) + 1] = absent
    done = droidflow("full", *inputs, "--out", tmp_path / "out", code=10)
    assert str(absent) in done.stderr


@pytest.mark.skipif(pathlib.Path("/dev/nvidia0").exists(), reason="there is a GPU")
def test_without_a_gpu_cuda_is_refused(droidflow, films, tmp_path):
    flags = ["--backend", "cuda", "--out", tmp_path / "out"]
    done = droidflow("full", *films.inputs, *flags)
    assert done.returncode in (1, 2) and re.search("GPU|CUDA", done.stderr), done.stderr
    assert finished(tmp_path / "out") == []


# ------------------------------------------------------------------------------------ configuration


@pytest.fixture
def printed(droidflow, films, tmp_path):
    """printed(*words, env=…) -> the configuration in force."""

    def show(*words, env=None) -> str:
        words = [*words, *films.inputs, "--out", tmp_path / "out", "--print-config"]
        return droidflow("full", *words, code=0, env=env).stdout

    return show


def test_the_defaults_are_the_documented_ones(printed, tmp_path):
    text = printed()
    assert (setting(text, "limit"), setting(text, "workers_per_gpu")) == ("10", "3")
    assert setting(text, "require_depth") == "any"
    assert (setting(text, "depth_backend"), setting(text, "depth_preset")) == ("auto", "balanced")
    assert list(tmp_path.iterdir()) == []


def test_positions_are_flags(printed):
    by_place = printed(7, 5, 2)
    assert by_place == printed("--limit", 7, "--workers-per-gpu", 5, "--gpus", 2)
    assert setting(by_place, "limit") == "7"
    assert (setting(by_place, "workers_per_gpu"), setting(by_place, "gpus")) == ("5", "2")
    assert setting(printed(-1), "limit") == "-1"


def test_the_environments_names_are_understood(printed, tmp_path):
    places = {
        "FAST_LOCAL_DIR": "scratch_dir",
        "STAGING_DIR": "staging_dir",
        "BATCH_UPLOAD_DIR": "batch_dir",
        "BATCH_UPLOAD_METADATA_DIR": "batch_metadata_dir",
    }
    env = {variable: str(tmp_path / key) for variable, key in places.items()}
    text = printed(env=env | {"DROID_WORKERS_PER_GPU": "4", "DROID_NUM_GPUS": "2"})
    assert {key: setting(text, key) for key in places.values()} == {
        key: str(tmp_path / key) for key in places.values()
    }
    assert (setting(text, "workers_per_gpu"), setting(text, "gpus")) == ("4", "2")
    assert setting(printed(env={"DROID_NUM_WORKERS": "6"}), "workers") == "6"


def test_flag_beats_environment_beats_file(printed, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("workers_per_gpu: 5\nrequire_depth: all\nbatch_dir: /from/file\n")
    file = ["--config", config]
    env = {"DROID_WORKERS_PER_GPU": "6", "BATCH_UPLOAD_DIR": "/from/environment"}
    keys = ("workers_per_gpu", "batch_dir", "require_depth")

    def have(*words, env=None) -> tuple:
        text = printed(*words, env=env)
        return tuple(setting(text, key) for key in keys)

    assert have(*file) == ("5", "/from/file", "all")
    assert have(*file, env=env) == ("6", "/from/environment", "all")
    flags = ["--workers-per-gpu", 7, "--batch-dir", "/from/flag", "--require-depth", "none"]
    assert have(*file, *flags, env=env) == ("7", "/from/flag", "none")


def test_a_printed_configuration_read_back_prints_itself(droidflow, printed, tmp_path):
    flags = ["--cameras", "wrist,ext1", "--require-depth", "all", "--depth-every", 2]
    flags += ["--max-frames", 40, "--max-staged-gb", 1.5, "--camera-jobs", 2, "--preset", "fast"]
    flags += ["--min-depth", 0.3, "--max-depth", 4, "--staging-dir", tmp_path / "staging"]
    text = printed(-1, 2, 1, *flags)
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert droidflow("full", "--config", config, "--print-config", code=0).stdout == text


def test_a_dry_run_writes_nothing_and_says_what_it_would_do(droidflow, films, tmp_path):
    places = ["scratch", "staging", "batch", "batch-metadata"]
    flags = [word for name in places for word in (f"--{name}-dir", tmp_path / name)]
    done = run_full(droidflow, films, tmp_path / "out", *flags, "--dry-run")
    assert list(tmp_path.iterdir()) == []
    assert re.search(r"\b4\b", done.stdout + done.stderr)


# ----------------------------------------------------------------------------------- what it writes


def test_every_camera_has_its_five_files(films, full):
    out = full(films)
    assert finished(out) == [out / e for e in films.episodes()]
    for episode in films.episodes():
        want = {"tracks.npz", "extrinsics.npz", "quality.json"}
        for serial in role_of(films, episode).values():
            files = {"intrinsics.json", "video.json", *DEPTH_FILES}
            want |= {f"recordings/{serial}/{name}" for name in files}
        assert names(out / episode) == want
        check_whole(out / episode, depth=True)


def test_metadata_is_what_metadata_writes(films, full, runs):
    have, want = metadata_products(content(full(films))), metadata_products(content(runs(films)))
    assert differing(have, want) == []


def test_metadata_options_mean_what_they_mean_there(films, full, runs):
    flags = ("--points", 24, "--step-mm", 2.0, "--pose-time", "capture", "--fps", 12)
    have, want = (metadata_products(content(run(films, *flags))) for run in (full, runs))
    assert differing(have, want) == []
    assert load(full(films, *flags) / films.episodes()[0] / "tracks.npz")["fps"] == 12


def test_a_frame_of_depth_for_each_frame_of_the_recording(ffmpeg, films, full):
    for episode in films.episodes():
        folder = full(films) / episode
        for serial, frames in depths(folder).items():
            source = probe(recording(films, episode, serial))
            video = json.loads((folder / f"recordings/{serial}/video.json").read_text())
            counts = {len(frames), meta(folder, serial)["frame_count"], video["frames"]}
            assert counts == {int(source["nb_read_packets"])}
            assert frames.shape[1:] == (source["height"], source["width"] // 2)
            assert meta(folder, serial)["step_to_frame"] == video["step_to_frame"]


def test_depth_is_what_the_depth_command_makes(droidflow, ffmpeg, films, full, tmp_path):
    for episode in films.episodes()[:2]:
        flags = ["--episode-id", episode, *films.inputs, "--out", tmp_path, *QUICK]
        droidflow("depth", *flags, code=0)
        have, want = depths(full(films) / episode), depths(tmp_path / episode)
        assert sorted(have) == sorted(want) == sorted(role_of(films, episode).values())
        for serial, frames in have.items():
            np.testing.assert_array_equal(frames, want[serial])
            videos = [out / episode / "recordings" / serial / "depth.mkv" for out in (full(films), tmp_path)]
            assert videos[0].read_bytes() == videos[1].read_bytes()


def test_depths_description_and_quality_agree(ffmpeg, films, full):
    for episode in films.episodes():
        folder = full(films) / episode
        cameras = quality(folder)["cameras"]
        for serial, frames in depths(folder).items():
            described = meta(folder, serial)
            mkv = folder / f"recordings/{serial}/depth.mkv"
            assert described["sha256"] == hashlib.sha256(mkv.read_bytes()).hexdigest()
            share = np.mean(frames > 0)
            assert share > 0.05
            assert described["valid_fraction"] == pytest.approx(share, abs=1e-9)
            assert cameras[serial]["depth_valid_fraction"] == pytest.approx(share, abs=1e-9)


def test_options_of_depth_are_obeyed_and_described(ffmpeg, films, full):
    out = full(films, "--min-depth", 0.4, "--max-depth", 1.2)
    for episode in films.episodes()[:2]:
        for serial, frames in depths(out / episode).items():
            assert frames[frames > 0].min() >= 400 and frames.max() <= 1200
            described = meta(out / episode, serial)
            assert (described["min_depth_m"], described["max_depth_m"]) == (0.4, 1.2)
            parameters = described["backend_parameters"]
            assert (parameters["preset"], parameters["max_disparity"]) == ("fast", 64)


def test_maps_of_another_program_become_depth(droidflow, ffmpeg, films, tmp_path):
    rng = np.random.default_rng(6)
    episode = films.episodes()[0]
    maps = {}
    for serial in role_of(films, episode).values():
        folder = tmp_path / "maps" / episode / "recordings" / serial
        folder.mkdir(parents=True)
        frames = int(probe(recording(films, episode, serial))["nb_read_packets"])
        maps[serial] = rng.integers(250, 9000, (frames, 376, 672)).astype(np.uint16)
        for i, frame in enumerate(maps[serial]):
            np.save(folder / f"{i}.npy", (frame / 1000).astype(np.float32))
    flags = ["--backend", f"external:{tmp_path}/maps", "--external-unit", "depth"]
    flags += ["--episodes", films.uuid(episode), "--out", tmp_path / "out"]
    droidflow("full", *films.inputs, *flags, code=0)
    have = depths(tmp_path / "out" / episode)
    assert sorted(have) == sorted(maps)
    for serial, frames in have.items():
        np.testing.assert_array_equal(frames, maps[serial])


def test_nothing_lies_beside_the_episodes(films, full):
    folders = {pathlib.Path(*pathlib.Path(name).parts[:4]) for name in products(full(films))}
    assert folders == set(films.episodes())


def test_verify_passes(droidflow, films, full):
    report = droidflow("verify", full(films), code=0).stdout
    assert all(str(episode) in report for episode in films.episodes())


@pytest.mark.parametrize("flag", ["--workers", "--camera-jobs", "--decode-threads"])
def test_how_the_work_is_shared_does_not_show(films, full, flag):
    def numbers(out: pathlib.Path) -> dict:
        return {
            name: shared if isinstance(shared, bytes) else {**shared, "config": None}
            for name, shared in content(out).items()
        }

    assert differing(numbers(full(films, flag, 3)), numbers(full(films))) == []


def test_raw_recordings_have_depth_too(ffmpeg, synth, full):
    data = synth(episodes=1, steps=4, seed=2, video="svo2")
    (episode,) = data.episodes()
    folder = full(data) / episode
    assert has_depth(folder) == set(role_of(data, episode).values())
    for serial, frames in depths(folder).items():
        assert np.mean(frames > 0) > 0.05
        assert len(meta(folder, serial)["timestamps_ms"]) == len(frames)


def test_timings_have_the_stages_of_depth(films, full):
    with (full(films) / ".droidflow/timing.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["episode_id"] for row in rows) == sorted(
        films.uuid(episode) for episode in films.episodes()
    )
    for stage in ("decode", "match", "encode", "wait", "tracks", "deliver"):
        (column,) = [name for name in rows[0] if re.fullmatch(rf"{stage}(_m?s)?", name)]
        times = [float(row[column]) for row in rows]
        assert min(times) >= 0 and (sum(times) > 0 or stage == "wait"), column


def test_the_summary_counts(droidflow, films, tmp_path):
    flags = [*films.inputs, "--out", tmp_path / "out", *QUICK]
    have = droidflow.json("full", 2, *flags)
    assert (have["done"], have["quarantined"]) == (2, 0)
    assert len(finished(tmp_path / "out")) == 2


def test_quiet_is_quiet(droidflow, films, tmp_path):
    done = droidflow("full", 1, *films.inputs, "--out", tmp_path / "out", *QUICK, "-q", code=0)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_hidden_gpu_is_none(droidflow, films, full, tmp_path):
    env = {"CUDA_VISIBLE_DEVICES": ""}
    flags = ["--preset", "fast", "--max-disparity", 64, "--out", tmp_path / "out"]
    droidflow("full", 1, *films.inputs, *flags, env=env, code=0)
    (folder,) = finished(tmp_path / "out")
    for serial in has_depth(folder):
        assert meta(folder, serial)["backend"] == "cpu"


# ------------------------------------------------------------------------------- which and how much


@pytest.mark.parametrize("roles", [["wrist"], ["ext1", "ext2"]])
@pytest.mark.parametrize("by", ["role", "serial"])
def test_cameras_are_chosen_by_role_or_serial(droidflow, films, full, tmp_path, roles, by):
    episode = films.episodes()[1]
    serials = role_of(films, episode)
    chosen = ",".join(roles if by == "role" else [serials[role] for role in roles])
    flags = ["--cameras", chosen, "--episodes", films.uuid(episode)]
    run_full(droidflow, films, tmp_path / "out", *flags)
    folder = tmp_path / "out" / episode
    assert has_depth(folder) == {serials[role] for role in roles}
    have, want = content(folder), content(full(films) / episode)
    assert sorted(without_depth(have)) == sorted(without_depth(want))
    assert [n for n in have if n.endswith("depth.mkv") and have[n] != want[n]] == []
    cameras = quality(folder)["cameras"].items()
    assert has_depth(folder) == {s for s, c in cameras if c["depth_valid_fraction"] is not None}


@pytest.mark.parametrize("every", [2, 3])
def test_depth_of_each_kth_frame_is_that_frames(ffmpeg, films, full, every):
    out = full(films, "--depth-every", every)
    for episode in films.episodes()[:2]:
        whole = depths(full(films) / episode)
        for serial, frames in depths(out / episode).items():
            np.testing.assert_array_equal(frames, whole[serial][::every])
            described = meta(out / episode, serial)
            assert (described["depth_every"], described["frame_count"]) == (every, len(frames))
            shown = meta(full(films) / episode, serial)["step_to_frame"]
            want = [f // every if f >= 0 and f % every == 0 else -1 for f in shown]
            assert described["step_to_frame"] == want


def test_max_frames_limits_steps_and_depth(ffmpeg, films, full, runs):
    flags = ("--max-frames", 3)
    have, want = (metadata_products(content(run(films, *flags))) for run in (full, runs))
    assert differing(have, want) == []
    for episode in films.episodes()[:2]:
        whole = depths(full(films) / episode)
        for serial, frames in depths(full(films, *flags) / episode).items():
            np.testing.assert_array_equal(frames, whole[serial][:3])
            described = meta(full(films, *flags) / episode, serial)
            assert described["step_to_frame"] == [0, 1, 2]


# ---------------------------------------------------------------------------- when depth is missing


def blank(path: pathlib.Path) -> None:
    """A recording with its index whole and nothing but zeros for pictures."""
    data = bytearray(path.read_bytes())
    at = data.find(b"mdat")
    size = int.from_bytes(data[at - 4 : at], "big")
    assert 8 < size <= len(data)
    data[at + 4 : at - 4 + size] = bytes(size - 8)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def patchy(films, tmp_path_factory):
    """(data, name -> episode): whole; ext1 of one eye; all of one eye; pairs without pictures."""
    data = copy_dataset(films, tmp_path_factory.mktemp("patchy") / "data")
    episodes = dict(zip(["whole", "partial", "mono", "blank"], data.episodes()))
    recording(data, episodes["partial"], role_of(data, episodes["partial"])["ext1"]).unlink()
    for serial in role_of(data, episodes["mono"]).values():
        recording(data, episodes["mono"], serial).unlink()
    for serial in role_of(data, episodes["blank"]).values():
        path = recording(data, episodes["blank"], serial)
        path.with_name(f"{serial}.mp4").unlink()
        blank(path)
    return data, episodes


@pytest.fixture(scope="module")
def policy(droidflow, patchy, tmp_path_factory):
    """policy(*flags) -> (out, name -> entry of the run's state) over the patchy episodes."""
    data, episodes = patchy

    @functools.cache
    def run(*flags):
        out = tmp_path_factory.mktemp("policy") / "out"
        flags = ["--out", out, *QUICK, *flags]
        done = droidflow("full", -1, *data.inputs, *flags, timeout=300)
        found = by_path(told(droidflow, out / ".droidflow"))
        entries = {name: found[str(episode)] for name, episode in episodes.items()}
        bad = [entry for entry in entries.values() if entry.state == "quarantined"]
        assert done.returncode == (3 if bad else 0), done.stderr
        return out, entries

    return run


POLICIES = {
    (): {"blank"},
    ("--require-depth", "any"): {"blank"},
    ("--require-depth", "all"): {"partial", "mono", "blank"},
    ("--require-depth", "none"): set(),
    ("--require-depth", "all", "--cameras", "ext2,wrist"): {"mono", "blank"},
    ("--require-depth", "any", "--cameras", "ext2"): {"blank"},
}


@pytest.mark.parametrize("flags", POLICIES, ids=" ".join)
def test_what_is_required_decides_who_is_quarantined(policy, flags):
    _, entries = policy(*flags)
    states = {name: entry.state for name, entry in entries.items()}
    assert {name for name, state in states.items() if state == "quarantined"} == POLICIES[flags]
    assert set(states.values()) <= {"done", "quarantined"}


@pytest.mark.parametrize("flags", POLICIES, ids=" ".join)
def test_who_is_done_has_all_the_metadata(policy, patchy, runs, flags):
    data, episodes = patchy
    out, entries = policy(*flags)
    for name, episode in episodes.items():
        if entries[name].state == "quarantined":
            assert not (out / episode).exists()
            continue
        have, want = (content(folder / episode) for folder in (out, runs(data)))
        assert differing(metadata_products(have), metadata_products(want)) == [], name
        check_whole(out / episode, depth=True)


@pytest.mark.parametrize("flags", [(), ("--require-depth", "all")], ids=" ".join)
def test_quarantine_for_depth_has_a_status_and_names_the_cameras(policy, patchy, flags):
    data, episodes = patchy
    out, entries = policy(*flags)
    for name in POLICIES[flags]:
        entry = entries[name]
        assert entry.status == ("no_stereo" if name == "mono" else "no_depth"), entry
        missing = role_of(data, episodes[name])
        assert any(serial in entry.message for serial in missing.values()), entry.message
    listed = (out / ".droidflow/failed_episodes.txt").read_text().split()
    assert sorted(listed) == sorted(entries[name].uuid for name in POLICIES[flags])


def test_nothing_required_is_done_and_said_nevertheless(policy):
    _, entries = policy("--require-depth", "none")
    statuses = {name: entry.status for name, entry in entries.items()}
    assert statuses == {"whole": "", "partial": "", "mono": "no_stereo", "blank": "no_depth"}


def test_no_pair_at_all_is_done_as_metadata_only_and_said(policy, patchy):
    data, episodes = patchy
    out, entries = policy()
    assert (entries["mono"].state, entries["mono"].status) == ("done", "no_stereo")
    assert has_depth(out / episodes["mono"]) == set()
    assert entries["whole"].status != "no_stereo"
    rows = csv.DictReader((out / ".droidflow/timing.csv").open())
    statuses = {row["episode_id"]: row["status"] for row in rows}
    assert statuses[entries["mono"].uuid] == "no_stereo"
    assert statuses[entries["whole"].uuid] != "no_stereo"


def test_quality_says_why_a_camera_has_no_depth(policy, patchy):
    data, episodes = patchy
    out, _ = policy()
    folder = out / episodes["partial"]
    serials = role_of(data, episodes["partial"])
    assert has_depth(folder) == {serials["ext2"], serials["wrist"]}
    told_ = quality(folder)["depth"]
    assert "one eye" in told_.pop(serials["ext1"])["reason"]
    assert {serial: entry["reason"] for serial, entry in told_.items()} == {
        serials["ext2"]: None,
        serials["wrist"]: None,
    }
    assert quality(folder)["cameras"][serials["ext1"]]["depth_valid_fraction"] is None


def test_broken_episodes_end_as_metadata_ends_them(droidflow, synth, tmp_path):
    """One of each kind of broken episode; of those with a pair's file it is a broken one."""
    data = synth(episodes=2, steps=12, seed=3, faults=True)
    asked = ["--episodes", data.raw.parent / "episodes.txt"]
    ends = {}
    for command in ("metadata", "full"):
        out = tmp_path / command
        flags = ["--out", out, *asked, *(QUICK if command == "full" else [])]
        droidflow(command, -1, *data.inputs, *flags, code=3, timeout=120)
        entries = by_path(told(droidflow, out / ".droidflow"))
        ends[command] = {path: (e.state, e.status) for path, e in entries.items()}
    assert len({status for _, status in ends["metadata"].values()}) >= 8
    want = {}
    for path, end in ends["metadata"].items():
        pair = list((data.raw / path).glob("recordings/MP4/*-stereo.mp4"))
        without = ("quarantined", "no_depth") if pair else ("done", "no_stereo")
        want[path] = without if end[0] == "done" else end
    assert ends["full"] == want


# ------------------------------------------------------------------------------------------- queues


def queue_flags(folder: pathlib.Path) -> list:
    return ["--batch-dir", folder / "all", "--batch-metadata-dir", folder / "metadata"]


@pytest.fixture(scope="module")
def queued(droidflow, films, tmp_path_factory) -> pathlib.Path:
    """A folder with both queues, all/ and metadata/, of a finished run, and its out/."""
    folder = tmp_path_factory.mktemp("queued")
    run_full(droidflow, films, folder / "out", *queue_flags(folder))
    return folder


def test_an_episode_enters_both_queues(queued, films, full):
    want = content(full(films))
    assert differing(content(queued / "all"), want) == []
    assert differing(content(queued / "metadata"), without_depth(want)) == []
    assert finished(queued / "out") == []


def test_queues_share_the_bytes_of_metadata(queued):
    shared = names(queued / "metadata")
    assert shared
    for name in shared:
        inodes = {(queued / queue / name).stat().st_ino for queue in ("all", "metadata")}
        assert len(inodes) == 1, name


def test_nothing_but_episodes_is_in_the_queues(queued, films):
    for queue in ("all", "metadata"):
        holders = {p.relative_to(queued / queue).parts[:4] for p in left_in(queued / queue)}
        assert holders == {episode.parts for episode in films.episodes()}


def test_what_is_queued_passes_verify(droidflow, queued):
    droidflow("verify", queued / "all", code=0)


def test_queues_on_two_file_systems_hold_the_same(droidflow, films, tmp_path):
    memory = pathlib.Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    with tempfile.TemporaryDirectory(dir=memory) as other:
        queue = pathlib.Path(other) / "metadata"
        flags = ["--batch-dir", tmp_path / "all", "--batch-metadata-dir", queue]
        flags += ["--episodes", films.uuid(films.episodes()[0])]
        run_full(droidflow, films, tmp_path / "out", *flags)
        assert differing(content(queue), without_depth(content(tmp_path / "all"))) == []
        assert {p.parent for p in left_in(queue) if p.name == "tracks.npz"} == set(finished(queue))


def test_one_queue_may_stand_alone(droidflow, films, full, tmp_path):
    flags = ["--batch-dir", tmp_path / "all"]
    run_full(droidflow, films, tmp_path / "out", *flags)
    assert differing(content(tmp_path / "all"), content(full(films))) == []


def test_one_folder_may_be_everything(droidflow, films, full, tmp_path):
    """Scratch, staging, results and both queues, which then is one with depth."""
    names_ = ("scratch", "staging", "batch", "batch-metadata")
    flags = [word for name in names_ for word in (f"--{name}-dir", tmp_path / "data")]
    run_full(droidflow, films, tmp_path / "data", *flags)
    assert differing(content(tmp_path / "data"), content(full(films))) == []
    assert {entry.state for entry in told(droidflow, tmp_path / "data/.droidflow")} == {"done"}


@pytest.mark.parametrize("flag", ["--scratch-dir", "--staging-dir"])
def test_the_way_there_leaves_nothing(droidflow, films, full, tmp_path, flag):
    run_full(droidflow, films, tmp_path / "out", flag, tmp_path / "way")
    assert differing(content(tmp_path / "out"), content(full(films))) == []
    assert left_in(tmp_path / "way") == no_leftovers(tmp_path / "out", tmp_path / "absent") == []


def size_bytes(folder: pathlib.Path) -> int:
    total = 0
    for directory, _, files in os.walk(folder):  # passes over what goes away
        for name in files:
            try:
                total += os.stat(os.path.join(directory, name)).st_size
            except FileNotFoundError:
                pass
    return total


def test_a_limit_of_what_is_staged_lets_every_episode_through(droidflow, films, full, tmp_path):
    """Somebody takes episodes out of the queue, slowly; there is room for less than two."""
    largest = max(size_bytes(full(films) / episode) for episode in films.episodes())
    limit = 1.5 * largest
    queue, taken, most, ended = tmp_path / "all", set(), [0], threading.Event()

    def take() -> None:
        while not ended.is_set() or finished(queue):
            most[0] = max(most[0], size_bytes(queue))
            for folder in finished(queue)[:1]:
                time.sleep(0.3)
                taken.add(folder.relative_to(queue))
                shutil.rmtree(folder)
            time.sleep(0.01)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        flags = ["--batch-dir", queue, "--max-staged-gb", limit / 1e9, "--workers", 1]
        run_full(droidflow, films, tmp_path / "out", *flags)
    finally:
        ended.set()
        taker.join()
    assert taken == set(films.episodes())
    assert most[0] <= limit + largest


# ------------------------------------------------------------------------------------------- resume


@pytest.fixture(params=["out", "queues"])
def once(request, droidflow, films, tmp_path):
    """(run(*flags), folder whose content is the result) after a first run."""
    flags = queue_flags(tmp_path) if request.param == "queues" else []
    result = tmp_path / ("all" if flags else "out")

    def run(*more) -> None:
        run_full(droidflow, films, tmp_path / "out", *flags, *more)

    run()
    return run, result


def test_a_second_run_touches_nothing(once):
    run, result = once
    before = stat(result)
    run("--workers", 2)
    assert differing(stat(result), before) == []


def test_what_has_left_its_queue_is_done(droidflow, films, tmp_path):
    """Whoever uploads takes episodes away; they are not made again."""
    places = tmp_path / "queued"
    flags = queue_flags(places)
    run_full(droidflow, films, places / "out", *flags)
    taken, kept = films.episodes()[:2], films.episodes()[2:]
    for episode in taken:
        shutil.rmtree(places / "all" / episode)
    shutil.rmtree(places / "metadata")
    before = stat(places / "all")
    run_full(droidflow, films, places / "out", *flags)
    assert differing(stat(places / "all"), before) == []
    assert finished(places / "all") == [places / "all" / episode for episode in kept]
    assert finished(places / "metadata") == []
    assert {entry.state for entry in told(droidflow, places / "out/.droidflow")} == {"done"}


@pytest.mark.parametrize("name", ["depth.mkv", "depth_meta.json", "tracks.npz"])
def test_a_second_run_redoes_what_is_missing_and_only_that(droidflow, films, tmp_path, name):
    result = tmp_path / "out"

    def run() -> None:
        run_full(droidflow, films, result)

    run()
    before, was = stat(result), content(result)
    victim = finished(result)[1]
    sorted(victim.rglob(name))[0].unlink()
    run()
    assert differing(content(result), was) == []
    prefix = f"{victim.relative_to(result)}/"
    assert all(name.startswith(prefix) for name in differing(stat(result), before))


@pytest.mark.parametrize(
    "flags", [("--min-depth", "0.5"), ("--cameras", "wrist"), ("--points", "24")], ids=" ".join
)
def test_other_numbers_are_computed_anew(once, films, full, flags):
    run, result = once
    run(*flags)
    assert differing(content(result), content(full(films, *flags))) == []


def test_a_run_of_metadata_can_be_completed_with_depth(droidflow, films, full, tmp_path):
    out = tmp_path / "out"
    droidflow("metadata", -1, 2, *films.inputs, "--out", out, code=0)
    run_full(droidflow, films, out)
    assert differing(content(out), content(full(films))) == []


def test_the_first_of_the_list_are_taken_then_the_next(droidflow, films, full, tmp_path):
    out = tmp_path / "out"
    flags = [*films.inputs, "--out", out, *QUICK]
    listed = [e["uuid"] for e in droidflow.json("episodes", *films.inputs)["episodes"]]
    droidflow("full", 1, *flags, code=0)
    assert [quality(f)["episode_id"] for f in finished(out)] == listed[:1]
    before = stat(out)
    droidflow("full", 3, *flags, code=0)
    assert {quality(f)["episode_id"] for f in finished(out)} == set(listed[:3])
    assert not set(differing(stat(out), before)) & set(before)


def test_an_episode_whose_recording_is_repaired_can_be_asked_for_again(
    droidflow, films, patchy, full, tmp_path
):
    _, episodes = patchy
    data = copy_dataset(films, tmp_path / "data")
    episode = episodes["blank"]
    whole = {s: recording(data, episode, s).read_bytes() for s in role_of(data, episode).values()}
    for serial in whole:
        recording(data, episode, serial).with_name(f"{serial}.mp4").unlink()
        blank(recording(data, episode, serial))
    flags = ["--episodes", data.uuid(episode)]
    out = tmp_path / "out"
    run_full(droidflow, data, out, *flags, code=3)
    for serial, content_ in whole.items():
        recording(data, episode, serial).write_bytes(content_)
    run_full(droidflow, data, out, *flags, code=3)
    assert not (out / episode).exists()
    run_full(droidflow, data, out, *flags, "--retry-quarantined")
    assert differing(content(out / episode), content(full(films) / episode)) == []
