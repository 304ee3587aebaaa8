"""The command line: help, exit statuses, configuration, lists, single episodes, verify, doctor."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import struct
import zlib

import numpy as np
import pytest
from conftest import Dataset, content, load, products, quality
from reference import pose_matrix
from test_golden import AUTOLAB, IRIS, REAL, RPL, TRI, stored_members

COMMANDS = ["metadata", "episodes", "status", "tracks", "intrinsics", "verify", "synth", "doctor"]


# ----------------------------------------------------------------------------------- help and usage


def test_help_names_every_command(droidflow):
    text = droidflow("--help", code=0).stdout
    assert [command for command in COMMANDS if not re.search(rf"^\s+{command}\b", text, re.M)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_has_an_example_and_json(droidflow, command):
    text = droidflow(command, "--help", code=0).stdout
    assert re.search(rf"[Ee]xample.*\n?.*droidflow {command}", text), text
    assert "--json" in text


def test_version_tells_build_instruction_sets_and_options(droidflow):
    text = droidflow("--version", code=0).stdout
    assert re.search(r"\d+\.\d+\.\d+", text)
    assert re.search(r"release|debug|relwithdebinfo", text, re.I)
    assert re.search(r"sse|avx|neon", text, re.I)
    assert "CUDA" in text and "ZED" in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["metadata", "--no-such-flag"],
        ["metadata", "ten"],
        ["metadata", "-1", "0"],
        ["metadata", "--step-mm", "0"],
        ["metadata", "--step-mm", "nan"],
        ["metadata", "--fps", "-3"],
        ["metadata", "--points", "0"],
        ["metadata", "--compat", "modern"],
        ["metadata", "--pose-time", "later"],
        ["metadata", "--max-frames", "0"],
        ["tracks"],
        ["synth"],
        ["verify"],
        ["status"],
    ],
    ids=" ".join,
)
def test_a_malformed_command_line_is_exit_2(droidflow, golden, tmp_path, arguments):
    inputs = [*golden.inputs, "--out", tmp_path / "out"] if arguments[:1] == ["metadata"] else []
    done = droidflow(*arguments[:1], *inputs, *arguments[1:], code=2)
    assert done.stderr.strip()
    assert not (tmp_path / "out").exists()


def test_a_missing_required_option_is_exit_2_and_named(droidflow, golden, tmp_path):
    done = droidflow(
        "metadata", "--annotations", golden.annotations, "--out", tmp_path / "out", code=2
    )
    assert "droid-root" in done.stderr


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_missing_path_is_exit_10_and_named(droidflow, tmp_path, command):
    absent = tmp_path / "absent"
    done = droidflow(command, absent, code=10)
    assert str(absent) in done.stderr


# ------------------------------------------------------------------------------------ configuration


def setting(text: str, key: str) -> str | None:
    """The value of a top-level key of a printed configuration."""
    found = re.search(rf"^{key}:\s*(.*?)\s*$", text, re.M)
    return found and found[1].strip("\"'")


@pytest.fixture
def printed(droidflow, golden, tmp_path):
    """printed(*flags, env=…) -> the configuration in force."""

    def show(*flags, env=None) -> str:
        flags = ["--out", tmp_path / "out", *flags]
        return droidflow(
            "metadata", *golden.inputs, *flags, "--print-config", code=0, env=env
        ).stdout

    return show


def test_the_defaults_are_the_documented_ones(printed):
    text = printed()
    assert setting(text, "limit") == "10"
    assert setting(text, "workers") == "16"
    assert setting(text, "points") == "480"
    assert float(setting(text, "step_mm")) == 1.0
    assert float(setting(text, "min_point_depth")) == 0.01
    assert setting(text, "pose_time") == "step"


def test_a_printed_configuration_read_back_prints_itself(droidflow, printed, golden, tmp_path):
    flags = [
        "--points",
        96,
        "--step-mm",
        1.5,
        "--fps",
        12,
        "--max-frames",
        33,
        "--labs",
        "TRI,REAL",
    ]
    first = printed(*flags, "--pose-time", "capture", "--min-point-depth", 0.2, "--limit", 7)
    config = tmp_path / "config.yaml"
    config.write_text(first)
    assert droidflow("metadata", "--config", config, "--print-config", code=0).stdout == first
    assert not (tmp_path / "out").exists()


def test_a_run_from_a_printed_configuration_gives_the_same_products(droidflow, golden, tmp_path):
    flags = ["--points", 96, "--step-mm", 1.5, "--episodes", golden.uuid(pathlib.Path(TRI))]
    outs = [tmp_path / "a", tmp_path / "b"]
    droidflow("metadata", *golden.inputs, *flags, "--out", outs[0], code=0)
    config = tmp_path / "config.yaml"
    printed = droidflow(
        "metadata", *golden.inputs, *flags, "--out", outs[1], "--print-config", code=0
    )
    config.write_text(printed.stdout)
    droidflow("metadata", "--config", config, code=0)
    assert content(outs[0]) == content(outs[1])


def test_flag_beats_environment_beats_file_beats_default(printed, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("workers: 5\npoints: 96\n")
    environment = {"DROID_NUM_WORKERS": "6"}
    file = ["--config", config]
    assert setting(printed(), "workers") == "16"
    assert setting(printed(*file), "workers") == "5"
    assert setting(printed(*file, env=environment), "workers") == "6"
    assert setting(printed(*file, "--workers", 7, env=environment), "workers") == "7"
    assert setting(printed(*file), "points") == "96"
    assert setting(printed(*file, "--points", 24), "points") == "24"


def test_positional_limit_and_workers_are_the_flags(droidflow, golden, tmp_path):
    inputs = [*golden.inputs, "--out", tmp_path / "out", "--print-config"]
    by_place = droidflow("metadata", 3, 2, *inputs, code=0).stdout
    by_name = droidflow("metadata", "--limit", 3, "--workers", 2, *inputs, code=0).stdout
    assert by_place == by_name
    assert (setting(by_place, "limit"), setting(by_place, "workers")) == ("3", "2")


def test_a_worker_count_of_the_environment_that_is_no_number_is_exit_2(droidflow, golden, tmp_path):
    done = droidflow(
        "metadata",
        *golden.inputs,
        "--out",
        tmp_path / "out",
        env={"DROID_NUM_WORKERS": "many"},
        code=2,
    )
    assert "DROID_NUM_WORKERS" in done.stderr


def test_the_originals_configuration_is_understood(droidflow, golden, shared, tmp_path):
    config = tmp_path / "original.yaml"
    config.write_text(
        f"droid_root: {golden.raw}\n"
        f"cam2base_extrinsics_path: {golden.annotations}/cam2base_extrinsic_superset.json\n"
        f"finger_mesh_path: {shared}/data/meshes/inner_finger_fine.STL\n"
        f"output_root: {tmp_path}/out\n"
        "max_frames: 20\n"
        "num_track_points: 48   # per finger\n"
        "fps: 30\n"
        "min_depth: 0.1\n"
    )
    intrinsics = ["--intrinsics", golden.annotations / "intrinsics.json"]
    droidflow("metadata", -1, 2, "--config", config, *intrinsics, code=0)
    have = load(tmp_path / "out" / TRI / "tracks.npz")
    assert (have["num_frames"], have["num_points_per_finger"], have["fps"]) == (20, 48, 30.0)
    assert len(have["cameras_with_2d_tracks"]) == 3
    annotation = json.loads((golden.annotations / "cam2base_extrinsic_superset.json").read_text())
    position = annotation[golden.uuid(pathlib.Path(TRI))]["29838012"][:3]
    stored = load(tmp_path / "out" / TRI / "extrinsics.npz")["external_29838012"][:3, 3]
    assert stored.tolist() == position
    assert "0.1" in re.findall(
        r'"min_point_depth\w*":\s*([\d.]+)', json.dumps(quality(tmp_path / "out" / TRI))
    )


def test_max_frames_null_means_all(droidflow, golden, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("max_frames: null\n")
    uuid = golden.uuid(pathlib.Path(REAL))
    flags = ["--out", tmp_path / "out", "--episodes", uuid, "--config", config]
    droidflow("metadata", *golden.inputs, *flags, code=0)
    assert load(tmp_path / "out" / REAL / "tracks.npz")["num_frames"] == 40


def test_the_mount_is_a_parameter(droidflow, golden, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("gripper: {mount_xyz: [0.01, 0.02, 0.03], mount_rpy: [0, 0, 0.0]}\n")
    flags = [
        "--out",
        tmp_path / "out",
        "--episodes",
        golden.uuid(pathlib.Path(RPL)),
        "--config",
        config,
    ]
    droidflow("metadata", *golden.inputs, *flags, code=0)
    have = load(tmp_path / "out" / RPL / "tracks.npz")
    want = pose_matrix(have["cartesian_positions"][0]) @ pose_matrix([0.01, 0.02, 0.03, 0, 0, 0])
    assert np.allclose(have["gripper_poses"][0], want, rtol=0, atol=1e-9)


def test_a_dry_run_writes_nothing_and_says_what_it_would_do(droidflow, golden, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    done = droidflow(
        "metadata", -1, 2, *golden.inputs, "--out", tmp_path / "out", "--dry-run", code=0
    )
    assert sorted(tmp_path.rglob("*")) == before
    assert re.search(r"\b5\b", done.stdout + done.stderr)


# ---------------------------------------------------------------------------- choosing and ordering


def listed(droidflow, data: Dataset, *flags, code: int = 0) -> list[str]:
    """uuids in the order in which `metadata` would take them."""
    return [
        e["uuid"] for e in droidflow.json("episodes", *data.inputs, *flags, code=code)["episodes"]
    ]


@pytest.fixture(scope="module")
def graded(golden, tmp_path_factory) -> tuple[Dataset, dict[str, str]]:
    """A tree of two labs with known metrics; (data, name -> uuid)."""
    folder = tmp_path_factory.mktemp("graded")
    metrics = {
        "ALAB": [("IoU", 0.3), ("IOU", 0.9), ("iou", 0.6), (None, None), ("num_matches", 20000)],
        "BLAB": [
            ("Reprojection_error", 5.0),
            ("Reprojection_error", 1.0),
            ("reprojection_error", 3.0),
        ],
    }
    source = golden.raw / RPL
    (was,) = source.glob("metadata_*.json")
    superset, uuids = {}, {}
    for lab, entries in metrics.items():
        for number, (kind, value) in enumerate(entries):
            uuid = f"{lab}+0000000{number}+2023-04-26-18h-09m-4{number}s"
            outcome = "failure" if kind == "num_matches" else "success"
            to = folder / "raw" / lab / outcome / "2023-04-26" / f"Wed_Apr_26_18:09:4{number}_2023"
            to.mkdir(parents=True)
            (to / "trajectory.h5").write_bytes((source / "trajectory.h5").read_bytes())
            metadata = json.loads(was.read_text()) | {"uuid": uuid, "lab": lab}
            (to / f"metadata_{uuid}.json").write_text(json.dumps(metadata))
            uuids[f"{kind} {value}"] = uuid
            if kind:
                serial = metadata["ext1_cam_serial"]
                superset[uuid] = {
                    serial: metadata["ext1_cam_extrinsics"],
                    f"{serial}_metric_type": kind,
                    f"{serial}_quality_metric": value,
                    f"{serial}_source": "calib",
                }
    (folder / "cam2base_extrinsic_superset.json").write_text(json.dumps(superset))
    (folder / "intrinsics.json").write_text("{}")
    return Dataset(folder, golden.conf, folder / "raw"), uuids


def test_episodes_come_best_first_per_lab_and_labs_take_turns(droidflow, graded):
    data, uuids = graded
    order = listed(droidflow, data)
    assert set(order) == set(uuids.values())
    names = {uuid: name for name, uuid in uuids.items()}
    by_lab = {lab: [names[u] for u in order if u.startswith(lab)] for lab in ("ALAB", "BLAB")}
    assert [n for n in by_lab["ALAB"] if "iou" in n.lower()] == ["IOU 0.9", "iou 0.6", "IoU 0.3"]
    assert by_lab["ALAB"][-1] == "None None"
    assert by_lab["BLAB"] == [
        "Reprojection_error 1.0",
        "reprojection_error 3.0",
        "Reprojection_error 5.0",
    ]
    labs = [uuid[:4] for uuid in order[:6]]
    assert labs in (["ALAB", "BLAB"] * 3, ["BLAB", "ALAB"] * 3)


@pytest.mark.parametrize(
    "flags, gone",
    [
        (["--min-iou", 0.6], ["IoU 0.3"]),
        (["--max-reprojection-error", 3], ["Reprojection_error 5.0"]),
        (["--min-matches", 20001], ["num_matches 20000"]),
    ],
)
def test_limits_of_quality_drop_the_worse_of_that_type(droidflow, graded, flags, gone):
    data, uuids = graded
    kept = listed(droidflow, data, *flags)
    assert [name for name in gone if uuids[name] in kept] == []
    best = ["IOU 0.9", "iou 0.6", "Reprojection_error 1.0", "reprojection_error 3.0"]
    assert [name for name in best if uuids[name] not in kept] == []


def test_labs_and_outcomes_can_be_chosen(droidflow, graded):
    data, uuids = graded
    assert {u[:4] for u in listed(droidflow, data, "--labs", "BLAB")} == {"BLAB"}
    assert listed(droidflow, data, "--outcome", "failure") == [uuids["num_matches 20000"]]
    assert uuids["num_matches 20000"] not in listed(droidflow, data, "--outcome", "success")


def test_metadata_takes_the_first_of_the_list(droidflow, graded, tmp_path):
    data, _ = graded
    order = listed(droidflow, data)
    droidflow("metadata", 3, 1, *data.inputs, "--out", tmp_path / "out", code=0)
    done = {quality(p.parent)["episode_id"] for p in (tmp_path / "out").rglob("quality.json")}
    assert done == set(order[:3])


def test_scores_are_the_annotated_ones(droidflow, graded):
    data, uuids = graded
    entries = droidflow.json("episodes", *data.inputs)["episodes"]
    metrics = {e["uuid"]: e["calibration_metric"] for e in entries}
    for name, uuid in uuids.items():
        kind, value = name.split()
        if kind == "None":
            assert metrics[uuid] is None
        else:
            assert metrics[uuid]["type"].lower() == kind.lower()
            assert metrics[uuid]["value"] == float(value)


def test_a_choice_that_leaves_no_episode_is_exit_10(droidflow, golden, tmp_path):
    droidflow("metadata", *golden.inputs, "--out", tmp_path / "out", "--labs", "NOWHERE", code=10)


def test_episodes_prints_a_table(droidflow, golden):
    text = droidflow("episodes", *golden.inputs, code=0).stdout
    assert all(golden.uuid(e) in text for e in golden.episodes())


def test_episodes_can_be_named_in_a_file(droidflow, golden, tmp_path):
    chosen = [golden.uuid(pathlib.Path(e)) for e in (RPL, REAL)]
    path = tmp_path / "episodes.txt"
    path.write_text("\n".join(chosen) + "\n")
    droidflow("metadata", *golden.inputs, "--out", tmp_path / "out", "--episodes", path, code=0)
    assert sorted(
        quality(p.parent)["episode_id"] for p in (tmp_path / "out").rglob("quality.json")
    ) == sorted(chosen)


# ------------------------------------------------------------------------- one step for one episode


def test_tracks_and_intrinsics_write_what_metadata_writes(droidflow, runs, golden, tmp_path):
    uuid, want = golden.uuid(pathlib.Path(IRIS)), content(runs(golden))
    flags = [*golden.inputs, "--episode-id", uuid]
    droidflow("tracks", *flags, "--out", tmp_path / "tracks", code=0)
    droidflow("intrinsics", *flags, "--out", tmp_path / "lenses", code=0)
    tracks, lenses = content(tmp_path / "tracks"), content(tmp_path / "lenses")
    assert sorted(tracks) == [
        f"{IRIS}/{n}" for n in ("extrinsics.npz", "quality.json", "tracks.npz")
    ]
    serials = ["19824535", "23404442", "26405488"]
    assert sorted(lenses) == [f"{IRIS}/recordings/{s}/intrinsics.json" for s in serials]
    have = tracks | lenses
    assert [n for n in have if not n.endswith("quality.json") and have[n] != want[n]] == []


@pytest.mark.parametrize("command", ["tracks", "intrinsics"])
def test_an_unknown_episode_is_exit_10_and_named(droidflow, golden, tmp_path, command):
    uuid = "TRI+00000000+2023-11-03-12h-35m-07s"
    flags = [*golden.inputs, "--episode-id", uuid, "--out", tmp_path / "out"]
    assert uuid in droidflow(command, *flags, code=10).stderr


@pytest.mark.parametrize("command", ["tracks", "intrinsics"])
def test_one_episode_may_be_named_by_its_folder(droidflow, golden, tmp_path, command):
    droidflow(command, *golden.inputs, "--episode-id", REAL, "--out", tmp_path / "out", code=0)
    assert {pathlib.Path(*pathlib.Path(n).parts[:4]) for n in products(tmp_path / "out")} == {
        pathlib.Path(REAL)
    }


def test_tracks_of_a_broken_episode_is_exit_3_and_leaves_nothing(droidflow, golden_copy, tmp_path):
    (golden_copy.raw / REAL / "trajectory.h5").write_bytes(b"")
    flags = [
        *golden_copy.inputs,
        "--episode-id",
        golden_copy.uuid(pathlib.Path(REAL)),
        "--out",
        tmp_path / "out",
    ]
    assert "trajectory.h5" in droidflow("tracks", *flags, code=3).stderr
    assert products(tmp_path / "out") == {}


def test_quiet_is_quiet(droidflow, golden, tmp_path):
    done = droidflow("metadata", -1, 2, *golden.inputs, "--out", tmp_path / "out", "-q", code=0)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    "command", ["metadata", "episodes", "status", "tracks", "intrinsics", "verify", "doctor"]
)
def test_json_is_one_document_on_stdout(droidflow, runs, golden, tmp_path, command):
    inputs = {
        "metadata": ["-1", "2", *golden.inputs, "--out", tmp_path / "out"],
        "episodes": golden.inputs,
        "status": [runs(golden) / ".droidflow"],
        "tracks": [
            *golden.inputs,
            "--episode-id",
            golden.uuid(pathlib.Path(RPL)),
            "--out",
            tmp_path / "out",
        ],
        "intrinsics": [
            *golden.inputs,
            "--episode-id",
            golden.uuid(pathlib.Path(RPL)),
            "--out",
            tmp_path / "out",
        ],
        "verify": [runs(golden)],
        "doctor": [],
    }[command]
    assert droidflow.json(command, *inputs)


def test_the_summary_counts(droidflow, golden, tmp_path):
    have = droidflow.json("metadata", -1, 2, *golden.inputs, "--out", tmp_path / "out")
    assert have["done"] == 5 and have["quarantined"] == 0


def test_doctor_knows_this_machine(droidflow):
    text = droidflow("doctor", code=0).stdout
    assert re.search(rf"\b{len(os.sched_getaffinity(0))}\b", text)
    for word in ("memory", "disk", "HDF5", "CUDA|GPU", "ZED", "token"):
        assert re.search(word, text, re.I), word


# ------------------------------------------------------------------------------------------- verify


@pytest.fixture
def product(runs, golden, tmp_path) -> pathlib.Path:
    """A writable copy of one finished episode, in its place in an output tree."""
    to = tmp_path / "out" / AUTOLAB
    shutil.copytree(runs(golden) / AUTOLAB, to)
    return to


def poke(path: pathlib.Path, key: str, change, fix_crc: bool = True) -> None:
    """Changes an array inside the file, in place, and (unless told otherwise) its checksum."""
    array = load(path)[key]
    changed = array.copy()
    change(changed)
    assert changed.tobytes() != array.tobytes()
    data = path.read_bytes()
    (offset, info), *_ = [(o, i) for name, o, i in stored_members(path) if name == f"{key}.npy"]
    end = offset + array.nbytes
    assert data[offset:end] == array.tobytes()
    before, after = data[:offset], data[end:]
    if fix_crc:
        npy_header = data[end - info.file_size : offset]
        crc = zlib.crc32(changed.tobytes(), zlib.crc32(npy_header))
        old, new = struct.pack("<I", info.CRC), struct.pack("<I", crc)
        before, after = before.replace(old, new), after.replace(old, new)
    path.write_bytes(before + changed.tobytes() + after)
    if fix_crc:
        assert np.array_equal(load(path)[key], changed, equal_nan=changed.dtype.kind == "f")


def _assign(index, value):
    def change(array):
        array[index] = value

    return change


def _add(index, value):
    def change(array):
        array[index] += value

    return change


FORGERIES = {
    "a pixel off by one": ("tracks.npz", "tracks_2d_26405488", _add((50, 7, 0), 1.0)),
    "a wrist pixel off by one": ("tracks.npz", "tracks_2d_19824535", _add((110, 900, 1), 1.0)),
    "a pixel unknown": ("tracks.npz", "tracks_2d_29838012", _assign((0, 0), np.nan)),
    "a point not finite": ("tracks.npz", "tracks_3d", _assign((3, 5, 1), np.inf)),
    "a point 2 mm off": ("tracks.npz", "tracks_3d", _add((3, 5), 0.002)),
    "a frame stretched": ("tracks.npz", "contact_frames", _add((9, 0, 0), 0.01)),
    "a frame mirrored": (
        "tracks.npz",
        "left_contact_frames",
        lambda a: np.negative(a[4, :3, 0], out=a[4, :3, 0]),
    ),
    "a resampled frame stretched": (
        "tracks.npz",
        "normalized_right_frames",
        _add((100, 2, 1), 0.01),
    ),
    "a last row": ("tracks.npz", "right_contact_frames", _assign((2, 3, 0), 1.0)),
    "a resampled gap": ("tracks.npz", "normalized_centroids", _add(slice(200, None), 0.01)),
    "an index beyond": ("tracks.npz", "frame_to_normalized_idx", _assign(119, 10**6)),
    "a distance that falls": ("tracks.npz", "cumulative_distance_mm", _assign(60, 0.0)),
    "a frame count": ("tracks.npz", "num_frames", _add((), 1)),
    "a focal length": ("tracks.npz", "intrinsics_26405488", _add((0, 0), 3.0)),
    "a camera stretched": ("extrinsics.npz", "external_29838012", _add((1, 1), 0.01)),
    "a camera moved": ("extrinsics.npz", "external_29838012", _add((0, 3), 0.01)),
    "a wrist camera stretched": ("extrinsics.npz", "wrist_extrinsics", _add((40, 0, 2), 0.01)),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_verify_sees_a_changed_number(droidflow, product, name):
    file, key, change = FORGERIES[name]
    droidflow("verify", product.parents[3], code=0)
    poke(product / file, key, change)
    done = droidflow("verify", product.parents[3], code=3)
    told = done.stdout + done.stderr
    assert AUTOLAB in told, told


@pytest.mark.parametrize(
    "name", ["a pixel off by one", "a frame stretched", "a wrist camera stretched"]
)
def test_verify_names_the_array(droidflow, product, name):
    file, key, change = FORGERIES[name]
    poke(product / file, key, change)
    assert key in droidflow("verify", product, code=3).stdout


def test_verify_reads_checksums(droidflow, product):
    poke(product / "tracks.npz", "tracks_3d", _add((0, 0, 0), 1e-7), fix_crc=False)
    assert "tracks_3d" in droidflow("verify", product, code=3).stdout


def _rewrite(path: pathlib.Path, change) -> None:
    members = load(path)
    change(members)
    np.savez(path, **members)


def _retype(key: str, dtype):
    return lambda members: members.update({key: members[key].astype(dtype)})


@pytest.mark.parametrize(
    "change, key",
    [
        (lambda m: m.pop("contact_centroids"), "contact_centroids"),
        (lambda m: m.pop("tracks_2d_26405488"), "tracks_2d_26405488"),
        (_retype("tracks_3d", np.float64), "tracks_3d"),
        (_retype("frame_to_normalized_idx", np.int64), "frame_to_normalized_idx"),
        (lambda m: m.update(tracks_3d=m["tracks_3d"][:-1]), "tracks_3d"),
        (
            lambda m: m.update(normalized_centroids=m["normalized_centroids"][:-1]),
            "normalized_centroids",
        ),
    ],
    ids=["key", "camera", "float64", "int64", "frame", "row"],
)
def test_verify_sees_missing_and_misshapen_members(droidflow, product, change, key):
    _rewrite(product / "tracks.npz", change)
    assert key in droidflow("verify", product, code=3).stdout


@pytest.mark.parametrize(
    "name", ["tracks.npz", "extrinsics.npz", "quality.json", "recordings/19824535/intrinsics.json"]
)
@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "garbage"])
def test_verify_sees_a_damaged_file(droidflow, product, name, how):
    path = product / name
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {"truncated": data[: len(data) // 2], "empty": b"", "garbage": b"\0garbage" * 99}[how]
        )
    done = droidflow("verify", product, code=3)
    assert pathlib.Path(name).name in done.stdout, done.stdout


def test_verify_has_a_line_for_each_episode_and_sums_them_up(droidflow, runs, golden, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(runs(golden), out)
    (out / REAL / "extrinsics.npz").write_bytes(b"")
    done = droidflow("verify", out, code=3)
    for episode in golden.episodes():
        line, *_ = [line for line in done.stdout.splitlines() if str(episode) in line]
        bad = re.search(r"fail|bad|wrong", line, re.I) is not None
        assert bad == (str(episode) == REAL), line


def test_verify_takes_several_paths(droidflow, runs, golden):
    droidflow("verify", *(runs(golden) / e for e in (AUTOLAB, REAL)), code=0)


def test_verify_of_a_folder_without_products_is_exit_10(droidflow, tmp_path):
    droidflow("verify", tmp_path, code=10)


def test_status_of_a_folder_that_is_no_run_is_exit_10(droidflow, tmp_path):
    droidflow("status", tmp_path, code=10)


def test_status_prints_the_run(droidflow, runs, golden):
    text = droidflow("status", runs(golden) / ".droidflow", code=0).stdout
    assert droidflow("status", runs(golden), code=0).stdout == text
    assert re.search(r"\b5\b", text) and "done" in text


def test_products_lie_in_the_tree_of_the_raw_episodes(runs, golden):
    folders = {
        pathlib.Path(name).parent for name in products(runs(golden)) if name.endswith("tracks.npz")
    }
    assert folders == set(golden.episodes())
