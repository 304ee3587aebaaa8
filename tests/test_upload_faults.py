"""`droidflow upload` when the Hub, the network, the disk or a person interferes.

Whatever happens: at every moment a file is on this machine or at the branch's head, with its
content; no commit changes nothing; nobody gets to see the token.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
from conftest import stop_group
from hub_server import HubServer
from hub_server.repository import Refusal

REPO = "tester/episodes"
TOKEN = "hf_NobodyMaySeeThisToken"
DONE, FAILED, BUSY, FORBIDDEN = 0, 3, 11, 12
SOON_S = 60  # until which anything that is waited for has happened
LONG_S = 900  # until which a run has ended
DAY = "LAB/success/2023-07-07"


def until(condition, what: str):
    """Waits for something that must happen; returns it."""
    end = time.monotonic() + SOON_S
    while not (found := condition()):
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.005)
    return found


class Machine:
    """A machine with an output tree, which uploads it to the hub."""

    def __init__(self, droidflow, hub: HubServer, folder: pathlib.Path, seed: int = 1):
        self.droidflow, self.hub, self.folder = droidflow, hub, folder
        self.out = folder / "out"
        self.out.mkdir(parents=True)
        self.rng = random.Random(seed)
        self.staged: dict[str, bytes] = {}
        self.repo, self.branch = REPO, "main"
        self.other_repo: str | None = None
        self.flags: list = []
        self.prefix: list[str] = []  # the words before the command
        self.token: str | None = TOKEN
        self.early: list[str] = []  # was gone here before it was there

    # ----------------------------------------------------------------------------------------- tree

    def add(self, name: str = "", serial: str = "17225336", **files: bytes) -> str:
        """An episode, put into place whole; `files` by stem replace or add to its usual ones."""
        name = name or f"Fri_Jul__7_09:42:{len(self.staged):02}_2023"
        episode = name if "/" in name else f"{DAY}/{name}"
        usual = {
            "tracks": self.rng.randbytes(self.rng.randrange(2000, 30_000)),
            "extrinsics": self.rng.randbytes(1500),
            "quality": b'{"episode": "%s"}' % hashlib.sha1(episode.encode()).hexdigest().encode(),
            "intrinsics": b'{"fx": %d}' % self.rng.randrange(1000),
        } | files
        recording = f"recordings/{serial}/"
        place = {
            "tracks": "tracks.npz",
            "extrinsics": "extrinsics.npz",
            "quality": "quality.json",
            "intrinsics": recording + "intrinsics.json",
            "depth": recording + "depth.mkv",
        }
        incoming = self.folder / "incoming"
        for stem, data in usual.items():
            file = incoming / place[stem]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            self.staged[f"{episode}/{place[stem]}"] = data
        (self.out / episode).parent.mkdir(parents=True, exist_ok=True)
        incoming.rename(self.out / episode)
        return episode

    def add_many(self, count: int) -> list[str]:
        return [self.add() for _ in range(count)]

    def of(self, episode: str) -> dict[str, bytes]:
        return {path: data for path, data in self.staged.items() if path.startswith(episode + "/")}

    def rewrite(self, path: str, data: bytes) -> None:
        self.staged[path] = data
        new = self.folder / "new"
        new.write_bytes(data)
        new.rename(self.out / path)

    def episodes(self) -> list[str]:
        return sorted({"/".join(path.split("/")[:4]) for path in self.staged})

    def here(self) -> list[str]:
        """Staged files that are on this machine."""
        return [path for path in self.staged if (self.out / path).is_file()]

    # -------------------------------------------------------------------------------------- running

    def _arguments(self, flags) -> list:
        usual = [
            "--hf-repo",
            self.repo,
            "--hf-private",
            "--hub-layout",
            "files",
            "--upload-interval",
            0,
        ]
        branch = ["--hf-branch", self.branch] if self.branch != "main" else []
        return ["upload", self.out, *usual, *branch, *self.flags, *flags]

    def _environment(self) -> dict:
        kept = {
            k: v
            for k, v in self.droidflow.environment.items()
            if not k.startswith(("HF_", "HUGGING"))
        }
        own = {"HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.folder / "hf_home")}
        return kept | own | ({"HF_TOKEN": self.token} if self.token else {})

    def start(self, *flags) -> subprocess.Popen:
        return subprocess.Popen(
            [*self.prefix, *self.droidflow.command(*self._arguments(flags))],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen, *codes: int) -> str:
        """Its standard error, when it has ended with one of these codes."""
        try:
            with self._watched(process.pid):
                out, err = process.communicate(timeout=LONG_S)
        finally:
            stop_group(process)
        self.check_silence(out + err)
        assert (
            process.returncode in codes
        ), f"exit status {process.returncode}, expected {codes}\n{out}\n--- stderr\n{err}"
        assert not self.early, f"gone before they were uploaded: {self.early[:3]}\n{err}"
        return err

    def upload(self, *flags, codes=(DONE,)) -> str:
        return self.finish(self.start(*flags), *codes)

    def upload_at_last(self, *flags) -> None:
        """With one more run where the first gave up."""
        process = self.start(*flags)
        self.finish(process, DONE, FAILED)
        if process.returncode != DONE:
            self.upload(*flags)

    def kill(self, process: subprocess.Popen) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        self.check_silence(out + err)

    @contextlib.contextmanager
    def _watched(self, pid: int):
        """While it lasts: what is gone here is there; the process list does not tell the token."""
        end = threading.Event()

        def watch():
            while not end.wait(0.01):
                self.early += self.lost()
                with contextlib.suppress(OSError):
                    if TOKEN.encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                        self.early.append("the token stands in the process list")

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    # -------------------------------------------------------------------------------------- oracles

    @staticmethod
    def check_silence(printed: str) -> None:
        assert TOKEN not in printed and "hf_New" not in printed
        assert not re.search("Signature=[0-9a-f]", printed), "presigned URLs are secrets"

    def held(self) -> dict[str, dict]:
        found = {}
        for repo in filter(None, (self.repo, self.other_repo)):
            with contextlib.suppress(KeyError, Refusal):
                found |= self.hub.tree(repo, self.branch)
        return found

    def lost(self) -> list[str]:
        """Staged files that are neither here nor, with their content, at the head."""
        missing = [path for path in list(self.staged) if not (self.out / path).exists()]
        if not missing:
            return []
        held = self.held()
        return [path for path in missing if not same(held.get(path), self.staged[path])]

    def check_nothing_lost(self) -> None:
        assert self.lost() == []
        for path in self.here():
            assert (self.out / path).read_bytes() == self.staged[path]

    def check_settled(self, kept: bool = False) -> None:
        """Everything is there, once, and here no more."""
        held = self.held()
        wrong = [path for path, data in self.staged.items() if not same(held.get(path), data)]
        assert not wrong, f"{len(wrong)} of {len(self.staged)} are not at the head: {wrong[:3]}"
        if not kept:
            assert self.here() == []
        check_history(self.hub, self.repo, self.branch)


def same(told: dict | None, data: bytes) -> bool:
    wanted = (len(data), hashlib.sha256(data).hexdigest())
    return told is not None and (told["size"], told["sha256"]) == wanted


def check_history(hub: HubServer, repo: str = REPO, branch: str = "main") -> None:
    assert all(commit["changes"] for commit in hub.history(repo, branch)), "an empty commit"
    assert hub.violations == []


@pytest.fixture
def hub():
    with HubServer(tokens={TOKEN: "write"}) as server:
        yield server
        server.heal()


@pytest.fixture
def machine(droidflow, hub, tmp_path) -> Machine:
    return Machine(droidflow, hub, tmp_path / "machine")


def commits_of(hub: HubServer, files: dict) -> list[dict]:
    """Commits, oldest first, that changed these files."""
    found, before = [], {}
    for commit in hub.history(REPO)[::-1]:
        held = hub.tree(REPO, commit["id"])
        if any(held.get(path) != before.get(path) for path in files):
            found.append(commit)
        before = held
    return found


def stored(hub: HubServer, start: int = 0) -> list[dict]:
    """Uploads of bytes that the storage has answered with 200."""
    return [
        request
        for request in hub.asked("PUT", origin="storage", status=200)
        if request["number"] > start
    ]


def last(hub: HubServer) -> int:
    return max((request["number"] for request in hub.requests), default=0)


# ------------------------------------------------------------------------------- nothing goes wrong


def test_episodes_are_uploaded_read_back_and_removed(machine, hub):
    machine.add_many(3)
    machine.add(depth=machine.rng.randbytes(100_000))
    machine.upload()
    machine.check_settled()
    landed = hub.asked("POST", "/commit/", status=200)[0]  # The second is the card's.
    assert any(
        request["at"] > landed["ended"] and request["status"] in (200, 302)
        for request in hub.asked(path="/(tree|paths-info|resolve)/")
    ), "read back before removing"
    assert hub.hub.repositories["dataset", REPO].private
    assert not any(
        ".mkv" in line and DAY in line for line in attributes(hub)
    ), "one pattern for all"
    again = last(hub)
    machine.upload()
    assert stored(hub, again) == [] and len(hub.asked("POST", "/commit/")) == len(
        [request for request in hub.asked("POST", "/commit/") if request["number"] <= again]
    )


def attributes(hub: HubServer) -> list[str]:
    commit = hub.hub.repositories["dataset", REPO].resolve("main")
    return commit.tree.text(".gitattributes").splitlines()


def test_uploaded_files_are_kept_when_asked(machine):
    machine.add_many(2)
    machine.upload("--keep-uploaded")
    machine.check_settled(kept=True)
    assert sorted(machine.here()) == sorted(machine.staged)


def test_an_episodes_files_are_committed_together(machine, hub):
    episodes = machine.add_many(7)
    machine.upload("--batch-files", 6)
    machine.check_settled()
    for episode in episodes:
        assert len(commits_of(hub, machine.of(episode))) == 1
    assert len(commits_of(hub, machine.staged)) > 1


def test_without_a_token_nothing_starts(machine, hub):
    machine.add()
    machine.token = None
    assert "token" in machine.upload(codes=(FORBIDDEN,)).lower()
    assert machine.here() == list(machine.staged) and not hub.asked("POST", "/commit/")


def test_a_token_that_only_reads_is_told_of(machine, hub):
    machine.add()
    hub.hub.tokens[TOKEN] = "read"
    machine.upload(codes=(FORBIDDEN,))
    assert machine.here() == list(machine.staged)


# --------------------------------------------------------------- 1: killed before the commit landed


@pytest.mark.parametrize("collected", [False, True])
def test_killed_between_bytes_and_commit(machine, hub, collected):
    machine.add_many(3)
    hub.inject(path="/commit/", about="tracks.npz", hang=True)
    process = machine.start()
    until(lambda: hub.asked("POST", "/commit/", fault={"hang": True}), "the commit")
    machine.kill(process)
    assert machine.here() == list(machine.staged)
    if collected:
        hub.do(collect=True)
    before = last(hub)
    large = len(stored(hub))
    assert large
    machine.upload()
    assert len(stored(hub, before)) == (large if collected else 0)
    machine.check_settled()


# --------------------------------------------- 2 and 3: a commit whose answer got lost, or says 504


@pytest.mark.parametrize(
    "reply", [{"drop": "after"}, {"status": 504, "when": "after"}, {"status": 500, "when": "after"}]
)
def test_a_commit_that_landed_unheard_is_not_repeated(machine, hub, reply):
    machine.add_many(3)
    fault = hub.inject(path="/commit/", about="tracks.npz", **reply)
    machine.upload_at_last()
    assert fault.hits == 1 and len(commits_of(hub, machine.staged)) == 1
    machine.check_settled()


def test_killed_after_the_commit_landed(machine, hub):
    machine.add_many(3)
    hub.inject(path="/commit/", about="tracks.npz", hang=True, when="after")
    process = machine.start()
    until(lambda: commits_seen(machine), "the commit")
    machine.kill(process)
    assert machine.here() == list(machine.staged)
    before = last(hub)
    machine.upload()
    assert len(commits_of(hub, machine.staged)) == 1 and stored(hub, before) == []
    machine.check_settled()


def commits_seen(machine: Machine) -> bool:
    held = machine.held()
    return all(path in held for path in machine.staged)


@pytest.mark.parametrize(
    "reply", [{"drop": "before"}, {"status": 504, "body": "<html>"}, {"status": 413}]
)
def test_a_commit_that_did_not_land_is_made_again(machine, hub, reply):
    machine.add_many(6)
    fault = hub.inject(path="/commit/", about="tracks.npz", **reply)
    machine.upload_at_last()
    assert fault.hits == 1
    machine.check_settled()
    if reply.get("status") == 413:
        assert len(commits_of(hub, machine.staged)) > 1, "in smaller ones"


# --------------------------------------------------------- 4: the tree changes while it is uploaded


@pytest.mark.parametrize("size", ["same", "other"])
def test_a_file_rewritten_between_hash_and_bytes_is_not_taken_for_the_old_one(machine, hub, size):
    hub.options.check_digest = False
    episode = machine.add_many(2)[0]
    path = f"{episode}/tracks.npz"
    was = machine.staged[path]
    gate = hub.inject(path="/objects/batch", gate=True)
    process = machine.start()
    until(lambda: gate.hits, "the batch")
    machine.rewrite(path, machine.rng.randbytes(len(was) + (size == "other")))
    hub.heal()
    machine.finish(process, DONE, FAILED)
    machine.check_nothing_lost()
    assert not any(same(hub.tree(REPO, c["id"]).get(path), was) for c in hub.history(REPO))
    machine.upload()
    machine.check_settled()


def test_an_episode_finished_while_a_commit_is_on_its_way_goes_with_the_next(machine, hub):
    machine.add_many(2)
    half = machine.out / ".droidflow/incoming/half"
    half.mkdir(parents=True)
    (half / "tracks.npz").write_bytes(b"half")
    gate = hub.inject(path="/commit/", about="tracks.npz", gate=True)
    process = machine.start()
    until(lambda: gate.hits, "the commit")
    machine.add()
    hub.heal()
    machine.finish(process, DONE)
    machine.upload()
    machine.check_settled()
    assert (half / "tracks.npz").exists() and not any("half" in path for path in machine.held())


# ----------------------------------------------------------------------------------- 5: rate limits


def in_two_seconds() -> str:
    return email.utils.formatdate(time.time() + 2, usegmt=True)


HOURLY = "You have exceeded the rate limit for repository commits (128 per hour)."


@pytest.mark.parametrize(
    ("headers", "body", "least_s"),
    [
        ({"Retry-After": "1"}, "", 1),
        ({"RateLimit": '"api";r=0;t=1'}, "", 1),
        ({"RateLimit": '"api";r=949;t=271', "Retry-After": "1"}, HOURLY, 1),
        ({"Retry-After": in_two_seconds}, "", 1),
    ],
    ids=["seconds", "ratelimit", "hourly", "date"],
)
@pytest.mark.parametrize("path", ["/commit/", "/objects/batch"])
def test_told_to_wait_it_waits(machine, hub, headers, body, least_s, path):
    machine.add_many(2)
    headers = {name: value() if callable(value) else value for name, value in headers.items()}
    fault = hub.inject(path=path, about="tracks.npz|oid", status=429, headers=headers, body=body)
    machine.upload()
    assert fault.hits == 1
    requests = hub.asked("POST", path)
    refused = next(number for number, request in enumerate(requests) if request["status"] == 429)
    if "GMT" not in headers.get("Retry-After", ""):
        assert requests[refused + 1]["at"] - requests[refused]["ended"] >= least_s
    machine.check_settled()


def test_all_workers_wait_at_one_gate(machine, hub):
    machine.add_many(12)
    fault = hub.inject(
        path="/(preupload|objects|commit)", status=429, headers={"Retry-After": "1"}, count=3
    )
    machine.upload("--upload-jobs", 4, "--batch-files", 4)
    refused = hub.asked(status=429)
    assert fault.hits == 3
    for request in refused:
        soon = [r for r in hub.asked(origin="hub") if 0 < r["at"] - request["ended"] < 1]
        assert len(soon) <= 4, "no more than were on their way"
    machine.check_settled()


# -------------------------------------------------------------------------- 6: the token is revoked


@pytest.mark.parametrize("path", ["/objects/batch", "/commit/", "/objects/verify"])
def test_a_revoked_token_stops_all_and_a_new_one_goes_on(machine, hub, path):
    machine.add_many(4)
    hub.inject(path=path, about="tracks.npz|oid", revoke=TOKEN)
    assert "token" in machine.upload(codes=(FORBIDDEN,)).lower()
    assert machine.here() == list(machine.staged)
    assert len(hub.asked(status=401)) < 20, "promptly"
    sent = {request["path"].partition("?")[0] for request in stored(hub)}
    before = last(hub)
    machine.token = "hf_New"
    hub.hub.tokens["hf_New"] = "write"
    machine.upload()
    assert not sent & {request["path"].partition("?")[0] for request in stored(hub, before)}
    machine.check_settled()


def test_a_token_renewed_in_its_file_is_read_again(machine, hub):
    machine.add_many(2)
    machine.token = None
    file = machine.folder / "hf_home/token"
    file.parent.mkdir()
    file.write_text(TOKEN + "\n")
    gate = hub.inject(path="/objects/batch", gate=True)
    process = machine.start()
    until(lambda: gate.hits, "the batch")
    file.write_text("hf_New\n")
    hub.hub.tokens = {"hf_New": "write"}
    hub.heal()
    machine.finish(process, DONE)
    machine.check_settled()


# ------------------------------------------------------------------ 7 and 8: two machines, one repo


def test_two_machines_make_one_repository(droidflow, hub, tmp_path):
    machines = [Machine(droidflow, hub, tmp_path / name, seed) for seed, name in enumerate("ab")]
    for number, machine in enumerate(machines):
        for episode in range(8):
            machine.add(f"LAB{number}/success/2023-07-07/Fri_Jul__7_10:00:{episode:02}_2023")
    conflict = "Cannot create repo: another conflicting operation is in progress"
    hub.inject(path="/repos/create", status=409, body=conflict)
    hub.inject(path="/commit/", after=1, count=3, status=412)
    hub.inject(path="/commit/", after=4, count=1, status=409)
    processes = [machine.start("--batch-files", 8) for machine in machines]
    for machine, process in zip(machines, processes):
        machine.finish(process, DONE)
    for machine in machines:
        machine.check_settled()


def test_another_committer_may_be_first_again_and_again(machine, hub):
    machine.add_many(4)
    for content in "123":
        hub.inject(
            path="/commit/", about="tracks.npz", race={"path": "theirs.json", "content": content}
        )
    machine.upload()
    assert "theirs.json" in machine.held()
    machine.check_settled()


@functools.cache
def episode_bytes(seed: int) -> dict[str, bytes]:
    rng = random.Random(seed)
    return {
        "tracks": rng.randbytes(9000),
        "extrinsics": rng.randbytes(900),
        "quality": b'{"seed": %d}' % seed,
        "intrinsics": b'{"seed": %d}' % -seed,
    }


def test_the_same_episode_from_two_machines_is_stored_once(droidflow, hub, tmp_path):
    machines = [Machine(droidflow, hub, tmp_path / name) for name in "ab"]
    for machine in machines:
        machine.add("same", **episode_bytes(1))
        machine.upload()
        machine.check_settled()
    assert len(commits_of(hub, machines[0].staged)) == 1 and len(stored(hub)) == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_version_of_an_episode_replaces_the_first_only_when_asked(
    droidflow, hub, tmp_path, overwrite
):
    first, second = (Machine(droidflow, hub, tmp_path / name) for name in "ab")
    first.add("same", **episode_bytes(1))
    second.add("same", **episode_bytes(2))
    first.upload()
    if overwrite:
        second.upload("--overwrite")
        second.check_settled()
        assert len(commits_of(hub, second.staged)) == 2
    else:
        assert "same" in second.upload(codes=(DONE, FAILED))
        second.check_nothing_lost()
        first.check_settled()


# ------------------------------------------------------------ 9 and 10: bytes get lost on their way


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        {"truncate": 300},
        {"drop": 700},
        {"status": 200, "body": "<html>hello"},
        {"status": 500},
        {"status": 503, "headers": {"Retry-After": "1"}},
        {"expired": True},
    ],
    ids=["truncated", "cut", "proxy", "500", "503", "expired"],
)
def test_bytes_that_did_not_arrive_are_sent_again(machine, hub, fault, verify):
    hub.options.verify = verify
    machine.add_many(2)
    rule = hub.inject(origin="storage", method="PUT", **fault)
    machine.upload_at_last()
    assert rule.hits == 1
    machine.check_settled()


@pytest.mark.parametrize(
    "fault",
    [
        {"origin": "storage", "path": "partNumber=2", "status": 500},
        {"origin": "storage", "path": "partNumber=2", "drop": 10},
        {"origin": "storage", "path": "partNumber=1&", "expired": True},
        {"origin": "storage", "path": "partNumber=3", "etag": ""},
        {"path": "complete_multipart", "status": 400},
        {"path": "complete_multipart", "drop": "after"},
        {"path": "/objects/batch", "parts": 1},
        {"path": "/objects/batch", "parts": -1},
    ],
    ids=["500", "cut", "expired", "no etag", "refused", "unheard", "one too many", "one too few"],
)
def test_uploads_in_parts_are_mended(machine, hub, fault):
    hub.options.multipart_over, hub.options.part_size = 50_000, 20_000
    machine.add()
    depth = machine.rng.randbytes(90_001)
    machine.add(depth=depth)
    about = hashlib.sha256(depth).hexdigest() if "batch" in fault["path"] else ""
    rule = hub.inject(about=about, **fault)
    machine.upload_at_last()
    assert rule.hits == 1
    assert len(hub.asked("PUT", "partNumber=5", status=200)) >= 1
    machine.check_settled()


@pytest.mark.parametrize("path", ["/objects/batch", "/preupload/", "/commit/"])
def test_a_redirect_elsewhere_does_not_get_the_token(machine, hub, path):
    machine.add()
    hub.inject(path=path, status=302, headers={"Location": hub.storage + "/elsewhere"})
    machine.upload_at_last()
    assert not any(request["authorization"] for request in hub.asked(origin="storage"))
    machine.check_settled()


# --------------------------------------------------- 11: the repository is not what it was any more


def test_a_deleted_repository_is_not_made_again(machine, hub):
    machine.add_many(2)
    hub.inject(path="/commit/", about="tracks.npz", repo={"name": REPO, "delete": True})
    machine.upload(codes=(FAILED, FORBIDDEN))
    assert ("dataset", REPO) not in hub.hub.repositories
    assert machine.here() == list(machine.staged)


def test_a_renamed_repository_is_followed_or_told_of(machine, hub):
    machine.add_many(2)
    hub.inject(path="/commit/", about="tracks.npz", repo={"name": REPO, "rename": "lab/new"})
    process = machine.start()
    machine.repo = "lab/new"
    machine.finish(process, DONE, FAILED)
    assert ("dataset", REPO) not in hub.hub.repositories
    if process.returncode == DONE:
        machine.check_settled()
    else:
        assert machine.here() == list(machine.staged)


@pytest.mark.parametrize("change", ["read_only", "disabled"])
def test_a_closed_repository_stops_all_and_an_opened_one_goes_on(machine, hub, change):
    machine.add_many(2)
    hub.inject(path="/commit/", about="tracks.npz", repo={"name": REPO, change: True})
    machine.upload(codes=(FAILED, FORBIDDEN))
    assert machine.here() == list(machine.staged)
    assert len(hub.asked(status=403)) < 20, "no endless loop"
    hub.do(repo={"name": REPO, change: False})
    machine.upload()
    machine.check_settled()


def test_a_deleted_branch_stops_all(machine, hub):
    machine.branch = "next"
    machine.add_many(2)
    hub.inject(path="/commit/", about="tracks.npz", repo={"name": REPO, "delete_branch": "next"})
    machine.upload(codes=(FAILED, FORBIDDEN))
    assert machine.here() == list(machine.staged)


def test_a_repository_made_anew_is_not_taken_for_the_full_one(machine, hub):
    machine.add_many(2)
    machine.upload("--keep-uploaded")
    hub.do(repo={"name": REPO, "recreate": True})
    assert machine.held().keys() == {".gitattributes"}
    machine.add()
    process = machine.start("--keep-uploaded")
    machine.finish(process, DONE, FAILED)
    if process.returncode == DONE:
        machine.check_settled(kept=True)
    assert sorted(machine.here()) == sorted(machine.staged)


# ------------------------------------------------------------- 12: the disk is full, the state torn


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a small disk")
def test_a_full_disk_loses_nothing(droidflow, hub, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("cannot mount a small disk")
    try:
        machine = Machine(droidflow, hub, disk / "machine")
        machine.add_many(3)
        with open(disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(b"x" * 4096):
                pass
        process = machine.start()
        machine.finish(process, DONE, 1, FAILED)
        machine.check_nothing_lost()
        (disk / "filler").unlink()
        machine.upload()
        machine.check_settled()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("damage", ["empty", "half", "garbage", "removed"])
def test_a_torn_queue_is_made_again_from_the_disk_and_the_tree(machine, hub, damage):
    machine.add_many(6)
    hub.inject(path="/commit/", about="tracks.npz", after=1, hang=True)
    process = machine.start("--batch-files", 8)
    until(lambda: hub.asked("POST", "/commit/", fault={"hang": True}), "the second commit")
    machine.kill(process)
    for file in (machine.out / ".droidflow").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            half = data[: len(data) // 2]
            file.write_bytes(
                {"empty": b"", "half": half, "garbage": b"\xff" * len(data)}.get(damage, b"")
            )
    if damage == "removed":
        shutil.rmtree(machine.out / ".droidflow")
    machine.check_nothing_lost()
    machine.upload_at_last()
    machine.check_settled()
    assert all(len(commits_of(hub, machine.of(episode))) == 1 for episode in machine.episodes())


# ---------------------------------------------------------------------------- 13: failures for good


QUOTA = "Private repository storage limit reached"


@pytest.mark.parametrize("path", ["/objects/batch", "/commit/"])
def test_a_full_quota_is_told_of_and_not_asked_for_ever(machine, hub, path):
    machine.add_many(3)
    fault = hub.inject(
        path=path, about="tracks.npz|oid", status=403, body='{"error": "%s"}' % QUOTA, count=None
    )
    assert QUOTA in machine.upload(codes=(FAILED, FORBIDDEN))
    assert machine.here() == list(machine.staged) and fault.hits < 20
    hub.heal()
    machine.upload()
    machine.check_settled()


@pytest.mark.parametrize("status", [400, 422])
def test_one_poisonous_episode_does_not_hold_the_others_up(machine, hub, status):
    machine.add_many(9)
    poison = machine.add("poison")
    machine.add_many(6)
    fault = hub.inject(
        path="/commit/", about="poison", status=status, body='{"error": "bad apple"}', count=None
    )
    told = machine.upload(codes=(FAILED,))
    assert "poison" in told and "bad apple" in told and fault.hits < 30
    assert sorted(machine.here()) == sorted(machine.of(poison))
    others = {path: data for path, data in machine.staged.items() if "/poison/" not in path}
    held = machine.held()
    assert all(same(held.get(path), data) for path, data in others.items())
    machine.check_nothing_lost()
    check_history(hub)


def test_a_full_folder_is_told_of(machine, hub):
    hub.options.folder_limit = 12
    machine.add_many(15)
    other = machine.add("LAB/failure/2023-07-08/Sat_Jul__8_10:00:00_2023")
    told = machine.upload(codes=(FAILED,))
    assert DAY in told
    machine.check_nothing_lost()
    held = machine.held()
    assert all(same(held.get(path), data) for path, data in machine.of(other).items())
    assert len(hub.asked("POST", "/commit/")) < 40
    check_history(hub)


def test_an_error_of_one_object_is_an_error_of_its_episode(machine, hub):
    episodes = machine.add_many(3)
    bad = hashlib.sha256(machine.staged[f"{episodes[1]}/tracks.npz"]).hexdigest()
    hub.inject(
        path="/objects/batch",
        batch_error={"code": 422, "message": "bad apple", "oid": bad},
        count=None,
    )
    assert "bad apple" in machine.upload(codes=(FAILED,))
    assert sorted(machine.here()) == sorted(machine.of(episodes[1]))
    machine.check_nothing_lost()


# -------------------------------------------------------------------------- 14: odd files and names


@pytest.mark.parametrize(
    "name",
    ["a+b", "a b", "a#b", "a%20b", "a?b", "gr\u00fcn", "gru\u0308n", "n" * 200, "[x]*"],
    ids=[
        "plus",
        "space",
        "hash",
        "per cent",
        "question",
        "composed",
        "decomposed",
        "long",
        "pattern",
    ],
)
def test_odd_names_are_uploaded_as_they_are(machine, name):
    machine.add(name, depth=b"depth of it")
    machine.upload()
    machine.check_settled()


@pytest.mark.parametrize(
    "files",
    [
        {"extrinsics": b""},
        {"quality": b""},
        {"quality": b'{"x": "%s"}' % (b"y" * (11 << 20))},
        {"depth": b"\0"},
    ],
    ids=["empty npz", "empty json", "large json", "one byte"],
)
def test_odd_sizes_are_uploaded(machine, hub, files):
    machine.add()
    machine.add(**files)
    machine.upload()
    machine.check_settled()


def test_equal_files_are_sent_once(machine, hub):
    for _ in range(5):
        machine.add(tracks=b"equal" * 999, extrinsics=b"equal" * 999)
    machine.upload()
    machine.check_settled()
    assert len(stored(hub)) == 1


def test_a_file_that_vanished_holds_up_no_other(machine, hub):
    episodes = machine.add_many(3)
    gate = hub.inject(path="/objects/batch", gate=True)
    process = machine.start()
    until(lambda: gate.hits, "the batch")
    gone = f"{episodes[1]}/tracks.npz"
    (machine.out / gone).unlink()
    del machine.staged[gone]
    hub.heal()
    machine.finish(process, FAILED)
    held = machine.held()
    for episode in (episodes[0], episodes[2]):
        assert all(same(held.get(path), data) for path, data in machine.of(episode).items())
    assert gone not in held
    machine.check_nothing_lost()


def test_a_file_that_cannot_be_read_holds_up_no_other(machine):
    if os.geteuid() == 0:  # who reads everything
        machine.prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    episodes = machine.add_many(3)
    (machine.out / episodes[1] / "tracks.npz").chmod(0)
    assert episodes[1] in machine.upload(codes=(FAILED,))
    assert sorted(machine.here()) == sorted(machine.of(episodes[1]))


def test_a_link_is_uploaded_as_its_content_or_told_of(machine):
    episode = machine.add_many(2)[0]
    path = machine.out / episode / "tracks.npz"
    target = machine.folder / "elsewhere.npz"
    path.rename(target)
    path.symlink_to(target)
    machine.upload(codes=(DONE, FAILED))
    assert target.exists()
    machine.check_nothing_lost()


# ---------------------------------------------------------------------------------------- 15: pages


@pytest.fixture
def forgetful(machine, hub) -> Machine:
    """Has uploaded and kept ten episodes, and lost its queue; the tree comes in small pages."""
    machine.flags = ["--keep-uploaded"]
    machine.add_many(10)
    machine.upload()
    shutil.rmtree(machine.out / ".droidflow")
    machine.add()
    hub.options.page_size = 6
    return machine


@pytest.mark.parametrize(
    "fault", [{"link": "lower"}, {"link": "bare"}, {"after": 2, "status": 500, "count": 1}]
)
def test_pages_are_read_to_the_end(forgetful, hub, fault):
    before = last(hub)
    hub.inject(**{"path": "/tree/", "count": None, **fault})
    forgetful.upload_at_last()
    assert len(stored(hub, before)) == 2, "the new episode's"
    forgetful.check_settled(kept=True)


@pytest.mark.parametrize(
    "fault", [{"link": "foreign"}, {"link": "loop"}, {"after": 1, "status": 404}]
)
def test_a_list_that_does_not_end_well_is_not_taken_for_all(forgetful, hub, fault):
    hub.inject(path="/tree/", count=None, **fault)
    forgetful.upload(codes=(DONE, FAILED))
    assert hub.asked(path="/tree/", origin="storage") == []
    assert len(hub.asked(path="/tree/")) < 50
    forgetful.check_nothing_lost()
    check_history(hub)
    hub.heal()
    forgetful.upload()
    forgetful.check_settled(kept=True)


# ----------------------------------------------------------------------------- 16: odd upload modes


@pytest.mark.parametrize(
    "change",
    [
        {"mode": {"extrinsics": "regular"}},
        {"mode": {"json": "lfs"}},
        {"reverse": True},
        {"leave_out": "extrinsics"},
    ],
    ids=["regular", "lfs", "reverse", "left out once"],
)
def test_the_hubs_word_on_how_to_upload_is_obeyed(machine, hub, change):
    machine.add_many(3)
    fault = hub.inject(
        path="/preupload/", preupload=change, count=1 if "leave_out" in change else None
    )
    machine.upload_at_last()
    assert fault.hits
    machine.check_settled()
    if "mode" in change:
        (word, mode), *_ = change["mode"].items()
        held = machine.held()
        assert all(held[path]["lfs"] == (mode == "lfs") for path in machine.staged if word in path)


def test_a_file_that_the_hub_ignores_does_not_count_as_uploaded(machine, hub):
    machine.add_many(2)
    ignored = machine.add("ignored")
    hub.inject(path="/preupload/", preupload={"ignore": "/ignored/tracks"}, count=None)
    assert "ignored" in machine.upload(codes=(FAILED,))
    assert f"{ignored}/tracks.npz" in machine.here()
    machine.check_nothing_lost()
    held = machine.held()
    others = {path: data for path, data in machine.staged.items() if "/ignored/" not in path}
    assert all(same(held.get(path), data) for path, data in others.items())


# -------------------------------------------------------------------------- 17: slow and dead lines


def test_a_slow_line_is_used(machine, hub):
    machine.add(tracks=b"slow" * 50, extrinsics=b"low" * 30)
    hub.inject(origin="storage", method="PUT", sip=400, count=2)
    machine.upload()
    machine.check_settled()


@pytest.mark.skipif("DROIDFLOW_SLOW_TESTS" not in os.environ, reason="takes minutes")
@pytest.mark.parametrize("where", [{"origin": "storage"}, {"path": "/commit/", "about": "tracks"}])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_line_that_never_answers_is_given_up(machine, hub, where, when):
    machine.add_many(3)
    fault = hub.inject(**where, hang=True, when=when)
    machine.upload_at_last()
    assert fault.hits == 1 and len(commits_of(hub, machine.staged)) == 1
    machine.check_settled()


def test_an_outage_costs_time_only(machine, hub):
    machine.add_many(3)
    for origin in ("hub", "storage"):
        hub.inject(origin=origin, drop="before", after=2, count=3)
    machine.upload_at_last()
    machine.check_settled()


def test_a_suspended_machine_finds_its_commit(machine, hub):
    machine.add_many(3)
    gate = hub.inject(path="/commit/", about="tracks.npz", gate=True)
    process = machine.start()
    until(lambda: gate.hits, "the commit")
    os.killpg(process.pid, signal.SIGSTOP)
    hub.heal()
    until(lambda: commits_seen(machine), "the commit")
    for connection in list(hub.hub.api.connections):
        connection.close()
    os.killpg(process.pid, signal.SIGCONT)
    machine.finish(process, DONE)
    assert len(commits_of(hub, machine.staged)) == 1
    machine.check_settled()


def test_an_interrupted_upload_goes_on(machine, hub):
    machine.add_many(3)
    gate = hub.inject(path="/commit/", about="tracks.npz", gate=True)
    process = machine.start()
    until(lambda: gate.hits, "the commit")
    os.killpg(process.pid, signal.SIGINT)
    hub.heal()
    machine.finish(process, DONE, 130)
    machine.check_nothing_lost()
    machine.upload()
    assert len(commits_of(hub, machine.staged)) == 1
    machine.check_settled()


# ----------------------------------------------------------------------------- 18: two on one queue


def test_a_second_uploader_leaves_the_queue_alone(machine, hub):
    machine.add_many(3)
    gate = hub.inject(path="/commit/", about="tracks.npz", gate=True)
    first = machine.start()
    until(lambda: gate.hits, "the commit")
    before = last(hub)
    for _ in range(3):
        machine.upload(codes=(BUSY,))
    assert not [r for r in hub.asked("POST", "/(commit|objects)") if r["number"] > before]
    hub.heal()
    machine.finish(first, DONE)
    machine.check_settled()


# ------------------------------------------------------------------------------------- other places


def test_depth_goes_to_one_repository_and_the_rest_to_both(machine, hub):
    machine.add(depth=b"depth" * 99)
    machine.add()
    machine.other_repo = "lab/metadata"
    machine.upload("--hf-metadata-repo", machine.other_repo)
    machine.check_settled()
    metadata = {path for path in machine.staged if not path.endswith(".mkv")}
    assert 0 < len(metadata) < len(machine.staged)
    for repo, paths in ((REPO, machine.staged.keys()), (machine.other_repo, metadata)):
        assert hub.tree(repo).keys() & machine.staged.keys() == paths
        check_history(hub, repo)


def test_a_folder_takes_the_hubs_place(machine, hub, tmp_path):
    machine.add_many(3)
    place = tmp_path / "place"
    command = ["upload", machine.out, "--hub", f"file:{place}", "--hub-layout", "files"]
    machine.droidflow(*command, code=DONE)
    assert {path: (place / path).read_bytes() for path in machine.staged} == machine.staged
    assert machine.here() == [] and hub.requests == []
