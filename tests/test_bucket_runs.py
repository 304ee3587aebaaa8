"""Runs over a bucket: what they write is what they write from a folder, and no more is fetched."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import time
import urllib.parse

import pytest
from buckets import PREFIX, ROOT, fake_gcs
from conftest import Dataset, content, copy_dataset, finished, quality, stop_group
from full_runs import QUICK, differing

HEAD_BYTES = 64_000


@pytest.fixture(scope="session")
def stills(synth) -> Dataset:
    return synth(episodes=4, steps=12, seed=5)


@pytest.fixture(scope="session")
def films(synth) -> Dataset:
    return synth(episodes=2, steps=12, seed=5, video="stereo")


def fill(bucket, data: Dataset):
    """Puts episodes in it, and files that no run needs."""
    shutil.copytree(data.raw, bucket.raw, dirs_exist_ok=True)
    for episode in data.episodes():
        (bucket.raw / episode / "trajectory_im128.h5").write_bytes(b"not needed" * 1000)
    return bucket


@pytest.fixture
def filled(bucket, stills):
    return fill(bucket, stills)


@pytest.fixture
def filmed(bucket, films):
    return fill(bucket, films)


def inputs(data: Dataset, *roots) -> list:
    given = ["--annotations", data.annotations, "--conf-dir", data.conf]
    for root in roots or [ROOT]:
        given += ["--droid-root", root]
    return given


def media(bucket) -> list[tuple[str, int | None]]:
    """Name below the root, and how many bytes were asked for (None: all) of each download."""
    found = []
    for request in bucket.requests():
        name = urllib.parse.unquote(request["target"]).split("?")[0].partition(f"/o/{PREFIX}/")[2]
        if "alt=media" not in request["target"]:
            continue
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request["range"])
        found.append((name, int(asked[2]) - int(asked[1]) + 1 if asked else None))
    return found


def crc32c(data: bytes) -> int:
    """As RFC 3720 has it: Castagnoli's polynomial, bits reflected."""
    table = range(256)
    for _ in range(8):
        table = [value >> 1 ^ 0x82F63B78 * (value & 1) for value in table]
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def sources(out: pathlib.Path, data: Dataset, episode: pathlib.Path) -> dict[str, set[str]]:
    """Names of what an episode was made of, by how it is known that it is this file."""
    found: dict[str, set[str]] = {"sha256": set(), "listed": set(), "modified_ms": set()}
    for source in quality(out / episode)["provenance"]["sources"]:
        name = source.pop("file")
        path = (data.conf if name.endswith(".conf") else data.raw / episode) / name
        whole = path.read_bytes()
        assert source.pop("bytes") == len(whole)
        [(how, said)] = source.items()
        assert name not in set().union(*found.values())
        found[how].add(name)
        if how == "sha256":
            assert said == hashlib.sha256(whole).hexdigest()
        elif how == "listed":
            assert said == {"crc32c": f"{crc32c(whole):08x}", "md5": hashlib.md5(whole).hexdigest()}
        else:
            assert said == path.stat().st_mtime_ns // 1_000_000
    return found


def listings(bucket) -> list[str]:
    return [r["target"] for r in bucket.requests() if "maxResults" in r["target"]]


def statuses(droidflow, out: pathlib.Path) -> dict[str, str]:
    done = droidflow("status", out / ".droidflow", "--all", "--json")
    return {e["path"]: e["status"] for e in json.loads(done.stdout)["episodes"] if e["status"]}


def test_metadata_is_that_of_a_folder(droidflow, filmed, films, runs, tmp_path):
    run = ("metadata", -1, 2, *inputs(films), "--out", tmp_path / "out")
    planned = json.loads(droidflow(*run, "--dry-run", "--json", code=0, env=filmed.env).stdout)
    assert not (tmp_path / "out").exists()
    droidflow(*run, code=0, env=filmed.env)
    assert differing(content(tmp_path / "out"), content(runs(films))) == []

    asked = {}
    for name, count in media(filmed):
        asked.setdefault(pathlib.PurePath(name).name, set()).add(count)
        if "recordings" in name:
            assert count is not None and count <= HEAD_BYTES, name
    assert "trajectory.h5" in asked and "trajectory_im128.h5" not in asked
    needed = sum(
        path.stat().st_size if "recordings" not in path.parts else min(path.stat().st_size, HEAD_BYTES)
        for path in films.raw.rglob("*")
        if path.is_file() and (path.suffix == ".json" or path.name == "trajectory.h5" or "-stereo" in path.name)
    )
    assert planned["fetch_bytes"] == needed
    assert {p.name for p in (tmp_path / "out/.droidflow").iterdir()} >= {"listings", "run.sqlite"}
    assert not (tmp_path / "out/.droidflow/fetched").exists()

    assert crc32c(b"123456789") == 0xE3069283
    for episode in films.episodes():
        found = sources(tmp_path / "out", films, episode)
        assert len(found["listed"]) == 3 and not found["modified_ms"]

    before = len(listings(filmed))
    droidflow(*run, code=0, env=filmed.env)
    assert len(listings(filmed)) == before, "what was listed is not listed again"


@pytest.mark.parametrize("video", ["still", "mono", "svo2"])
def test_metadata_knows_every_kind_of_recording(droidflow, bucket, synth, runs, tmp_path, video):
    data = synth(episodes=2, steps=20, seed=7, video=video)
    shutil.copytree(data.raw, bucket.raw, dirs_exist_ok=True)
    droidflow(
        "metadata", -1, 1, *inputs(data), "--out", tmp_path / "out", code=0, env=bucket.env
    )
    assert differing(content(tmp_path / "out"), content(runs(data))) == []


def test_full_is_that_of_a_folder(droidflow, filmed, films, tmp_path):
    full = ("full", -1, *QUICK, "--out")
    droidflow(*full, tmp_path / "local", *films.inputs, code=0, timeout=300)
    droidflow(*full, tmp_path / "out", *inputs(films), code=0, env=filmed.env, timeout=300)
    assert differing(content(tmp_path / "out"), content(tmp_path / "local")) == []
    for episode in films.episodes():
        assert not sources(tmp_path / "out", films, episode)["listed"], "all came whole"
    whole = [name for name, count in media(filmed) if count is None]
    assert len(whole) == len(set(whole)), "nothing comes twice"
    kinds = {re.sub(r".*/\d*|metadata_.*json", "", name) for name in whole}
    assert kinds <= {"", "trajectory.h5", "-stereo.mp4", ".svo", ".svo2", "_timestamps.json"}


def test_sources_are_all_that_is_read(droidflow, bucket, stills, tmp_path):
    data = copy_dataset(stills, tmp_path / "data")
    episode = data.episodes()[0]
    first, second, third = sorted((data.raw / episode).glob("recordings/MP4/*.mp4"))
    first.with_name(f"{first.stem}-stereo.mp4").write_bytes(b"no film")  # is looked into, in vain
    third.write_bytes(b"")  # so that its times are not asked for
    for path in (first, second, third):
        path.with_name(f"{path.stem}_timestamps.json").write_text("[1, 2, 3]")
    unread = {third, third.with_name(f"{third.stem}_timestamps.json")}
    files = {p for p in (data.raw / episode).rglob("*") if p.is_file()} - unread
    read = {str(p.relative_to(data.raw / episode)) for p in files}
    heads = {name for name in read if name.endswith(".mp4")}
    run = ("metadata", 1, 1, "--points", 4, "--episodes", data.uuid(episode), "--out")

    shutil.copytree(data.raw / episode, bucket.raw / episode)
    droidflow(*run, tmp_path / "local", *data.inputs, code=0)
    droidflow(*run, tmp_path / "out", *inputs(data), code=0, env=bucket.env)
    for out, how in (("local", "modified_ms"), ("out", "listed")):
        found = sources(tmp_path / out, data, episode)
        assert found.pop(how) == heads and len(heads) == 3
        assert {name for name in set().union(*found.values()) if ".conf" not in name} == read - heads


def test_faulty_episodes_end_as_from_a_folder(droidflow, bucket, synth, tmp_path):
    data = synth(episodes=40, steps=12, seed=3, faults=True)
    shutil.copytree(data.raw, bucket.raw, dirs_exist_ok=True)
    run = ("metadata", -1, 2, "--out")
    droidflow(*run, tmp_path / "local", *data.inputs, code=3)
    droidflow(*run, tmp_path / "out", *inputs(data), code=3, env=bucket.env)
    assert statuses(droidflow, tmp_path / "out") == statuses(droidflow, tmp_path / "local")

    def told(out: pathlib.Path, root: pathlib.Path) -> dict:
        """What is said of a file names it where it was read."""
        return {
            name: json.loads(json.dumps(value).replace(f"{root}/", ""))
            if name.endswith("quality.json")
            else value
            for name, value in content(out).items()
        }

    fetched = tmp_path / "out/.droidflow/fetched"
    assert differing(told(tmp_path / "out", fetched), told(tmp_path / "local", data.raw)) == []


def test_the_first_root_that_has_an_episode_counts(droidflow, filled, stills, runs, tmp_path):
    here, there = stills.episodes()[:2], stills.episodes()[2:]
    for episode in here:
        shutil.copytree(stills.raw / episode, tmp_path / "raw" / episode)
    roots = inputs(stills, tmp_path / "raw", ROOT)
    droidflow("metadata", -1, 2, *roots, "--out", tmp_path / "out", code=0, env=filled.env)
    assert differing(content(tmp_path / "out"), content(runs(stills))) == []
    fetched = {str(pathlib.PurePath(name.split("/recordings")[0])) for name, _ in media(filled)}
    assert all(any(name.startswith(str(e)) for e in there) for name in fetched)

    uuids = ",".join(stills.uuid(episode) for episode in stills.episodes())
    droidflow(
        *("metadata", -1, 2, *roots, "--out", tmp_path / "named", "--episodes", uuids),
        code=0,
        env=filled.env,
    )
    assert differing(content(tmp_path / "named"), content(runs(stills))) == []


def test_killed_half_way_it_goes_on(droidflow, bucket, synth, runs, tmp_path):
    data = synth(episodes=12, steps=12, seed=9)
    shutil.copytree(data.raw, bucket.raw, dirs_exist_ok=True)
    out = tmp_path / "out"
    run = ("metadata", -1, 2, *inputs(data), "--out", out)
    droidflow.environment.update(bucket.env)
    process = droidflow.start(*run)
    try:
        deadline = time.monotonic() + 60
        while len(finished(out)) < 2 and time.monotonic() < deadline:
            assert process.poll() is None or process.returncode == 0
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    finally:
        stop_group(process)
        droidflow.environment.pop("STORAGE_EMULATOR_HOST")
    before = len(listings(bucket))
    droidflow(*run, code=0, env=bucket.env)
    assert differing(content(out), content(runs(data))) == []
    assert len(listings(bucket)) == before
    assert not (out / ".droidflow/fetched").exists()


def test_what_cannot_be_fetched_is_quarantined_by_name(droidflow, filled, stills, runs, tmp_path):
    gone, wrong, cut, fine = stills.episodes()
    # A path is asked for percent-encoded; rules see it decoded.
    filled.fault(about=f"{re.escape(gone.name)}/trajectory.h5.*media", status=404, count=None)
    filled.fault(about=f"{re.escape(wrong.name)}/trajectory.h5.*media", flip=True, count=None)
    filled.fault(about=f"{re.escape(cut.name)}/trajectory.h5.*media", cut=1000, count=2)
    out = tmp_path / "out"
    run = ("metadata", -1, 2, *inputs(stills), "--out", out)
    done = droidflow(*run, code=3, env=filled.env)
    assert statuses(droidflow, out) == {str(gone): "not_in_bucket", str(wrong): "bad_download"}
    assert "not_in_bucket" in done.stdout
    want = content(runs(stills))
    kept = {n: v for n, v in want.items() if n.startswith((str(cut), str(fine)))}
    assert differing(content(out), kept) == []
    filled.heal()
    droidflow(*run, "--retry-quarantined", code=0, env=filled.env)
    assert differing(content(out), want) == []


def test_a_bucket_that_does_not_answer_ends_the_run(droidflow, filled, stills, runs, tmp_path):
    out = tmp_path / "out"
    run = ("metadata", -1, 1, *inputs(stills), "--out", out, "--prefetch", 1)
    broken = {"status": 501, "count": None}  # which no request is repeated for
    filled.fault(about="trajectory.h5.*media", after=1, **broken)
    done = droidflow(*run, "--json", code=1, env=filled.env, timeout=120)
    assert "run again to go on" in done.stderr
    summary = json.loads(done.stdout)
    assert summary["quarantined"] == 0 and summary["done"] == 1
    assert summary["run"]["pending"] == 3
    filled.heal()
    droidflow(*run, code=0, env=filled.env)
    assert differing(content(out), content(runs(stills))) == []


@pytest.mark.parametrize("which", [0, -1])
def test_one_file_that_does_not_come_is_one_episode(droidflow, filled, stills, tmp_path, which):
    bad = stills.episodes()[which]
    broken = {"status": 501, "count": None}  # which no request is repeated for
    filled.fault(about=f"{re.escape(bad.name)}/trajectory.h5.*media", **broken)
    out = tmp_path / "out"
    run = ("metadata", -1, 1, *inputs(stills), "--out", out)
    droidflow(*run, code=3, env=filled.env, timeout=120)
    assert set(statuses(droidflow, out)) == {str(bad)}
    assert len(finished(out)) == 3


def test_a_download_that_stalls_is_tried_again(droidflow, filled, stills, runs, tmp_path):
    filled.fault(about="trajectory.h5.*media", drip=10)  # it would take hours
    filled.fault(about="mp4.*media", drip=10)
    out = tmp_path / "out"
    droidflow("metadata", -1, 1, *inputs(stills), "--out", out, "--stall-timeout", 2, code=0, env=filled.env, timeout=120)
    assert differing(content(out), content(runs(stills))) == []


def test_downloads_keep_to_the_rate(droidflow, filled, stills, runs, tmp_path):
    out, mb_per_s = tmp_path / "out", 0.5
    run = ("metadata", -1, 2, *inputs(stills), "--out", out, "--download-rate", mb_per_s)
    plan = json.loads(droidflow(*run, "--dry-run", "--json", code=0, env=filled.env).stdout)
    start = time.monotonic()
    droidflow(*run, code=0, env=filled.env)
    assert time.monotonic() - start >= 0.9 * plan["fetch_bytes"] / 1e6 / mb_per_s
    assert differing(content(out), content(runs(stills))) == []


def test_raw_data_is_kept_when_asked_for(droidflow, filled, stills, runs, tmp_path):
    out = tmp_path / "out"
    run = (*inputs(stills), "--out", out)
    droidflow("metadata", -1, 2, *run, "--keep-raw", code=0, env=filled.env)
    raw = out / ".droidflow/raw"
    kept = {str(p.relative_to(raw)) for p in raw.rglob("*") if p.is_file()}
    assert all("-stereo" not in name for name in kept), "heads are no recordings"
    for name in kept:
        assert (raw / name).read_bytes() == (filled.raw / name).read_bytes()
    assert {f"{e}/trajectory.h5" for e in stills.episodes()} <= kept


def test_a_cache_serves_the_next_pipeline(droidflow, filmed, films, tmp_path):
    cache = ("--cache-dir", tmp_path / "cache", "--cache-gb", 1)
    run = (*inputs(films), *cache, "--out")
    droidflow("metadata", -1, 2, *run, tmp_path / "a", code=0, env=filmed.env)
    before = len(media(filmed))
    droidflow("full", 2, *QUICK, *run, tmp_path / "b", code=0, env=filmed.env, timeout=300)
    again = [name for name, _ in media(filmed)[before:]]
    assert again and all("recordings" in name for name in again)
    before = len(media(filmed))
    droidflow("full", 2, *QUICK, *run, tmp_path / "c", code=0, env=filmed.env, timeout=300)
    assert all(count is not None for _, count in media(filmed)[before:]), "heads only"
    small = (*inputs(films), "--cache-dir", tmp_path / "small", "--cache-gb", "1e-9", "--out")
    droidflow("metadata", -1, 2, *small, tmp_path / "d", code=0, env=filmed.env)
    assert not [p for p in (tmp_path / "small").rglob("*") if p.is_file()]


def test_a_small_disk_budget_does_not_stop_the_run(droidflow, filmed, films, tmp_path):
    few = ("--max-staged-gb", "1e-6", "--prefetch", 4, "--workers", 2)
    out = tmp_path / "out"
    droidflow(
        *("full", 2, *QUICK, *inputs(films), *few, "--out", out, "--scratch-dir", tmp_path / "fast"),
        code=0,
        env=filmed.env,
        timeout=300,
    )
    assert len(finished(out)) == 2
    assert not [p for p in (tmp_path / "fast").rglob("*") if p.is_file()]


def explained(droidflow, data: Dataset, what, *roots, code: int = 0, **options) -> dict:
    """What is the same wherever the files are."""
    done = droidflow("explain", what, *inputs(data, *roots), "--points", 4, "--json", code=code, **options)
    told = json.loads(done.stdout)
    for file in told["files"]:
        if file["file"] == "quality.json":
            del file["bytes"]  # it says how the recordings are known
    for folder in told["folders"]:
        folder["root"] = str(roots.index(folder["root"]))
    return told


def test_explain_says_what_it_says_over_a_folder(droidflow, bucket, films, tmp_path):
    data = copy_dataset(films, tmp_path / "data")
    episode = data.episodes()[0]
    recordings = [p for p in (data.raw / episode).rglob("recordings/*/*") if p.stat().st_size]
    with recordings[0].open("ab") as file:
        file.write((2_000_000).to_bytes(4, "big") + b"free" + bytes(2_000_000 - 8))
    shutil.copytree(data.raw / episode, bucket.raw / episode)
    here = explained(droidflow, data, data.uuid(episode), str(data.raw))
    (tmp_path / "tmp").mkdir()
    env = bucket.env | {"TMPDIR": str(tmp_path / "tmp")}
    there = explained(droidflow, data, data.uuid(episode), ROOT, env=env)
    assert not list((tmp_path / "tmp").iterdir())

    assert (here.pop("root"), there.pop("root")) == (str(data.raw), ROOT)
    assert here.pop("fetched_bytes") is None
    fetched = there.pop("fetched_bytes")
    assert there == here
    small = sum(p.stat().st_size for p in (data.raw / episode).iterdir() if p.is_file())
    assert small < fetched < small + 3 * len(recordings) * HEAD_BYTES
    assert fetched < recordings[0].stat().st_size
    [listing] = listings(bucket)
    assert urllib.parse.quote(f"{PREFIX}/{episode.parent}/", safe="") in listing


def test_explain_over_buckets_says_what_is_wrong_and_where(droidflow, filled, stills, tmp_path):
    first, second = stills.episodes()[:2]
    uuid = stills.uuid(second)
    roots = (str(tmp_path / "raw"), ROOT)
    shutil.copytree(stills.raw / first, tmp_path / "raw" / first)
    cache = tmp_path / "cache"
    given = ("explain", uuid, *inputs(stills, *roots), "--cache-dir", cache)
    text = droidflow(*given, code=0, env=filled.env).stdout
    assert re.search(rf"^in +{ROOT}$", text, re.M) and re.search(r"^fetched +\d", text, re.M)
    assert text.index(f"looked for in {tmp_path}") < text.index(f"looked for in {ROOT}")
    assert (cache / second / "trajectory.h5").read_bytes() == (stills.raw / second / "trajectory.h5").read_bytes()

    [recording, *_] = sorted((filled.raw / second).glob("recordings/MP4/*.mp4"))
    recording.write_bytes(b"no film")
    told = explained(droidflow, stills, uuid, *roots, env=filled.env)
    [warning] = [w["text"] for w in told["warnings"] if w["code"] == "recording_broken"]
    assert warning.endswith(f"{ROOT}/{recording.relative_to(filled.raw)}")
    (filled.raw / second / "trajectory.h5").write_bytes(b"")
    told = explained(droidflow, stills, str(second), ROOT, code=3, env=filled.env)
    assert (told["status"], told["stage"], told["root"]) == ("bad_trajectory", "trajectory", ROOT)
    assert told["message"].endswith(f"{ROOT}/{second}/trajectory.h5")
    filled.fault(about="metadata_.*media", status=404, count=None)
    told = explained(droidflow, stills, uuid, ROOT, code=3, env=filled.env)
    assert (told["status"], told["stage"], told["outcome"]) == ("not_in_bucket", "fetch", "quarantined")

    missing = "TRI+00000000+2023-11-03-12h-00m-00s"
    told = explained(droidflow, stills, missing, *roots, code=10, env=filled.env)
    assert (told["outcome"], told["root"]) == ("not_found", None)
    assert {folder["root"] for folder in told["folders"]} == {"0", "1"}
    half = len(told["folders"]) // 2
    strip = [{k: v for k, v in folder.items() if k != "root"} for folder in told["folders"]]
    assert strip[:half] == strip[half:], "the same names are tried everywhere"


def test_other_commands_want_a_folder(droidflow, filled, stills, tmp_path):
    uuid = stills.uuid(stills.episodes()[0])
    done = droidflow("tracks", "--episode-id", uuid, *inputs(stills), "--out", tmp_path, code=2, env=filled.env)
    assert "want one folder" in done.stderr
    done = droidflow("metadata", "--droid-root", "gs://", "--out", tmp_path / "out", code=2)
    assert "want gs://BUCKET/FOLDER" in done.stderr
    done = droidflow("metadata", *inputs(stills, "gs://none/x"), "--out", tmp_path / "out", code=10, env=filled.env)
    assert "gs://none/x" in done.stderr
    assert not (tmp_path / "out").exists()


def test_availability_says_what_is_where(droidflow, filled, stills, tmp_path):
    first = stills.episodes()[0]
    shutil.copytree(stills.raw / first, tmp_path / "raw" / first)
    given = ("availability", *inputs(stills, tmp_path / "raw", ROOT)[:2], "--droid-root")
    given += (tmp_path / "raw", "--droid-root", ROOT)
    told = json.loads(droidflow(*given, "--json", code=0, env=filled.env).stdout)
    assert [e["path"] for e in told["episodes"]] == [str(e) for e in stills.episodes()]
    for episode in told["episodes"]:
        is_first = episode["path"] == str(first)
        folder = (stills.raw if is_first else filled.raw) / episode["path"]
        assert episode["roots"] == ([str(tmp_path / "raw")] if is_first else []) + [ROOT]
        assert episode["bytes"] == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        assert episode["trajectory_bytes"] == (folder / "trajectory.h5").stat().st_size
        assert episode["stereo_mp4"] == len(list(folder.glob("recordings/MP4/*-stereo.mp4")))
        assert episode["metadata_bytes"] <= episode["full_bytes"] <= episode["bytes"]
    assert told["total"]["episodes"] == sum(lab["episodes"] for lab in told["labs"].values()) == 4
    assert told["total"]["bytes"] == sum(e["bytes"] for e in told["episodes"])

    table = droidflow(*given, code=0, env=filled.env).stdout.splitlines()
    assert table[0].split()[:2] == ["lab", "episodes"] and table[-1].split()[:2] == ["all", "4"]
    missing = "TRI+00000000+2023-11-03-12h-00m-00s"
    done = droidflow(*given, "--csv", "--episodes", f"{stills.uuid(first)},{missing}", code=3, env=filled.env)
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert row["path"] == str(first) and row["roots"] == f"{tmp_path / 'raw'} {ROOT}"
    assert row["calibrated_cameras"] == str(told["episodes"][0]["calibrated_cameras"])


def test_runs_over_fake_gcs_server(droidflow, fake_gcs_server, filled, stills, runs, tmp_path):
    shutil.copytree(filled.raw, tmp_path / "data/bucket" / PREFIX)
    run = ("metadata", -1, 2, *inputs(stills), "--out", tmp_path / "out")
    with fake_gcs(fake_gcs_server, tmp_path / "data", tmp_path / "log") as env:
        droidflow(*run, code=0, env=env)
    assert differing(content(tmp_path / "out"), content(runs(stills))) == []
