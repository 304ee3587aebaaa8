"""A repository of the Hugging Face Hub, read by ranges; nothing but Python's own HTTP."""

from __future__ import annotations

import bisect
import http.client
import json
import os
import pathlib
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from typing import Any, NamedTuple

from .errors import BadFile, HubError, NotFound
from .place import Blob

_ATTEMPTS = 5
_TIMEOUT_S = 30.0
_AGAIN = {408, 429, 500, 502, 503, 504}
_SMALL_BYTES = 1 << 18  # such a file is read whole, by one request

wait = time.sleep


class _Answer(NamedTuple):
    status: int
    headers: Message
    url: str
    body: bytes


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To another origin the token does not go along."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        kept = {k: v for k, v in req.header_items() if k != "Authorization"}
        if _origin(newurl) == _origin(req.full_url) and req.has_header("Authorization"):
            kept["Authorization"] = req.get_header("Authorization")
        return urllib.request.Request(newurl, headers=kept)

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


_opener = urllib.request.build_opener(_Redirects)


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


def _token() -> str | None:
    """As Hugging Face's own client looks for it."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := os.environ.get(name, "").strip():
            return token
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", f"{cache}/huggingface")
    path = pathlib.Path(os.environ.get("HF_TOKEN_PATH", f"{home}/token")).expanduser()
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


class Hub:
    """hf://datasets/NAMESPACE/NAME[@REVISION], as it is when opened.

    The token is looked for at each request: it is in no pickle.
    """

    def __init__(self, url: str):
        if not (match := re.fullmatch(r"hf://(datasets|models)/([^/@]+/[^/@]+)(?:@(.+))?", url)):
            raise NotFound(url, "hf://datasets/NAMESPACE/NAME[@REVISION]", "another form")
        kind, repo, revision = match.groups()
        self.name = url
        self._endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        self._api = f"{self._endpoint}/api/{kind}/{repo}"
        self._direct: dict[str, str] = {}  # path -> where its bytes were last
        # Pages of a list are of one state only where they are of a commit.
        asked = urllib.parse.quote(revision or "main", safe="")
        self.commit = json.loads(self._get(f"{self._api}/revision/{asked}").body)["sha"]
        files = f"{self._endpoint}/{'datasets/' if kind == 'datasets' else ''}{repo}"
        self._files = f"{files}/resolve/{self.commit}/"
        self._sizes = self._list()
        self._paths = sorted(self._sizes)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_direct": {}}

    def glob(self, pattern: str) -> list[str]:
        form = re.compile(re.escape(pattern).replace(r"\*", "[^/]*"))
        return [path for path in self._paths if form.fullmatch(path)]

    def names(self, folder: str) -> list[str]:
        begin = bisect.bisect(self._paths, f"{folder}/")
        end = bisect.bisect(self._paths, f"{folder}0")  # the character after the slash
        return [path[len(folder) + 1 :] for path in self._paths[begin:end]]

    def blob(self, path: str, offset: int = 0, size: int | None = None) -> Blob:
        if path not in self._sizes:
            raise NotFound(f"{self.name}/{path}", "a file", "none")
        here = self._sizes[path]
        size = here - offset if size is None else size
        if offset + size > here:
            raise BadFile(f"{self.name}/{path}", f"{offset + size} bytes", f"{here}")
        return HubBlob(self, path, offset, size)

    def range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes start … stop - 1 of a file."""
        if start == stop:
            return b""
        url = self._files + urllib.parse.quote(path)
        asked = {"Range": f"bytes={start}-{stop - 1}"}
        answer = None
        if direct := self._direct.pop(path, None):  # such addresses expire
            try:
                answer = self._get(direct, asked)
            except (HubError, NotFound):
                pass
        answer = answer or self._get(url, asked)
        if _origin(answer.url) != _origin(self._endpoint):
            self._direct[path] = answer.url
        body = answer.body if answer.status == 206 else answer.body[start:stop]
        if len(body) != stop - start:
            raise HubError(url, f"{stop - start} bytes", f"{len(body)}")
        return body

    def _list(self) -> dict[str, int]:
        """path -> bytes, of all files"""
        url: str | None = f"{self._api}/tree/{self.commit}?recursive=true&expand=false"
        sizes, seen = {}, set()
        while url is not None:
            if url in seen or _origin(url) != _origin(self._endpoint):
                raise HubError(
                    self._api, "the next page of a list", "a page seen before or elsewhere"
                )
            seen.add(url)
            answer = self._get(url)
            for entry in json.loads(answer.body):
                if entry["type"] == "file":
                    sizes[entry["path"]] = int(entry["size"])
            link = re.search(r'<([^>]*)>\s*;\s*rel="?next"?', answer.headers.get("Link", ""))
            url = link[1] if link else None
        return sizes

    def _get(self, url: str, headers: dict[str, str] | None = None) -> _Answer:
        shown = url.partition("?")[0]  # what follows may be a secret
        sent = {"User-Agent": "droidflow", **(headers or {})}
        if _origin(url) == _origin(self._endpoint) and (token := _token()):
            sent["Authorization"] = f"Bearer {token}"
        for attempt in range(_ATTEMPTS):
            pause_s = 2.0**attempt
            try:
                request = urllib.request.Request(url, headers=sent)
                with _opener.open(request, timeout=_TIMEOUT_S) as reply:
                    return _Answer(reply.status, reply.headers, reply.url, reply.read())
            except urllib.error.HTTPError as error:
                problem = f"status {error.code}"
                if error.code not in _AGAIN:
                    if error.code == 404:
                        raise NotFound(shown, "an answer", problem) from None
                    raise HubError(shown, "an answer", problem) from None
                after = error.headers.get("Retry-After", "")
                pause_s = float(after) + 1 if after.isdigit() else pause_s
            except (OSError, http.client.HTTPException) as error:
                problem = str(error) or type(error).__name__
            if attempt + 1 < _ATTEMPTS:
                wait(pause_s)
        raise HubError(shown, "an answer", f"{problem}, {_ATTEMPTS} times")


class HubBlob:
    """Part of a file in a repository."""

    mapped = False

    def __init__(self, hub: Hub, path: str, offset: int, size: int):
        self.name, self.size = f"{hub.name}/{path}", size
        self._hub, self._path, self._offset = hub, path, offset
        self._whole: bytes | None = None

    def read(self, start: int, stop: int) -> memoryview:
        stop = min(stop, self.size)
        if self.size > _SMALL_BYTES:
            return memoryview(self._range(start, stop))
        if self._whole is None:
            self._whole = self._range(0, self.size)
        return memoryview(self._whole)[start:stop]

    def _range(self, start: int, stop: int) -> bytes:
        return self._hub.range(self._path, self._offset + start, self._offset + stop)
