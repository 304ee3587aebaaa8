"""The stand-in of the Hub, proved with the official client, and by what it refuses."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import pathlib
import random
import threading
import time
import urllib.parse

import official_client
import pytest
from hub_server import HubServer
from hub_server.remote import RunningHub

# The official client's own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

REPO = "tester/episodes"
LIMITS = {"multipart_over": 1_000_000, "part_size": 300_000, "page_size": 7}


@pytest.fixture
def hub():
    with HubServer(**LIMITS) as server:
        yield server


# ------------------------------------------------------------------------------ the official client


def client(server: HubServer, folder: pathlib.Path):
    try:
        return official_client.api(server.endpoint, server.token, folder / "home")
    except RuntimeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))  # a developer may be without a registry


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """An output tree with what is hard about names and sizes."""
    rng = random.Random(20230707)
    made = {}
    for number in range(12):
        folder = f"LAB/success/2023-07-07/Fri_Jul__7_09:42:{number:02}_2023"
        made[f"{folder}/tracks.npz"] = rng.randbytes(rng.randrange(1, 200_000))
        made[f"{folder}/quality.json"] = b'{"episode": %d}' % number
    return made | {
        "large.npz": rng.randbytes(2_000_001),
        "depth.mkv": rng.randbytes(1_200_000),
        "empty.npz": b"",
        "odd/a b+c#d%20é?.npz": b"odd",
        "odd/README.md": "Größe\n".encode(),
    }


def write_tree(files: dict[str, bytes], to: pathlib.Path) -> pathlib.Path:
    for name, data in files.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(data)
    return to


@pytest.fixture(scope="module")
def uploaded(files, tmp_path_factory):
    """The stand-in and the client's HfApi, after the client has uploaded the tree."""
    folder = tmp_path_factory.mktemp("official")
    with HubServer(**LIMITS) as server:
        api = client(server, folder)
        api.create_repo(REPO, repo_type="dataset", private=True)
        api.upload_folder(
            repo_id=REPO, repo_type="dataset", folder_path=write_tree(files, folder / "tree")
        )
        yield server, api


def of(data: bytes) -> dict:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def held(server: HubServer, repo: str = REPO, revision: str = "main") -> dict[str, dict]:
    """path -> size and sha256, without the files that the Hub itself makes."""
    return {
        path: {key: told[key] for key in ("size", "sha256")}
        for path, told in server.tree(repo, revision).items()
        if path != ".gitattributes"
    }


def test_what_the_client_uploads_is_in_the_tree(uploaded, files):
    server, _ = uploaded
    assert held(server) == {path: of(data) for path, data in files.items()}
    assert [c["title"] for c in server.history(REPO)] == [
        "Upload folder using huggingface_hub",
        "initial commit",
    ]
    assert server.history(REPO)[0]["changes"] == len(files)
    assert server.violations == []


def test_the_client_uploads_large_files_in_parts_without_its_token(uploaded, files):
    server, _ = uploaded
    parts = server.asked("PUT", "partNumber=", status=200)
    assert len(parts) == 7 + 4, "2,000,001 and 1,200,000 bytes in parts of 300,000"
    assert len(server.asked("POST", "complete_multipart", status=200)) == 2
    assert not any(request["authorization"] for request in server.asked(origin="storage"))


def test_the_client_takes_back_every_byte(uploaded, files, tmp_path):
    _, api = uploaded
    folder = pathlib.Path(
        api.snapshot_download(REPO, repo_type="dataset", local_dir=tmp_path, max_workers=4)
    )
    assert {name: (folder / name).read_bytes() for name in files} == files


def test_the_client_takes_back_one_file(uploaded, files, tmp_path):
    _, api = uploaded
    for name in ("large.npz", "odd/a b+c#d%20é?.npz", "odd/README.md"):
        got = api.hf_hub_download(REPO, name, repo_type="dataset", cache_dir=tmp_path)
        assert pathlib.Path(got).read_bytes() == files[name]


def test_the_client_lists_all_pages(uploaded, files):
    server, api = uploaded
    listed = {
        entry.path: entry
        for entry in api.list_repo_tree(REPO, repo_type="dataset", recursive=True)
        if type(entry).__name__ == "RepoFile"
    }
    assert set(listed) == {*files, ".gitattributes"}
    for path, data in files.items():
        assert listed[path].size == len(data)
        if listed[path].lfs:
            assert listed[path].lfs.sha256 == of(data)["sha256"]
    assert len(server.asked("GET", "/tree/.*cursor=")) >= len(files) // LIMITS["page_size"]


def test_the_client_learns_of_paths(uploaded, files):
    _, api = uploaded
    told = api.get_paths_info(REPO, ["large.npz", "odd", "nowhere"], repo_type="dataset")
    assert [entry.path for entry in told] == ["large.npz", "odd"]
    assert told[0].lfs.sha256 == of(files["large.npz"])["sha256"]


def test_the_client_sees_the_info_the_refs_and_the_commits(uploaded):
    server, api = uploaded
    info = api.dataset_info(REPO)
    assert info.private and info.sha == server.history(REPO)[0]["id"]
    assert [commit.commit_id for commit in api.list_repo_commits(REPO, repo_type="dataset")] == [
        commit["id"] for commit in server.history(REPO)
    ]
    refs = api.list_repo_refs(REPO, repo_type="dataset")
    assert {ref.name: ref.target_commit for ref in refs.branches}["main"] == info.sha


def test_uncovered_large_files_stand_in_the_attributes(uploaded, tmp_path):
    _, api = uploaded
    got = api.hf_hub_download(REPO, ".gitattributes", repo_type="dataset", cache_dir=tmp_path)
    lines = pathlib.Path(got).read_text().splitlines()
    assert lines.count("depth.mkv filter=lfs diff=lfs merge=lfs -text") == 1
    assert not any(line.startswith("large.npz") for line in lines)


def test_the_client_creates_changes_and_deletes(files, tmp_path):
    with HubServer(**LIMITS) as server:
        api = client(server, tmp_path)
        where = {"repo_id": REPO, "repo_type": "dataset"}
        assert api.whoami()["name"] == "tester"
        api.create_repo(**where)
        api.create_repo(**where, exist_ok=True)
        api.create_branch(**where, branch="next")
        api.upload_file(**where, path_or_fileobj=b"1", path_in_repo="a/x.npz", revision="next")
        assert set(held(server, revision="next")) == {"a/x.npz"} and held(server) == {}
        request = api.create_commit(
            **where,
            operations=[_addition(api, "b.json", b"{}")],
            commit_message="a proposal",
            create_pr=True,
        )
        assert request.pr_num == 1
        api.upload_file(**where, path_or_fileobj=b"2", path_in_repo="c.json", revision="refs/pr/1")
        assert set(held(server, revision="refs/pr/1")) == {"b.json", "c.json"}
        api.upload_file(**where, path_or_fileobj=b"{}", path_in_repo="d/e.json")
        api.delete_folder("d", **where)
        api.super_squash_history(**where)
        assert held(server) == {} and len(server.history(REPO)) == 1
        api.update_repo_settings(**where, gated="auto", visibility="private")
        assert api.dataset_info(REPO).gated == "auto"
        api.move_repo(REPO, "lab/moved", repo_type="dataset")
        assert api.dataset_info(REPO).id == "lab/moved", "by way of a redirect"
        api.delete_repo("lab/moved", repo_type="dataset")
        assert not api.repo_exists("lab/moved", repo_type="dataset")
        assert server.violations == []


def _addition(api, path: str, data: bytes):
    import huggingface_hub

    return huggingface_hub.CommitOperationAdd(path, data)


def test_the_clients_tool_for_large_folders_finishes(files, tmp_path):
    with HubServer(**LIMITS) as server:
        api = client(server, tmp_path)
        folder = write_tree(files, tmp_path / "tree")
        api.upload_large_folder(REPO, folder, repo_type="dataset", print_report=False)
        assert held(server) == {path: of(data) for path, data in files.items()}
        assert server.violations == []


def test_the_client_goes_on_through_faults(files, tmp_path):
    with HubServer(**LIMITS) as server:
        api = client(server, tmp_path)
        api.create_repo(REPO, repo_type="dataset")
        faults = [
            server.inject(origin="storage", method="PUT", status=500),
            server.inject(origin="storage", method="PUT", path="partNumber=3", drop=1000),
            server.inject(method="POST", path="/objects/batch", status=503),
        ]
        api.upload_folder(
            repo_id=REPO, repo_type="dataset", folder_path=write_tree(files, tmp_path / "tree")
        )
        assert [fault.hits for fault in faults] == [1, 1, 1]
        assert held(server) == {path: of(data) for path, data in files.items()}


# ------------------------------------------------------------------------ what the stand-in refuses


class Caller:
    """Requests by hand."""

    def __init__(self, server: HubServer, token: str | None = "hf_test"):
        self.server, self.token = server, token
        self.base = f"/api/datasets/{REPO}"

    def __call__(self, method: str, url: str, body=None, headers=None, token=True):
        """Status, headers, body: JSON where it is JSON."""
        url = url if url.startswith("http") else self.server.endpoint + url
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        headers = dict(headers or {})
        if token and self.token and url.startswith(self.server.endpoint):
            headers["Authorization"] = f"Bearer {self.token}"
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if "json" in answer.headers.get("Content-Type", ""):
            data = json.loads(data)
        return answer.status, answer.headers, data

    def create(self, **more) -> None:
        space, name = REPO.split("/")
        asked = {"name": name, "organization": space, "type": "dataset", **more}
        assert self("POST", "/api/repos/create", asked)[0] == 200

    def batch(self, *data: bytes, transfers=("basic", "multipart"), size: int | None = None):
        objects = [{"oid": of(d)["sha256"], "size": len(d) if size is None else size} for d in data]
        asked = {"operation": "upload", "transfers": list(transfers), "objects": objects}
        status, _, told = self("POST", f"/datasets/{REPO}.git/info/lfs/objects/batch", asked)
        assert status == 200
        return told["objects"]

    def put(self, data: bytes, **options):
        """Stores bytes; status and body."""
        (item,) = self.batch(data)
        return self("PUT", item["actions"]["upload"]["href"], data, **options)

    def commit(self, *lines, revision: str = "main", **header):
        header = {"summary": "test", **header}
        rows = [{"key": "header", "value": header}, *lines]
        body = b"\n".join(json.dumps(row).encode() for row in rows)
        return self("POST", f"{self.base}/commit/{revision}", body)

    def head(self) -> str:
        return self("GET", self.base)[2]["sha"]


def regular(path: str, data: bytes) -> dict:
    content = base64.b64encode(data).decode()
    return {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}}


def pointer(path: str, data: bytes, size: int | None = None) -> dict:
    size = len(data) if size is None else size
    value = {"path": path, "algo": "sha256", "oid": of(data)["sha256"], "size": size}
    return {"key": "lfsFile", "value": value}


@pytest.fixture
def call(hub) -> Caller:
    caller = Caller(hub)
    caller.create()
    return caller


def test_storage_takes_exactly_the_bytes_that_were_named(hub, call):
    data = b"0123456789"
    (item,) = call.batch(data)
    href = item["actions"]["upload"]["href"]
    assert call("PUT", href, b"012345678")[0] == 400
    assert "IncompleteBody" in str(call("PUT", href, b"0123")[2])
    assert "BadDigest" in str(call("PUT", href, b"9876543210")[2])
    assert len(hub.violations) == 2 and "Content-Length 9, declared 10" in hub.violations[0]
    assert call.commit(pointer("a.npz", data))[0] == 400
    assert call("PUT", href, data)[0] == 200
    assert "actions" not in call.batch(data)[0]
    assert call.commit(pointer("a.npz", data))[0] == 200
    assert held(hub) == {"a.npz": of(data)}


def test_storage_refuses_tokens_and_chunks(hub, call):
    status, _, text = call.put(b"bytes", headers={"Authorization": "Bearer hf_test"})
    assert status == 400 and b"Only one auth mechanism" in text
    (item,) = call.batch(b"bytes")
    href = item["actions"]["upload"]["href"]
    status, _, text = call("PUT", href, iter([b"by", b"tes"]))
    assert status == 501 and b"NotImplemented" in text
    status, _, _ = call("PUT", hub.storage + "/anything", b"bytes")
    assert status == 403
    assert [violation.partition(":")[0] for violation in hub.violations] == [
        "Authorization sent to the storage",
        "chunked body",
    ]


def test_presigned_urls_run_out(hub, call):
    hub.options.expires_s = -1
    status, _, text = call.put(b"bytes")
    assert status == 403 and b"Request has expired" in text and hub.violations == []


def test_parts_must_be_complete(hub, call):
    data = random.Random(3).randbytes(1_100_000)
    (item,) = call.batch(data)
    upload = item["actions"]["upload"]
    step = int(upload["header"].pop("chunk_size"))
    etags = []
    for number, url in sorted(upload["header"].items()):
        start = (int(number) - 1) * step
        status, headers, _ = call("PUT", url, data[start : start + step])
        etags.append({"partNumber": int(number), "etag": headers["ETag"]})
        assert status == 200
    oid = of(data)["sha256"]
    assert call("POST", upload["href"], {"oid": oid, "parts": etags[:-1]})[0] == 400
    assert call("POST", upload["href"], {"oid": oid, "parts": etags[::-1]})[0] == 400
    verify, size = item["actions"]["verify"]["href"], len(data)
    assert call("POST", verify, {"oid": oid, "size": size})[0] == 404
    assert call("POST", upload["href"], {"oid": oid, "parts": etags}, token=False)[0] == 200
    assert call("POST", verify, {"oid": oid, "size": size})[0] == 200
    assert call("POST", verify, {"oid": oid, "size": size + 1})[0] == 404
    assert "header" not in call.batch(b"y" * size, transfers=["basic"])[0]["actions"]["upload"]


def test_objects_are_of_one_repository_and_are_collected_when_unused(hub, call):
    call.put(b"used")
    call.put(b"unused")
    assert call.commit(pointer("a.npz", b"used"))[0] == 200
    hub.do(collect=True)
    assert ["actions" in item for item in call.batch(b"used", b"unused")] == [False, True]
    hub.do(repo={"name": REPO, "recreate": True})
    assert "actions" in call.batch(b"used")[0] and held(hub) == {}


def test_a_commit_is_all_or_nothing_on_the_head_it_names(hub, call):
    first = call.head()
    assert call.commit(regular("a.json", b"1"), parentCommit=first)[0] == 200
    status, _, told = call.commit(regular("a.json", b"2"), parentCommit=first)
    assert status == 412 and "A commit has happened since" in told["error"]
    status, _, told = call.commit(regular("b.json", b"2"), pointer("c.npz", b"never sent"))
    assert status == 400 and told["error"].endswith("Offending file: - c.npz")
    assert held(hub) == {"a.json": of(b"1")}
    assert [commit["parents"] for commit in hub.history(REPO)] == [[first], []]


def test_nonsense_is_a_bad_request(hub, call):
    for body in (b"{", b"[]", b'{"files": [{}]}'):
        assert call("POST", f"{call.base}/preupload/main", body)[0] == 400
    assert call("POST", f"{call.base}/commit/main", b"{}")[0] == 422


def test_empty_commits_are_made_when_asked(hub, call):
    call.commit(regular("a.json", b"1"))
    assert call.commit(regular("a.json", b"1"))[0] == 200
    assert [commit["changes"] for commit in hub.history(REPO)] == [0, 1, 1]


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        (regular("x.json", b"1" * (10 << 20) + b"1"), 400, "larger than 10 MiB"),
        (regular("x.dat", b"\0" * (1 << 20) + b"1"), 400, "contains binary files"),
        (regular("../x", b"1"), 422, "Invalid path"),
        (regular(".git/x", b"1"), 422, "Invalid path"),
        (pointer("x.npz", b"stored", size=7), 400, "does not exist"),
        ({"key": "lfsFile", "value": {"path": "x.npz"}}, 422, "line 2"),
        ({"key": "deletedFile", "value": {"path": "x"}}, 400, "no such file"),
        (regular("full/x", b"1"), 400, "too many files per directory"),
        (regular("full/1/y", b"1"), 400, "full/1 is a file"),
        (regular("full", b"1"), 400, "full is a folder"),
    ],
)
def test_a_commit_is_refused(hub, call, line, status, message):
    hub.options.folder_limit = 3
    call.put(b"stored")
    assert call.commit(*(regular(f"full/{i}", b"%d" % i) for i in range(3)))[0] == 200
    got, _, told = call.commit(line)
    assert got == status and message in told["error"]
    assert len(held(hub)) == 3


def test_preupload_obeys_attributes_size_sample_and_gitignore(hub, call):
    hub.do(repo={"name": REPO, "gitignore": "secret/\n*.tmp\n!keep.tmp\n"})
    call.commit(regular("here.json", b"{}"))

    def asked(path: str, size: int = 9, sample: bytes = b"text") -> dict:
        return {"path": path, "size": size, "sample": base64.b64encode(sample).decode()}

    files = [
        asked("a/tracks.npz"),
        asked("quality.json"),
        asked("long.json", size=(10 << 20) + 1),
        asked("picture", size=2 << 20, sample=b"\0\1"),
        asked("here.json"),
        asked("a/secret/b.json"),
        asked("x.tmp"),
        asked("keep.tmp"),
    ]
    status, _, told = call("POST", f"{call.base}/preupload/main", {"files": files})
    assert status == 200
    rows = {row["path"]: row for row in told["files"]}
    assert {path for path, row in rows.items() if row["uploadMode"] == "lfs"} == {
        "a/tracks.npz",
        "long.json",
        "picture",
    }
    assert {path for path, row in rows.items() if row["shouldIgnore"]} == {
        "a/secret/b.json",
        "x.tmp",
    }
    git = hashlib.sha1(b"blob 2\0{}").hexdigest()
    assert {path: row["oid"] for path, row in rows.items() if "oid" in row} == {"here.json": git}
    attributes = {"gitAttributes": "*.json filter=lfs\nquality.json -filter\n"}
    _, _, told = call("POST", f"{call.base}/preupload/main", {"files": files, **attributes})
    assert [row["uploadMode"] for row in told["files"][:3]] == ["regular", "regular", "lfs"]
    status, _, told = call(
        "POST", f"{call.base}/preupload/main", {"files": [{"path": "a", "size": 1}]}
    )
    assert status == 400 and "expected string" in told["error"]
    assert call("POST", f"{call.base}/preupload/main", {"files": files * 40})[0] == 413


@pytest.mark.parametrize("name", ["a b.mkv", "x[1].mkv", "deep/*?.mkv", "back\\slash.mkv"])
def test_a_line_per_path_covers_that_path(name):
    from hub_server import repository

    text = repository.attribute_line(name)
    assert repository.covered_by_lfs(text, name)
    assert not repository.covered_by_lfs(text, "other.mkv")


def test_tokens_say_who_may_do_what(hub):
    owner = Caller(hub)
    owner.create(visibility="private")
    hub.hub.tokens["hf_reader"] = "read"
    reader, stranger, nobody = (Caller(hub, token) for token in ("hf_reader", "hf_bad", None))
    assert reader("GET", owner.base)[0] == 200
    assert reader.commit(regular("a", b"1"))[0] == 403
    status, headers, _ = stranger("GET", owner.base)
    assert status == 401
    assert headers["X-Error-Message"] == "Invalid credentials in Authorization header"
    status, headers, _ = nobody("GET", owner.base)
    assert (status, headers["X-Error-Code"]) == (401, "RepoNotFound")
    hub.do(revoke="hf_test")
    assert owner("GET", "/api/whoami-v2")[0] == 401


def test_repositories_move_close_and_go(hub, call):
    hub.do(repo={"name": REPO, "read_only": True})
    assert call.commit(regular("a", b"1"))[0] == 403 and call("GET", call.base)[0] == 200
    hub.do(repo={"name": REPO, "read_only": False, "disabled": True})
    status, headers, _ = call("GET", call.base)
    assert status == 403
    assert headers["X-Error-Message"] == "Access to this resource is disabled."
    hub.do(repo={"name": REPO, "disabled": False})
    hub.do(repo={"name": REPO, "rename": "lab/new"})
    for more in ("/tree/main?recursive=true", "?expand=sha", ".git/info/lfs/objects/batch"):
        before, after = (f"/api/datasets/{name}{more}" for name in (REPO, "lab/new"))
        if ".git" in more:
            before, after = (url.removeprefix("/api") for url in (before, after))
        status, headers, _ = call("GET", before)
        assert (status, headers["Location"]) == (307, after)
    hub.do(repo={"name": "lab/new", "delete": True})
    status, headers, _ = call("GET", "/api/datasets/lab/new")
    assert (status, headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_revisions_are_decoded_once(hub, call):
    call("POST", f"{call.base}/branch/a%2Fb", {})
    assert call("GET", f"{call.base}/tree/a%2Fb")[0] == 200
    status, headers, _ = call("GET", f"{call.base}/tree/a%252Fb")
    assert (status, headers["X-Error-Code"]) == (404, "RevisionNotFound")
    status, headers, _ = call("GET", f"{call.base}/tree/main/nowhere")
    assert (status, headers["X-Error-Code"]) == (404, "EntryNotFound")


@pytest.mark.parametrize(
    ("asked", "status", "want"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=99-", 416, b""),
    ],
)
@pytest.mark.parametrize("name", ["a.npz", "a.json"])
def test_parts_of_files_can_be_read(hub, call, name, asked, status, want):
    data = b"0123456789"
    if name == "a.npz":
        call.put(data)
    call.commit(pointer(name, data) if name == "a.npz" else regular(name, data))
    got, headers, _ = call("HEAD", f"/datasets/{REPO}/resolve/main/{name}")
    assert got == (302 if name == "a.npz" else 307)
    assert headers["X-Linked-Size"] == "10" and headers["X-Repo-Commit"] == call.head()
    if name == "a.npz":
        assert headers["X-Linked-Etag"] == '"' + of(data)["sha256"] + '"'
    got, _, body = call(
        "GET", urllib.parse.urljoin(hub.endpoint, headers["Location"]), headers={"Range": asked}
    )
    assert (got, body) == (status, want) and hub.violations == []


def test_every_answer_counts_requests(hub, call):
    left = []
    for url in (call.base, "/api/datasets/no/where"):
        _, headers, _ = call("GET", url)
        assert headers["RateLimit-Policy"] == '"fixed window";"api";q=1000000;w=300'
        left.append(int(headers["RateLimit"].split("r=")[1].split(";")[0]))
        assert headers["X-Request-Id"]
    assert left[0] - left[1] == 1
    hub.options.quota = 1
    status, headers, _ = call("GET", call.base)
    assert status == 429 and '"api";r=0;t=' in headers["RateLimit"]


# ------------------------------------------------------------------------------------------- faults


def test_an_unknown_fault_is_refused(hub):
    with pytest.raises(ValueError, match="unknown in a fault: stauts"):
        hub.inject(stauts=500)
    with pytest.raises(ValueError, match="does nothing"):
        hub.inject(method="GET")


def test_faults_hit_the_requests_they_name(hub, call):
    fault = hub.inject(
        method="GET",
        path="/tree/",
        after=1,
        count=2,
        status=503,
        body="<html>",
        headers={"Retry-After": "7"},
    )
    statuses = [call("GET", f"{call.base}/tree/main")[0] for _ in range(4)]
    assert statuses == [200, 503, 503, 200] and fault.hits == 2
    assert [bool(request["fault"]) for request in hub.asked("GET", "/tree/")] == [
        False,
        True,
        True,
        False,
    ]


def test_of_several_faults_the_first_that_is_left_applies(hub, call):
    for status in (501, 502):
        hub.inject(path=call.base, status=status)
    hub.inject(path=call.base, status=503, after=3)
    assert [call("GET", call.base)[0] for _ in range(5)] == [501, 502, 200, 503, 200]


def test_faults_may_wait_at_a_gate_and_look_into_bodies(hub, call):
    fault = hub.inject(path="/commit/", about="second", gate=True)
    assert call.commit(regular("first", b"1"))[0] == 200
    thread = threading.Thread(target=call.commit, args=[regular("second", b"2")])
    thread.start()
    while not fault.hits:
        time.sleep(0.001)
    assert call.commit(regular("third", b"3"))[0] == 200 and thread.is_alive()
    hub.heal()
    thread.join()
    assert [commit["files"] for commit in hub.history(REPO)] == [4, 3, 2, 1]
    assert set(held(hub)) == {"first", "second", "third"}


def test_a_commit_may_land_though_its_answer_says_otherwise(hub, call):
    for when, landed in (("before", False), ("after", True)):
        with hub.fault(path="/commit/", status=504, when=when):
            assert call.commit(regular(f"{when}.json", b"1"))[0] == 504
        with hub.fault(path="/commit/", drop=when), pytest.raises(ConnectionError):
            call.commit(regular(f"{when}2.json", b"1"))
        assert {f"{when}.json", f"{when}2.json"} <= set(held(hub)) or not landed
    assert set(held(hub)) == {"after.json", "after2.json"}


def test_bytes_may_get_lost_on_their_way(hub, call):
    data = b"0123456789"
    with hub.fault(origin="storage", truncate=3):
        assert call.put(data)[0] == 200
    verify = call.batch(data)[0]["actions"]["verify"]["href"]
    assert call("POST", verify, {"oid": of(data)["sha256"], "size": 10})[0] == 404
    with hub.fault(origin="storage", drop=3), pytest.raises(ConnectionError):
        call.put(data)
    with hub.fault(origin="storage", expired=True):
        assert b"Request has expired" in call.put(data)[2]
    with hub.fault(origin="storage", etag=""):
        status, headers, _ = call.put(data)
        assert status == 200 and "ETag" not in headers


def test_silence_ends_with_the_caller(hub, call):
    hub.inject(path=call.base, hang=True)
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(hub.endpoint).netloc, timeout=1)
    connection.request("GET", call.base)
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    assert call("GET", call.base)[0] == 200


def test_lines_may_be_slow(hub, call):
    data = b"0123456789"
    call.commit(regular("a.json", data))
    url = f"/api/resolve-cache/datasets/{REPO}/{call.head()}/a.json"
    for slow in ({"drip": 50}, {"delay": 0.2}):
        with hub.fault(path="resolve-cache", **slow):
            start = time.monotonic()
            assert call("GET", url)[2] == data
            assert time.monotonic() - start >= 0.15
    with hub.fault(origin="storage", sip=50):
        start = time.monotonic()
        assert call.put(data)[0] == 200
        assert time.monotonic() - start >= 0.15


def test_pages_may_lead_astray(hub, call):
    call.commit(*(regular(f"{i}.json", b"1") for i in range(20)))
    links = {}
    for kind in ("foreign", "loop", "lower", "bare"):
        with hub.fault(path="/tree/", link=kind):
            links[kind] = call("GET", f"{call.base}/tree/main?recursive=true")[1].items()
    found = {kind: {k: v for k, v in rows if k.lower() == "link"} for kind, rows in links.items()}
    assert hub.storage in found["foreign"]["Link"]
    url = found["loop"]["Link"].partition(">")[0][1:]
    with hub.fault(path="/tree/", link="loop"):
        assert url in call("GET", url)[1]["Link"]
    assert found["lower"]["link"].endswith('rel="next"') and found["bare"]["Link"].endswith(
        "rel=next"
    )


def test_preupload_and_batch_may_surprise(hub, call):
    files = [{"path": f"{n}.npz", "size": 1, "sample": ""} for n in "abcd"]
    change = {"reverse": True, "leave_out": "a", "ignore": "b", "mode": {"c": "regular"}}
    with hub.fault(path="/preupload/", preupload=change):
        _, _, told = call("POST", f"{call.base}/preupload/main", {"files": files})
    assert [(r["path"], r["uploadMode"], r["shouldIgnore"]) for r in told["files"]] == [
        ("d.npz", "lfs", False),
        ("c.npz", "regular", False),
        ("b.npz", "lfs", True),
    ]
    with hub.fault(path="/batch", parts=1):
        (item,) = call.batch(b"x" * 1_100_000)
    assert len(item["actions"]["upload"]["header"]) == 1 + 4 + 1
    with hub.fault(path="/batch", batch_error={"code": 507, "message": "full"}):
        assert call.batch(b"x")[0]["error"] == {"code": 507, "message": "full"}


def test_another_committer_may_be_first(hub, call):
    with hub.fault(path="/commit/", race={"path": "theirs.json", "content": "1"}):
        assert call.commit(regular("mine.json", b"2"), parentCommit=call.head())[0] == 412
    assert set(held(hub)) == {"theirs.json"}


# ------------------------------------------------------------------------------------- as a program


def test_other_processes_can_run_it_break_it_and_look(tmp_path):
    options = ["--token", "hf_one", "--page-size", "5", "--data", str(tmp_path / "data")]
    with RunningHub(*options, "--fault", '{"path": "whoami", "status": 500}') as hub:
        call = Caller(hub, hub.token)
        call.create()
        assert [call("GET", "/api/whoami-v2")[0] for _ in range(2)] == [500, 200]
        assert call.put(b"bytes")[0] == 200
        assert call.commit(pointer("a.npz", b"bytes"))[0] == 200
        location = call("GET", f"/datasets/{REPO}/resolve/main/a.npz")[1]["Location"]
        assert call("GET", location, headers={"Range": "bytes=1-"})[2] == b"ytes"
        assert hub.tree(REPO)["a.npz"]["sha256"] == of(b"bytes")["sha256"]
        assert len(hub.control("history", repo=REPO)) == 2
        hub.control("faults", [{"path": "whoami", "status": 418}])
        assert call("GET", "/api/whoami-v2")[0] == 418
        assert [fault["hits"] for fault in hub.control("faults")] == [1, 1]
        assert call("POST", "/__control__/faults", {"nonsense": 1})[0] == 400
        hub.control("faults", method="DELETE")
        assert hub.control("faults") == []
        hub.control("options", {"page_size": 1})
        assert "Link" in call("GET", f"{call.base}/tree/main")[1]
        hub.control("do", {"revoke": "hf_one"})
        assert call("GET", "/api/whoami-v2")[0] == 401
        statuses = [request["status"] for request in hub.control("requests")]
        assert statuses.count(418) == 1 and hub.violations() == []
