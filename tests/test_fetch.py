"""droidflow fetch against stand-ins of a bucket: the local tree is the bucket's, or says why not."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil

import pytest
from buckets import PREFIX, ROOT, fake_gcs
from hub_server import HubServer
from hub_server.repository import Blob, Repository

UUIDS = (
    "IRIS+5d05c5aa+2023-07-07-09h-42m-23s",
    "IRIS+00000002+2023-03-07-16h-19m-59s",
    "TRI+52ca9b6a+2023-11-03-12h-35m-07s",
)
FOLDERS = (
    "IRIS/success/2023-07-07/Fri_Jul__7_09:42:23_2023",
    "IRIS/failure/2023-03-07/Tue_Mar__7_16_19_59_2023",
    "TRI/success/2023-11-04/Fri_Nov__3_12:35:07_2023",
)
NEEDED = (
    "trajectory.h5",
    "recordings/MP4/1-stereo.mp4",
    "recordings/MP4/1_timestamps.json",
    "recordings/SVO/2.svo",
)
NOT_NEEDED = (
    "trajectory_im128.h5",
    "recordings/MP4/1.mp4",
    "recordings/MP4/2.mp4",
    "recordings/SVO/1.svo",
)


@pytest.fixture
def needed(bucket) -> dict[str, bytes]:
    """Fills the bucket. name -> bytes of what is fetched by default."""
    wanted = {}
    for number, (uuid, folder) in enumerate(zip(UUIDS, FOLDERS)):
        for name in (f"metadata_{uuid}.json", *NEEDED, *NOT_NEEDED):
            content = f"{number} {name} ".encode() * (100 * (number + 1))
            path = bucket.raw / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if name not in NOT_NEEDED:
                wanted[f"{folder}/{name}"] = content
    return wanted


def tree(folder: pathlib.Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def of(wanted: dict[str, bytes], *folders: str) -> dict[str, bytes]:
    return {name: data for name, data in wanted.items() if name.startswith(folders)}


def test_makes_the_tree_of_what_is_needed(droidflow, bucket, needed, tmp_path):
    out = tmp_path / "raw"
    fetch = ("fetch", -1, "--droid-root", ROOT, "--out", out)
    plan = json.loads(droidflow(*fetch, "--dry-run", "--json", code=0, env=bucket.env).stdout)
    assert plan["bytes"] == sum(map(len, needed.values()))
    assert plan["files"] == len(needed) and plan["bytes_there"] == 0
    assert sorted(plan["episodes"]) == sorted(FOLDERS)
    assert not out.exists()
    assert all("alt=media" not in r["target"] for r in bucket.requests())

    done = json.loads(droidflow(*fetch, "--json", code=0, env=bucket.env).stdout)
    assert done["files_there"] == len(needed) and done["failures"] == []
    assert tree(out) == needed

    before = len(bucket.requests())
    droidflow(*fetch, code=0, env=bucket.env)
    again = bucket.requests()[before:]
    assert all("alt=media" not in r["target"] for r in again), "nothing is fetched twice"


def test_lists_each_date_once_and_no_further_than_the_limit(droidflow, bucket, needed, tmp_path):
    droidflow(
        "fetch", 1, "--droid-root", ROOT, "--out", tmp_path / "raw", code=0, env=bucket.env
    )
    assert tree(tmp_path / "raw") == of(needed, FOLDERS[0]), "successes come first"
    listings = [r["target"] for r in bucket.requests() if "maxResults" in r["target"]]
    assert len(listings) == 1 + 2 * 2 + 1, "the root, outcomes of two labs, one date"


@pytest.mark.parametrize("entry", [UUIDS[2], FOLDERS[2]])
def test_finds_an_episode_by_uuid_or_folder(droidflow, bucket, needed, tmp_path, entry):
    out = tmp_path / "raw"
    missing = "TRI+00000000+2023-11-03-12h-00m-00s"
    done = droidflow.command("fetch", "--droid-root", ROOT, "--out", out)
    done = droidflow(
        *done[1:], "--episodes", f"{entry},{missing},{FOLDERS[2]},{UUIDS[2]}", "--json", code=3, env=bucket.env
    )
    assert json.loads(done.stdout)["not_found"] == [missing]
    assert tree(out) == of(needed, FOLDERS[2])


def test_fetches_the_kinds_that_are_asked_for(droidflow, bucket, needed, tmp_path):
    droidflow(
        *("fetch", "--droid-root", ROOT, "--out", tmp_path / "raw", "--labs", "TRI"),
        *("--what", "mono,h5"),
        code=0,
        env=bucket.env,
    )
    names = ("trajectory.h5", "recordings/MP4/1.mp4", "recordings/MP4/2.mp4")
    names += ("recordings/MP4/1_timestamps.json",)
    assert set(tree(tmp_path / "raw")) == {f"{FOLDERS[2]}/{name}" for name in names}


def test_says_what_is_missing_and_leaves_nothing_half(droidflow, bucket, needed, tmp_path):
    out = tmp_path / "raw"
    bucket.fault(about="07-07/.*trajectory.h5.*media", status=404, count=None)
    bucket.fault(about="2023-11-04.*stereo.*media", flip=True, count=None)
    bucket.fault(about="2023-03-07.*media", cut=1000, count=2)
    fetch = ("fetch", -1, "--droid-root", ROOT, "--out", out)
    done = droidflow(*fetch, "--json", code=3, env=bucket.env)
    failures = {f["file"]: f["status"] for f in json.loads(done.stdout)["failures"]}
    assert failures == {
        f"{FOLDERS[0]}/trajectory.h5": "not_in_bucket",
        f"{FOLDERS[2]}/recordings/MP4/1-stereo.mp4": "bad_download",
    }
    assert tree(out) == {name: data for name, data in needed.items() if name not in failures}
    bucket.heal()
    droidflow(*fetch, code=0, env=bucket.env)
    assert tree(out) == needed


def test_refuses_names_that_lead_elsewhere(droidflow, bucket, tmp_path):
    episode = bucket.raw / "IRIS/success/2023-07-07/Fri_Jul__7_09:42:23_2023"
    (episode / "recordings/MP4").mkdir(parents=True)
    (episode / "recordings/MP4/a\nb-stereo.mp4").write_bytes(b"x")
    done = droidflow(
        "fetch", "--droid-root", ROOT, "--out", tmp_path / "raw", code=1, env=bucket.env
    )
    assert "control" in done.stderr
    assert not (tmp_path / "raw").exists()


def test_is_read_by_metadata_afterwards(droidflow, bucket, golden, tmp_path):
    shutil.copytree(golden.raw, bucket.raw, dirs_exist_ok=True)
    out = tmp_path / "raw"
    droidflow(
        *("fetch", -1, "--droid-root", ROOT, "--out", out, "--what", "metadata,h5,stereo,mono"),
        code=0,
        env=bucket.env,
    )
    inputs = ("--annotations", golden.annotations, "--conf-dir", golden.conf)
    for root, to in ((golden.raw, "a"), (out, "b")):
        droidflow("metadata", -1, 1, "--droid-root", root, *inputs, "--out", tmp_path / to, code=0)
    tracks = [sorted(p.relative_to(tmp_path / to) for p in (tmp_path / to).rglob("tracks.npz"))
              for to in "ab"]
    assert tracks[0] == tracks[1] != []
    for name in tracks[0]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_metadata_says_how_to_get_what_it_lacks(droidflow, tmp_path):
    run = ("metadata", "--out", tmp_path / "out", "--droid-root")
    done = droidflow(*run, tmp_path / "none", code=10)
    assert "'droidflow fetch --out DIR' makes one" in done.stderr
    done = droidflow(*run, tmp_path, "--annotations", tmp_path / "none", code=10)
    assert "'droidflow fetch annotations --out DIR' makes one" in done.stderr


def test_usage(droidflow, tmp_path):
    out = ("--out", tmp_path / "raw")
    assert "--out is needed" in droidflow("fetch", "--droid-root", tmp_path, code=2).stderr
    assert "have 'mp4'" in droidflow("fetch", *out, "--what", "mp4", code=2).stderr
    assert "want gs://" in droidflow("fetch", *out, "--droid-root", "gs://", code=2).stderr
    nowhere = tmp_path / "none"
    assert str(nowhere) in droidflow("fetch", *out, "--droid-root", nowhere, code=10).stderr


def stored(content: bytes) -> Blob:
    blob = Blob(len(content), None)
    blob.room(0, len(content))[:] = content
    return blob


@pytest.fixture
def model(tmp_path):
    """KarlP/droid at a stand-in of the Hub: put(name, content) stores a large file."""
    with HubServer() as server:
        repo = Repository("model", "KarlP/droid", False, "", "somebody")
        server.hub.repositories["model", "KarlP/droid"] = repo

        def put(name: str, content: bytes) -> str:
            oid = hashlib.sha256(content).hexdigest()
            repo.objects[oid] = stored(content)
            value = {"path": name, "algo": "sha256", "oid": oid, "size": len(content)}
            lines = [{"key": "header", "value": {"summary": name}}]
            lines.append({"key": "lfsFile", "value": value})
            repo.commit("main", "\n".join(map(json.dumps, lines)).encode(), "somebody", 10000)
            return oid

        # Whoever has no token may read; the test's home has none.
        server.environment = {"HF_ENDPOINT": server.endpoint, "HOME": str(tmp_path)}
        yield server, repo, put


def test_fetches_annotations_by_their_sha256(droidflow, model, tmp_path):
    server, repo, put = model
    content = {name: name.encode() * 5000 for name in ("intrinsics.json", "other.json")}
    content["camera_serials.json"] = b"{}"
    for name, data in content.items():
        put(name, data)
    put("folder/intrinsics.json", b"[]")
    put("model.bin", b"x")
    out = tmp_path / "annotations"
    fetch = ("fetch", "annotations", "--out", out)
    plan = json.loads(droidflow(*fetch, "--dry-run", "--json", code=0, env=server.environment).stdout)
    assert plan["files"] == 2 and plan["bytes"] == len(content["intrinsics.json"]) + 2
    droidflow(*fetch, code=0, env=server.environment)
    other = content.pop("other.json")
    assert tree(out) == content
    droidflow(*fetch, "--all", code=0, env=server.environment)
    assert tree(out) == content | {"other.json": other}

    oid = put("intrinsics.json", b"right")
    repo.objects[oid] = stored(b"wrong")
    done = droidflow(*fetch, "--json", code=3, env=server.environment)
    assert json.loads(done.stdout)["failures"][0]["status"] == "bad_download"
    assert (out / "intrinsics.json").read_bytes() == content["intrinsics.json"], "the old one stays"


def test_says_that_there_are_no_annotations(droidflow, model, tmp_path):
    server, _, _ = model
    done = droidflow("fetch", "annotations", "--out", tmp_path, code=10, env=server.environment)
    assert "want one of cam2base_extrinsic_superset.json" in done.stderr


def test_speaks_with_fake_gcs_server(droidflow, fake_gcs_server, bucket, needed, tmp_path):
    shutil.copytree(bucket.raw, tmp_path / "data/bucket" / PREFIX)
    out = tmp_path / "raw"
    with fake_gcs(fake_gcs_server, tmp_path / "data", tmp_path / "log") as env:
        droidflow("fetch", -1, "--droid-root", ROOT, "--out", out, code=0, env=env)
    assert tree(out) == needed
