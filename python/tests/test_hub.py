"""Repositories, read from the stand-in of the Hub that droidflow uploaded to."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from conftest import upload
from hub_server import HubServer
from test_dataset import assert_same_episodes

from droidflow import Dataset, HubError, NotFound
from droidflow import hub as droidflow_hub

TOKEN, REPO = "hf_NobodyMaySeeThisToken", "tester/episodes"
URL = f"hf://datasets/{REPO}"


@pytest.fixture(scope="module", params=["files", "shards"])
def filled(request, program, out, tmp_path_factory):
    home = tmp_path_factory.mktemp("hf_home")
    with HubServer(tokens={TOKEN: "write"}) as server:
        hub = {"HF_ENDPOINT": server.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(home)}
        upload(program, out, request.param, "--hf-repo", REPO, "--hf-private", **hub)
        yield server


@pytest.fixture
def server(filled, monkeypatch):
    """The stand-in with a repository of results, private."""
    monkeypatch.setenv("HF_ENDPOINT", filled.endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(droidflow_hub, "wait", lambda seconds: waits.append(seconds))
    waits.clear()
    yield filled
    filled.heal()
    filled.options.page_size = 1000
    assert filled.violations == []  # a token at the storage is one


waits: list[float] = []


def test_a_repository_holds_every_episode(server, out):
    assert_same_episodes(Dataset(URL), out)


def test_an_episode_is_found_without_looking_into_others(server, out):
    uuid = list(Dataset(out))[-1]
    before = len(server.asked("GET", "/resolve/.*quality.json"))
    assert Dataset(URL)[uuid].num_frames > 0
    assert len(server.asked("GET", "/resolve/.*quality.json")) - before <= 1


def test_lists_of_many_pages_are_read_to_the_end(server, out):
    server.options.page_size = 2
    assert len(Dataset(URL)) == 3
    with server.fault(path="/tree/", link="lower", count=None):
        assert len(Dataset(URL)) == 3
    with server.fault(path="/tree/", link="bare", count=None):
        assert len(Dataset(URL)) == 3


@pytest.mark.parametrize("link", ["foreign", "loop"])
def test_a_list_that_leads_astray_is_refused(server, link):
    server.options.page_size = 2
    with server.fault(path="/tree/", link=link, count=None):
        with pytest.raises(HubError, match="want the next page of a list, have a page seen before"):
            Dataset(URL)


def test_an_array_costs_its_own_bytes_only(server, monkeypatch):
    monkeypatch.setattr(droidflow_hub, "_SMALL_BYTES", 0)  # these files are small
    monkeypatch.setattr("droidflow.npz._TAIL_BYTES", 6000)
    read: list[int] = []
    plain = droidflow_hub.Hub.range

    def counted(hub, path, start, stop):
        read.append(stop - start)
        return plain(hub, path, start, stop)

    data = Dataset(URL)
    episode = data[next(iter(data))]
    monkeypatch.setattr(droidflow_hub.Hub, "range", counted)
    expected = episode.contact_centroids.nbytes
    assert len(read) == 2  # the archive's directory, and the array with its headers
    assert sum(read) <= expected + 6000 + 500
    episode.contact_centroids
    assert len(read) == 2
    read.clear()
    depth = episode.depth("wrist")
    depth[3]
    assert sum(read) < 0.5 * depth._blob.size


def test_without_a_token_a_private_repository_is_not_there(server, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises((NotFound, HubError), match="want an answer, have status 40[14]: http"):
        Dataset(URL)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert len(Dataset(URL)) == 3


def test_a_repository_or_revision_that_is_none_is_said(server):
    for url in (f"{URL}-not", f"{URL}@not"):
        with pytest.raises(NotFound, match="want an answer, have status 404: http"):
            Dataset(url)


def test_the_token_is_in_no_pickle(server):
    data = Dataset(URL)
    data[next(iter(data))].tracks_3d
    pickled = pickle.dumps(data)
    assert TOKEN.encode() not in pickled and b"Signature" not in pickled
    other = pickle.loads(pickled)
    for uuid in data:
        assert np.array_equal(other[uuid].tracks_3d, data[uuid].tracks_3d)


def test_what_passes_is_tried_again_after_the_time_that_the_hub_wants(server):
    server.inject(path="/tree/", status=429, headers={"Retry-After": "7"})
    server.inject(path="/revision/", status=503)
    assert len(Dataset(URL)) == 3
    assert waits == [1, 8]


def test_an_answer_that_breaks_off_is_asked_for_again(server, out):
    data = Dataset(URL)
    server.inject(origin="storage", method="GET", drop="before", count=2)
    episode = data[next(iter(data))]
    assert np.array_equal(episode.tracks_3d, Dataset(out)[episode.uuid].tracks_3d)


def test_a_hub_that_never_recovers_is_said(server):
    with server.fault(path="/tree/", status=500, count=None):
        with pytest.raises(HubError, match="want an answer, have status 500, 5 times: http"):
            Dataset(URL)
    assert waits == [1, 2, 4, 8]


def test_an_address_that_expired_is_asked_for_again(server, out, monkeypatch):
    monkeypatch.setattr(droidflow_hub, "_SMALL_BYTES", 0)
    data = Dataset(URL)
    episode = data[next(iter(data))]
    episode.tracks_3d
    server.inject(origin="storage", method="GET", expired=True)
    assert np.array_equal(episode.gripper_poses, Dataset(out)[episode.uuid].gripper_poses)


def test_a_revision_is_a_commit_or_a_branch(server):
    newest, *_, oldest = (commit["id"] for commit in server.history(REPO))
    assert [len(Dataset(f"{URL}@{name}")) for name in ("main", newest)] == [3, 3]
    with pytest.raises(NotFound, match=f"want episodes as .*, have none: {URL}@{oldest}"):
        Dataset(f"{URL}@{oldest}")
    asked = [request["path"] for request in server.asked("GET", "/resolve/|/tree/")]
    assert not any("/main" in path for path in asked)
