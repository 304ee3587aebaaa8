"""A browser to look at pages with: headless Chromium, spoken to over a pair of pipes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


class Browser:
    """One page of a browser that has nothing else to do. Leaves nothing behind."""

    PATIENCE_S = 300

    def __init__(self, program: str):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        # It reads file descriptor 3 and writes 4; ours must be neither.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (read_there, write_there)]
        start = 'exec "$@" 3<&{} 4>&{}'.format(*theirs)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={self.profile.name}"]
        self.process = subprocess.Popen(
            ["bash", "-c", start, "bash", program, *flags, "about:blank"],
            pass_fds=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (read_there, write_there, *theirs):
            os.close(fd)
        self.read_fd, self.write_fd = read_here, write_here
        self.received = b""
        self.number = 0
        self.session: dict = {}
        self.events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _next(self) -> dict:
        end = time.monotonic() + self.PATIENCE_S
        while b"\0" not in self.received:
            ready, _, _ = select.select([self.read_fd], [], [], max(end - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            part = os.read(self.read_fd, 1 << 20)
            assert part, "the browser is gone"
            self.received += part
        message, self.received = self.received.split(b"\0", 1)
        return json.loads(message)

    def call(self, method: str, **parameters) -> dict:
        self.number += 1
        text = {"id": self.number, "method": method, "params": parameters, **self.session}
        os.write(self.write_fd, json.dumps(text).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def run(self, script: str):
        """The value of an expression of JavaScript, of a promise when it is kept."""
        done = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def open(self, path: pathlib.Path, width: int = 1280, height: int = 900, dark: bool = False):
        """Loads a page, and waits until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def press(self, key: str, text: str = ""):
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, **typed)

    def complaints(self) -> list[dict]:
        """Exceptions, errors and warnings of the page so far."""
        self.run("0")
        bad = []
        for event in self.events:
            method, said = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                bad.append(said)
            elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning"):
                bad.append(said)
            elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
                bad.append(said)
        return bad

    def requests(self) -> list[str]:
        """Addresses that were asked for so far."""
        self.run("0")
        sent = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def picture(self, path: pathlib.Path, whole: bool = False) -> pathlib.Path:
        """A PNG of what is seen, or of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def close(self):
        try:
            self.session = {}
            self.call("Browser.close")
        except (AssertionError, OSError):
            pass
        os.close(self.write_fd)
        os.close(self.read_fd)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.profile.cleanup()
