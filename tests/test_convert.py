"""`droidflow convert`, and runs that store arrays compactly or compressed."""

from __future__ import annotations

import json
import pathlib
import shutil
import signal
import time
import zipfile

import numpy as np
import pytest
from conftest import Dataset, content, load, products

CAPTURE = ["--pose-time", "capture", "--step-mm", 3, "--mount-rpy=0.1,-0.2,1.5"]


@pytest.fixture(scope="module")
def raw(synth) -> Dataset:
    return synth(episodes=3, steps=12, seed=4)


@pytest.fixture(scope="module")
def run(droidflow, raw, tmp_path_factory):
    """run(flag, …) -> results."""

    def make(*flags) -> pathlib.Path:
        out = tmp_path_factory.mktemp("out") / "out"
        small = ["--points", 60, "--out", out]
        droidflow("metadata", -1, 2, *raw.inputs, *small, *flags, code=0)
        return out

    return make


@pytest.fixture(scope="module")
def full(run) -> pathlib.Path:
    return run()


@pytest.fixture
def results(full, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(full, tmp_path / "copy"))


def tracks(out: pathlib.Path) -> list[pathlib.Path]:
    return sorted(out.glob("*/*/*/*/tracks.npz"))


def bytes_of(out: pathlib.Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in products(out).items()}


def convert(droidflow, *args, code: int = 0) -> dict:
    return droidflow.json("convert", *args, code=code)


@pytest.mark.parametrize("flags", [[], CAPTURE, ["--compat", "original", "--compress", "zip"]])
def test_a_file_comes_back_byte_by_byte(droidflow, run, flags):
    out, short = run(*flags), run(*flags, "--tracks-layout", "compact")
    before = bytes_of(out)
    assert convert(droidflow, out, "--tracks-layout", "compact") == {
        "converted": 3,
        "unchanged": 0,
        "failed": [],
    }
    made = [name for name in before if name.endswith("tracks.npz")]
    assert [bytes_of(out)[name] for name in made] == [bytes_of(short)[name] for name in made]
    assert all(len(bytes_of(out)[name]) < len(before[name]) / 2 for name in made)
    assert convert(droidflow, out, "--tracks-layout", "compact")["unchanged"] == 3
    assert convert(droidflow, out, "--tracks-layout", "full")["converted"] == 3
    assert bytes_of(out) == before
    # Both ways to have it are equal to those that compare values, too.
    droidflow("diff", out, short, code=0)
    report = droidflow.json("diff", out, short, "--all", code=3)
    differing = {key for key, found in report["values"].items() if found["differing"]}
    assert "quality.json /config/tracks_layout" in differing
    assert not [key for key in differing if "npz" in key]


def test_commands_read_it(droidflow, full, results, raw, tmp_path):
    before = droidflow.json("stats", results)
    convert(droidflow, results, "--tracks-layout", "compact", "--compress", "zip")
    assert droidflow.json("stats", results) == before
    assert droidflow.json("verify", results)["failed"] == 0
    assert droidflow.json("diff", full, results)["equal"]
    for out in (full, results):
        picture = tmp_path / f"{out.name}.png"
        droidflow("render", tracks(out)[0].parent, "--every", 9, "-o", picture, code=0)
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "copy.png").read_bytes()
    assert "compact_version" in droidflow("inspect", tracks(results)[0], "--json", code=0).stdout


def test_numpy_reads_compressed_arrays(droidflow, full, results):
    assert convert(droidflow, results, "--compress", "zip")["converted"] == 3
    for old, new in zip(tracks(full), tracks(results)):
        for name in ("tracks.npz", "extrinsics.npz"):
            kept, packed = load(old.with_name(name)), load(new.with_name(name))
            assert list(kept) == list(packed)
            for key, array in kept.items():
                assert array.dtype == packed[key].dtype
                assert array.tobytes() == packed[key].tobytes()
            with zipfile.ZipFile(new.with_name(name)) as archive:
                assert archive.testzip() is None
                assert {i.compress_type for i in archive.infolist()} >= {zipfile.ZIP_DEFLATED}
        assert new.stat().st_size < old.stat().st_size
    convert(droidflow, results, "--compress", "none")
    assert bytes_of(results) == bytes_of(full)


def test_elsewhere_all_files_are_there_and_here_none_changes(droidflow, full, results, tmp_path):
    there = tmp_path / "there"
    assert convert(droidflow, results, "--tracks-layout", "compact", "-o", there)["converted"] == 3
    assert bytes_of(results) == bytes_of(full)
    assert products(there).keys() == products(results).keys()
    assert droidflow.json("diff", results, there)["equal"]
    assert droidflow.json("verify", there)["failed"] == 0
    one = tracks(results)[0].parent
    convert(droidflow, one, "--tracks-layout", "full", "-o", tmp_path / "one")
    assert content(tmp_path / "one" / one.name) == content(one)


def test_arrays_of_other_programs_are_refused(droidflow, golden, results, tmp_path):
    foreign = pathlib.Path(shutil.copytree(golden.expected, tmp_path / "foreign"))
    for path in [foreign, *foreign.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    before = bytes_of(foreign)
    report = convert(droidflow, foreign, "--tracks-layout", "compact", code=3)
    assert report["converted"] == 0 and len(report["failed"]) == len(tracks(foreign)) > 0
    for failure in report["failed"]:
        assert "would not come back: tracks_3d differs by up to 0.0" in failure["message"]
        assert f"{failure['path']}/tracks.npz" in failure["message"]
    assert bytes_of(foreign) == before
    convert(droidflow, foreign, "--tracks-layout", "compact", "-o", tmp_path / "there", code=3)
    assert list((tmp_path / "there").rglob("*")) == []
    (tmp_path / "mine/own").mkdir(parents=True)
    convert(droidflow, foreign, "--tracks-layout", "compact", "-o", f"{tmp_path}/mine/own/", code=3)
    assert list((tmp_path / "mine").rglob("*")) == [tmp_path / "mine/own"]

    # Ours, but for a number that somebody changed.
    arrays = load(tracks(results)[1])
    arrays["normalized_frames"][3, 0, 0] += 1e-3
    np.savez(tracks(results)[1], **arrays)
    report = convert(droidflow, results, "--tracks-layout", "compact", code=3)
    assert report["converted"] == 2
    assert "back: normalized_frames differs by up to 0.001: " in report["failed"][0]["message"]


def test_a_kill_leaves_the_old_file_or_the_new_one(droidflow, full, tmp_path):
    out = tmp_path / "out"
    for copy in range(6):
        for path in tracks(full):
            shutil.copytree(path.parent, out / f"lab{copy}" / path.parent.relative_to(full))
    old = bytes_of(out)
    short = tmp_path / "short"
    convert(droidflow, out, "--tracks-layout", "compact", "-o", short)
    new = bytes_of(short)
    for killed_after in (1, 6, 12):
        started = droidflow.start("convert", out, "--tracks-layout", "compact")
        while started.poll() is None and changed(out, new) < killed_after:
            time.sleep(0.001)
        started.send_signal(signal.SIGKILL)
        started.wait()
        found = bytes_of(out)
        assert all(found[name] in (old[name], new[name]) for name in old)
    convert(droidflow, out, "--tracks-layout", "compact")
    assert {name: data for name, data in bytes_of(out).items() if name in new} == new


def changed(out: pathlib.Path, new: dict[str, bytes]) -> int:
    """How many files are as they are to be."""
    paths = (path for path in out.rglob("tracks.npz"))
    return sum(p.stat().st_size == len(new[str(p.relative_to(out))]) for p in paths)


def test_a_run_with_another_layout_makes_results_anew(droidflow, raw, run):
    out = run()
    again = ["metadata", -1, 2, *raw.inputs, "--out", out, "--points", 60]
    again += ["--tracks-layout", "compact"]
    droidflow(*again, code=0)
    for path in tracks(out):
        assert "compact_version" in load(path)
        config = json.loads((path.parent / "quality.json").read_text())["config"]
        assert config["tracks_layout"] == "compact" and "compress" not in config
    before = bytes_of(out)
    droidflow(*again, code=0)
    assert bytes_of(out) == before, "what is done is not done again"


def test_what_cannot_be_done_is_said(droidflow, results, tmp_path):
    assert "--tracks-layout, --compress or both" in droidflow("convert", results, code=2).stderr
    droidflow("convert", results, "--tracks-layout", "short", code=2)
    assert droidflow("convert", tmp_path / "gone", "--compress", "zip").returncode == 10
    tracks(results)[0].write_bytes(tracks(results)[0].read_bytes()[:1000])
    report = convert(droidflow, results, "--compress", "zip", code=3)
    assert report["converted"] == 2 and "truncated" in report["failed"][0]["message"]
