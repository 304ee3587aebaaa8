"""Recordings: what `inspect` sees, what `synth --video` films, what `metadata` makes of them."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import random
import resource
import shutil
import struct

import h5py
import numpy as np
import pytest
from conftest import Dataset, content, copy_dataset, load, quality
from recordings_reference import (
    MCAP_MAGIC,
    SIZES,
    Conf,
    decode,
    left_half_of,
    probe,
    svo1,
    warp_error,
    write_mp4,
)

STEPS = 12
SVO2 = {  # serial, size of one eye, frames
    "hevc_zstd.svo2": ("23404442", (672, 376), 24),
    "hevc_lz4_nofooter.svo2": ("23404442", (672, 376), 24),
    "h264_none.svo2": ("29838012", (672, 376), 24),
    "jpeg_none.svo2": ("19824535", (1280, 720), 3),
    "truncated.svo2": ("23404442", (672, 376), 8),
}
FIXTURE_EPOCH_MS, FIXTURE_FRAME_MS = 1_700_000_000_000, 1000 / 15
SDK_HD = {  # the rectified left camera of the maker's SDK: fx, cx, cy; share by which fx may differ
    "23404442": (522.502, 640.492, 353.231, 0.01),
    "29838012": (523.223, 639.237, 352.501, 0.01),
    "19824535": (697.908, 649.598, 354.900, 0.05),
}


@pytest.fixture(scope="session")
def svo2(shared) -> pathlib.Path:
    return shared / "data/svo2"


@pytest.fixture(scope="session")
def conf_files(shared) -> list[pathlib.Path]:
    return sorted((shared / "data/zed_conf").glob("SN*.conf"))


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A synthetic data set with recordings, and what its cameras were looking at."""

    data: Dataset
    truth: pathlib.Path

    @property
    def episode(self) -> pathlib.Path:
        return self.data.episodes()[0]

    @property
    def recordings(self) -> pathlib.Path:
        return self.data.raw / self.episode / "recordings"

    def metadata(self) -> dict:
        (path,) = (self.data.raw / self.episode).glob("metadata_*.json")
        return json.loads(path.read_text())

    def serials(self) -> list[str]:
        metadata = self.metadata()
        return [metadata[f"{role}_cam_serial"] for role in ("ext1", "ext2", "wrist")]

    def files(self, suffix: str) -> list[pathlib.Path]:
        return sorted(self.recordings.rglob(f"*{suffix}"))

    def of(self, serial: str) -> pathlib.Path:
        """The widest recording of a camera."""
        found = self.recordings.rglob(f"{serial}*")
        videos = [p for p in found if p.suffix in (".mp4", ".svo", ".svo2")]
        return max(videos, key=lambda p: ("-stereo" in p.name, p.suffix != ".mp4"))

    def received_ms(self, serial: str) -> np.ndarray:
        with h5py.File(self.data.raw / self.episode / "trajectory.h5") as h5:
            return h5[f"observation/timestamp/cameras/{serial}_frame_received"][:]


def film(droidflow, folder: pathlib.Path, kind: str, *flags, steps: int, seed: int) -> Recorded:
    size = ["--episodes", 1, "--steps", steps, "--seed", seed]
    droidflow("synth", folder, "--video", kind, *size, *flags, code=0)
    data = Dataset(folder / "annotations", folder / "conf", folder / "raw")
    return Recorded(data, folder / "truth")


@pytest.fixture(scope="session")
def recorded(droidflow, shared, tmp_path_factory):
    """recorded("stereo" | "mono" | "svo2") -> a data set of one episode, not to be changed."""

    small = ["--resolution", "VGA", "--conf-dir", shared / "data/zed_conf"]
    flags = {"stereo": [], "mono": small, "svo2": small}

    @functools.cache
    def make(kind: str) -> Recorded:
        folder = tmp_path_factory.mktemp("film") / kind
        return film(droidflow, folder, kind, *flags[kind], steps=STEPS, seed=3)

    return make


def run(droidflow, data: Dataset, out: pathlib.Path, *flags) -> pathlib.Path:
    """The output folder of the only episode of `data`, which must come out as done."""
    droidflow("metadata", -1, 1, *data.inputs, "--out", out, *flags, code=0)
    (episode,) = data.episodes()
    return out / episode


@pytest.fixture(scope="session")
def produced(droidflow, recorded, tmp_path_factory):
    """produced(kind) -> the episode's output folder of a plain `metadata` run, made once."""

    @functools.cache
    def make(kind: str) -> pathlib.Path:
        return run(droidflow, recorded(kind).data, tmp_path_factory.mktemp("produced") / "out")

    return make


@pytest.fixture
def breakable(recorded, tmp_path):
    """breakable(kind) -> a copy to change."""

    def make(kind: str) -> Recorded:
        source = recorded(kind)
        copy = copy_dataset(source.data, tmp_path / "copy")
        return Recorded(copy, source.truth)

    return make


def codes(folder: pathlib.Path) -> list[str]:
    return [warning["code"] for warning in quality(folder)["warnings"]]


def video(folder: pathlib.Path, serial: str) -> dict:
    return json.loads((folder / "recordings" / serial / "video.json").read_text())


def lenses(folder: pathlib.Path, serial: str) -> dict:
    return json.loads((folder / "recordings" / serial / "intrinsics.json").read_text())


def inspect(droidflow, *files, code: int = 0) -> list[dict]:
    return droidflow.json("inspect", *files, code=code)


def facts(entry: dict) -> tuple:
    return entry["kind"], entry["serial"], (entry["width"], entry["height"]), entry["frames"]


# ------------------------------------------------------------------- inspect: recordings and others


@pytest.mark.parametrize("name", SVO2)
def test_inspect_knows_kind_serial_size_of_one_eye_and_frames_of_an_svo2(droidflow, svo2, name):
    (entry,) = inspect(droidflow, svo2 / name)
    serial, size, frames = SVO2[name]
    assert facts(entry) == ("svo2", serial, size, frames)
    assert pathlib.Path(entry["file"]) == svo2 / name


@pytest.mark.parametrize("name", SVO2)
def test_only_a_truncated_svo2_has_problems(droidflow, svo2, name):
    (entry,) = inspect(droidflow, svo2 / name)
    assert (len(entry["problems"]) > 0) == (name == "truncated.svo2"), entry["problems"]


def test_an_svo2_called_svo_is_an_svo2(droidflow, svo2, tmp_path):
    path = tmp_path / "23404442.svo"
    path.write_bytes((svo2 / "hevc_zstd.svo2").read_bytes())
    (entry,) = inspect(droidflow, path)
    assert facts(entry) == ("svo2", "23404442", (672, 376), 24)


@pytest.mark.parametrize("name", ["hevc_zstd.svo2", "SN23404442.conf"])
@pytest.mark.parametrize("renamed", ["a.mp4", "a.h5", "a.txt", "nameless"])
def test_the_name_does_not_decide_the_kind(droidflow, shared, tmp_path, name, renamed):
    (source,) = (shared / "data").glob(f"*/{name}")
    path = tmp_path / renamed
    path.write_bytes(source.read_bytes())
    (entry,) = inspect(droidflow, path)
    assert entry["kind"] == source.suffix.removeprefix(".")


def test_inspect_recognises_every_kind_it_meets_in_one_call(
    droidflow, ffmpeg, recorded, produced, svo2, conf_files
):
    stereo = recorded("stereo")
    depth = next(stereo.truth.rglob("depth.mkv"))
    files = {
        "h5": stereo.data.raw / stereo.episode / "trajectory.h5",
        "npz": produced("stereo") / "tracks.npz",
        "mkv": depth,
        "svo2": svo2 / "h264_none.svo2",
        "conf": conf_files[0],
        "mp4": stereo.of(stereo.serials()[0]),
    }
    entries = inspect(droidflow, *files.values())
    assert [pathlib.Path(e["file"]) for e in entries] == list(files.values())
    assert [e["kind"] for e in entries] == list(files)
    assert [e["problems"] for e in entries] == [[]] * len(files)
    by_kind = {e["kind"]: e for e in entries}
    assert by_kind["h5"]["frames"] == STEPS
    assert by_kind["mkv"]["frames"] == int(probe(depth)["nb_read_packets"])
    assert (by_kind["mkv"]["width"], by_kind["mkv"]["height"]) == (1280, 720)


def test_inspect_prints_a_table(droidflow, svo2, conf_files):
    files = [svo2 / "h264_none.svo2", svo2 / "truncated.svo2", conf_files[0]]
    lines = droidflow("inspect", *files, code=0).stdout.splitlines()
    (line,) = [line for line in lines if "h264_none.svo2" in line]
    for word in ("svo2", "29838012", "672", "376", "24"):
        assert word in line
    assert any(conf_files[0].name in line for line in lines)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
@pytest.mark.parametrize("size, eye", [((256, 72), (128, 72)), ((128, 72), (128, 72))])
def test_inspect_tells_a_pair_from_one_eye_by_width(droidflow, ffmpeg, tmp_path, codec, size, eye):
    path = tmp_path / "17225336.mp4"
    frames = np.random.default_rng(5).integers(0, 256, (7, size[1], size[0]), dtype=np.uint8)
    write_mp4(path, frames, codec)
    (entry,) = inspect(droidflow, path)
    assert ((entry["width"], entry["height"]), entry["frames"]) == (eye, 7)
    assert entry["problems"] == []


@pytest.fixture(scope="session")
def old_svo(ffmpeg, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("svo1")
    frames = np.random.default_rng(6).integers(0, 256, (9, 144, 512), dtype=np.uint8)
    path = folder / "20120598.svo"
    path.write_bytes(svo1(frames, folder))
    return path


def test_inspect_knows_an_svo_of_version_1_by_its_first_bytes(droidflow, old_svo, tmp_path):
    path = tmp_path / "a.svo2"
    path.write_bytes(old_svo.read_bytes())
    for entry in inspect(droidflow, path, old_svo):
        assert (entry["kind"], entry["width"], entry["height"]) == ("svo", 256, 144)
        assert (entry["frames"], entry["reader"]) == (9, "svo1-salvage")


def test_the_serial_of_a_file_that_holds_none_is_that_of_its_name(droidflow, victims, tmp_path):
    names = {"20120598.svo": "old.svo"}
    names |= dict.fromkeys(["20120598.mp4", "20120598-stereo.mp4"], "small.mp4")
    for name, victim in names.items():
        (tmp_path / name).write_bytes(victims[victim])
    entries = inspect(droidflow, *(tmp_path / name for name in names))
    assert [e["serial"] for e in entries] == ["20120598"] * 3


def test_a_missing_file_is_exit_10_and_named(droidflow, svo2, tmp_path):
    done = droidflow("inspect", svo2 / "h264_none.svo2", tmp_path / "absent.svo2", code=10)
    assert "absent.svo2" in done.stderr + done.stdout


@pytest.mark.parametrize("arguments", [[], ["--rows"], ["--no-such-flag", "x"]], ids=" ".join)
def test_inspect_without_a_file_or_with_a_wrong_flag_is_exit_2(droidflow, arguments):
    droidflow("inspect", *arguments, code=2)


# ----------------------------------------------------------------------- inspect: calibration files


@pytest.fixture(scope="session")
def modes(droidflow, conf_files) -> dict[str, dict]:
    """serial -> the modes that inspect reports, for all factory files."""
    entries = inspect(droidflow, *conf_files)
    assert [e["kind"] for e in entries] == ["conf"] * 40
    assert [e["problems"] for e in entries] == [[]] * 40
    assert [f"SN{e['serial']}.conf" for e in entries] == [p.name for p in conf_files]
    return {e["serial"]: e["modes"] for e in entries}


def test_every_factory_file_has_all_four_modes(modes):
    assert {serial: set(found) for serial, found in modes.items()} == dict.fromkeys(
        modes, set(SIZES)
    )


def test_every_factory_file_rectifies_to_a_camera_within_bounds(modes, conf_files):
    for path in conf_files:
        conf = Conf(path)
        hd = modes[conf.serial]["HD"]
        bounds = (700, 740) if conf.is_fisheye else (510, 550)
        assert bounds[0] < hd["fx"] < bounds[1], path.name
        assert hd["fx"] == hd["fy"], path.name
        assert abs(hd["cx"] - 639.5) < 60 and abs(hd["cy"] - 359.5) < 40, path.name


def test_the_lens_model_follows_the_keys_of_the_file(modes, conf_files):
    names = {True: set(), False: set()}
    for path in conf_files:
        conf = Conf(path)
        names[conf.is_fisheye] |= {mode["lens_model"] for mode in modes[conf.serial].values()}
    assert [len(found) for found in names.values()] == [1, 1] and names[True] != names[False]


def test_the_baseline_is_the_distance_of_the_eyes(modes, conf_files):
    for path in conf_files:
        conf = Conf(path)
        for mode in modes[conf.serial].values():
            assert mode["baseline_m"] == pytest.approx(np.linalg.norm(conf.way_m), abs=5e-6)


def test_the_raw_lenses_are_those_of_the_file(modes, conf_files):
    for path in conf_files[::8]:
        conf = Conf(path)
        for name, mode in modes[conf.serial].items():
            printed = json.dumps(mode["raw"])
            for eye in ("LEFT", "RIGHT"):
                for key in ("fx", "cx", "k1"):
                    assert repr(conf.lens(name, eye)[key]).rstrip("0") in printed, (name, eye, key)


@pytest.mark.parametrize("serial", SDK_HD)
def test_the_rectified_camera_is_near_what_the_makers_sdk_says(modes, serial):
    fx, cx, cy, share = SDK_HD[serial]
    hd = modes[serial]["HD"]
    assert hd["fx"] == pytest.approx(fx, rel=share)
    assert hd["cx"] == pytest.approx(cx, abs=6) and hd["cy"] == pytest.approx(cy, abs=6)


@pytest.mark.parametrize(
    "serial",
    # Both lens models: the SDK's table, the two on which OpenCV goes wrong, the extremes.
    "23404442 29838012 19824535 22008760 23804457 14436910 13263313 21582473 11744905".split(),
)
def test_the_rectified_camera_is_the_one_computed_with_numpy(modes, conf_files, serial):
    (path,) = [p for p in conf_files if serial in p.name]
    for name in SIZES if serial == "19824535" else ("HD", "VGA"):
        f, cx, cy = Conf(path).rectified(name)
        have = modes[serial][name]
        got = [have[key] for key in ("fx", "fy", "cx", "cy")]
        assert np.allclose(got, [f, f, cx, cy], rtol=0, atol=0.05), (name, got, (f, cx, cy))


def test_keys_and_sections_of_a_conf_are_case_insensitive(droidflow, conf_files, modes, tmp_path):
    path = tmp_path / conf_files[20].name
    path.write_text(conf_files[20].read_text().upper())
    (entry,) = inspect(droidflow, path)
    assert entry["modes"] == modes[entry["serial"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("Baseline=", "Basement="),
        lambda text: text.replace("[STEREO]", "[MONO]"),
        lambda text: text.replace("fx=", "fx=wide"),
        lambda text: text.replace("Baseline=", "Baseline=nan ;"),
        lambda text: text.replace("Baseline=", "Baseline=0 ;"),
        lambda text: text.replace("[LEFT_CAM", "[MIDDLE_CAM"),
    ],
    ids=["no baseline", "no stereo", "no number", "nan", "zero baseline", "no left eye"],
)
def test_a_conf_that_makes_no_camera_is_refused_or_has_a_problem(
    droidflow, conf_files, tmp_path, change
):
    path = tmp_path / conf_files[0].name
    path.write_text(change(conf_files[0].read_text()))
    done = droidflow("inspect", path, "--json")
    assert done.returncode in (0, 1)
    assert done.returncode == 1 or json.loads(done.stdout)[0]["problems"]


# ---------------------------------------------------------------------------- inspect: decoded rows


def rows(droidflow, path: pathlib.Path, conf: pathlib.Path | None = None) -> dict:
    flags = ["--conf-dir", conf] if conf else []
    (entry,) = inspect(droidflow, path, "--rows", *flags)
    return entry["rows"]


def test_rows_of_a_rectified_pair_lie_level(droidflow, recorded):
    stereo = recorded("stereo")
    have = rows(droidflow, stereo.of(stereo.serials()[0]))
    assert have["matches"] >= 20
    assert have["median_abs_px"] < 0.5 and abs(have["offset_px"]) < 0.3, have


def test_rows_see_a_right_eye_that_looks_three_pixels_too_high(
    droidflow, ffmpeg, recorded, tmp_path
):
    stereo = recorded("stereo")
    pictures = decode(stereo.of(stereo.serials()[0]))[:6].copy()
    right = pictures[:, :, 1280:]
    right[:, 3:] = right[:, :-3].copy()
    path = tmp_path / "20120598-stereo.mp4"
    write_mp4(path, pictures)
    have = rows(droidflow, path)
    assert abs(have["offset_px"]) == pytest.approx(3, abs=0.4)
    assert have["median_abs_px"] == pytest.approx(3, abs=0.5)


def test_raw_rows_are_level_with_the_cameras_own_calibration(droidflow, recorded):
    svo2 = recorded("svo2")
    for serial in svo2.serials():
        have = rows(droidflow, svo2.of(serial), svo2.data.conf)
        assert have["matches"] >= 20
        assert have["median_abs_px"] < 0.6 and abs(have["offset_px"]) < 0.4, (serial, have)


def test_raw_rows_are_as_crooked_as_their_calibration_is_wrong(droidflow, recorded, tmp_path):
    """An eye nodding by a small angle moves the picture's middle by focal length times angle."""
    svo2, nod_rad = recorded("svo2"), 0.008
    for serial in svo2.serials():
        own = svo2.data.conf / f"SN{serial}.conf"
        angle = Conf(own).sections["STEREO"]["rx_vga"]
        lines = [f"RX_VGA={angle + nod_rad}" if "RX_VGA" in x else x for x in own.open()]
        (tmp_path / own.name).write_text("\n".join(lines))
        good, bad = (rows(droidflow, svo2.of(serial), c) for c in (svo2.data.conf, tmp_path))
        moved = bad["offset_px"] - good["offset_px"]
        assert abs(moved) == pytest.approx(Conf(own).rectified("VGA")[0] * nod_rad, rel=0.25)
        assert bad["median_abs_px"] > 10 * good["median_abs_px"]


def test_rows_of_a_raw_recording_without_calibration_say_so(droidflow, svo2, tmp_path):
    path = svo2 / "h264_none.svo2"
    for flags in ([], ["--conf-dir", tmp_path]):
        done = droidflow("inspect", path, "--rows", "--json", *flags)
        assert done.returncode in (0, 1, 2, 10)
        assert "conf" in done.stdout.split('"kind"')[-1] + done.stderr


# ----------------------------------------------------------------------------------------- nonsense


def cpu_s() -> float:
    """What the commands that have ended took of processors: others do not change it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def survives(droidflow, files: list[pathlib.Path], *flags) -> list[dict]:
    """One entry per file, no crash, less than five seconds for any."""
    before_s = cpu_s()
    done = droidflow("inspect", *files, "--json", *flags)
    took_s = cpu_s() - before_s
    assert done.returncode in (0, 1), (done.returncode, done.stderr[-2000:])
    assert "core dumped" not in done.stderr and "Sanitizer" not in done.stderr
    entries = json.loads(done.stdout)
    assert [pathlib.Path(e["file"]) for e in entries] == files
    unreadable = [e for e in entries if e["kind"] in (None, "", "unknown")]
    assert took_s < 5 * max(1, len(files) / 4), (took_s, [f.name for f in files])
    assert all(e["problems"] for e in unreadable)
    return entries


@pytest.fixture(scope="session")
def victims(ffmpeg, recorded, produced, svo2, conf_files, old_svo, tmp_path_factory):
    """name -> bytes of one file of each kind, small where that is possible."""
    stereo = recorded("stereo")
    small = tmp_path_factory.mktemp("small") / "small.mp4"
    write_mp4(small, np.random.default_rng(8).integers(0, 256, (6, 72, 256), dtype=np.uint8))
    files = {name: svo2 / name for name in SVO2}
    files |= {
        "small.mp4": small,
        "old.svo": old_svo,
        "SN20120598.conf": conf_files[12],
        "trajectory.h5": stereo.data.raw / stereo.episode / "trajectory.h5",
        "tracks.npz": produced("stereo") / "tracks.npz",
        "depth.mkv": next(stereo.truth.rglob("depth.mkv")),
    }
    return {name: path.read_bytes() for name, path in files.items()}


OTHERS = ["small.mp4", "old.svo", "SN20120598.conf", "trajectory.h5", "tracks.npz", "depth.mkv"]
VICTIMS = [*SVO2, *OTHERS]
DECODED = ["hevc_lz4_nofooter.svo2", "h264_none.svo2", "jpeg_none.svo2", "small.mp4", "old.svo"]


@pytest.mark.parametrize("name", VICTIMS)
def test_no_truncation_crashes_inspect(droidflow, victims, tmp_path, name):
    data = victims[name]
    files = []
    for tenth in range(10):
        files.append(tmp_path / f"{tenth}_{name}")
        files[-1].write_bytes(data[: len(data) * tenth // 10])
    entries = survives(droidflow, files)
    assert entries[0]["problems"]
    if name.endswith("svo2"):
        counts = [e["frames"] or 0 for e in entries]
        assert counts == sorted(counts) and counts[-1] <= SVO2[name][2], counts


def flipped(data: bytes, dice: random.Random) -> bytes:
    """One bit changed; every other time in the first or last kilobytes, where the structure is."""
    end = len(data)
    places = [(0, end), (0, min(end, 3000)), (0, end), (max(0, end - 3000), end)]
    start, stop = places[dice.randrange(4)]
    at = dice.randrange(start, stop)
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


@pytest.mark.parametrize("name", VICTIMS)
def test_no_flipped_bit_crashes_inspect(droidflow, victims, tmp_path, name):
    dice = random.Random(f"flip {name}")
    files = [tmp_path / f"{n}_{name}" for n in range(20)]
    for _ in range(3):
        for path in files:
            path.write_bytes(flipped(victims[name], dice))
        survives(droidflow, files)


@pytest.mark.parametrize("name", DECODED)
def test_no_damage_crashes_the_decoders(droidflow, victims, shared, tmp_path, name):
    dice = random.Random(f"decode {name}")
    data = victims[name]
    files = [tmp_path / f"{n}_{name}" for n in range(6)]
    for path in files[:4]:
        damaged = data
        for _ in range(8):
            damaged = flipped(damaged, dice)
        path.write_bytes(damaged)
    files[4].write_bytes(data[: len(data) * 2 // 3])
    files[5].write_bytes(data[: len(data) // 3] + data[len(data) // 2 :])
    survives(droidflow, files, "--rows", "--conf-dir", shared / "data/zed_conf")


HEADERS = {
    "nothing": b"",
    "one byte": b"\x89",
    "zeros": bytes(10_000),
    "text": b"to be or not to be\n" * 99,
    "json": b'{"uuid": 1}',
    "wrong magic": b"\x89MCAQ0\r\n" + bytes(1000),
    "only the magic of mcap": MCAP_MAGIC,
    "mcap of zeros": MCAP_MAGIC + bytes(5000),
    "mcap of a huge record": MCAP_MAGIC + b"\x01" + struct.pack("<Q", 1 << 62) + bytes(100),
    "mcap of a huge chunk": MCAP_MAGIC
    + b"\x06"
    + struct.pack("<Q", 60)
    + struct.pack("<QQQI", 0, 0, 1 << 60, 0)
    + struct.pack("<I", 4)
    + b"zstd"
    + struct.pack("<Q", 1 << 59)
    + bytes(200),
    "svo of no size": struct.pack("<iII", -11, 0, 0) + bytes(1000),
    "svo of a huge size": struct.pack("<iII", -11, 1 << 31, 1 << 31) + bytes(1000),
    "svo and no stream": struct.pack("<iII", -11, 1280, 720) + bytes(1000),
    "svo cut in its header": struct.pack("<iI", -11, 1280),
    "mp4 of a huge box": struct.pack(">I", 1) + b"ftyp" + struct.pack(">Q", 1 << 63) + bytes(99),
    "mp4 of no end": struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)
    + struct.pack(">I", 0)
    + b"moov",
    "mp4 of a box of one byte": struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)
    + struct.pack(">I", 1)
    + b"moov" * 50,
    "hdf5 magic alone": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "zip magic alone": b"PK\x03\x04" + bytes(600),
    "matroska magic alone": b"\x1a\x45\xdf\xa3" + bytes(600),
    "ini of something else": b"[core]\n\tbare = false\n",
    "noise": random.Random(11).randbytes(200_000),
}


@pytest.mark.parametrize("name", HEADERS)
def test_nonsense_has_a_problem_and_is_exit_1(droidflow, tmp_path, name):
    for called in ("a.svo", "a.svo2", "a.mp4", "a.h5", "a.npz", "a.mkv", "SN1.conf"):
        path = tmp_path / called
        path.write_bytes(HEADERS[name])
    files = sorted(tmp_path.iterdir())
    entries = survives(droidflow, files)
    assert all(entry["problems"] for entry in entries), entries
    done = droidflow("inspect", *files, code=1)
    assert all(str(path) in done.stderr for path in files)
    for path in files:
        droidflow("inspect", path, "--json", code=1)


def test_a_folder_is_exit_1_and_the_others_are_still_shown(droidflow, svo2, tmp_path):
    entries = inspect(droidflow, tmp_path, svo2 / "h264_none.svo2", code=1)
    assert [e["kind"] == "svo2" for e in entries] == [False, True]
    assert entries[0]["problems"]


def test_an_mp4_of_a_terabyte_is_inspected_without_reading_it(droidflow, victims, tmp_path):
    """Nearly all of it is a hole in a box of free space: whoever reads it whole takes minutes."""
    path = tmp_path / "huge.mp4"
    with path.open("wb") as file:
        file.write(victims["small.mp4"])
        file.write(struct.pack(">I4sQ", 1, b"free", 1 << 40))
        file.truncate(file.tell() + (1 << 40) - 16)
    (entry,) = inspect(droidflow, path)
    assert (entry["kind"], entry["frames"]) == ("mp4", 6)


# ------------------------------------------------------------------------------------ synth --video


def test_synth_films_pairs_in_mpeg4_side_by_side(ffmpeg, recorded):
    files = recorded("stereo").files("-stereo.mp4")
    assert len(files) >= 2
    for path in files:
        stream = probe(path)
        assert stream["codec_name"] == "mpeg4"
        assert (stream["width"], stream["height"]) in ((2560, 720), (1344, 376))
    sizes = [(probe(p)["width"], probe(p)["height"]) for p in files]
    assert (2560, 720) in sizes


def test_synth_films_one_eye_without_the_suffix(ffmpeg, recorded):
    mono = recorded("mono")
    files = mono.files(".mp4")
    assert {p.stem for p in files} == set(mono.serials())
    for path in files:
        stream = probe(path)
        assert stream["codec_name"] == "mpeg4"
        assert (stream["width"], stream["height"]) in ((1280, 720), (672, 376))


def test_synth_films_raw_pairs_as_svo2(droidflow, recorded):
    svo2 = recorded("svo2")
    files = [svo2.of(serial) for serial in svo2.serials()]
    assert all(path.read_bytes()[:8] == MCAP_MAGIC for path in files)
    for serial, entry in zip(svo2.serials(), inspect(droidflow, *files)):
        assert (entry["kind"], entry["serial"], entry["problems"]) == ("svo2", serial, [])
        assert entry["frames"] in (STEPS - 1, STEPS)
        assert (entry["width"], entry["height"]) in ((1280, 720), (672, 376))


@pytest.mark.parametrize("kind", ["stereo", "mono", "svo2"])
def test_inspect_finds_as_many_frames_as_ffmpeg_and_the_truth(droidflow, ffmpeg, recorded, kind):
    film_ = recorded(kind)
    for serial in film_.serials():
        (entry,) = inspect(droidflow, film_.of(serial))
        truth = film_.truth / film_.episode / "recordings" / serial / "depth.mkv"
        assert entry["frames"] == int(probe(truth)["nb_read_packets"])
        if kind != "svo2":
            assert entry["frames"] == int(probe(film_.of(serial))["nb_read_packets"])


@pytest.mark.parametrize("kind", ["stereo", "mono", "svo2"])
def test_the_true_depth_is_16_bit_millimetres_of_every_frame(ffmpeg, recorded, kind):
    film_ = recorded(kind)
    for serial in film_.serials():
        path = film_.truth / film_.episode / "recordings" / serial / "depth.mkv"
        stream = probe(path)
        assert (stream["codec_name"], stream["pix_fmt"]) == ("ffv1", "gray16le")
    depth_mm = decode(path, "gray16le")[0]
    seen = depth_mm[depth_mm > 0]
    assert seen.size > 0.5 * depth_mm.size
    assert 20 < np.percentile(seen, 1) and np.percentile(seen, 99) < 20_000


@pytest.mark.parametrize("kind", ["stereo", "mono", "svo2"])
def test_the_same_seed_films_the_same_bytes(droidflow, tmp_path, kind):
    def files(name: str, seed: int) -> dict[str, bytes]:
        small = ["--resolution", "VGA"]
        folder = film(droidflow, tmp_path / name, kind, *small, steps=2, seed=seed).truth.parent
        paths = [p for p in folder.rglob("*") if p.is_file()]
        return {str(p.relative_to(folder)): p.read_bytes() for p in paths}

    first = files("a", 7)
    assert files("b", 7) == first
    if kind == "mono":  # all kinds film the same scene
        pictures, others = (
            {v for k, v in found.items() if "recordings" in k} for found in (first, files("c", 8))
        )
        assert pictures and not pictures & others


def test_the_pictures_agree_with_the_true_depth_and_with_no_other(ffmpeg, recorded, produced):
    stereo = recorded("stereo")
    better = []
    for serial in stereo.serials():
        camera = lenses(produced("stereo"), serial)
        pictures = decode(stereo.of(serial))
        truth = stereo.truth / stereo.episode / "recordings" / serial / "depth.mkv"
        depths_mm = decode(truth, "gray16le")
        assert len(pictures) == len(depths_mm)
        middle = pictures.shape[2] // 2
        for picture, depth_mm in zip(pictures[::3], depths_mm[::3]):
            left, right = picture[:, :middle], picture[:, middle:]
            errors = [
                warp_error(left, right, depth_mm * scale, camera["fx"], camera["baseline_m"])
                for scale in (1.0, 1.03, 1 / 1.03)
            ]
            better.append(errors[0] < 0.8 * min(errors[1:]))
    assert np.mean(better) >= 0.9, better


def test_a_wrong_kind_of_video_is_exit_2(droidflow, tmp_path):
    droidflow("synth", tmp_path / "x", "--video", "hologram", code=2)
    assert not (tmp_path / "x").exists()


# ----------------------------------------------------------------------------- metadata: video.json

VIDEO = {  # recording kind, codec, stereo, rectified
    "stereo": ("stereo_mp4", "mpeg4", True, True),
    "mono": ("mono_mp4", "mpeg4", False, True),
    "svo2": ("svo2", None, True, False),
}


@pytest.mark.parametrize("kind", VIDEO)
def test_video_json_describes_the_recording(droidflow, recorded, produced, kind):
    film_ = recorded(kind)
    for serial in film_.serials():
        have = video(produced(kind), serial)
        name, codec, is_stereo, is_rectified = VIDEO[kind]
        (entry,) = inspect(droidflow, film_.of(serial))
        assert (have["kind"], have["stereo"], have["rectified"]) == (name, is_stereo, is_rectified)
        assert have["codec"] == codec if codec else have["codec"] in ("h264", "hevc", "jpeg")
        assert (have["width"], have["height"]) == (entry["width"], entry["height"])
        assert have["frames"] == entry["frames"]
        assert pathlib.Path(have["file"]).name == film_.of(serial).name


@pytest.mark.parametrize("kind", VIDEO)
def test_every_step_has_the_next_frame_or_none(recorded, produced, kind):
    for serial in recorded(kind).serials():
        have = video(produced(kind), serial)
        shown = have["step_to_frame"]
        assert len(shown) == STEPS
        assert have["steps_with_frame"] == sum(frame >= 0 for frame in shown)
        assert have["steps_with_frame"] >= STEPS - 1
        frames = [frame for frame in shown if frame >= 0]
        assert frames == sorted(set(frames)) and frames[-1] < have["frames"]


@pytest.mark.parametrize("kind", ["stereo", "mono"])
def test_without_times_steps_and_frames_pair_by_index(recorded, produced, kind):
    for serial in recorded(kind).serials():
        have = video(produced(kind), serial)
        assert have["paired_by"] == "index"
        want = [t if t < have["frames"] else -1 for t in range(STEPS)]
        assert have["step_to_frame"] == want


def test_an_svo2_pairs_by_its_timestamps(recorded, produced):
    svo2 = recorded("svo2")
    for serial in svo2.serials():
        assert video(produced("svo2"), serial)["paired_by"] == "timestamps"


def place(recorded_: Recorded, serial: str, source: pathlib.Path) -> pathlib.Path:
    """`source` as the camera's only recording."""
    for path in recorded_.recordings.rglob(f"{serial}*"):
        path.unlink()
    path = recorded_.recordings / "SVO" / f"{serial}.svo"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(source.read_bytes())
    return path


def receive(recorded_: Recorded, serial: str, times_ms: np.ndarray) -> None:
    """Lets the camera's pictures have arrived at these times, one per step."""
    with h5py.File(recorded_.data.raw / recorded_.episode / "trajectory.h5", "r+") as h5:
        stamps = h5[f"observation/timestamp/cameras/{serial}_frame_received"]
        shift_ms = np.round(times_ms).astype(np.int64) - stamps[:]
        stamps[:] = np.round(times_ms).astype(np.int64)
        capture = h5[f"observation/timestamp/cameras/{serial}_estimated_capture"]
        capture[:] = capture[:] + shift_ms


@pytest.mark.parametrize("name", ["hevc_zstd.svo2", "h264_none.svo2"])
@pytest.mark.parametrize("late", [0, 12])
def test_the_frame_of_a_step_is_the_one_that_had_arrived(
    droidflow, breakable, svo2, tmp_path, name, late
):
    """Fixtures of known frame times; the steps received two of three of their frames."""
    film_ = breakable("mono")
    serial = SVO2[name][0]
    if serial not in film_.serials():
        serial = film_.serials()[0]
    place(film_, serial, svo2 / name)
    wanted = late + np.arange(STEPS) * 3 // 2
    receive(film_, serial, FIXTURE_EPOCH_MS + wanted * FIXTURE_FRAME_MS)
    have = video(run(droidflow, film_.data, tmp_path / "out"), serial)
    assert have["paired_by"] == "timestamps"
    assert have["step_to_frame"] == [int(i) if i < 24 else -1 for i in wanted]
    apart_ms = have["frame_minus_received_ms"]
    assert [gap is None for gap in apart_ms] == [bool(i >= 24) for i in wanted]
    assert all(abs(gap) <= 0.5 for gap in apart_ms if gap is not None), apart_ms


def test_a_svo2_of_boot_times_does_not_cost_the_episode(droidflow, breakable, svo2, tmp_path):
    film_ = breakable("mono")
    serial = film_.serials()[0]
    place(film_, serial, svo2 / "h264_none.svo2")
    have = video(run(droidflow, film_.data, tmp_path / "out"), serial)
    assert len(have["step_to_frame"]) == STEPS
    assert all(-1 <= frame < 24 for frame in have["step_to_frame"])


@pytest.mark.parametrize("skipped", [0, 2])
def test_times_beside_an_mp4_pair_its_frames(droidflow, breakable, tmp_path, skipped):
    """The recorder began `skipped` steps late and then kept every frame."""
    film_ = breakable("stereo")
    serial = film_.serials()[0]
    received = film_.received_ms(serial)
    path = film_.of(serial)
    frames = video(run(droidflow, film_.data, tmp_path / "before"), serial)["frames"]
    step_ms = int(np.median(np.diff(received)))
    later = [int(received[-1]) + step_ms * (n + 1) for n in range(frames)]
    times = ([int(t) for t in received[skipped:]] + later)[:frames]
    (path.parent / f"{serial}_timestamps.json").write_text(json.dumps(times))
    have = video(run(droidflow, film_.data, tmp_path / "out"), serial)
    assert have["paired_by"] == "timestamps"
    want = [t - skipped if 0 <= t - skipped < frames else -1 for t in range(STEPS)]
    assert have["step_to_frame"] == want


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1, 2", '["a"]', "[1e400]", "[1, 2, 3]"])
def test_nonsense_beside_an_mp4_leaves_the_pairing_by_index(droidflow, breakable, tmp_path, text):
    film_ = breakable("mono")
    serial = film_.serials()[0]
    (film_.of(serial).parent / f"{serial}_timestamps.json").write_text(text)
    have = video(run(droidflow, film_.data, tmp_path / "out"), serial)
    assert have["paired_by"] == "index"


def test_frames_that_are_not_as_many_as_steps_are_a_warning(droidflow, ffmpeg, breakable, tmp_path):
    film_ = breakable("mono")
    serial = film_.serials()[0]
    path = film_.of(serial)
    write_mp4(path, decode(path)[: STEPS - 4])
    out = run(droidflow, film_.data, tmp_path / "out")
    assert codes(out).count("frame_count") == 1
    have = video(out, serial)
    assert have["frames"] == STEPS - 4
    assert have["steps_with_frame"] <= STEPS - 4


# ---------------------------------------------------------------- metadata: which recording it took


@pytest.mark.parametrize("kind", VIDEO)
def test_quality_names_the_recording_it_took_and_why(recorded, produced, kind):
    film_ = recorded(kind)
    cameras = quality(produced(kind))["cameras"]
    for serial in film_.serials():
        have = cameras[serial]["recording"]
        assert have["kind"] == VIDEO[kind][0]
        assert pathlib.Path(have["file"]).name == film_.of(serial).name
        assert have["reason"]
        assert cameras[serial]["frames"] == video(produced(kind), serial)["frames"]


@pytest.mark.parametrize("kind", VIDEO)
def test_whole_recordings_cost_no_warning(produced, kind):
    bad = {"no_recordings", "recording_missing", "recording_broken", "frame_count"}
    assert bad & set(codes(produced(kind))) == set()


def with_both(film_: Recorded) -> str:
    """Gives one camera a mono file beside its pair; its serial."""
    serial = film_.serials()[0]
    pair = film_.of(serial)
    mono = pair.with_name(f"{serial}.mp4")
    if not mono.exists():
        left_half_of(pair, mono)
    return serial


def test_the_pair_is_taken_before_the_mono_file(droidflow, ffmpeg, breakable, tmp_path):
    film_ = breakable("stereo")
    serial = with_both(film_)
    have = video(run(droidflow, film_.data, tmp_path / "out"), serial)
    assert (have["kind"], have["stereo"]) == ("stereo_mp4", True)


def test_the_order_can_be_chosen(droidflow, ffmpeg, breakable, tmp_path):
    film_ = breakable("stereo")
    serial = with_both(film_)
    order = ["--recording-order", "mono_mp4,stereo_mp4"]
    out = run(droidflow, film_.data, tmp_path / "out", *order)
    have = video(out, serial)
    assert (have["kind"], have["stereo"]) == ("mono_mp4", False)
    assert quality(out)["cameras"][serial]["recording"]["kind"] == "mono_mp4"


@pytest.mark.parametrize("order", ["mono_mp4,hologram", "mono_mp4,,svo2"])
def test_an_order_of_unknown_kinds_is_exit_2(droidflow, recorded, tmp_path, order):
    flags = [*recorded("mono").data.inputs, "--out", tmp_path / "out", "--recording-order", order]
    droidflow("metadata", -1, 1, *flags, code=2)


def test_a_pair_without_the_suffix_is_known_by_its_width(droidflow, breakable, tmp_path):
    film_ = breakable("stereo")
    serial = film_.serials()[0]
    pair = film_.of(serial)
    pair.rename(pair.with_name(f"{serial}.mp4"))
    have = video(run(droidflow, film_.data, tmp_path / "out"), serial)
    assert (have["kind"], have["stereo"], have["file"].endswith(f"{serial}.mp4")) == (
        "stereo_mp4",
        True,
        True,
    )


def spoil_header(path: pathlib.Path) -> None:
    """The index of an MP4 becomes zeros, wherever in the file it lies."""
    data = bytearray(path.read_bytes())
    at = data.index(b"moov")
    data[at : at + 400] = bytes(400)
    path.write_bytes(bytes(data))


SPOILS = {
    "its index is zeros": spoil_header,
    "it is empty": lambda path: path.write_bytes(b""),
    "it is noise": lambda path: path.write_bytes(random.Random(1).randbytes(5000)),
    "it is cut": lambda path: path.write_bytes(path.read_bytes()[:300]),
}


@pytest.mark.parametrize("how", SPOILS)
def test_a_broken_pair_is_a_warning_and_the_mono_file_is_taken(
    droidflow, ffmpeg, breakable, tmp_path, how
):
    film_ = breakable("stereo")
    serial = with_both(film_)
    SPOILS[how](film_.of(serial))
    out = run(droidflow, film_.data, tmp_path / "out")
    assert "recording_broken" in codes(out)
    assert video(out, serial)["kind"] == "mono_mp4"
    text = json.dumps(quality(out)["warnings"])
    assert serial in text


@pytest.mark.parametrize("kind", VIDEO)
def test_a_broken_recording_never_costs_the_episode(droidflow, breakable, tmp_path, kind):
    film_ = breakable(kind)
    serial, other = film_.serials()[:2]
    for path in film_.recordings.rglob(f"{serial}*"):
        path.write_bytes(b"broken" * 100)
    out = run(droidflow, film_.data, tmp_path / "out")
    assert "recording_broken" in codes(out)
    assert not (out / "recordings" / serial / "video.json").exists()
    assert (out / "recordings" / other / "video.json").exists()
    assert serial in load(out / "tracks.npz")["cameras_with_2d_tracks"]


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_in_recordings_never_cost_the_episode(droidflow, breakable, tmp_path, seed):
    film_, dice = breakable("svo2"), random.Random(seed)
    for serial in film_.serials():
        path = film_.of(serial)
        damaged = path.read_bytes()[: -dice.randrange(1, 3000) if seed % 2 else None]
        for _ in range(20):
            damaged = flipped(damaged, dice)
        path.write_bytes(damaged)
    out = run(droidflow, film_.data, tmp_path / "out")
    for path in out.rglob("video.json"):
        have = json.loads(path.read_text())
        assert all(-1 <= frame < (have["frames"] or 0) for frame in have["step_to_frame"]), have


@pytest.mark.parametrize("missing", [0, 1, 4])
def test_an_svo_of_version_1_is_taken_without_counting_its_frames(
    droidflow, ffmpeg, breakable, tmp_path, missing
):
    # It has no index: counting would mean reading the whole of every such file.
    film_ = breakable("mono")
    serial = film_.serials()[0]
    noise = np.random.default_rng(9).integers(0, 256, (STEPS - missing, 47, 168), dtype=np.uint8)
    frames = noise.repeat(8, axis=1).repeat(8, axis=2)
    source = tmp_path / "source.svo"
    source.write_bytes(svo1(frames, tmp_path))
    place(film_, serial, source)
    out = run(droidflow, film_.data, tmp_path / "out")
    have = video(out, serial)
    assert (have["kind"], have["stereo"], have["rectified"]) == ("svo", True, False)
    assert (have["frames"], have["paired_by"]) == (None, "index")
    assert have["step_to_frame"] == [*range(STEPS - 1), -1]


@pytest.mark.parametrize("kind", VIDEO)
def test_a_missing_recording_is_a_warning(droidflow, breakable, tmp_path, kind):
    film_ = breakable(kind)
    serial = film_.serials()[1]
    for path in film_.recordings.rglob(f"{serial}*"):
        path.unlink()
    out = run(droidflow, film_.data, tmp_path / "out")
    assert codes(out).count("recording_missing") == 1
    assert not (out / "recordings" / serial / "video.json").exists()


def test_no_recordings_at_all_is_one_warning(droidflow, breakable, tmp_path):
    film_ = breakable("mono")
    shutil.rmtree(film_.recordings)
    out = run(droidflow, film_.data, tmp_path / "out")
    assert codes(out).count("no_recordings") == 1
    assert list(out.rglob("video.json")) == []


@pytest.mark.parametrize("kind", VIDEO)
def test_tracks_do_not_depend_on_recordings(droidflow, breakable, produced, tmp_path, kind):
    """But for the size of the image, which only the recording of a small camera knows."""
    film_ = breakable(kind)
    shutil.rmtree(film_.recordings)
    out = run(droidflow, film_.data, tmp_path / "out")
    names = ("extrinsics.npz",) if kind != "stereo" else ("tracks.npz", "extrinsics.npz")
    for name in names:
        assert (out / name).read_bytes() == (produced(kind) / name).read_bytes(), name
    without, with_them = (load(folder / "tracks.npz") for folder in (out, produced(kind)))
    assert set(without) == set(with_them)
    for key in without:
        if not key.startswith("image_size_"):
            assert without[key].tobytes() == with_them[key].tobytes(), key


# --------------------------------------------------------------------------------------- intrinsics


@pytest.mark.parametrize("kind", VIDEO)
def test_annotated_intrinsics_come_first_at_the_recordings_size(
    droidflow, breakable, tmp_path, kind
):
    """Both forms of an entry, and an empty one, which is none."""
    film_ = breakable(kind)
    array, matrix, empty = film_.serials()
    fx, cx, fy, cy = 531.5, 641.25, 532.5, 353.75
    entry = {"cameraMatrix": [fx, cx, fy, cy], "distCoeffs": [0.0] * 5}
    annotation = {
        array: [fx, cx, fy, cy],
        matrix: entry | {"width": 1280, "height": 720},
        empty: entry | {"width": 0, "height": 0},
    }
    path = film_.data.annotations / "intrinsics.json"
    path.write_text(json.dumps({film_.metadata()["uuid"]: annotation}))
    out = run(droidflow, film_.data, tmp_path / "out")
    assert lenses(out, empty)["source"] != "annotations"
    want, size = (fx, fy, cx, cy), (1280, 720)
    if kind != "stereo":
        want, size = (fx / 2, fy / 2, (cx + 31) / 2, (cy + 15) / 2), (672, 376)
    for serial in (array, matrix):
        have = lenses(out, serial)
        assert have["source"] == "annotations"
        assert (have["width"], have["height"]) == size
        assert [have[key] for key in ("fx", "fy", "cx", "cy")] == pytest.approx(want, abs=1e-9)
        assert [have[key] for key in ("k1", "k2", "k3", "p1", "p2")] == [0] * 5


def forget_intrinsics(film_: Recorded) -> None:
    """Leaves the factory files as the only source."""
    (film_.data.annotations / "intrinsics.json").write_text("{}")
    with h5py.File(film_.data.raw / film_.episode / "trajectory.h5", "r+") as h5:
        if "camera_intrinsics" in h5["observation"]:
            del h5["observation/camera_intrinsics"]


@pytest.mark.parametrize(
    "kind, source", [("svo2", "svo2+conf"), ("stereo", "conf"), ("mono", "conf")]
)
def test_with_only_a_factory_file_the_source_names_it(
    droidflow, breakable, tmp_path, kind, source
):
    film_ = breakable(kind)
    forget_intrinsics(film_)
    out = run(droidflow, film_.data, tmp_path / "out")
    for serial in film_.serials():
        have = lenses(out, serial)
        assert (have["source"], have["baseline_source"]) == (source, "conf")
        assert quality(out)["cameras"][serial]["intrinsics_source"] == source
        conf = Conf(film_.data.conf / f"SN{serial}.conf")
        mode = {size: name for name, size in SIZES.items()}[have["width"], have["height"]]
        f, cx, cy = conf.rectified(mode)
        got = [have[key] for key in ("fx", "fy", "cx", "cy")]
        assert got == pytest.approx([f, f, cx, cy], abs=0.05)
        assert have["baseline_m"] == pytest.approx(np.linalg.norm(conf.way_m), abs=5e-6)


def test_intrinsics_of_one_episode_are_those_of_metadata(droidflow, recorded, produced, tmp_path):
    film_ = recorded("stereo")
    uuid = film_.data.uuid(film_.episode)
    flags = [*film_.data.inputs, "--episode-id", uuid, "--out", tmp_path / "out"]
    droidflow("intrinsics", *flags, code=0)
    have = content(tmp_path / "out" / film_.episode)
    assert sorted(have) == sorted(f"recordings/{s}/intrinsics.json" for s in film_.serials())
    want = content(produced("stereo"))
    assert all(have[name] == want[name] for name in have)


@pytest.mark.parametrize("limit, episodes", [("-1", 5), ("2", 2)])
def test_intrinsics_of_a_number_of_episodes(droidflow, golden, runs, tmp_path, limit, episodes):
    droidflow("intrinsics", limit, *golden.inputs, "--out", tmp_path / "out", code=0)
    have = content(tmp_path / "out")
    assert {pathlib.Path(n).name for n in have} == {"intrinsics.json"}
    assert len({pathlib.Path(n).parents[2] for n in have}) == episodes
    want = content(runs(golden))
    assert all(have[name] == want[name] for name in have)
