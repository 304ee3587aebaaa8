"""`droidflow metadata` and `full` that upload while they run, into a folder and the stand-in of the Hub.

Oracle: the repository, put back into a folder, is what a run without uploads writes.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

import conftest
import pytest
from conftest import finished, stop_group
from hub_server import HubServer

REPO, OTHER = "tester/episodes", "tester/metadata"
TOKEN = "hf_NobodyMaySeeThisToken"
DONE, USAGE, NOT_ALL, BUSY = 0, 2, 3, 11
EPISODES = 8
DEPTH = ("depth.mkv", "depth_meta.json")


@pytest.fixture(scope="module")
def data(droidflow, tmp_path_factory):
    """Made-up episodes without recordings; and what a run makes of them."""
    folder = tmp_path_factory.mktemp("data")
    droidflow("synth", folder / "data", "--episodes", EPISODES, "--steps", 12, code=0)
    return Data(droidflow, folder, "metadata")


@pytest.fixture(scope="module")
def deep(droidflow, tmp_path_factory):
    """… with stereo recordings, and their depth."""
    folder = tmp_path_factory.mktemp("deep")
    droidflow(
        "synth", folder / "data", "--episodes", 2, "--steps", 3, "--video", "stereo", code=0, timeout=300
    )
    return Data(droidflow, folder, "full")


class Data:
    def __init__(self, droidflow, folder: pathlib.Path, command: str):
        self.droidflow, self.folder, self.command = droidflow, folder, command
        self.flags = ["--gpus", 0, "--workers", 1] if command == "full" else ["--workers", 2]
        self.run(folder / "out", code=DONE)
        self.wanted = content(folder / "out")

    def arguments(self, out: pathlib.Path, *flags, limit: int = -1) -> list:
        raw = self.folder / "data"
        where = ["--droid-root", raw / "raw", "--annotations", raw / "annotations"]
        return [
            self.command,
            limit,
            *where,
            "--conf-dir",
            raw / "conf",
            "--out",
            out,
            *self.flags,
            *flags,
        ]

    def run(self, out: pathlib.Path, *flags, code: int, env=None, limit: int = -1):
        return self.droidflow(
            *self.arguments(out, *flags, limit=limit), code=code, env=env, timeout=600
        )

    def start(self, out: pathlib.Path, *flags, env=None) -> subprocess.Popen:
        return subprocess.Popen(
            self.droidflow.command(*self.arguments(out, *flags)),
            env={**self.droidflow.environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def metadata(self) -> dict:
        return {name: data for name, data in self.wanted.items() if not name.endswith(DEPTH)}


def content(folder: pathlib.Path) -> dict:
    """As conftest.content, without the data set card."""
    return {name: data for name, data in conftest.content(folder).items() if name != "README.md"}


@pytest.fixture
def hub():
    with HubServer(tokens={TOKEN: "write"}) as server:
        yield server
        server.heal()
        assert server.violations == []


def environment(hub: HubServer, folder: pathlib.Path) -> dict:
    return {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hf_home"), "HF_TOKEN": TOKEN}


def held(hub: HubServer, folder: pathlib.Path, repo: str = REPO) -> dict:
    """The repository's content, as conftest.content tells of folders."""
    repository = hub.hub.repositories["dataset", repo]
    for path, entry in repository.resolve("main").tree.files.items():
        if path == ".gitattributes":
            continue
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        stored = repository.objects[entry.sha256].body() if entry.sha256 else entry
        file.write_bytes(bytes(stored.data)[: entry.size])
    return content(folder)


def status(droidflow, out: pathlib.Path) -> dict:
    done = droidflow("status", out / ".droidflow", "--json")
    assert done.returncode in (DONE, NOT_ALL), done.stderr
    return json.loads(done.stdout)


# --------------------------------------------------------------------------------------- arriving


@pytest.mark.parametrize("keep", [False, True])
def test_a_folder_gets_what_a_run_writes(data, tmp_path, droidflow, keep):
    out, hub = tmp_path / "out", tmp_path / "hub"
    flags = ["--hub", f"file:{hub}", *(["--keep-uploaded"] if keep else [])]
    summary = json.loads(data.run(out, *flags, "--json", code=DONE).stdout)
    assert content(hub) == data.wanted
    assert content(out) == (data.wanted if keep else {})
    confirmed = summary["uploads"]["destinations"]["metadata"]["confirmed"]
    assert confirmed["episodes"] == EPISODES and confirmed["files"] == len(data.wanted)
    told = status(droidflow, out)
    assert told["done"] == EPISODES and told["uploads"]["destinations"]["metadata"]["waiting"]["files"] == 0
    assert f"{EPISODES} episodes" in droidflow("status", out / ".droidflow", code=DONE).stdout

    commits = (hub / ".droidflow/commits.jsonl").read_text()
    again = json.loads(data.run(out, *flags, "--json", code=DONE).stdout)
    assert (again["already_done"], again["done"], again["damaged"]) == (EPISODES, 0, 0)
    assert (hub / ".droidflow/commits.jsonl").read_text() == commits
    for path in (out, out / ".droidflow"):
        assert "0 failed" in droidflow("verify", path, code=DONE).stdout
    without = json.loads(data.run(out, "--json", code=DONE).stdout)
    assert (without["already_done"], without["done"]) == (EPISODES, 0), "also without uploads"


def test_a_repository_gets_what_a_run_writes(data, hub, tmp_path):
    out = tmp_path / "out"
    data.run(out, "--hf-repo", REPO, code=DONE, env=environment(hub, tmp_path))
    assert held(hub, tmp_path / "held") == data.wanted and content(out) == {}


def test_depth_goes_to_one_repository_and_the_rest_to_both(deep, hub, tmp_path):
    out = tmp_path / "out"
    flags = ["--hf-repo", REPO, "--hf-metadata-repo", OTHER]
    deep.run(out, *flags, code=DONE, env=environment(hub, tmp_path))
    assert held(hub, tmp_path / "full") == deep.wanted
    assert held(hub, tmp_path / "metadata", OTHER) == deep.metadata()
    assert content(out) == {} and any(name.endswith(DEPTH) for name in deep.wanted)


def test_queues_are_emptied(deep, tmp_path):
    out, whole, metadata = (tmp_path / name for name in ("out", "whole", "metadata"))
    flags = ["--batch-dir", whole, "--batch-metadata-dir", metadata]
    places = ["--hub", f"file:{tmp_path}/a", "--metadata-hub", f"file:{tmp_path}/b"]
    deep.run(out, *flags, *places, code=DONE)
    assert content(tmp_path / "a") == deep.wanted and content(tmp_path / "b") == deep.metadata()
    assert content(whole) == {} and content(metadata) == {}
    again = json.loads(deep.run(out, *flags, *places, "--json", code=DONE).stdout)
    assert (again["already_done"], again["done"]) == (2, 0)


def test_depth_that_goes_nowhere_stays_with_its_episode(deep, tmp_path):
    out = tmp_path / "out"
    deep.run(out, "--metadata-hub", f"file:{tmp_path}/hub", code=DONE)
    assert content(tmp_path / "hub") == deep.metadata() and content(out) == deep.wanted


def test_shards_have_every_episode(data, tmp_path):
    out, hub = tmp_path / "out", tmp_path / "hub"
    flags = ["--hub", f"file:{hub}", "--hub-layout", "shards"]
    data.run(out, *flags, code=DONE)
    names = {path.name for path in hub.rglob("*") if path.is_file()}
    assert any(name.endswith(".tar") for name in names) and "quality.json" not in names
    lines = [line for path in hub.glob("meta/*.jsonl") for line in path.read_text().splitlines()]
    assert len(lines) == EPISODES and content(out) == {}
    other = json.loads(data.run(tmp_path / "other", *flags, "--json", code=DONE).stdout)
    assert (other["in_repository"], other["done"]) == (EPISODES, 0)


# ------------------------------------------------------------------------------- what is there already


def test_what_the_repository_has_is_not_done_again(data, droidflow, hub, tmp_path):
    env = environment(hub, tmp_path)
    data.run(tmp_path / "one", "--hf-repo", REPO, code=DONE, env=env, limit=5)
    commits = len(hub.history(REPO))
    two = tmp_path / "two"
    summary = json.loads(data.run(two, "--hf-repo", REPO, "--json", code=DONE, env=env).stdout)
    assert (summary["in_repository"], summary["done"]) == (5, EPISODES - 5)
    assert held(hub, tmp_path / "held") == data.wanted and len(hub.history(REPO)) > commits
    skipped = [row for row in status(droidflow, two)["episodes"] if row["state"] == "skipped"]
    assert len(skipped) == 5 and {row["status"] for row in skipped} == {"in_repository"}

    three = json.loads(
        data.run(
            tmp_path / "three",
            "--hf-repo",
            REPO,
            "--keep-uploaded",
            "--json",
            code=NOT_ALL,
            env={**env, "SKIP_HF_CHECK": "1"},
            limit=2,
        ).stdout
    )
    assert (three["in_repository"], three["done"]) == (0, 2)
    assert {row["status"] for row in three["uploads"]["parked"]} == {"differs"}, "its times differ"
    assert held(hub, tmp_path / "after") == data.wanted


def test_a_list_that_fails_midway_is_not_taken_for_all(data, hub, tmp_path):
    env = environment(hub, tmp_path)
    data.run(tmp_path / "one", "--hf-repo", REPO, code=DONE, env=env, limit=5)
    hub.options.page_size = 4
    hub.inject(path="/tree/", after=1, status=404, count=None)
    done = data.run(tmp_path / "two", "--hf-repo", REPO, "--json", code=NOT_ALL, env=env, limit=6)
    summary = json.loads(done.stdout)
    assert (summary["in_repository"], summary["done"]) == (0, 6)
    assert "not known what was uploaded before" in done.stderr
    assert held(hub, tmp_path / "held").keys() <= data.wanted.keys()


# ----------------------------------------------------------------------------------- killed anywhere


def children(pid: int) -> list[int]:
    try:
        return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.parametrize("who", ["coordinator", "uploader"])
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_it_goes_on(data, hub, tmp_path, who, seed):
    out, env = tmp_path / "out", environment(hub, tmp_path)
    rng = random.Random(f"{who} {seed}")
    flags = ["--hf-repo", REPO, "--upload-interval", 0, "--batch-files", 12]
    landed = rng.randrange(0, 40)
    asked = lambda: len(hub.asked("POST"))
    for _ in range(3):
        process = data.start(out, *flags, env=env)
        before, end = asked(), time.monotonic() + 60
        while process.poll() is None and asked() - before < landed and time.monotonic() < end:
            time.sleep(0.002)
        # The uploader is the first child; workers come later.
        victims = children(process.pid)[:1] if who == "uploader" else [process.pid]
        for victim in victims:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if who == "uploader":
            process.communicate(timeout=120)
            assert process.returncode in (DONE, NOT_ALL), "processing goes on"
            assert json.loads(data.droidflow("status", out / ".droidflow", "--json").stdout)[
                "done"
            ] == EPISODES
        else:
            process.communicate(timeout=60)
        stop_group(process)
        landed = rng.randrange(0, 40)
    data.run(out, *flags, code=DONE, env=env)
    assert held(hub, tmp_path / "held") == data.wanted and content(out) == {}
    assert all(commit["changes"] for commit in hub.history(REPO))


def test_an_episode_that_was_not_queued_yet_is_offered_again(data, tmp_path):
    out, hub = tmp_path / "out", tmp_path / "hub"
    data.run(out, code=DONE)
    data.run(out, "--hub", f"file:{hub}", code=DONE)
    assert content(hub) == data.wanted and content(out) == {}


def test_a_torn_queue_is_made_again(data, tmp_path):
    out, hub = tmp_path / "out", tmp_path / "hub"
    flags = ["--hub", f"file:{hub}"]
    data.run(out, *flags, code=DONE, limit=4)
    queue = out / ".droidflow/upload.sqlite"
    queue.write_bytes(b"\xff" * queue.stat().st_size)
    summary = json.loads(data.run(out, *flags, "--json", code=DONE).stdout)
    assert (summary["already_done"], summary["done"]) == (4, EPISODES - 4)
    assert content(hub) == data.wanted and content(out) == {}


def test_stopped_it_says_so_and_goes_on(data, hub, tmp_path):
    out, env = tmp_path / "out", environment(hub, tmp_path)
    gate = hub.inject(path="/objects/batch", gate=True)
    process = data.start(out, "--hf-repo", REPO, env=env)
    end = time.monotonic() + 60
    while not gate.hits:
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    hub.heal()
    process.communicate(timeout=60)
    assert process.returncode == 130
    data.run(out, "--hf-repo", REPO, code=DONE, env=env)
    assert held(hub, tmp_path / "held") == data.wanted and content(out) == {}


# -------------------------------------------------------------------------------------- refused


def test_a_token_revoked_meanwhile_costs_no_episode(data, hub, tmp_path):
    out, env = tmp_path / "out", environment(hub, tmp_path)
    hub.inject(path="/objects/batch", revoke=TOKEN)
    done = data.run(out, "--hf-repo", REPO, "--json", code=NOT_ALL, env=env)
    summary = json.loads(done.stdout)
    assert summary["done"] == EPISODES and content(out) == data.wanted
    assert "token" in done.stderr.lower() and TOKEN not in done.stdout + done.stderr
    hub.hub.tokens["hf_New"] = "write"
    data.run(out, "--hf-repo", REPO, code=DONE, env={**env, "HF_TOKEN": "hf_New"})
    assert held(hub, tmp_path / "held") == data.wanted and content(out) == {}


def test_what_a_run_left_is_uploaded_by_the_command(data, droidflow, hub, tmp_path):
    out, env = tmp_path / "out", environment(hub, tmp_path)
    data.run(out, "--hf-repo", REPO, code=NOT_ALL, env={**env, "HF_TOKEN": "hf_Wrong"})
    assert content(out) == data.wanted
    flags = ["--hf-repo", REPO, "--json"]
    told = json.loads(droidflow("upload", out, *flags, code=DONE, env=env, timeout=300).stdout)
    assert told["destinations"].keys() == {"metadata"} and told["parked"] == []
    assert held(hub, tmp_path / "held") == data.wanted and content(out) == {}
    again = json.loads(data.run(out, "--json", code=DONE).stdout)
    assert (again["already_done"], again["done"]) == (EPISODES, 0)


def test_a_dry_run_says_how_much_there_is_and_uploads_nothing(data, droidflow, tmp_path):
    out, flags = tmp_path / "out", ["--hub", f"file:{tmp_path / 'hub'}", "--keep-uploaded"]
    shutil.copytree(data.folder / "out", out, ignore=shutil.ignore_patterns(".droidflow", "meta"))
    before = sorted(tmp_path.rglob("*"))
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    dry = json.loads(droidflow("upload", out, *flags, "--dry-run", "--json", code=DONE).stdout)
    assert dry == {"episodes": EPISODES, "files": len(sizes), "bytes": sum(sizes)}
    assert sorted(tmp_path.rglob("*")) == before
    droidflow("upload", out, *flags, code=DONE)
    assert "upload 0 episodes" in droidflow("upload", out, *flags, "--dry-run", code=DONE).stdout


def test_new_episodes_are_uploaded_while_it_watches(data, droidflow, tmp_path):
    out, hub = tmp_path / "out", tmp_path / "hub"
    out.mkdir()
    watching = droidflow.start("upload", out, "--hub", f"file:{hub}", "--watch", "--upload-interval", 0)
    try:
        end = time.monotonic() + 60
        while not (out / ".droidflow/uploader.lock").exists():
            assert time.monotonic() < end and watching.poll() is None
            time.sleep(0.01)
        for folder in finished(data.folder / "out")[:2]:
            place = out / folder.relative_to(data.folder / "out")
            shutil.copytree(folder, tmp_path / "copy")
            place.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "copy").rename(place)
        while len(finished(hub)) < 2 or finished(out):
            assert time.monotonic() < end and watching.poll() is None
            time.sleep(0.05)
        assert droidflow("upload", out, "--hub", f"file:{hub}").returncode == BUSY
        watching.send_signal(signal.SIGTERM)
        assert watching.wait(timeout=60) == 130
    finally:
        stop_group(watching)


@pytest.mark.parametrize(
    "flags",
    [
        ["--hf-repo", REPO, "--hub", "file:/nowhere"],
        ["--hf-metadata-repo", REPO, "--metadata-hub", "file:/nowhere"],
        ["--hf-repo", "no-namespace"],
        ["--hub", "/no/scheme"],
        ["--hub-layout", "heap", "--hub", "file:/nowhere"],
    ],
)
def test_places_that_cannot_be_are_refused(data, droidflow, tmp_path, flags):
    data.run(tmp_path / "out", *flags, code=USAGE)
    assert not (tmp_path / "out").exists()
    droidflow("upload", tmp_path, *flags, code=USAGE)
    droidflow("upload", "", "--hub", f"file:{tmp_path}/hub", code=USAGE)


@pytest.mark.parametrize("layout", ["files", "shards"])
def test_a_queue_belongs_to_its_place(data, droidflow, tmp_path, layout):
    out, mine, other = tmp_path / "out", f"file:{tmp_path}/mine", f"file:{tmp_path}/other"
    flags = ["--hub-layout", layout]
    data.run(out, "--hub", mine, *flags, limit=2, code=DONE)
    command = ["upload", out, "--hub", other, *flags]
    refused = droidflow(*command, code=USAGE)
    assert f"this queue is folder {tmp_path}/mine" in refused.stderr
    assert str(out / ".droidflow/upload.sqlite") in refused.stderr
    assert not (tmp_path / "other").exists()
    droidflow("upload", out, "--hub", mine, *flags, code=DONE)


def test_without_a_place_nothing_is_uploaded_or_removed(data, tmp_path):
    out = tmp_path / "out"
    data.run(out, code=DONE)
    assert content(out) == data.wanted and not (out / ".droidflow/upload.sqlite").exists()
