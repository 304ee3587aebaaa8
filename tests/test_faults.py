"""What goes wrong: broken episodes and inputs, full and read-only disks, runs cut and killed."""

from __future__ import annotations

import calendar
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

import h5py
import numpy as np
import pytest
from conftest import Dataset, content, finished, load, products, quality, stop_group

AUTOLAB = pathlib.Path("AUTOLab/success/2023-07-07/Fri_Jul__7_09:42:23_2023")
REAL = pathlib.Path("REAL/success/2023-06-19/Mon_Jun_19_19:24:15_2023")
RPL = pathlib.Path("RPL/success/2023-04-26/Wed_Apr_26_18:09:40_2023")
TRI = pathlib.Path("TRI/success/2023-11-03/Fri_Nov__3_12:35:07_2023")


# --------------------------------------------------------------------------- how a run is looked at


@dataclasses.dataclass(frozen=True)
class Entry:
    """One episode, as `droidflow status` tells of it."""

    uuid: str
    path: str
    state: str
    status: str
    message: str


def told(droidflow, run_dir: pathlib.Path) -> list[Entry]:
    done = droidflow("status", run_dir, "--all", "--json")
    assert done.returncode in (0, 3), done.stderr
    names = [field.name for field in dataclasses.fields(Entry)]
    return [
        Entry(**{name: entry[name] for name in names})
        for entry in json.loads(done.stdout)["episodes"]
    ]


def by_path(entries: list[Entry]) -> dict[str, Entry]:
    """By relative path, or by uuid where there is no folder."""
    found = {entry.path or entry.uuid: entry for entry in entries}
    assert len(found) == len(entries), "each once"
    return found


def warning_codes(folder: pathlib.Path) -> set[str]:
    return {warning["code"] for warning in quality(folder)["warnings"]}


def verify(droidflow, out: pathlib.Path):
    return droidflow("verify", out, code=0)


def no_leftovers(out: pathlib.Path, scratch: pathlib.Path) -> list[pathlib.Path]:
    """What an ended run should have cleaned up: anything in scratch or not yet in place."""
    waiting = out / ".droidflow/incoming"
    return [p for folder in (scratch, waiting) if folder.exists() for p in folder.iterdir()]


# -------------------------------------------------------------------------- episodes broken by hand


class Breaker:
    """Adds copies of one golden episode, each with an own uuid and folder, to a writable tree."""

    def __init__(self, source: Dataset, folder: pathlib.Path):
        self.source, self.count = source, 0
        self.data = Dataset(folder, source.conf, folder / "raw")
        self.data.raw.mkdir(parents=True)
        for name in ("cam2base_extrinsic_superset", "intrinsics", "episode_id_to_path"):
            (folder / f"{name}.json").write_text("{}")

    def entries(self, name: str) -> dict:
        return json.loads((self.data.folder / f"{name}.json").read_text())

    def annotate(self, name: str, uuid: str, entry) -> None:
        (self.data.folder / f"{name}.json").write_text(
            json.dumps({**self.entries(name), uuid: entry})
        )

    def add(
        self, episode: pathlib.Path = AUTOLAB, lab: str = "AUTOLab", outcome: str = "success"
    ) -> "Victim":
        self.count += 1
        minute, second = divmod(self.count, 60)
        uuid = f"{lab}+{self.count:08x}+2023-07-07-10h-{minute:02}m-{second:02}s"
        to = pathlib.Path(lab, outcome, "2023-07-07", f"Fri_Jul__7_10:{minute:02}:{second:02}_2023")
        folder = self.data.raw / to
        folder.mkdir(parents=True)
        (folder / "trajectory.h5").write_bytes(
            (self.source.raw / episode / "trajectory.h5").read_bytes()
        )
        was = self.source.uuid(episode)
        metadata = json.loads((self.source.raw / episode / f"metadata_{was}.json").read_text())
        metadata |= {"uuid": uuid, "lab": lab, "success": outcome == "success"}
        for name in ("cam2base_extrinsic_superset", "intrinsics"):
            entry = json.loads((self.source.annotations / f"{name}.json").read_text())[was]
            self.annotate(name, uuid, entry)
        self.annotate("episode_id_to_path", uuid, str(to))
        victim = Victim(self, uuid, folder, to)
        victim.write_metadata(metadata)
        return victim


class Victim:
    def __init__(self, breaker: Breaker, uuid: str, folder: pathlib.Path, relative: pathlib.Path):
        self.breaker, self.uuid, self.folder, self.relative = breaker, uuid, folder, relative

    @property
    def h5(self) -> pathlib.Path:
        return self.folder / "trajectory.h5"

    @property
    def metadata_path(self) -> pathlib.Path:
        return self.folder / f"metadata_{self.uuid}.json"

    def metadata(self) -> dict:
        return json.loads(self.metadata_path.read_text())

    def write_metadata(self, metadata: dict) -> None:
        self.metadata_path.write_text(json.dumps(metadata))

    def change_metadata(self, **changes) -> None:
        self.write_metadata({**self.metadata(), **changes})

    def edit(self, change) -> None:
        with h5py.File(self.h5, "r+") as file:
            change(file)

    def set(self, dataset: str, index, value) -> None:
        def change(file):
            file[dataset][index] = value

        self.edit(change)

    def replace(self, dataset: str, values) -> None:
        def change(file):
            del file[dataset]
            file[dataset] = values

        self.edit(change)

    def remove(self, *names: str) -> None:
        def change(file):
            for name in names:
                del file[name]

        self.edit(change)


POSE = "observation/robot_state/cartesian_position"
GRIPPER = "observation/robot_state/gripper_position"
STEP_START = "observation/timestamp/control/step_start"


def _empty(victim: Victim) -> None:
    def shorten(file):
        names = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        for name in names:
            values = file[name][:0]
            del file[name]
            file.create_dataset(
                name, data=values, maxshape=(None, *values.shape[1:]), chunks=(1, *values.shape[1:])
            )

    victim.edit(shorten)


def _truncate(victim: Victim, keep: float) -> None:
    data = victim.h5.read_bytes()
    victim.h5.write_bytes(data[: int(len(data) * keep)])


# What is done to an episode -> the status it must end in.
QUARANTINED = {
    "truncated in the middle": (lambda v: _truncate(v, 0.5), "bad_trajectory"),
    "truncated by its last byte": (
        lambda v: v.h5.write_bytes(v.h5.read_bytes()[:-1]),
        "bad_trajectory",
    ),
    "truncated in the superblock": (
        lambda v: v.h5.write_bytes(v.h5.read_bytes()[:50]),
        "bad_trajectory",
    ),
    "zero bytes": (lambda v: v.h5.write_bytes(b""), "bad_trajectory"),
    "not HDF5": (lambda v: v.h5.write_bytes(b"this is text\n" * 5000), "bad_trajectory"),
    "zeros throughout": (lambda v: v.h5.write_bytes(bytes(500_000)), "bad_trajectory"),
    "no trajectory": (lambda v: v.h5.unlink(), "no_trajectory"),
    "no metadata": (lambda v: v.metadata_path.unlink(), "no_metadata"),
    "metadata is text": (lambda v: v.metadata_path.write_text("uuid: no\n"), "bad_metadata"),
    "metadata of zero bytes": (lambda v: v.metadata_path.write_text(""), "bad_metadata"),
    "metadata cut": (
        lambda v: v.metadata_path.write_text(v.metadata_path.read_text()[:300]),
        "bad_metadata",
    ),
    "metadata nested deeply": (lambda v: v.metadata_path.write_text("[" * 200_000), "bad_metadata"),
    "metadata is a list": (lambda v: v.metadata_path.write_text("[1, 2]"), "bad_metadata"),
    "no poses": (lambda v: v.remove(POSE), "missing_dataset"),
    "no gripper": (lambda v: v.remove(GRIPPER), "missing_dataset"),
    "no robot state": (lambda v: v.remove("observation/robot_state"), "missing_dataset"),
    "poses of seven": (lambda v: v.replace(POSE, np.zeros((120, 7))), "missing_dataset"),
    "poses without rows": (lambda v: v.replace(POSE, np.zeros(720)), "missing_dataset"),
    "gripper one step short": (lambda v: v.replace(GRIPPER, np.zeros(119)), "missing_dataset"),
    "no steps": (_empty, "empty"),
    "NaN in a pose": (lambda v: v.set(POSE, (77, 3), np.nan), "bad_values"),
    "infinite in a pose": (lambda v: v.set(POSE, (119, 0), -np.inf), "bad_values"),
    "NaN in the gripper": (lambda v: v.set(GRIPPER, 0, np.nan), "bad_values"),
    "gripper above one": (lambda v: v.set(GRIPPER, 60, 1.051), "bad_values"),
    "gripper below zero": (lambda v: v.set(GRIPPER, 60, -0.051), "bad_values"),
}

UNKNOWN_SERIAL = "99999999"


def _rename_camera(victim: Victim) -> None:
    """A serial that no annotation and no conf file knows."""
    victim.change_metadata(ext2_cam_serial=UNKNOWN_SERIAL)


def _no_pose_anywhere(victim: Victim) -> None:
    victim.breaker.annotate("cam2base_extrinsic_superset", victim.uuid, {})
    metadata = victim.metadata()
    serial = metadata["ext2_cam_serial"]
    del metadata["ext2_cam_extrinsics"]
    victim.write_metadata(metadata)
    victim.remove(*(f"observation/camera_extrinsics/{serial}_{eye}" for eye in ("left", "right")))


def _stale_serial_in_h5(victim: Victim) -> None:
    def change(file):
        for eye in ("left", "right"):
            file[f"observation/camera_extrinsics/{UNKNOWN_SERIAL}_{eye}"] = np.zeros((120, 6))

    victim.edit(change)


def _stale_serial_in_annotation(victim: Victim) -> None:
    entry = victim.breaker.entries("cam2base_extrinsic_superset")[victim.uuid]
    victim.breaker.annotate(
        "cam2base_extrinsic_superset", victim.uuid, {UNKNOWN_SERIAL: [0.1] * 6, **entry}
    )


def _wrong_wrist_offset(victim: Victim) -> None:
    def change(file):
        serial = victim.metadata()["wrist_cam_serial"]
        file[f"observation/camera_extrinsics/{serial}_left_gripper_offset"][:, 0] += 1e-3

    victim.edit(change)


def _recording(victim: Victim) -> None:
    folder = victim.folder / "recordings/MP4"
    folder.mkdir(parents=True)
    (folder / f"{victim.metadata()['ext1_cam_serial']}.mp4").write_bytes(b"")


# What is done to an episode that is processed nevertheless -> the warnings it must carry.
DONE = {
    "untouched": (lambda v: None, set()),
    "no action": (lambda v: v.remove("action"), set()),
    "NaN where nobody looks": (lambda v: v.set("action/cartesian_position", 5, np.nan), set()),
    "gripper slightly off": (
        lambda v: (v.set(GRIPPER, 3, 1.049), v.set(GRIPPER, 4, -0.049)),
        set(),
    ),
    "stale serial in the file": (_stale_serial_in_h5, set()),
    "superset entry empty": (
        lambda v: v.breaker.annotate("cam2base_extrinsic_superset", v.uuid, {}),
        set(),
    ),
    "length differs": (lambda v: v.change_metadata(trajectory_length=121), {"length_mismatch"}),
    "no pose anywhere": (_no_pose_anywhere, {"no_extrinsics"}),
    "no lens anywhere": (_rename_camera, {"no_intrinsics"}),
    "no recordings": (lambda v: None, {"no_recordings"}),
    "one recording of no bytes": (_recording, {"recording_broken", "recording_missing"}),
    "stamps all zero": (
        lambda v: v.replace(STEP_START, np.zeros(120, dtype=np.int64)),
        {"no_timestamps"},
    ),
    "no stamps": (lambda v: v.remove("observation/timestamp"), {"no_timestamps"}),
}


class Outcome:
    def __init__(self, droidflow, breaker: Breaker, out: pathlib.Path, victims: dict[str, Victim]):
        self.breaker, self.out, self.victims = breaker, out, victims
        self.run = droidflow("metadata", -1, 2, *breaker.data.inputs, "--out", out, timeout=90)
        self.entries = by_path(told(droidflow, out / ".droidflow"))

    def entry(self, name: str) -> Entry:
        return self.entries[str(self.victims[name].relative)]

    def folder(self, name: str) -> pathlib.Path:
        return self.out / self.victims[name].relative


@pytest.fixture(scope="module")
def outcome(droidflow, golden, tmp_path_factory) -> Outcome:
    """One run over all episodes broken by hand."""
    folder = tmp_path_factory.mktemp("broken")
    breaker = Breaker(golden, folder / "data")
    victims = {}
    for name, (damage, _) in {**QUARANTINED, **DONE}.items():
        victims[name] = breaker.add()
        damage(victims[name])
    for name, damage in {
        "stale serial in the annotation": _stale_serial_in_annotation,
        "wrong wrist offset": _wrong_wrist_offset,
    }.items():
        victims[name] = breaker.add()
        damage(victims[name])
    victims["single step"] = breaker.add(RPL)
    victims["unknown lab, failure"] = breaker.add(REAL, lab="XLAB", outcome="failure")
    first = victims["twice there"] = breaker.add(REAL)
    shutil.copytree(first.folder, first.folder.with_name(SECOND_FOLDER))
    return Outcome(droidflow, breaker, folder / "out", victims)


def test_some_quarantined_is_exit_3(outcome):
    assert outcome.run.returncode == 3, outcome.run.stderr


@pytest.mark.parametrize("name", QUARANTINED)
def test_a_broken_episode_is_quarantined_under_its_status(outcome, name):
    entry = outcome.entry(name)
    assert (entry.state, entry.status) == ("quarantined", QUARANTINED[name][1]), entry.message
    assert entry.message and not entry.message.endswith(".")
    assert not outcome.folder(name).exists()


@pytest.mark.parametrize(
    "name", [n for n, (_, code) in QUARANTINED.items() if code.startswith("bad_")]
)
def test_its_message_names_the_file(outcome, name):
    victim = outcome.victims[name]
    file = victim.metadata_path if outcome.entry(name).status == "bad_metadata" else victim.h5
    assert str(file) in outcome.entry(name).message


@pytest.mark.parametrize(
    "name, dataset", [("no poses", POSE), ("no gripper", GRIPPER), ("poses of seven", POSE)]
)
def test_a_missing_dataset_is_named(outcome, name, dataset):
    assert dataset in outcome.entry(name).message


@pytest.mark.parametrize("name", DONE)
def test_an_odd_episode_is_done_with_its_warnings(outcome, name):
    assert outcome.entry(name).state == "done", outcome.entry(name)
    assert DONE[name][1] <= warning_codes(outcome.folder(name))


def test_nothing_is_warned_of_without_reason(outcome):
    assert warning_codes(outcome.folder("untouched")) == {"no_recordings"}
    assert warning_codes(outcome.folder("no action")) == {"no_recordings"}


def test_a_camera_without_a_pose_gets_no_pixels(outcome):
    folder, metadata = (
        outcome.folder("no pose anywhere"),
        outcome.victims["no pose anywhere"].metadata(),
    )
    serial = metadata["ext2_cam_serial"]
    assert f"external_{serial}" not in load(folder / "extrinsics.npz")
    assert f"tracks_2d_{serial}" not in load(folder / "tracks.npz")
    assert serial not in quality(folder)["cameras_with_2d_tracks"]
    assert len(quality(folder)["cameras_with_2d_tracks"]) == 2


def test_a_camera_without_a_lens_keeps_its_pose_but_gets_no_pixels(outcome):
    folder = outcome.folder("no lens anywhere")
    assert f"external_{UNKNOWN_SERIAL}" in load(folder / "extrinsics.npz")
    assert f"tracks_2d_{UNKNOWN_SERIAL}" not in load(folder / "tracks.npz")
    assert UNKNOWN_SERIAL not in quality(folder)["cameras_with_2d_tracks"]
    assert not (folder / "recordings" / UNKNOWN_SERIAL / "intrinsics.json").exists()


def test_an_empty_annotation_falls_back_to_the_metadata(outcome):
    folder = outcome.folder("superset entry empty")
    assert len(quality(folder)["cameras_with_2d_tracks"]) == 3
    assert "no_extrinsics" not in warning_codes(folder)


@pytest.mark.parametrize("name", ["stale serial in the file", "stale serial in the annotation"])
def test_a_stale_serial_appears_in_no_product(outcome, name):
    folder = outcome.folder(name)
    assert not [key for key in load(folder / "extrinsics.npz") if UNKNOWN_SERIAL in key]
    assert not [key for key in load(folder / "tracks.npz") if UNKNOWN_SERIAL in key]
    assert UNKNOWN_SERIAL not in quality(folder)["external_cameras"]


def test_a_stale_serial_in_the_annotation_is_warned_of(outcome):
    warnings = quality(outcome.folder("stale serial in the annotation"))["warnings"]
    (text,) = [w["text"] for w in warnings if w["code"] == "stale_serial"]
    assert UNKNOWN_SERIAL in text


def test_a_wrist_offset_that_disagrees_is_warned_of(outcome):
    expected = warning_codes(outcome.folder("untouched"))
    assert warning_codes(outcome.folder("wrong wrist offset")) - expected == {"wrist_calibration"}
    have = load(outcome.folder("wrong wrist offset") / "extrinsics.npz")["wrist_extrinsics"]
    want = load(outcome.folder("untouched") / "extrinsics.npz")["wrist_extrinsics"]
    assert np.array_equal(have, want), "the metadata's pose is used"


@pytest.mark.parametrize("name", ["stamps all zero", "no stamps"])
def test_without_usable_timestamps_fps_is_15(outcome, name):
    assert load(outcome.folder(name) / "tracks.npz")["fps"] == 15.0
    assert "timestamps_ms" not in load(outcome.folder(name) / "tracks.npz")


def test_the_gripper_is_stored_as_recorded_and_clamped_for_the_fingers(outcome):
    have = load(outcome.folder("gripper slightly off") / "tracks.npz")
    assert have["gripper_positions"][[3, 4]].tolist() == [1.049, -0.049]
    T_gripper_base = np.linalg.inv(have["gripper_poses"])
    gap_m = []
    for frame in (3, 4):
        p = (
            have["tracks_3d"][frame] @ T_gripper_base[frame, :3, :3].T
            + T_gripper_base[frame, :3, 3]
        )
        gap_m.append((p[:480, 0] - p[480:, 0]).mean())
    assert gap_m[0] * 1000 == pytest.approx(0.6, abs=0.1), "closed: the pads nearly touch"
    # Twice base to pad, along x: 12.7 + 34.585 - 7.8 on the left, 12.7 + 34.106 - 7.8 on the right.
    assert gap_m[1] * 1000 == pytest.approx(78.49, abs=0.01), "open"


def test_labs_and_outcomes_are_taken_from_the_tree(outcome):
    victim = outcome.victims["unknown lab, failure"]
    assert outcome.entry("unknown lab, failure").uuid == victim.uuid
    assert outcome.entry("unknown lab, failure").state == "done"
    assert outcome.folder("unknown lab, failure").relative_to(outcome.out).parts[:2] == (
        "XLAB",
        "failure",
    )
    assert quality(outcome.folder("unknown lab, failure"))["outcome"] == "failure"


SECOND_FOLDER = "Fri_Jul__7_23:00:00_2023"


def test_a_second_folder_with_a_uuid_is_skipped_and_listed(outcome):
    first = outcome.victims["twice there"]
    second = outcome.entries[str(first.relative.with_name(SECOND_FOLDER))]
    assert outcome.entry("twice there").state == "done"
    assert (second.state, second.status) == ("skipped", "duplicate")
    assert first.uuid in second.message
    assert outcome.folder("twice there").exists()
    assert not outcome.folder("twice there").with_name(SECOND_FOLDER).exists()


def test_each_episode_with_a_known_uuid_is_told_of_by_it(outcome):
    """Also without metadata: the map from uuids to paths knows this folder."""
    wrong = {
        name: outcome.entry(name).uuid
        for name, v in outcome.victims.items()
        if outcome.entry(name).uuid != v.uuid
    }
    assert wrong == {}


def test_failures_are_logged_with_time_status_and_message(outcome):
    log = (outcome.out / ".droidflow/errors.log").read_text().splitlines()
    assert len(log) == len(QUARANTINED)
    for name, (_, status) in QUARANTINED.items():
        (line,) = [line for line in log if outcome.entry(name).message in line]
        assert outcome.entry(name).uuid in line and status in line
        assert time.time() - 600 < calendar.timegm(time.strptime(line[:20], "%Y-%m-%dT%H:%M:%SZ"))


def test_the_list_of_failed_episodes_can_be_given_back(outcome, droidflow, tmp_path):
    """failed_episodes.txt holds what --episodes reads."""
    listed = outcome.out / ".droidflow/failed_episodes.txt"
    lines = listed.read_text().splitlines()
    assert sorted(lines) == sorted(outcome.entry(name).uuid for name in QUARANTINED)
    again = tmp_path / "out"
    droidflow(
        "metadata",
        -1,
        2,
        *outcome.breaker.data.inputs,
        "--out",
        again,
        "--episodes",
        listed,
        code=3,
    )
    assert {entry.state for entry in told(droidflow, again / ".droidflow")} == {"quarantined"}


def test_timing_has_a_line_for_each_finished_episode(outcome):
    run_dir = outcome.out / ".droidflow"
    head, *lines = [line.split(",") for line in (run_dir / "timing.csv").read_text().splitlines()]
    assert {len(line) for line in lines} == {len(head)}
    done = sorted(entry.uuid for entry in outcome.entries.values() if entry.state == "done")
    assert sorted(line[0] for line in lines if "done" in line) == done


def test_what_was_done_passes_verify(outcome, droidflow):
    verify(droidflow, outcome.out)


def test_the_exit_status_speaks_of_the_whole_store(outcome, droidflow):
    """A second run has nothing to do, and still 3."""
    before = {name: p.stat().st_mtime_ns for name, p in products(outcome.out).items()}
    droidflow("metadata", -1, 2, *outcome.breaker.data.inputs, "--out", outcome.out, code=3)
    assert {name: p.stat().st_mtime_ns for name, p in products(outcome.out).items()} == before


def test_an_episode_repaired_after_quarantine_can_be_asked_for_again(outcome, droidflow, tmp_path):
    victim = outcome.breaker.add(REAL)
    _truncate(victim, 0.5)
    out = tmp_path / "out"
    flags = ["--episodes", victim.uuid, "--out", out]
    droidflow("metadata", *outcome.breaker.data.inputs, *flags, code=3)
    shutil.copy(outcome.breaker.source.raw / REAL / "trajectory.h5", victim.h5)
    droidflow("metadata", *outcome.breaker.data.inputs, *flags, "--retry-quarantined", code=0)
    assert finished(out) == [out / victim.relative]


def test_a_uuid_without_a_folder_is_quarantined(droidflow, golden, tmp_path):
    uuid = "REAL+00000000+2023-06-19-19h-24m-15s"
    asked = f"{uuid},{golden.uuid(RPL)}"
    out = tmp_path / "out"
    droidflow("metadata", *golden.inputs, "--out", out, "--episodes", asked, code=3)
    found = {entry.uuid: entry for entry in told(droidflow, out / ".droidflow")}
    assert (found[uuid].state, found[uuid].status) == ("quarantined", "not_found")
    assert found[golden.uuid(RPL)].state == "done"
    (line,) = (out / ".droidflow/errors.log").read_text().splitlines()
    assert line.startswith(
        time.strftime("%Y-", time.gmtime())
    ), "a failure has the time it was noticed"


@pytest.mark.parametrize(
    "folder",
    [
        "2023-07-07/Fri_Jul__7_09_42_23_2023",  # underscores for colons
        "2023-07-07/Fri_Jul__7_09-42-23_2023",  # dashes
        "2023-07-07/Fri_Jul_7_09:42:23_2023",  # a single underscore before the day
        "2023-07-06/Fri_Jul__7_09:42:23_2023",  # started past midnight
    ],
)
def test_an_episode_is_found_under_each_spelling_of_its_folder(
    droidflow, golden_copy, tmp_path, folder
):
    (golden_copy.annotations / "episode_id_to_path.json").unlink()
    to = golden_copy.raw / "AUTOLab/success" / folder
    to.parent.mkdir(exist_ok=True)
    (golden_copy.raw / AUTOLAB).rename(to)
    out = tmp_path / "out"
    droidflow(
        "metadata", *golden_copy.inputs, "--out", out, "--episodes", golden_copy.uuid(to), code=0
    )
    assert finished(out) == [out / "AUTOLab/success" / folder]


def test_a_file_that_claims_a_billion_steps_costs_no_memory(droidflow, golden, tmp_path):
    """Chunked data that was never written takes no room in the file, whatever its shape says."""
    breaker = Breaker(golden, tmp_path / "data")
    good, hostile = breaker.add(RPL), breaker.add(RPL)

    def inflate(file):
        for name, row in ((POSE, (6,)), (GRIPPER, ())):
            del file[name]
            file.create_dataset(name, shape=(10**9, *row), chunks=(1, *row), dtype="f8")

    hostile.edit(inflate)
    out = tmp_path / "out"
    limit = ["prlimit", f"--as={4 << 30}"]
    droidflow("metadata", -1, 2, *breaker.data.inputs, "--out", out, prefix=limit, code=3)
    found = by_path(told(droidflow, out / ".droidflow"))
    assert found[str(good.relative)].state == "done"
    entry = found[str(hostile.relative)]
    assert entry.state == "quarantined" and entry.status in (
        "bad_trajectory",
        "missing_dataset",
    ), entry


def test_a_serial_cannot_lead_out_of_the_output(droidflow, golden, tmp_path):
    breaker = Breaker(golden, tmp_path / "data")
    victim = breaker.add(RPL)
    evil = "../../../../../../../escaped"
    entry = breaker.entries("intrinsics")[victim.uuid]
    breaker.annotate("intrinsics", victim.uuid, {**entry, evil: next(iter(entry.values()))})
    victim.change_metadata(ext1_cam_serial=evil)
    before = {p for p in tmp_path.rglob("*")}
    done = droidflow("metadata", -1, 1, *breaker.data.inputs, "--out", tmp_path / "out")
    assert done.returncode in (0, 3), done.stderr
    outside = {p for p in tmp_path.rglob("*") if tmp_path / "out" not in [p, *p.parents]}
    assert outside == before
    folder = tmp_path / "out" / victim.relative
    allowed = {"tracks.npz", "extrinsics.npz", "quality.json", "intrinsics.json", "video.json"}
    assert {
        p.name for p in (tmp_path / "out").rglob("*") if p.is_file() and folder in p.parents
    } <= allowed
    assert not list((tmp_path / "out").rglob("escaped"))


def test_an_episode_that_takes_for_ever_is_given_up(droidflow, golden, tmp_path):
    """A named pipe nobody writes to."""
    breaker = Breaker(golden, tmp_path / "data")
    good, stuck = breaker.add(RPL), breaker.add(RPL)
    stuck.h5.unlink()
    os.mkfifo(stuck.h5)
    out = tmp_path / "out"
    flags = ["--out", out, "--episode-timeout", 1]
    droidflow("metadata", -1, 2, *breaker.data.inputs, *flags, code=3)
    found = by_path(told(droidflow, out / ".droidflow"))
    assert found[str(good.relative)].state == "done"
    assert found[str(stuck.relative)].status in ("timeout", "bad_trajectory")


def test_randomly_changed_bytes_never_stop_the_run(droidflow, golden, tmp_path):
    """Whatever the file has become: done or quarantined, and the neighbours are unharmed."""
    chance = random.Random(20230707)
    breaker = Breaker(golden, tmp_path / "data")
    good = breaker.add(REAL)
    for _ in range(24):
        victim = breaker.add(RPL)
        data = bytearray(victim.h5.read_bytes())
        for _ in range(chance.choice((1, 8, 200))):
            data[chance.randrange(len(data) if chance.random() < 0.5 else 4096)] = chance.randrange(
                256
            )
        victim.h5.write_bytes(data)
    out = tmp_path / "out"
    done = droidflow("metadata", -1, 2, *breaker.data.inputs, "--out", out, timeout=90)
    assert done.returncode in (0, 3), done.stderr
    found = by_path(told(droidflow, out / ".droidflow"))
    assert len(found) == 25 and found[str(good.relative)].state == "done"
    assert {entry.state for entry in found.values()} <= {"done", "quarantined"}
    verify(droidflow, out)


# --------------------------------------------------------------------------------- synthetic faults

TABLE = {
    "quarantined": {
        "not_found", "no_metadata", "bad_metadata", "no_trajectory", "bad_trajectory",
        "missing_dataset", "empty", "bad_values",
    },
    "warning": {
        "length_mismatch", "no_extrinsics", "no_intrinsics", "no_recordings", "recording_missing",
        "recording_broken", "frame_count",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def faulty(droidflow, synth, tmp_path_factory):
    """(data, out) of runs over four good synthetic episodes and one of each broken kind.

    All that lie in the tree, then those asked for by uuid: a second folder with a known uuid is met
    by the former, a uuid without a folder by the latter.
    """
    data = synth(episodes=4, steps=40, seed=3, faults=True)
    out = tmp_path_factory.mktemp("faulty") / "out"
    asked = ["--episodes", data.raw.parent / "episodes.txt"]
    for flags in ([], asked):
        droidflow("metadata", -1, 2, *data.inputs, "--out", out, *flags, code=3, timeout=90)
    return data, out


def test_synthetic_faults_end_in_every_status_of_the_table(faulty, droidflow):
    _, out = faulty
    found = told(droidflow, out / ".droidflow")
    assert {entry.status for entry in found if entry.state == "quarantined"} == TABLE["quarantined"]
    assert TABLE["warning"] <= set().union(*(warning_codes(folder) for folder in finished(out)))
    assert [entry.status for entry in found if entry.state == "skipped"] == ["duplicate"]


def test_each_synthetic_fault_ends_as_it_was_made_to(faulty, droidflow):
    data, out = faulty
    found, problems = by_path(told(droidflow, out / ".droidflow")), []
    for fault in json.loads((data.raw.parent / "faults.json").read_text()):
        entry = found[fault["path"] or fault["uuid"]]
        good = entry.state == fault["outcome"]
        if fault["outcome"] == "done":
            good &= not fault["expected"] or fault["expected"] in warning_codes(out / fault["path"])
        else:
            good &= entry.status == fault["expected"]
            good &= not (out / fault["path"] / "tracks.npz").exists()
        if not good:
            problems.append((fault, entry))
    assert problems == []


def test_the_good_ones_are_those_of_a_tree_without_faults(faulty, droidflow, synth, runs):
    """--faults adds episodes beside the good ones: those come out as if alone."""
    alone = content(runs(synth(episodes=4, steps=40, seed=3)))
    beside = content(faulty[1])
    assert len([name for name in alone if name.endswith("tracks.npz")]) == 4
    assert [name for name in alone if beside.get(name) != alone[name]] == []


def test_synthetic_products_pass_verify(faulty, droidflow):
    verify(droidflow, faulty[1])


def test_synth_repeats_itself_and_listens_to_the_seed(droidflow, tmp_path):
    trees = {}
    for name, seed in (("a", 5), ("again", 5), ("b", 6)):
        droidflow("synth", tmp_path / name, "--episodes", 2, "--steps", 12, "--seed", seed, code=0)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        trees[name] = {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files}
        time.sleep(1.1)  # HDF5 would write the second of creation
    assert trees["a"] == trees["again"]
    assert trees["a"] != trees["b"]


def test_synth_writes_what_the_recorder_writes(synth, real):
    """Names, dtypes, row shapes and chunks of the datasets read are those of the real file."""
    data = synth(episodes=4, steps=40, seed=3)
    path, *_ = sorted(data.raw.rglob("trajectory.h5"))
    (real_path,) = real.raw.rglob("trajectory.h5")
    with h5py.File(path) as have, h5py.File(real_path) as want:
        names = [POSE, GRIPPER, STEP_START, "observation/timestamp/skip_action"]
        names += ["observation/controller_info/movement_enabled"]
        for name in names:
            assert have[name].dtype == want[name].dtype, name
            assert have[name].shape[1:] == want[name].shape[1:] and have[name].shape[0] == 40, name
            assert have[name].chunks == want[name].chunks, name
        assert len(have["observation/camera_type"]) == 3
        serials = sorted(have["observation/camera_type"])
        stamps = have["observation/timestamp/cameras"]
        assert all(
            f"{s}_{what}" in stamps
            for s in serials
            for what in ("frame_received", "estimated_capture")
        )


# ------------------------------------------------------------------ broken annotations and settings


@pytest.mark.parametrize(
    "name", ["cam2base_extrinsic_superset.json", "intrinsics.json", "episode_id_to_path.json"]
)
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.rstrip()[:-1] + "]",
        lambda text: "not json\n",
        lambda text: "[1, 2, 3]",
        lambda text: "[" * 1_000_000,
    ],
    ids=["cut", "unbalanced", "text", "list", "nested"],
)
def test_a_malformed_annotation_is_exit_1_and_says_where(
    droidflow, golden_copy, tmp_path, name, damage
):
    path = golden_copy.annotations / name
    path.write_text(damage(path.read_text()))
    done = droidflow("metadata", *golden_copy.inputs, "--out", tmp_path / "out", code=1)
    assert name in done.stderr and re.search(
        r"(byte|line|offset|position)\D{0,12}\d+", done.stderr
    ), done.stderr
    assert not finished(tmp_path / "out")


@pytest.mark.parametrize(
    "flag", ["--superset", "--cam2base", "--intrinsics", "--episode-paths", "--serials"]
)
def test_a_missing_annotation_file_is_exit_10_and_named(droidflow, golden, tmp_path, flag):
    absent = tmp_path / "absent.json"
    done = droidflow("metadata", *golden.inputs, "--out", tmp_path / "out", flag, absent, code=10)
    assert str(absent) in done.stderr


@pytest.mark.parametrize("flag", ["--droid-root", "--annotations"])
def test_a_missing_folder_is_exit_10_and_named(droidflow, golden, tmp_path, flag):
    absent = tmp_path / "absent"
    inputs = list(golden.inputs)
    inputs[inputs.index(flag) + 1] = absent
    done = droidflow("metadata", *inputs, "--out", tmp_path / "out", code=10)
    assert str(absent) in done.stderr


def test_a_root_without_episodes_is_exit_10(droidflow, golden, tmp_path):
    (tmp_path / "root").mkdir()
    inputs = ["--droid-root", tmp_path / "root", *golden.inputs[2:]]
    droidflow("metadata", *inputs, "--out", tmp_path / "out", code=10)


@pytest.mark.parametrize(
    "text, line",
    [
        ("fps: 15\npoints: [1, 2\nstep_mm: 1\n", r"[34]"),
        ("fps: 15\nfps_: 3\n", "2"),
        ("fps: fast\n", "1"),
        ("points: 480\nfps: -1\n", "2"),
        ("- a\n- b\n", "1"),
    ],
    ids=["syntax", "unknown key", "wrong type", "out of range", "list"],
)
def test_a_malformed_configuration_is_exit_2_and_says_the_line(
    droidflow, golden, tmp_path, text, line
):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    done = droidflow(
        "metadata", *golden.inputs, "--out", tmp_path / "out", "--config", config, code=2
    )
    assert "config.yaml" in done.stderr
    assert re.search(rf"(line\s*|:){line}\b", done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


def _npy(array) -> bytes:
    with tempfile.TemporaryFile() as file:
        np.save(file, array)
        file.seek(0)
        return file.read()


HOSTILE_HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 3), }"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an array",
        _npy(np.zeros((48, 3)))[:-1],
        _npy(np.zeros((48, 2))),
        _npy(np.zeros((0, 3))),
        _npy(np.array([["a", "b", "c"]])),
        _npy(np.full((48, 3), np.nan)),
        b"\x93NUMPY\x01\x00" + len(HOSTILE_HEADER).to_bytes(2, "little") + HOSTILE_HEADER.encode(),
    ],
    ids=["empty", "text", "cut", "two columns", "no rows", "strings", "NaN", "hostile size"],
)
def test_malformed_contact_points_are_refused_by_name(droidflow, golden, tmp_path, data):
    path = tmp_path / "points.npy"
    path.write_bytes(data)
    done = droidflow(
        "metadata", *golden.inputs, "--out", tmp_path / "out", "--contact-points", path
    )
    assert done.returncode in (1, 2) and "points.npy" in done.stderr, (done.returncode, done.stderr)
    assert not finished(tmp_path / "out")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"solid x\nfacet normal 0 0\n",
        b"solid x\nfacet normal -1 0 0\nouter loop\nvertex 0 0 zero\n",
        bytes(80) + (10).to_bytes(4, "little") + bytes(100),
        bytes(80) + (2**32 - 1).to_bytes(4, "little"),
    ],
    ids=["empty", "cut text", "not a number", "cut", "hostile size"],
)
def test_malformed_meshes_are_refused_by_name(droidflow, golden, tmp_path, data):
    path = tmp_path / "finger.stl"
    path.write_bytes(data)
    done = droidflow("metadata", *golden.inputs, "--out", tmp_path / "out", "--finger-mesh", path)
    assert done.returncode in (1, 2) and "finger.stl" in done.stderr, (done.returncode, done.stderr)
    if b"zero" in data:
        assert re.search(r"(line\s*|:)4\b", done.stderr), done.stderr


@pytest.mark.parametrize("flag", ["--contact-points", "--finger-mesh", "--config"])
def test_a_missing_settings_file_is_named(droidflow, golden, tmp_path, flag):
    absent = tmp_path / "absent.bin"
    done = droidflow("metadata", *golden.inputs, "--out", tmp_path / "out", flag, absent)
    assert done.returncode in (2, 10) and str(absent) in done.stderr, (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "line, where",
    [("fx=wide", r"LEFT_CAM_HD|{line}"), ("fx", "{line}"), ("[LEFT_CAM_HD", "{line}")],
    ids=["no number", "no value", "no bracket"],
)
def test_a_malformed_conf_file_is_named_with_the_place(
    droidflow, golden_copy, tmp_path, line, where
):
    """Whether it stops the run or costs only its camera, the user learns what to repair."""
    (golden_copy.annotations / "intrinsics.json").write_text("{}")
    conf = tmp_path / "conf"
    conf.mkdir()
    for path in golden_copy.conf.glob("SN*.conf"):
        (conf / path.name).write_bytes(path.read_bytes())
    broken = conf / "SN29838012.conf"
    lines = broken.read_text().splitlines()
    at = lines.index("[LEFT_CAM_HD]") + 1
    lines[at] = line
    broken.write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    inputs = [*golden_copy.inputs[:4], "--conf-dir", conf]
    done = droidflow("metadata", *inputs, "--out", out, "--episodes", golden_copy.uuid(TRI))
    assert done.returncode in (0, 1), done.stderr
    texts = (
        [w["text"] for w in quality(out / TRI)["warnings"]]
        if done.returncode == 0
        else [done.stderr]
    )
    (text,) = [text for text in texts if "SN29838012.conf" in text]
    assert re.search(rf"\b({where.format(line=at + 1)})\b", text), text


# -------------------------------------------------------------------------------- disks that refuse


def _ordinary_user() -> list[str]:
    """The words before a command that make it run without root's rights."""
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with contextlib.suppress(OSError):
        if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
            return prefix
    pytest.skip("cannot give up root's rights here")


def test_a_read_only_output_is_exit_1_and_named(droidflow, golden):
    user = _ordinary_user()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        out = pathlib.Path(folder, "out")
        out.mkdir()
        out.chmod(0o555)
        reachable = subprocess.run([*user, *droidflow.command("--version")], capture_output=True)
        if reachable.returncode != 0:
            pytest.skip("an ordinary user cannot run the binary where it lies")
        # The test data may be readable by its owner only.
        raw = pathlib.Path(folder, "raw")
        shutil.copytree(golden.raw, raw)
        subprocess.run(["chmod", "-R", "a+rX", raw], check=True)
        inputs = ["--droid-root", raw]
        done = droidflow("metadata", 1, 1, *inputs, "--out", out, prefix=user, cwd="/", code=1)
        assert str(out) in done.stderr and "ermission denied" in done.stderr, done.stderr


@pytest.mark.parametrize("full", ["out", "scratch"])
def test_a_full_disk_is_exit_1_and_the_run_resumes_after_space_is_made(
    droidflow, synth, small_disk, tmp_path, full
):
    data = synth(episodes=6, steps=60, seed=2)
    places = {name: tmp_path / name for name in ("out", "scratch")}
    places[full] = small_disk(2 if full == "scratch" else 8) / full
    flags = [
        "--out",
        places["out"],
        "--scratch-dir",
        places["scratch"],
        "--run-dir",
        tmp_path / "run",
    ]
    done = droidflow("metadata", -1, 2, *data.inputs, *flags, code=1)
    assert "space" in done.stderr.lower(), done.stderr
    small_disk(200)
    droidflow("metadata", -1, 2, *data.inputs, *flags, code=0)
    assert len(finished(places["out"])) == 6
    verify(droidflow, places["out"])
    assert not list(places["scratch"].iterdir()) if places["scratch"].exists() else True


# ------------------------------------------------------------------- runs that are cut, and resumed


@pytest.fixture(scope="module")
def many(synth) -> Dataset:
    """Enough episodes that a run lasts a second or so."""
    return synth(episodes=40, steps=80, seed=4)


def wait_for(condition, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


def stat(out: pathlib.Path) -> dict[str, tuple[int, int]]:
    return {name: (p.stat().st_ino, p.stat().st_mtime_ns) for name, p in products(out).items()}


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_exits_130_consistent_and_resumes(droidflow, many, tmp_path, which):
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    command = ["metadata", -1, 2, *many.inputs, "--out", out, "--scratch-dir", scratch]
    process = droidflow.start(*command)
    try:
        wait_for(lambda: len(finished(out)) >= 3)
        process.send_signal(which)
        assert process.wait(timeout=30) == 130
    finally:
        stop_group(process)
    before = stat(out)
    assert 3 <= len(finished(out)) < 40
    assert no_leftovers(out, scratch) == []
    verify(droidflow, out)

    droidflow(*command, code=0)
    assert len(finished(out)) == 40
    assert {
        name: s for name, s in stat(out).items() if name in before
    } == before, "finished ones are kept"
    verify(droidflow, out)


def test_ctrl_c_reaches_workers_too_and_is_still_130(droidflow, many, tmp_path):
    """A terminal signals the whole group."""
    process = droidflow.start("metadata", -1, 2, *many.inputs, "--out", tmp_path / "out")
    try:
        wait_for(lambda: len(finished(tmp_path / "out")) >= 2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        stop_group(process)
    found = told(droidflow, tmp_path / "out/.droidflow")
    assert not [e for e in found if e.state == "quarantined"], "an interruption is nobody's fault"


def test_a_second_coordinator_is_refused_with_11(droidflow, many, tmp_path):
    out = tmp_path / "out"
    command = ["metadata", -1, 1, *many.inputs, "--out", out]
    first = droidflow.start(*command)
    try:
        wait_for(lambda: finished(out))
        second = droidflow(*command)
        droidflow("status", out / ".droidflow", code=0)
        assert first.poll() is None, "the first run ended too early to tell"
        assert second.returncode == 11 and str(out) in second.stderr, second.stderr
        assert first.wait(timeout=60) == 0
    finally:
        stop_group(first)
    assert len(finished(out)) == 40


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [
            int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    return []


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return (
            pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        )
    return False


KILLS = 50


def test_kill_9_at_random_moments_loses_and_doubles_nothing(droidflow, many, runs, tmp_path):
    """Coordinators and workers are shot in turn; whatever remains, the next run completes it."""
    chance = random.Random(4711)
    want = content(runs(many))
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    command = ["metadata", -1, 3, *many.inputs, "--out", out, "--scratch-dir", scratch]
    shot = {"coordinator": 0, "worker": 0}
    while sum(shot.values()) < KILLS:
        process = droidflow.start(*command)
        workers: list[int] = []
        try:
            end = time.monotonic() + chance.uniform(0.01, 0.35)
            while time.monotonic() < end and process.poll() is None:
                time.sleep(0.002)
                workers = children(process.pid) or workers
            if process.poll() is None and workers and chance.random() < 0.5:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(workers), signal.SIGKILL)
                    shot["worker"] += 1
                time.sleep(chance.uniform(0, 0.1))
            if process.poll() is None:
                process.kill()
                process.wait()
                shot["coordinator"] += 1
                wait_for(lambda: not [w for w in workers if alive(w)])
            else:  # it came to its end: begin anew
                assert process.returncode == 0
                shutil.rmtree(out)
        finally:
            stop_group(process)
    assert min(shot.values()) >= 5, shot

    droidflow(*command, code=0)
    have = content(out)
    assert sorted(have) == sorted(want)
    assert [name for name in want if have[name] != want[name]] == []
    assert no_leftovers(out, scratch) == []
    found = by_path(told(droidflow, out / ".droidflow"))
    assert len(found) == 40 and {entry.state for entry in found.values()} == {"done"}
    verify(droidflow, out)


def test_workers_that_die_cost_only_an_attempt(droidflow, many, tmp_path):
    """The run goes on with new workers and ends well."""
    chance = random.Random(99)
    out = tmp_path / "out"
    process = droidflow.start("metadata", -1, 2, *many.inputs, "--out", out)
    try:
        for _ in range(4):
            count = len(finished(out))
            wait_for(lambda: len(finished(out)) > count and children(process.pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(children(process.pid)), signal.SIGKILL)
        assert process.wait(timeout=60) == 0
    finally:
        stop_group(process)
    assert len(finished(out)) == 40
    verify(droidflow, out)


@pytest.fixture
def small_run(droidflow, synth, tmp_path):
    """(command, out) of a finished run over four episodes."""
    out = tmp_path / "out"
    command = ["metadata", -1, 2, *synth(episodes=4, steps=40, seed=3).inputs, "--out", out]
    droidflow(*command, code=0)
    return command, out


def test_a_second_run_touches_nothing_that_is_finished(droidflow, small_run):
    command, out = small_run
    before = stat(out)
    droidflow(*command, code=0)
    assert stat(out) == before


def test_other_numbers_are_computed_anew(droidflow, small_run):
    command, out = small_run
    droidflow(*command, "--points", 24, code=0)
    assert {
        int(load(folder / "tracks.npz")["num_points_per_finger"]) for folder in finished(out)
    } == {24}
    assert len(finished(out)) == 4


def _change_size(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _change_time(path: pathlib.Path) -> None:
    os.utime(path, (1, 1))


@pytest.mark.parametrize(
    "name", ["tracks.npz", "extrinsics.npz", "quality.json", "intrinsics.json"]
)
@pytest.mark.parametrize(
    "damage", [pathlib.Path.unlink, _change_size, _change_time], ids=["gone", "size", "time"]
)
def test_a_second_run_redoes_what_was_damaged_and_only_that(droidflow, small_run, name, damage):
    command, out = small_run
    before, was = stat(out), content(out)
    victim = finished(out)[1]
    damage(sorted(victim.rglob(name))[0])
    droidflow(*command, code=0)
    after = stat(out)
    prefix = f"{victim.relative_to(out)}/"
    assert content(out) == was
    assert {n: s for n, s in after.items() if not n.startswith(prefix)} == {
        n: s for n, s in before.items() if not n.startswith(prefix)
    }
    assert after[f"{prefix}tracks.npz"] != before[f"{prefix}tracks.npz"]


def test_only_deep_check_sees_damage_of_the_same_size_and_time(droidflow, small_run):
    command, out = small_run
    was = content(out)
    path = finished(out)[2] / "tracks.npz"
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    droidflow(*command, code=0)
    assert path.read_bytes() == data, "size and time are as stored"
    droidflow(*command, "--deep-check", code=0)
    assert content(out) == was


def test_a_run_directory_may_lie_elsewhere(droidflow, synth, tmp_path):
    out, run_dir = tmp_path / "out", tmp_path / "elsewhere/run"
    data = synth(episodes=4, steps=40, seed=3)
    droidflow("metadata", 2, 1, *data.inputs, "--out", out, "--run-dir", run_dir, code=0)
    assert not (out / ".droidflow").exists()
    assert len(finished(out)) == 2
    assert sorted(entry.state for entry in told(droidflow, run_dir)) == ["done", "done"]
