"""`droidflow slurm` on a real Slurm of this machine, and the same shards without one.

Oracle: whatever happens on the way, every episode lies in --out once, whole, `verify` passes, and all is what a run on one
machine writes, byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
from buckets import ROOT
from conftest import REPOSITORY, Dataset, _unavailable, content, stop_group
from full_runs import QUICK

DONE, USAGE, TROUBLE, BUSY, NO_SLURM = 0, 2, 3, 11, 13
EPISODES = 8
MAX_ARRAY = 5
PATIENCE = 120  # seconds until a test gives up

needs_slurm = pytest.mark.skipif(
    shutil.which("slurmctld") is None or os.geteuid() != 0, reason="needs slurm-wlm, munge and root"
)


def results(out: pathlib.Path) -> dict[str, object]:
    """relative path -> what must be the same on every machine."""
    found = content(out)
    for name, value in found.items():
        if name.endswith("quality.json"):
            found[name] = {k: v for k, v in value.items() if k != "provenance"}
    return found


def wait_for(what: str, is_so, seconds: float = PATIENCE):
    """What `is_so` gives as soon as it is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := is_so():
            return value
        time.sleep(0.1)
    pytest.fail(f"waited {seconds} s for {what}")


class Lab:
    """Slurm on this machine: its daemons, three nodes that are faked, all on 127.0.0.1."""

    def __init__(self, script: pathlib.Path, folder: pathlib.Path, **settings):
        self.script = script
        self.environment = {**os.environ, "LAB": str(folder), **{k: str(v) for k, v in settings.items()}}
        self("start")
        self.slurm_conf = folder / "etc/slurm.conf"

    def __call__(self, *words) -> str:
        done = subprocess.run(
            ["bash", self.script, *words], env=self.environment, text=True, capture_output=True, timeout=PATIENCE
        )
        assert done.returncode == 0, f"slurm-lab {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, *words) -> str:
        environment = {**os.environ, "SLURM_CONF": str(self.slurm_conf)}
        return subprocess.run(
            words, env=environment, text=True, capture_output=True, timeout=PATIENCE
        ).stdout

    def node_of(self, job: str) -> str:
        return self.ask("squeue", "-h", "-j", job, "-o", "%N").strip()

    def is_whole(self) -> bool:
        return "n" in self.ask("sinfo", "-h", "-N", "-o", "%N") and not set(
            self.ask("sinfo", "-h", "-N", "-o", "%t").split()
        ) - {"idle", "mix", "alloc"}


@pytest.fixture(scope="module")
def labs(shared, tmp_path_factory):
    """labs(setting=…) -> a Slurm, started once."""
    script = shared / "tools/slurm-lab.sh"
    if not script.exists():
        _unavailable(f"no {script}")
    started: dict[tuple, Lab] = {}

    def lab(**settings) -> Lab:
        key = tuple(sorted(settings.items()))
        if key not in started:
            started[key] = Lab(script, tmp_path_factory.mktemp("lab") / "lab", **settings)
        return started[key]

    yield lab
    for one in started.values():
        one("stop", "--purge")


@pytest.fixture(scope="module")
def data(synth) -> Dataset:
    return synth(EPISODES, 24)


@pytest.fixture(scope="module")
def wanted(droidflow, data, tmp_path_factory):
    """What a run on one machine writes."""
    out = tmp_path_factory.mktemp("alone") / "out"
    droidflow("metadata", -1, 2, *data.inputs, "--out", out, code=DONE)
    return results(out)


class Gate:
    """An episode that is not done before the test lets it: its metadata is a pipe that nobody writes to."""

    def __init__(self, metadata: pathlib.Path):
        self.path, self.text, self.pipes = metadata, metadata.read_bytes(), []
        self.close()

    def close(self) -> None:
        """Whoever comes from now on waits, at a pipe of its own."""
        pipe = self.path.parent.parent / f"pipe-{self.path.stem}-{len(self.pipes)}"
        os.mkfifo(pipe)
        os.link(pipe, pipe.with_suffix(".named"))
        os.replace(pipe.with_suffix(".named"), self.path)
        self.pipes.append(pipe)

    def writer(self):
        """For the last pipe; None while nobody waits there."""
        try:
            return os.open(self.pipes[-1], os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    def is_reached(self) -> bool:
        writer = self.writer()
        if writer is None:
            return False
        self.waiting = [*getattr(self, "waiting", []), writer]  # closed, it would read an empty file
        return True

    def open(self) -> None:
        whole = self.path.with_suffix(".whole")
        whole.write_bytes(self.text)
        os.replace(whole, self.path)
        for writer in getattr(self, "waiting", []):
            with contextlib.suppress(BrokenPipeError):
                os.write(writer, self.text)
            os.close(writer)
        self.waiting = []


class Run:
    """One run on a lab."""

    def __init__(self, droidflow, lab: Lab, data: Dataset, folder: pathlib.Path):
        self.droidflow, self.lab, self.folder = droidflow, lab, folder
        self.run_dir, self.out, self.scratch = folder / "run", folder / "out", folder / "scratch"
        self.scratch.mkdir(exist_ok=True)
        self.data = Dataset(data.annotations, data.conf, folder / "raw")
        shutil.copytree(data.raw, self.data.raw)
        self.gates: list[Gate] = []
        self.more: dict[str, str] = {}  # environment

    def gate(self, episode: int = 0) -> Gate:
        """A gate before an episode, by its place in the run."""
        listed = self.droidflow.json("episodes", -1, *self.data.inputs[:4])["episodes"]
        (metadata,) = (self.data.raw / listed[episode]["path"]).glob("metadata_*.json")
        self.gates.append(Gate(metadata))
        return self.gates[-1]

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.lab.slurm_conf), **self.more}

    def __call__(self, verb: str, *flags, code: int | None = DONE, **options):
        return self.droidflow(
            "slurm", verb, "--run-dir", self.run_dir, *flags, code=code, env=self.environment, timeout=PATIENCE, **options
        )

    def submission(self, *flags, each: int = 2, command: str = "metadata", run_flags=()) -> list:
        return [
            *("--cpus", 1, "--mem", 200, "--episodes-per-task", each, "--scratch-dir", self.scratch, *flags, "--"),
            *(command, -1, *self.data.inputs, "--out", self.out, *run_flags),
        ]

    def submit(self, *flags, code: int = DONE, **more):
        return self("submit", "--json", *self.submission(*flags, **more), code=code)

    def status(self, code: int | None = None) -> dict:
        return json.loads(self("status", "--json", code=code).stdout)

    def is_over(self, attempt: int = 1) -> bool:
        return (self.run_dir / f"attempts/{attempt:04}/merge.json").exists()

    def wait(self, attempt: int = 1) -> dict:
        """What merging an attempt found."""
        try:
            wait_for("the merging", lambda: self.is_over(attempt))
        except BaseException:
            print(self("status", code=None).stdout, self("logs", code=None).stdout)
            raise
        return json.loads((self.run_dir / f"attempts/{attempt:04}/merge.json").read_text())

    def done(self, shard: int) -> dict:
        return json.loads((self.run_dir / f"shards/{shard:05}/done.json").read_text())

    def job(self, shard: int, attempt: int = 1) -> str:
        """The id of a shard's task in an attempt."""
        folder = self.run_dir / f"attempts/{attempt:04}"
        line = [int(text.split()[0]) for text in (folder / "shards.txt").read_text().splitlines()].index(shard)
        arrays = json.loads((folder / "submit.json").read_text())["arrays"]
        (array,) = [a for a in arrays if a["offset"] <= line < a["offset"] + a["count"]]
        return f"{array['job']}_{line - array['offset']}"

    def task_process(self, shard: int, attempt: int = 1) -> int:
        """The process that does a shard, not its workers."""
        array, _, task = self.job(shard, attempt).partition("_")
        marks = {f"SLURM_ARRAY_JOB_ID={array}".encode(), f"SLURM_ARRAY_TASK_ID={task}".encode()}
        parents = {}
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if str(self.run_dir).encode() in words and marks <= set((process / "environ").read_bytes().split(b"\0")):
                    parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        (root,) = [process for process, parent in parents.items() if parent not in parents]
        return root

    def check(self, wanted: dict) -> None:
        """Every episode once, whole, and as one machine makes it; and nothing that has no place here."""
        have = results(self.out)
        assert sorted(have) == sorted(wanted)
        assert [name for name in wanted if have[name] != wanted[name]] == []
        self.droidflow("verify", self.out, code=DONE)
        assert not (self.out / ".droidflow").exists()
        names = [p.name for folder in (self.out, self.run_dir) for p in folder.rglob("*")]
        assert [name for name in names if "sqlite" in name or ".tmp-" in name or name == "incoming"] == []
        assert list(self.scratch.iterdir()) == []


@pytest.fixture
def lab(labs) -> Lab:
    lab = labs(LAB_MAX_ARRAY=MAX_ARRAY)
    yield lab
    lab.ask("scancel", "--partition=main")
    wait_for("the lab to be empty", lambda: not lab.ask("squeue", "-h").strip())


@pytest.fixture
def run(droidflow, lab, data, tmp_path):
    run = Run(droidflow, lab, data, tmp_path)
    yield run
    for gate in run.gates:
        gate.open()


# --------------------------------------------------------------------------------- without anything


def test_parts_together_are_the_run(droidflow, data, wanted, tmp_path):
    out = tmp_path / "out"
    parts = [
        droidflow.start("metadata", -1, 1, *data.inputs, "--out", out, "--shard", f"{i}/3") for i in range(3)
    ]
    try:
        assert [part.wait(timeout=PATIENCE) for part in parts] == [DONE] * 3
    finally:
        for part in parts:
            stop_group(part)
    assert results(out) == wanted
    # What is finished already changes nothing: the part is the same, and there is nothing to do.
    plan = droidflow.json("metadata", -1, 1, *data.inputs, "--out", out, "--shard", "1/3", "--dry-run")
    assert (plan["selected"], plan["to_do"]) == (3, 0)


def test_documented_manifests_are_yaml():
    yaml = pytest.importorskip("yaml")
    text = (REPOSITORY / "docs/running.md").read_text()
    manifests = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    (job,) = [m for m in manifests if isinstance(m, dict) and m.get("kind") == "Job"]
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] >= spec["parallelism"] >= 1
    (container,) = spec["template"]["spec"]["containers"]
    words = " ".join([*container["command"], *container.get("args", [])])
    assert f"--shard $JOB_COMPLETION_INDEX/{spec['completions']}" in words


def test_refuses_what_it_cannot_do(droidflow, data, tmp_path):
    run_dir = tmp_path / "run"
    submit = ["slurm", "submit", "--run-dir", run_dir, "--dry-run", "--"]
    inputs = [*data.inputs, "--out", tmp_path / "out"]
    for words, said in [
        (["depth"], "metadata"),
        (["metadata", *inputs, "--shard", "0/2"], "--shard"),
        (["metadata", *inputs, "--run-dir", tmp_path], "--run-dir"),
        (["full", *inputs, "--batch-dir", tmp_path / "queue"], "--batch-dir"),
    ]:
        assert said in droidflow(*submit, *words, code=USAGE).stderr
    assert "no run" in droidflow("slurm", "status", "--run-dir", run_dir, code=10).stderr
    assert not run_dir.exists()


# ------------------------------------------------------------------------------------------ on Slurm


@needs_slurm
def test_run_in_several_arrays_is_that_of_one_machine(run, wanted):
    dry = json.loads(run("submit", "--dry-run", "--json", *run.submission(each=1)).stdout)
    assert (dry["tasks"], dry["arrays"]) == (EPISODES, 2)
    assert not run.run_dir.exists() and not run.out.exists()

    submitted = json.loads(run.submit("--gres", "gpu:1", each=1).stdout)
    assert len(submitted["arrays"]) == 2
    assert run.wait()["complete"]
    status = run.status(code=DONE)
    assert status["tasks"]["done"] == EPISODES and status["merged"]
    assert status["episodes"] == {"done": EPISODES, "quarantined": 0, "skipped": 0, "pending": 0}
    run.check(wanted)
    assert (run.run_dir / "timing.csv").read_text().count("\n") == EPISODES + 1
    # Each file as it was when it was finished.
    for shard in range(EPISODES):
        (item,) = run.done(shard)["items"]
        assert {f"{item['directory']}/{file['name']}" for file in item["files"]} <= set(wanted)
    page = run.run_dir.parent / "report.html"
    report = run.droidflow.json("report", run.run_dir, "-o", page, "--sheets", 0)
    assert (report["episodes"], report["notes"]) == (EPISODES, [])
    assert page.read_text().count('"path_m"') == 1

    # A task that Slurm starts once more has nothing to do.
    task = ["slurm", "task", "--run-dir", run.run_dir, "--attempt", 1, "--offset", MAX_ARRAY]
    again = {"SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "0"}
    assert "it is done already" in run.droidflow(*task, code=DONE, env=again).stderr
    assert run.done(MAX_ARRAY)["job"] == run.job(MAX_ARRAY)

    assert run.submit(each=1, code=BUSY)
    assert json.loads(run("resubmit", "--json").stdout)["tasks"] == 0


@needs_slurm
def test_depth_is_that_of_one_machine(droidflow, lab, synth, tmp_path):
    data = synth(2, 3, video="stereo")
    flags = ["--gpus", 0, *QUICK]
    droidflow("full", -1, *data.inputs, "--out", tmp_path / "alone", "--workers", 1, *flags, code=DONE, timeout=PATIENCE)
    run = Run(droidflow, lab, data, tmp_path)
    run.submit(each=1, command="full", run_flags=flags)
    assert run.wait()["complete"]
    assert any(name.endswith("depth.mkv") for name in results(run.out))
    run.check(results(tmp_path / "alone"))


@needs_slurm
def test_bucket_gives_what_a_folder_gives(run, bucket, wanted):
    """The tasks fetch what is theirs."""
    bucket.raw.rmdir()
    run.data.raw.rename(bucket.raw)
    run.data = Dataset(run.data.annotations, run.data.conf, ROOT)
    run.more = bucket.env
    run.submit(each=3)
    assert run.wait()["complete"]
    run.check(wanted)


@needs_slurm
def test_killed_node_costs_nothing(run, lab, wanted):
    gate = run.gate()
    run.submit()
    wait_for("the gate", gate.is_reached)
    node = lab.node_of(run.job(0))
    lab("kill-node", node)
    gate.open()
    try:
        assert run.wait()["complete"]
        assert run.done(0)["restarts"] == 1
        left = [p for p in run.scratch.iterdir()]
        for folder in left:  # of the node that lost its power
            shutil.rmtree(folder)
        run.check(wanted)
    finally:
        lab("start-node", node)
        wait_for("the node", lab.is_whole)


@needs_slurm
def test_shard_that_runs_twice_at_once_is_done_once(run, lab, wanted):
    gate = run.gate()
    run.submit()
    wait_for("the gate", gate.is_reached)
    node = lab.node_of(run.job(0))
    gate.close()
    lab("kill-slurmd", node)
    try:
        wait_for("the second of the two", gate.is_reached)
        gate.open()
        assert run.wait()["complete"]
        wait_for("both to end", lambda: not list(run.scratch.iterdir()))
        logs = [p.read_text() for p in (run.run_dir / "logs/0001").glob(f"{run.job(0)}.out")]
        assert "another process was first" in logs[0] and logs[0].count("2 done") == 2
        run.check(wanted)
    finally:
        lab("start-node", node)
        wait_for("the node", lab.is_whole)


@needs_slurm
def test_controller_may_be_away(run, lab, wanted):
    gate = run.gate()
    lab("stop-ctld")
    starter = threading.Thread(
        target=lambda: wait_for("submit", (run.run_dir / "attempts/0001/submit.json").exists) and lab("start-ctld")
    )
    starter.start()
    run.submit()
    starter.join()
    wait_for("the gate", gate.is_reached)
    wait_for("all but that", lambda: run.status()["tasks"]["done"] == EPISODES // 2 - 1)
    lab("stop-ctld")
    status = run.status(code=NO_SLURM)
    assert status["tasks"]["done"] == EPISODES // 2 - 1 and "squeue" in status["slurm"]
    gate.open()
    wait_for("the last", lambda: (run.run_dir / "shards/00000/done.json").exists())
    lab("start-ctld")
    assert run.wait()["complete"]
    run.check(wanted)


@needs_slurm
def test_failed_and_killed_tasks_are_done_by_resubmitting(run, wanted, small_disk):
    run.scratch = small_disk(1)
    (run.scratch / "full").write_bytes(bytes(900_000))
    run.submit("--max-parallel", 1)
    # Without room nobody can begin.
    assert not run.wait()["complete"]
    status = run.status(code=TROUBLE)
    assert status["tasks"]["failed"] == EPISODES // 2
    assert all("no space" in task["why"].lower() for task in status["in_trouble"]), status["in_trouble"]
    assert "no space" in run("logs", "--task", 1).stdout.lower()

    small_disk(64)
    (run.scratch / "full").unlink()
    gate = run.gate()
    again = json.loads(run("resubmit", "--json").stdout)
    assert (again["attempt"], again["tasks"]) == (2, EPISODES // 2)
    wait_for("the gate", gate.is_reached)
    os.kill(run.task_process(0, attempt=2), signal.SIGKILL)
    gate.open()
    assert run.wait(attempt=2)["missing"] == [0]
    (trouble,) = run.status(code=TROUBLE)["in_trouble"]
    assert (trouble["shard"], trouble["state"]) == (0, "lost") and trouble["why"]
    assert json.loads(run("resubmit", "--json").stdout)["tasks"] == 1
    assert run.wait(attempt=3)["complete"]
    run.check(wanted)


@needs_slurm
def test_quarantined_episode_is_not_tried_again_unless_asked_for(run, wanted):
    listed = run.droidflow.json("episodes", -1, *run.data.inputs[:4])["episodes"]
    trajectory = run.data.raw / listed[3]["path"] / "trajectory.h5"
    whole = trajectory.read_bytes()
    trajectory.write_bytes(whole[: len(whole) // 2])
    run.submit()
    assert run.wait()["complete"]
    assert run.status(code=TROUBLE)["episodes"]["quarantined"] == 1
    assert (run.run_dir / "failed_episodes.txt").read_text().strip() == listed[3]["uuid"]
    assert json.loads(run("resubmit", "--json").stdout)["tasks"] == 0
    trajectory.write_bytes(whole)
    assert json.loads(run("resubmit", "--include-bad", "--json").stdout)["tasks"] == 1
    assert run.wait(attempt=2)["complete"]
    run.status(code=DONE)
    run.check(wanted)

    # An episode that somebody removes is missed, and made again.
    gone = run.out / listed[0]["path"] / "tracks.npz"
    gone.unlink()
    run("merge", "--attempt", 2, code=65)
    (trouble,) = run.status(code=TROUBLE)["in_trouble"]
    assert trouble["shard"] == 0
    run("resubmit")
    assert run.wait(attempt=3)["complete"]
    run.check(wanted)


@needs_slurm
def test_forgotten_jobs_are_lost_and_found(droidflow, labs, data, wanted, tmp_path):
    lab = labs(LAB_MIN_JOB_AGE=2)
    run = Run(droidflow, lab, data, tmp_path)
    gate = run.gate(EPISODES - 1)
    last = EPISODES // 2 - 1
    run.submit()
    wait_for("the gate", gate.is_reached)
    os.kill(run.task_process(last), signal.SIGKILL)
    gate.open()
    assert run.wait()["missing"] == [last]
    array = run.job(last).partition("_")[0]
    wait_for("Slurm to forget", lambda: not lab.ask("squeue", "-h", "-t", "all", "-j", array).strip())
    status = run.status(code=TROUBLE)
    assert (status["tasks"]["done"], status["tasks"]["lost"]) == (last, 1)
    assert "does not know it any more" in status["in_trouble"][0]["why"]
    shutil.rmtree(next(run.scratch.iterdir()))  # the killed process's
    run("resubmit")
    assert run.wait(attempt=2)["complete"]
    run.check(wanted)


@needs_slurm
def test_cancelled_run_goes_on_when_it_is_submitted_again(run, lab, wanted):
    gate = run.gate()
    run.submit()
    wait_for("the gate", gate.is_reached)
    run("cancel")
    gate.open()
    wait_for("the end", lambda: not lab.ask("squeue", "-h").strip())
    assert not run.is_over()
    status = run.status(code=TROUBLE)
    assert status["tasks"]["running"] == status["tasks"]["waiting"] == 0
    run("resubmit")
    assert run.wait(attempt=2)["complete"]
    run.check(wanted)


@needs_slurm
def test_task_that_is_told_to_stop_finishes_its_episode_and_takes_another_turn(run, wanted):
    gate = run.gate()
    run.submit(each=EPISODES)
    wait_for("the gate", gate.is_reached)
    os.kill(run.task_process(0), signal.SIGTERM)  # as Slurm does some time before the limit
    gate.open()
    assert run.wait()["complete"]
    assert "it waits for another turn" in (run.run_dir / "logs/0001" / f"{run.job(0)}.out").read_text()
    assert run.done(0)["restarts"] == 1
    run.check(wanted)


@needs_slurm
@pytest.mark.skipif("DROIDFLOW_SLOW_TESTS" not in os.environ, reason="time limits are whole minutes")
def test_time_limit_costs_no_episode(run, wanted):
    gate = run.gate()
    run.submit("--time", 3, each=EPISODES)
    wait_for("the gate", gate.is_reached)
    log = run.run_dir / "logs/0001" / f"{run.job(0)}.out"
    # Told two minutes before, it drops after one the episode that is not done by then.
    wait_for("the limit", lambda: "it waits for another turn" in log.read_text(), 240)
    gate.open()
    assert run.wait()["complete"]
    run.check(wanted)


@needs_slurm
@pytest.mark.parametrize("flags", [[], ["--upload-task"]], ids=["merging", "meanwhile"])
def test_one_job_uploads(run, wanted, tmp_path, flags):
    hub = tmp_path / "hub"
    run.submit(*flags, run_flags=["--metadata-hub", f"file:{hub}", "--upload-interval", 0])
    assert run.wait()["complete"]
    wait_for("the uploading", lambda: not run.lab.ask("squeue", "-h").strip())
    uploaded = {k: v for k, v in results(hub).items() if k in wanted}
    assert uploaded == wanted
    assert sorted(results(run.out)) == []
    run.status(code=DONE)
    assert [p for p in run.run_dir.rglob("*.sqlite")] + [p for p in run.out.rglob("*.sqlite")] == []
