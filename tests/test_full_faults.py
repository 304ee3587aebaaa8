"""`full` when something breaks in its midst: kills, full disks, recordings that change, hangs."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import full_runs
import pytest
from conftest import Dataset, content, copy_dataset, finished, quality, stop_group
from full_runs import QUICK, check_whole, differing, has_depth
from test_faults import alive, by_path, children, stat, told, wait_for
from test_full import left_in, recording, role_of, without_depth

EPISODES = 6
# The seeds of the usual run; all of them run under the label slow.
SEEDS = int(os.environ.get("DROIDFLOW_KILL_SEEDS", "2"))
SHOTS = 8
TWO = ["--workers", 2]


@pytest.fixture(scope="module")
def films(synth) -> Dataset:
    return synth(episodes=EPISODES, steps=4, seed=8, video="stereo")


class Places:
    """Where a run writes, all below one folder unless told otherwise."""

    def __init__(self, folder: pathlib.Path, **elsewhere: pathlib.Path):
        names = ("out", "scratch", "staging", "all", "metadata")
        self.at = {name: folder / name for name in names} | elsewhere

    def __getitem__(self, name: str) -> pathlib.Path:
        return self.at[name]

    @property
    def run_dir(self) -> pathlib.Path:
        return self["out"].parent / "run"

    def command(self, data: Dataset, *flags) -> list:
        places = ["--out", self["out"], "--run-dir", self.run_dir]
        places += ["--scratch-dir", self["scratch"], "--staging-dir", self["staging"]]
        places += ["--batch-dir", self["all"], "--batch-metadata-dir", self["metadata"]]
        return ["full", -1, *data.inputs, *places, *QUICK, *flags]

    def clear(self) -> None:
        """Takes finished episodes away, whole, so that a run begins anew."""
        shutil.rmtree(self.run_dir)
        for name in ("all", "metadata"):
            for folder in finished(self[name]):
                shutil.rmtree(folder.rename(self["out"].parent / "taken"))

    def queued(self) -> list[pathlib.Path]:
        return finished(self["all"])

    def check(self, whole: dict[str, object]) -> None:
        """Both queues hold `whole`, the content of a run that nothing disturbed, and no trace."""
        assert differing(content(self["all"]), whole) == []
        assert differing(content(self["metadata"]), without_depth(whole)) == []
        labs = {pathlib.Path(name).parts[0] for name in whole}
        for queue in ("all", "metadata"):
            assert {p.relative_to(self[queue]).parts[0] for p in left_in(self[queue])} == labs
        for way in ("scratch", "staging", "out"):
            assert left_in(self[way]) == []


@pytest.fixture(scope="module")
def undisturbed(droidflow, films, tmp_path_factory) -> dict[str, object]:
    """What the queue holds after a run that nothing disturbs."""
    places = Places(tmp_path_factory.mktemp("undisturbed"))
    droidflow(*places.command(films, *TWO), code=0, timeout=300)
    whole = content(places["all"])
    assert len(places.queued()) == EPISODES
    places.check(whole)
    return whole


@contextlib.contextmanager
def watched(places: Places):
    """A process looks into the queues all the time: what it sees must be whole."""
    queues = [str(places["all"]), f"{places['metadata']}:metadata"]
    command = [sys.executable, full_runs.__file__, *queues]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield
        printed, _ = watcher.communicate(timeout=60)
        assert json.loads(printed) == {}
    finally:
        watcher.kill()
        watcher.wait()


def test_the_watcher_sees_what_is_not_whole(droidflow, films, tmp_path):
    places = Places(tmp_path)
    droidflow(*places.command(films, "--limit", 1), code=0, timeout=120)
    (folder,) = places.queued()
    with watched(places):
        pass
    copy = places["all"] / folder.relative_to(places["all"]).with_name("copied")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    with pytest.raises(AssertionError, match="copied"), watched(places):
        for path in files:
            to = copy / path.relative_to(folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
            time.sleep(0.05)


def verify_and_count(droidflow, places: Places, episodes: int = EPISODES) -> None:
    droidflow("verify", places["all"], code=0)
    found = by_path(told(droidflow, places.run_dir))
    assert len(found) == episodes and {entry.state for entry in found.values()} == {"done"}


# -------------------------------------------------------------------------------- kills and signals


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kill_9_at_random_moments_loses_and_doubles_nothing(
    droidflow, films, undisturbed, tmp_path, seed
):
    """Coordinators and workers are shot in turn; the next run completes what is left."""
    chance = random.Random(seed)
    places = Places(tmp_path)
    command = places.command(films, *TWO)
    shots = 0
    with watched(places):
        while shots < SHOTS:
            process = droidflow.start(*command)
            workers: list[int] = []
            try:
                end = time.monotonic() + chance.uniform(0.05, 1.5)
                while time.monotonic() < end and process.poll() is None:
                    time.sleep(0.002)
                    workers = children(process.pid) or workers
                if process.poll() is None and workers and chance.random() < 0.5:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(chance.choice(workers), signal.SIGKILL)
                        shots += 1
                    time.sleep(chance.uniform(0, 0.4))
                if process.poll() is None:
                    process.kill()
                    process.wait()
                    shots += 1
                    wait_for(lambda: not [w for w in workers if alive(w)])
                elif shots < SHOTS:  # it came to its end: begin anew
                    assert process.returncode == 0
                    places.clear()
            finally:
                stop_group(process)
        droidflow(*command, code=0, timeout=300)
    places.check(undisturbed)
    verify_and_count(droidflow, places)


def test_workers_that_die_cost_only_an_attempt(droidflow, films, undisturbed, tmp_path):
    chance = random.Random(7)
    places = Places(tmp_path)
    with watched(places):
        process = droidflow.start(*places.command(films, *TWO))
        try:
            for count in (1, 3):
                wait_for(lambda: len(places.queued()) >= count and children(process.pid), 120)
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(chance.choice(children(process.pid)), signal.SIGKILL)
            assert process.wait(timeout=120) == 0
        finally:
            stop_group(process)
    places.check(undisturbed)
    verify_and_count(droidflow, places)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_exits_130_consistent_and_resumes(
    droidflow, films, undisturbed, tmp_path, which
):
    places = Places(tmp_path)
    with watched(places):
        process = droidflow.start(*places.command(films, *TWO))
        try:
            wait_for(lambda: places.queued(), 120)
            process.send_signal(which)
            assert process.wait(timeout=60) == 130
        finally:
            stop_group(process)
        before = stat(places["all"])
        assert 1 <= len(places.queued()) < EPISODES
        assert len(finished(places["metadata"])) == len(places.queued())
        assert not [e for e in told(droidflow, places.run_dir) if e.state == "quarantined"]
        droidflow(*places.command(films, *TWO), code=0, timeout=300)
    assert not set(differing(stat(places["all"]), before)) & set(before)
    places.check(undisturbed)


def test_a_second_coordinator_is_refused_with_11(droidflow, films, tmp_path):
    places = Places(tmp_path)
    command = places.command(films, *TWO)
    first = droidflow.start(*command)
    try:
        wait_for(lambda: places.queued(), 120)
        second = droidflow(*command)
        assert first.poll() is None, "the first run ended too early to tell"
        assert second.returncode == 11 and str(places.run_dir) in second.stderr, second.stderr
        assert first.wait(timeout=120) == 0
    finally:
        stop_group(first)
    assert len(places.queued()) == EPISODES


def test_a_worker_that_hangs_is_given_up_and_its_episode_tried_again(
    droidflow, films, undisturbed, tmp_path
):
    places = Places(tmp_path)
    with watched(places):
        process = droidflow.start(*places.command(films, *TWO, "--episode-timeout", 25))
        try:
            wait_for(lambda: len(children(process.pid)) == 2, 60)
            stopped = children(process.pid)
            for worker in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGSTOP)
            assert process.wait(timeout=240) == 0
            assert [worker for worker in stopped if alive(worker)] == []
        finally:
            stop_group(process)
    places.check(undisturbed)
    verify_and_count(droidflow, places)


def test_an_episode_that_takes_for_ever_is_quarantined(droidflow, films, tmp_path):
    """A recording that is a named pipe nobody writes to."""
    data = copy_dataset(films, tmp_path / "data")
    stuck = data.episodes()[2]
    path = recording(data, stuck, role_of(data, stuck)["wrist"])
    path.unlink()
    os.mkfifo(path)
    places = Places(tmp_path)
    done = droidflow(*places.command(data, *TWO, "--episode-timeout", 15), timeout=300)
    found = by_path(told(droidflow, places.run_dir))
    entry = found.pop(str(stuck))
    assert {e.state for e in found.values()} == {"done"}
    # A pipe may as well be seen for what it is: no recording.
    assert (entry.state, entry.status) in (("quarantined", "timeout"), ("done", ""))
    assert done.returncode == (3 if entry.state == "quarantined" else 0)
    assert len(places.queued()) == len(finished(places["metadata"])) >= EPISODES - 1


# ---------------------------------------------------------------------------------- disks that fill


# Staging holds two episodes at most, the queues all of them.
@pytest.mark.parametrize("full, mib", [("scratch", 1), ("staging", 0.2), ("all", 1), ("metadata", 1)])
def test_a_full_disk_is_exit_1_and_the_run_resumes_after_space_is_made(
    droidflow, films, undisturbed, small_disk, tmp_path, full, mib
):
    places = Places(tmp_path, **{full: small_disk(mib) / full})
    # With the default budget the run would wait for somebody to make space in a queue.
    command = places.command(films, *TWO, "--max-staged-gb", 100)
    with watched(places):
        done = droidflow(*command, code=1, timeout=300)
        assert "space" in done.stderr.lower(), done.stderr
        assert len(places.queued()) < EPISODES
        found = told(droidflow, places.run_dir)
        assert not [e for e in found if e.state == "quarantined"], "a full disk is no one's fault"
        small_disk(200)
        droidflow(*command, code=0, timeout=300)
    places.check(undisturbed)
    verify_and_count(droidflow, places)


# --------------------------------------------------------------------------- recordings that change


def cut(path: pathlib.Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


@pytest.mark.parametrize("kind, share", [("stereo", 0.5), ("svo2", 0.5), ("svo2", 0.9)])
def test_a_recording_cut_off_costs_at_most_its_cameras_depth(
    droidflow, ffmpeg, synth, tmp_path, kind, share
):
    source = synth(episodes=2, steps=8, seed=4, video=kind)
    data = copy_dataset(source, tmp_path / "data")
    victim, other = data.episodes()
    serials = role_of(data, victim)
    recordings = data.raw / victim / "recordings"
    widest = max(recordings.rglob(f"{serials['ext1']}*"), key=lambda p: p.stat().st_size)
    cut(widest, share)
    places = Places(tmp_path)
    droidflow(*places.command(data), code=0, timeout=300)
    folder = places["all"] / victim
    assert {serials["ext2"], serials["wrist"]} <= has_depth(folder)
    assert [w for w in quality(folder)["warnings"] if serials["ext1"] in w["text"]]
    assert has_depth(places["all"] / other) == set(role_of(data, other).values())
    for episode in data.episodes():
        check_whole(places["all"] / episode, depth=True)
        check_whole(places["metadata"] / episode, depth=False)
    droidflow("verify", places["all"], code=0)


def opened(pid: int) -> set[str]:
    """Files that a process and its workers hold open."""
    found = set()
    for process in [pid, *children(pid)]:
        for link in pathlib.Path(f"/proc/{process}/fd").glob("*"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(link))
    return found


DAMAGES = {"gone": pathlib.Path.unlink, "cut": lambda path: cut(path, 0.3)}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_recording_that_changes_while_it_is_read_harms_no_other(
    droidflow, synth, tmp_path, damage
):
    data = copy_dataset(synth(episodes=2, steps=40, seed=6, video="stereo"), tmp_path / "data")
    places = Places(tmp_path)
    stereo = {
        str(recording(data, episode, serial)): episode
        for episode in data.episodes()
        for serial in role_of(data, episode).values()
    }
    with watched(places):
        process = droidflow.start(*places.command(data, "--workers", 1))
        try:
            hit: set[str] = set()

            def strike() -> bool:
                hit.update(opened(process.pid) & set(stereo))
                return bool(hit) or process.poll() is not None

            wait_for(strike, 120)
            assert hit, "no recording was seen while it was read"
            DAMAGES[damage](pathlib.Path(sorted(hit)[0]))
            code = process.wait(timeout=240)
        finally:
            stop_group(process)
    victim = stereo[sorted(hit)[0]]
    found = by_path(told(droidflow, places.run_dir))
    assert [e.state for path, e in found.items() if path != str(victim)] == ["done"]
    entry = found[str(victim)]
    assert entry.state == "done" or entry.status not in ("", "crashed", "timeout"), entry
    assert code == (0 if entry.state == "done" else 3)
    for folder in places.queued():
        check_whole(folder, depth=True)
    droidflow("verify", places["all"], code=0)
