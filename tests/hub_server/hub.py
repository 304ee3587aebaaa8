"""The Hub's two origins: the API with its git side, and the storage of presigned URLs."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import math
import pathlib
import re
import secrets
import threading
import time
import urllib.parse

from . import repository
from .faults import Faults
from .repository import Blob, Entry, Refusal, Repository
from .wire import Body, Dropped, Request, Response, Server

USER = "tester"
LFS_JSON = {"Content-Type": "application/vnd.git-lfs+json"}


@dataclasses.dataclass
class Options:
    """What may be changed while the server runs."""

    delay_ms: float = 0
    page_size: int = 1000
    multipart_over: int = 64 << 20  # bytes: larger objects go in parts, if the client can
    part_size: int = 16 << 20
    expires_s: float = 900
    verify: bool = True  # offer the verify action
    check_digest: bool = True  # storage compares what comes with what was announced
    resolve_cache: bool = True  # regular files by way of a redirect on the same origin
    folder_limit: int = 10_000
    quota: int = 1_000_000  # requests per window
    window_s: int = 300
    orgs: str = "lab"  # the user's, by commas


@dataclasses.dataclass
class Upload:
    """A multipart upload."""

    repo: Repository
    oid: str
    blob: Blob
    parts: int
    etags: dict[int, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Ticket:
    """What a presigned URL allows."""

    method: str
    repo: Repository
    oid: str
    size: int
    deadline: float
    upload: Upload | None = None
    part: int = 0
    offset: int = 0


def _json(value, status: int = 200, headers: dict | None = None) -> Response:
    headers = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Response(status, headers, json.dumps(value))


def _xml(status: int, code: str, message: str) -> Response:
    body = f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response(status, {"Content-Type": "application/xml"}, body)


class Hub:
    """Thread  any: every connection has its own."""

    def __init__(self, host: str, port: int, storage_host: str, storage_port: int, folder, options):
        self.options = options
        self.folder = pathlib.Path(folder) if folder else None
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.tokens = {"hf_test": "write"}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.moved: dict[tuple[str, str], str] = {}
        self.tickets: dict[str, Ticket] = {}
        self.uploads: dict[str, Upload] = {}
        self.faults = Faults()
        self.requests: list[dict] = []
        self.violations: list[str] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._window = (0.0, 0)
        self.storage = Server(storage_host, storage_port, lambda r: self._answer("storage", r))
        self.storage_url = f"http://{storage_host}:{self.storage.port}"
        self.api = Server(host, port, self._hub_or_control)
        self.url = f"http://{host}:{self.api.port}"

    def stop(self) -> None:
        self.api.stop()
        self.storage.stop()

    # --------------------------------------------------------------------------- around each answer

    def _hub_or_control(self, request: Request) -> Response:
        if request.raw_path.startswith("/__control__/"):
            return self._control(request)
        return self._answer("hub", request)

    def _answer(self, origin: str, request: Request) -> Response:
        number = next(self._numbers)
        record = {
            "number": number,
            "at": time.monotonic(),
            "origin": origin,
            "method": request.method,
            "path": urllib.parse.unquote(request.target),
            "status": None,  # none was sent (yet)
            "length": request.length,
            "authorization": "authorization" in request.headers,
            "user_agent": request.headers.get("user-agent", ""),
            "expect": request.headers.get("expect", ""),
            "chunked": request.chunked,
            "fault": None,
        }
        self.requests.append(record)
        if self.options.delay_ms:
            time.sleep(self.options.delay_ms / 1000)
        try:
            rule = self.faults.take(origin, request)
            fault = request.fault = rule.action if rule else {}
            record["fault"] = fault or None
            while fault.get("gate") and self.faults.active(rule):
                if request.connection.server.stopping.wait(0.01):
                    raise Dropped("the server stops")
            response = self._with_fault(origin, request, fault)
            record["status"] = response.status
        except Dropped as why:
            record["dropped"] = str(why)
            raise
        finally:
            record["received"] = request.received
            record["ended"] = time.monotonic()
        if origin == "hub":
            for name, value in self._rate_headers().items():
                response.headers.setdefault(name, value)
            response.headers.setdefault("X-Request-Id", f"Root=1-{number:08x}")
        return response

    def _with_fault(self, origin: str, request: Request, fault: dict) -> Response:
        stopping = request.connection.server.stopping
        if "delay" in fault:
            stopping.wait(fault["delay"])
        if "sip" in fault:
            request.sip = fault["sip"]
        if isinstance(fault.get("drop"), int):
            for _ in request.pieces():
                if request.received >= fault["drop"]:
                    break
            raise Dropped(f"fault, having read {request.received} bytes")
        late = fault.get("when") == "after"
        if fault.get("drop") == "before":
            raise Dropped("fault, before the work")
        self.do(fault)
        if not late:
            if fault.get("hang"):
                request.drain()
                request.connection.wait_for_end()
            if (told := self._told(fault)) is not None:
                return told
        try:
            response = (self._route if origin == "hub" else self._store)(request)
        except Refusal as refusal:
            response = self._refused(refusal)
        except (KeyError, TypeError, ValueError) as error:
            response = self._refused(Refusal(400, f"bad request: {type(error).__name__}: {error}"))
        if fault.get("drop") == "after":
            raise Dropped("fault, after the work")
        if late:
            if fault.get("hang"):
                request.connection.wait_for_end()
            if (told := self._told(fault)) is not None:
                response = told
        response.bytes_per_s = fault.get("drip")
        return response

    @staticmethod
    def _told(fault: dict) -> Response | None:
        if fault.get("expired"):
            return _xml(403, "AccessDenied", "Request has expired")
        if "status" in fault:
            return Response(fault["status"], dict(fault.get("headers", {})), fault.get("body", ""))
        return None

    @staticmethod
    def _refused(refusal: Refusal) -> Response:
        headers = {
            "X-Error-Message": refusal.message.partition("\n")[0]
            .encode("ascii", "replace")
            .decode()
        }
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        return _json({"error": refusal.message, **refusal.more}, refusal.status, headers)

    def _rate_headers(self) -> dict:
        start, used = self._window
        now = time.monotonic()
        if not start or now - start >= self.options.window_s:
            start, used = now, 0
        self._window = (start, used + 1)
        left = max(0, self.options.quota - used - 1)
        quota, window = self.options.quota, self.options.window_s
        return {
            "RateLimit": f'"api";r={left};t={math.ceil(start + window - now)}',
            "RateLimit-Policy": f'"fixed window";"api";q={quota};w={window}',
        }

    def violation(self, what: str) -> None:
        self.violations.append(what)

    # ----------------------------------------------------------------------- what happens on demand

    def do(self, what: dict) -> None:
        """revoke: a token, or true for all; repo: {"name", "kind"?, and one of "delete", "rename":
        to, "read_only", "disabled", "recreate", "delete_branch": name, "attributes": text,
        "gitignore": text}; collect: true: uncommitted large objects are forgotten."""
        if revoked := what.get("revoke"):
            for token in list(self.tokens) if revoked is True else [revoked]:
                self.tokens.pop(token, None)
        if change := what.get("repo"):
            self._change(change)
        if what.get("collect"):
            for repo in self.repositories.values():
                repo.collect_garbage()

    def _change(self, change: dict) -> None:
        key = (change.get("kind", "dataset"), change["name"])
        repo = self.repositories[key]
        if change.get("delete") or change.get("recreate"):
            del self.repositories[key]
            if change.get("recreate"):
                attributes = repository.DEFAULT_ATTRIBUTES
                self.repositories[key] = Repository(*key, repo.private, attributes, USER)
        elif "rename" in change:
            self._move(key, change["rename"])
        elif "delete_branch" in change:
            del repo.refs[change["delete_branch"]]
        elif "attributes" in change or "gitignore" in change:
            name = ".gitattributes" if "attributes" in change else ".gitignore"
            text = change.get("attributes", change.get("gitignore"))
            self.commit_as_somebody(repo, "main", name, text)
        else:
            repo.read_only = change.get("read_only", repo.read_only)
            repo.disabled = change.get("disabled", repo.disabled)

    def _move(self, key: tuple[str, str], to: str) -> None:
        repo = self.repositories.pop(key)
        repo.name = to
        self.repositories[key[0], to] = repo
        self.moved[key] = to

    def commit_as_somebody(self, repo: Repository, ref: str, path: str, content: str) -> None:
        lines = [
            {"key": "header", "value": {"summary": f"somebody else: {path}"}},
            {"key": "file", "value": {"path": path, "content": content, "encoding": "utf-8"}},
        ]
        body = "\n".join(map(json.dumps, lines)).encode()
        repo.commit(ref, body, "somebody", self.options.folder_limit)

    # ------------------------------------------------------------------------------ who may do what

    def _user(self, request: Request) -> str | None:
        """The token's role; none: anonymous."""
        if "authorization" not in request.headers:
            return None
        role = self.tokens.get(request.bearer() or "")
        if role is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return role

    def _writer(self, request: Request) -> None:
        role = self._user(request)
        if role is None:
            raise Refusal(401, "Invalid username or password.")
        if role != "write":
            raise Refusal(403, "Forbidden: this token has no write permission")

    def _repository(
        self, request: Request, kind: str, name: str, write: bool = False
    ) -> Repository:
        role = self._user(request)
        repo = self.repositories.get((kind, name))
        if repo is None or (repo.private and role is None):
            hidden = role is None
            message = "Invalid username or password." if hidden else "Repository not found"
            raise Refusal(401 if hidden else 404, message, "RepoNotFound")
        if repo.disabled:
            raise Refusal(403, "Access to this resource is disabled.")
        if write:
            self._writer(request)
            if repo.read_only:
                raise Refusal(403, "Forbidden: you have no write access to this repository")
        return repo

    # --------------------------------------------------------------------------------------- routes

    def _route(self, request: Request) -> Response:
        if (
            self.options.quota <= self._window[1]
            and time.monotonic() - self._window[0] < self.options.window_s
        ):
            raise Refusal(429, "We had to rate limit you. Please wait.")
        match request.segments():
            case ["api", "whoami-v2"]:
                return self._whoami(request)
            case ["api", "validate-yaml"]:
                return _json({"errors": [], "warnings": []})
            case ["api", "repos", verb]:
                return self._repos(request, verb)
            case ["api", "complete_multipart"]:
                return self._complete(request)
            case ["api", "resolve-cache", kinds, space, name, revision, *path]:
                repo = self._repository(request, kinds.removesuffix("s"), f"{space}/{name}")
                return self._file(request, repo, repo.resolve(revision), "/".join(path))
            case ["api", "datasets" | "models" as kinds, space, name, *rest]:
                kind, at = kinds[:-1], 2
            case ["datasets", space, name, *rest]:
                kind, at = "dataset", 1
            case [space, name, *rest] if space != "api":
                kind, at = "model", 0
            case _:
                raise Refusal(404, f"no such page: {request.raw_path}")
        git = name.endswith(".git") and rest[:2] == ["info", "lfs"]
        full = f"{space}/{name.removesuffix('.git') if git else name}"
        if to := self.moved.get((kind, full)):
            path, mark, query = request.target.partition("?")
            parts = path.split("/")
            parts[at + 1 : at + 3] = [to + ".git" if git else to]
            return Response(307, {"Location": "/".join(parts) + mark + query})
        if git:
            return self._lfs(request, self._repository(request, kind, full, True), rest[-1])
        if rest[:1] == ["resolve"]:
            return self._resolve(request, self._repository(request, kind, full), rest[1:])
        if at != 2:
            raise Refusal(404, f"no such page: {request.raw_path}")
        return self._repo_api(request, kind, full, rest)

    def _whoami(self, request: Request) -> Response:
        role = self._user(request)
        if role is None:
            raise Refusal(401, "Invalid username or password.")
        orgs = [{"type": "org", "name": org} for org in self.options.orgs.split(",") if org]
        token = {"displayName": "stand-in", "role": role}
        auth = {"type": "access_token", "accessToken": token}
        return _json(
            {"type": "user", "id": "1", "name": USER, "fullname": USER, "orgs": orgs, "auth": auth}
        )

    def _repos(self, request: Request, verb: str) -> Response:
        self._writer(request)
        asked = request.json()
        kind = asked.get("type") or "model"
        if verb == "move":
            key, to = (kind, asked["fromRepo"]), asked["toRepo"]
            self._repository(request, *key, True)
            self._move(key, to)
            return _json({})
        space, name = asked.get("organization") or USER, asked["name"]
        key = (kind, f"{space}/{name}")
        if space not in (USER, *self.options.orgs.split(",")):
            raise Refusal(
                403, f"You don't have the rights to create a {kind} under the namespace {space}"
            )
        if request.method == "DELETE" and verb == "delete":
            self._repository(request, *key, True)
            del self.repositories[key]
            return _json({})
        if verb != "create" or request.method != "POST":
            raise Refusal(404, f"no such page: {request.raw_path}")
        if len(name) > 96 or not re.fullmatch(
            r"(?!.*(--|\.\.))\w(?:[\w.-]*\w)?(?<!\.git)", name, re.ASCII
        ):
            raise Refusal(400, f"Invalid repo name: {name}")
        files = {file["path"]: base64.b64decode(file["content"]) for file in asked.get("files", [])}
        attributes = files.pop(".gitattributes", repository.DEFAULT_ATTRIBUTES.encode()).decode()
        private = asked.get("visibility") == "private" or asked.get("private") is True
        with self._lock:
            if key in self.repositories:
                url = self.url + self._prefix(self.repositories[key])
                raise Refusal(409, f"You already created this {kind} repo: {key[1]}", url=url)
            self.moved.pop(key, None)
            repo = self.repositories[key] = Repository(*key, private, attributes, USER)
            for path, data in files.items():
                repo.resolve("main").tree.put(path, repository.regular(data))
        return _json({"url": self.url + self._prefix(repo), "name": repo.name, "id": repo.name})

    @staticmethod
    def _prefix(repo: Repository) -> str:
        return f"/{'datasets/' if repo.kind == 'dataset' else ''}{repo.name}"

    def _repo_api(self, request: Request, kind: str, name: str, rest: list[str]) -> Response:
        get, post = request.method == "GET", request.method == "POST"

        def repo(write: bool = False) -> Repository:
            return self._repository(request, kind, name, write)

        match rest:
            case [] if get:
                return self._info(request, repo(), "main")
            case ["revision", revision] if get:
                return self._info(request, repo(), revision)
            case ["tree", revision, *path] if get:
                return self._tree(request, repo(), revision, "/".join(path))
            case ["commits", revision] if get:
                rows = [commit.told() for commit in repo().history(revision)]
                return self._page(request, rows, self.options.page_size)
            case ["refs"] if get:
                return self._refs(repo())
            case ["paths-info", revision] if post:
                return self._paths_info(request, repo(), revision)
            case ["preupload", revision] if post:
                return self._preupload(request, repo(True), revision)
            case ["commit", revision] if post:
                return self._commit(request, repo(True), revision)
            case ["branch", branch] if post:
                asked = request.json() or {}
                repo(True).branch(branch, asked.get("startingPoint", "main"))
                return _json({})
            case ["branch", branch] if request.method == "DELETE":
                if repo(True).refs.pop(branch, None) is None:
                    raise Refusal(404, f"no such branch: {branch}", "RevisionNotFound")
                return _json({})
            case ["super-squash", branch] if post:
                repo(True).squash(branch, request.json()["message"], USER)
                return _json({})
            case ["settings"] if request.method == "PUT":
                changed, asked = repo(True), request.json()
                changed.gated = asked.get("gated", changed.gated)
                private = (
                    asked.get("visibility", "private" if changed.private else "public") == "private"
                )
                changed.private = asked.get("private", private)
                return _json({"private": changed.private, "gated": changed.gated})
            case ["discussions"] if post:
                return _json({"num": repo().pull_request(request.json()["title"], USER)})
            case ["discussions", number] if get:
                return self._discussion(repo(), int(number))
        raise Refusal(404, f"no such page: {request.method} {request.raw_path}")

    # -------------------------------------------------------------------------------------- reading

    def _info(self, request: Request, repo: Repository, revision: str) -> Response:
        commit = repo.resolve(revision)
        blobs = request.query.get("blobs", "").lower() in ("1", "true")
        siblings = [
            {"rfilename": path} | ({**entry.listed(path), "blobId": entry.oid} if blobs else {})
            for path, entry in commit.tree.files.items()
        ]
        told = {
            "_id": repo.name,
            "id": repo.name,
            "author": repo.name.partition("/")[0],
            "sha": commit.oid,
            "lastModified": commit.date,
            "createdAt": repo.history()[-1].date,
            "private": repo.private,
            "gated": repo.gated,
            "disabled": repo.disabled,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "usedStorage": sum(blob.size for blob in list(repo.objects.values())),
            "siblings": siblings,
        }
        asked = {
            v for k, v in urllib.parse.parse_qsl(request.target.partition("?")[2]) if "expand" in k
        }
        if asked:
            told = {k: v for k, v in told.items() if k in asked | {"_id", "id"}}
        return _json(told)

    def _page(self, request: Request, rows: list, limit: int) -> Response:
        limit = max(1, min(limit, int(request.query.get("limit", limit))))
        start = int(base64.urlsafe_b64decode(request.query.get("cursor", "")) or 0)
        headers = {}
        link = request.fault.get("link")
        if link == "loop" or start + limit < len(rows):
            following = start if link == "loop" else start + limit
            cursor = base64.urlsafe_b64encode(str(following).encode()).decode()
            query = urllib.parse.urlencode({**request.query, "limit": limit, "cursor": cursor})
            origin = self.storage_url if link == "foreign" else self.url
            rel = "next" if link == "bare" else '"next"'
            name = "link" if link == "lower" else "Link"
            headers[name] = f"<{origin}{request.raw_path}?{query}>; rel={rel}"
        return _json(rows[start : start + limit], headers=headers)

    def _tree(self, request: Request, repo: Repository, revision: str, path: str) -> Response:
        tree = repo.resolve(revision).tree
        path = path.strip("/")
        if path not in tree.folders:
            raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound")
        truth = ("1", "true")
        rows = tree.below(path, request.query.get("recursive", "").lower() in truth)
        expand = request.query.get("expand", "").lower() in truth
        return self._page(
            request, rows, min(50, self.options.page_size) if expand else self.options.page_size
        )

    def _paths_info(self, request: Request, repo: Repository, revision: str) -> Response:
        body = request.read()
        if "json" in request.headers.get("content-type", ""):
            paths = json.loads(body)["paths"]
        else:
            paths = urllib.parse.parse_qs(body.decode()).get("paths", [])
        if len(paths) > 1000:
            raise Refusal(413, "too many parameters")
        tree = repo.resolve(revision).tree
        rows = [tree.files[path].listed(path) for path in paths if path in tree.files]
        rows += [tree.listing[path] for path in paths if path and path in tree.folders]
        return _json(rows)

    def _refs(self, repo: Repository) -> Response:
        told: dict[str, list] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
        for name, oid in repo.refs.items():
            pull = name.startswith("refs/pr/")
            ref = name if pull else f"refs/heads/{name}"
            told["pullRequests" if pull else "branches"].append(
                {"name": name, "ref": ref, "targetCommit": oid}
            )
        return _json(told)

    def _discussion(self, repo: Repository, number: int) -> Response:
        if not 0 < number <= len(repo.discussions):
            raise Refusal(404, f"no discussion {number}")
        return _json(
            {
                "title": repo.discussions[number - 1]["title"],
                "num": number,
                "author": {"name": USER},
                "createdAt": repo.history()[-1].date,
                "status": "open",
                "repo": {"name": repo.name, "type": repo.kind},
                "isPullRequest": True,
                "events": [],
                "filesWithConflicts": [],
                "changes": {"base": "refs/heads/main"},
            }
        )

    def _resolve(self, request: Request, repo: Repository, rest: list[str]) -> Response:
        revision = rest.pop(0)
        if revision == "refs" and len(rest) > 2:  # refs/pr/1 with its slashes as they are
            revision = "/".join(["refs", rest.pop(0), rest.pop(0)])
        commit, path = repo.resolve(revision), "/".join(rest)
        entry = commit.tree.files.get(path)
        if entry is None or entry.sha256 or not self.options.resolve_cache:
            return self._file(request, repo, commit, path)
        target = f"{repo.kind}s/{repo.name}/{commit.oid}/{urllib.parse.quote(path)}"
        headers = self._file_headers(commit.oid, entry)
        return Response(307, {**headers, "Location": f"/api/resolve-cache/{target}"})

    @staticmethod
    def _file_headers(commit: str, entry: Entry) -> dict:
        return {
            "X-Repo-Commit": commit,
            "X-Linked-Etag": f'"{entry.sha256 or entry.oid}"',
            "X-Linked-Size": str(entry.size),
        }

    def _file(self, request: Request, repo: Repository, commit, path: str) -> Response:
        entry = commit.tree.files.get(path)
        if entry is None:
            refused = self._refused(Refusal(404, "Entry not found", "EntryNotFound"))
            refused.headers["X-Repo-Commit"] = commit.oid
            return refused
        headers = self._file_headers(commit.oid, entry)
        if entry.sha256:
            ticket = Ticket("GET", repo, entry.sha256, entry.size, self._deadline())
            return Response(302, {**headers, "Location": self._presign(ticket)})
        headers["ETag"] = f'"{entry.oid}"'
        return self._ranged(request, Body(entry.data), headers)

    @staticmethod
    def _ranged(request: Request, whole: Body, headers: dict) -> Response:
        headers = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if not asked or not any(asked.groups()):
            return Response(200, headers, whole)
        first, last = asked.groups()
        start = int(first) if first else max(0, whole.size - int(last))
        end = min(int(last) + 1, whole.size) if first and last else whole.size
        if start >= end:
            return Response(416, {"Content-Range": f"bytes */{whole.size}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{whole.size}"
        return Response(206, headers, Body(whole.data, whole.path, start, end - start))

    # -------------------------------------------------------------------------------------- writing

    def _preupload(self, request: Request, repo: Repository, revision: str) -> Response:
        asked = request.json()
        files = asked["files"]
        if len(files) > 256:
            raise Refusal(413, f"at most 256 files, not {len(files)}")
        tree = repo.resolve(revision).tree
        attributes = asked.get("gitAttributes", tree.text(".gitattributes"))
        ignore = asked.get("gitIgnore", tree.text(".gitignore"))
        told = []
        for number, file in enumerate(files):
            if not isinstance(file.get("sample"), str):
                message = "Invalid input: expected string, received undefined"
                raise Refusal(400, f"{message}\n  at files[{number}].sample")
            path, size = repository.check_path(file["path"]), file["size"]
            binary = repository.looks_binary(base64.b64decode(file["sample"]))
            limit = repository.BINARY_LIMIT if binary else repository.REGULAR_LIMIT
            lfs = size > limit or repository.covered_by_lfs(attributes, path)
            row = {
                "path": path,
                "uploadMode": "lfs" if lfs else "regular",
                "shouldIgnore": repository.ignored(ignore, path),
            }
            if entry := tree.files.get(path):
                row["oid"] = entry.sha256 or entry.oid
            told.append(row)
        change = request.fault.get("preupload", {})
        for row in told:
            row["shouldIgnore"] |= bool(
                "ignore" in change and re.search(change["ignore"], row["path"])
            )
            for pattern, mode in change.get("mode", {}).items():
                if re.search(pattern, row["path"]):
                    row["uploadMode"] = mode
        if "leave_out" in change:
            told = [row for row in told if not re.search(change["leave_out"], row["path"])]
        return _json({"files": told[::-1] if change.get("reverse") else told})

    def _commit(self, request: Request, repo: Repository, revision: str) -> Response:
        body, told = request.read(), {}
        if race := request.fault.get("race"):
            self.commit_as_somebody(repo, revision, race["path"], race["content"])
        if request.query.get("create_pr") in ("1", "true"):
            header, _ = repository.parse_commit(body)
            number = repo.pull_request(header["summary"], USER)
            revision = f"refs/pr/{number}"
            told["pullRequestUrl"] = f"{self.url}{self._prefix(repo)}/discussions/{number}"
        commit = repo.commit(
            revision.removeprefix("refs/heads/"), body, USER, self.options.folder_limit
        )
        url = f"{self.url}{self._prefix(repo)}/commit/{commit.oid}"
        return _json(
            {"success": True, "commitOid": commit.oid, "commitUrl": url, "hookOutput": "", **told}
        )

    # ------------------------------------------------------------------------------------------ LFS

    def _deadline(self) -> float:
        return time.monotonic() + self.options.expires_s

    def _presign(self, ticket: Ticket) -> str:
        signature = secrets.token_hex(16)
        self.tickets[signature] = ticket
        part = f"partNumber={ticket.part}&" if ticket.part else ""
        expires = f"X-Amz-Expires={self.options.expires_s:g}"
        path = f"{ticket.repo.kind}s/{ticket.repo.name}/{ticket.oid}"
        return f"{self.storage_url}/{path}?{part}{expires}&X-Amz-Signature={signature}"

    def _lfs(self, request: Request, repo: Repository, verb: str) -> Response:
        asked = request.json()
        if verb == "verify":
            if not repo.has_object(asked["oid"], asked["size"]):
                raise Refusal(
                    404, f"object {asked['oid']} with {asked['size']} bytes does not exist"
                )
            return _json({"success": True})
        if asked.get("hash_algo", "sha256") not in ("sha256", "sha_256"):
            raise Refusal(409, f"unsupported hash_algo {asked['hash_algo']}")
        if asked["operation"] != "upload":
            raise Refusal(422, f"unsupported operation {asked['operation']}")
        if len(asked["objects"]) > 256:
            raise Refusal(413, f"at most 256 objects, not {len(asked['objects'])}")
        if ref := asked.get("ref", {}).get("name"):
            repo.resolve(ref)
        multipart = "multipart" in asked.get("transfers", [])
        objects = [self._batch_object(request, repo, item, multipart) for item in asked["objects"]]
        parts = any(
            "chunk_size" in o.get("actions", {}).get("upload", {}).get("header", {})
            for o in objects
        )
        told = {"transfer": "multipart" if parts else "basic", "objects": objects}
        return _json(told, headers=LFS_JSON)

    def _batch_object(
        self, request: Request, repo: Repository, item: dict, multipart: bool
    ) -> dict:
        oid, size = item["oid"], item["size"]
        told = {"oid": oid, "size": size, "authenticated": True}
        error = request.fault.get("batch_error")
        if error and error.get("oid", oid) == oid:
            return {**told, "error": {"code": error["code"], "message": error["message"]}}
        if not re.fullmatch("[0-9a-f]{64}", oid):
            return {**told, "error": {"code": 422, "message": f"not a sha256: {oid}"}}
        if repo.has_object(oid, size):
            return told
        if multipart and size > self.options.multipart_over:
            upload = self._multipart(request, repo, oid, size)
        else:
            href = self._presign(Ticket("PUT", repo, oid, size, self._deadline()))
            upload = {"href": href, "expires_in": int(self.options.expires_s)}
        told["actions"] = {"upload": upload}
        if self.options.verify:
            verify = f"{self.url}{self._prefix(repo)}.git/info/lfs/objects/verify"
            told["actions"]["verify"] = {"href": verify}
        return told

    def _multipart(self, request: Request, repo: Repository, oid: str, size: int) -> dict:
        step = self.options.part_size
        count = math.ceil(size / step)
        upload = Upload(repo, oid, Blob(size, self.folder), count)
        key = secrets.token_hex(16)
        self.uploads[key] = upload
        header = {"chunk_size": str(step)}
        for part in range(1, count + 1 + request.fault.get("parts", 0)):
            offset = (part - 1) * step
            length = min(step, max(0, size - offset))
            ticket = Ticket("PUT", repo, oid, length, self._deadline(), upload, part, offset)
            header[f"{part:05}"] = self._presign(ticket)
        return {"href": f"{self.url}/api/complete_multipart?uploadId={key}", "header": header}

    def _complete(self, request: Request) -> Response:
        upload = self.uploads.get(request.query.get("uploadId", ""))
        asked = request.json()
        if upload is None or asked["oid"] != upload.oid:
            raise Refusal(404, "no such upload")
        parts = [(part["partNumber"], part["etag"]) for part in asked["parts"]]
        if parts != sorted(upload.etags.items()) or len(parts) != upload.parts:
            raise Refusal(400, "InvalidPart: the parts do not match what was uploaded")
        if upload.blob.sha256() != upload.oid:
            raise Refusal(400, "the content does not match its oid")
        del self.uploads[request.query["uploadId"]]
        self._keep(upload.repo, upload.oid, upload.blob)
        return _json({"success": True})

    @staticmethod
    def _keep(repo: Repository, oid: str, blob: Blob) -> None:
        blob.close()
        with repo.lock:
            repo.objects[oid] = blob

    # -------------------------------------------------------------------------------------- storage

    def _store(self, request: Request) -> Response:
        where = f"{request.method} {request.raw_path}"
        if "authorization" in request.headers:
            self.violation(f"Authorization sent to the storage: {where}")
            return _xml(400, "InvalidArgument", "Only one auth mechanism allowed")
        ticket = self.tickets.get(request.query.get("X-Amz-Signature", ""))
        if ticket is None:
            return _xml(403, "SignatureDoesNotMatch", "no such signature")
        reading = request.method in ("GET", "HEAD")
        if request.method != ticket.method and not (reading and ticket.method == "GET"):
            return _xml(403, "SignatureDoesNotMatch", "signed for another method")
        if time.monotonic() > ticket.deadline:
            return _xml(403, "AccessDenied", "Request has expired")
        return self._get(request, ticket) if reading else self._put(request, ticket)

    def _get(self, request: Request, ticket: Ticket) -> Response:
        blob = ticket.repo.objects.get(ticket.oid)
        if blob is None:
            return _xml(404, "NoSuchKey", "The specified key does not exist.")
        return self._ranged(request, blob.body(), {"ETag": f'"{ticket.oid[:32]}"'})

    def _put(self, request: Request, ticket: Ticket) -> Response:
        where = f"{request.method} {request.raw_path}"
        if request.chunked or "content-length" not in request.headers:
            self.violation(f"chunked body: {where}")
            return _xml(
                501,
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
            )
        if not ticket.size or not request.length:
            self.violation(f"empty object: {where}")
            return _xml(501, "NotImplemented", "Transfer-Encoding")
        if request.length != ticket.size:
            self.violation(f"Content-Length {request.length}, declared {ticket.size}: {where}")
            return _xml(400, "IncompleteBody", f"{request.length} bytes, signed for {ticket.size}")
        blob = ticket.upload.blob if ticket.upload else Blob(ticket.size, self.folder)
        kept = min(ticket.size, request.fault.get("truncate", ticket.size))
        digest, at = hashlib.sha256(), ticket.offset
        for piece in request.pieces(blob.room(at, ticket.size)):
            digest.update(piece)
            blob.write(at, piece)
            at += len(piece)
        etag = f'"{digest.hexdigest()[:32]}"'
        if ticket.upload:
            ticket.upload.etags[ticket.part] = etag
        elif kept < ticket.size:
            blob.cut(kept)
            self._keep(ticket.repo, ticket.oid, blob)
        elif digest.hexdigest() != ticket.oid and self.options.check_digest:
            blob.close()
            blob.discard()
            return _xml(
                400, "BadDigest", f"the content is {digest.hexdigest()}, signed for {ticket.oid}"
            )
        else:
            self._keep(ticket.repo, ticket.oid, blob)
        etag = request.fault.get("etag", etag)
        return Response(200, {"ETag": etag} if etag else {})

    # -------------------------------------------------------------------------------------- control

    def _control(self, request: Request) -> Response:
        verb = request.raw_path.removeprefix("/__control__/")
        asked = request.json() if request.length else None
        query = request.query
        try:
            match request.method, verb:
                case "GET", "requests":
                    return _json(self.requests[int(query.get("after", 0)) :])
                case "GET", "violations":
                    return _json(self.violations)
                case "GET", "history":
                    return _json(
                        self.history(
                            query["repo"], query.get("rev", "main"), query.get("kind", "dataset")
                        )
                    )
                case "GET", "tree":
                    return _json(
                        self.tree(
                            query["repo"], query.get("rev", "main"), query.get("kind", "dataset")
                        )
                    )
                case "GET", "faults":
                    return _json(self.faults.told())
                case "POST", "faults":
                    for rule in asked if isinstance(asked, list) else [asked]:
                        self.faults.add(rule)
                case "DELETE", "faults":
                    self.faults.clear()
                case "POST", "tokens":
                    self.tokens |= asked
                case "POST", "options":
                    self.set_options(asked)
                case "POST", "do":
                    self.do(asked)
                case _:
                    return _json({"error": f"unknown: {request.method} {verb}"}, 404)
        except (KeyError, TypeError, ValueError, Refusal) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)
        return _json({})

    def set_options(self, options: dict) -> None:
        for name, value in options.items():
            if not hasattr(self.options, name):
                raise ValueError(f"unknown option: {name}")
            setattr(self.options, name, value)

    def history(self, repo: str, revision: str = "main", kind: str = "dataset") -> list[dict]:
        """Commits, newest first; `changes`: how many of their files are not as before."""
        commits = self.repositories[kind, repo].history(revision)
        return [
            commit.told() | {"changes": commit.changes, "files": len(commit.tree.files)}
            for commit in commits
        ]

    def tree(self, repo: str, revision: str = "main", kind: str = "dataset") -> dict[str, dict]:
        """path -> oid, size, and sha256 of the content."""
        commit = self.repositories[kind, repo].resolve(revision)
        return {
            path: {
                "oid": e.oid,
                "size": e.size,
                "sha256": e.sha256 or hashlib.sha256(e.data).hexdigest(),
                "lfs": bool(e.sha256),
            }
            for path, e in commit.tree.files.items()
        }
