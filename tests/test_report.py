"""`droidflow report`: what the page says, and how it behaves in a browser."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
import shutil

import conftest
import numpy as np
import pytest
from browser import Browser, find_browser
from conftest import Dataset
from recordings_reference import ffmpeg, have_ffmpeg

STEPS = 20
TEN_THOUSAND = 10_000
MOST_BYTES = 20_000_000


@pytest.fixture(scope="module")
def data(synth) -> Dataset:
    return synth(episodes=6, steps=STEPS, seed=4, faults=True)


@pytest.fixture(scope="module")
def results(droidflow, data, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("report") / "out"
    droidflow("metadata", -1, 2, *data.inputs, "--out", out, code=3)
    return out


@pytest.fixture(scope="module")
def page(droidflow, data, results, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    flags = ["--droid-root", data.raw, "--conf-dir", data.conf, "--sheets", 2]
    droidflow("report", results, "-o", path, *flags, code=0)
    return path


@pytest.fixture(scope="module")
def browser():
    program = find_browser()
    if program is None:
        conftest._unavailable("no chromium on this machine")
    started = Browser(program)
    yield started
    started.close()


@pytest.fixture
def shown(browser, page) -> Browser:
    browser.open(page)
    return browser


def content(path: pathlib.Path) -> dict:
    """The data inside of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())
    return json.loads(found[1])


def rows(document: dict) -> list[dict]:
    return [dict(zip(document["columns"], row, strict=True)) for row in document["rows"]]


def qualities(out: pathlib.Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(out.glob("*/*/*/*/quality.json"))]


def column(browser: Browser, name: str) -> list[str]:
    """What the table of episodes shows below a heading."""
    return browser.run(
        f"""(() => {{
          const table = document.querySelector('#episodes table');
          const names = [...table.tHead.rows[0].cells].map((cell) => cell.innerText.trim());
          const at = names.indexOf({json.dumps(name)});
          return [...table.tBodies[0].rows].map((row) => row.cells[at].innerText.trim());
        }})()"""
    )


def click(browser: Browser, name: str):
    found = f"""[...document.querySelectorAll('#episodes button')]
      .find((button) => button.innerText.trim() === {json.dumps(name)}).click()"""
    browser.run(found)


def search(browser: Browser, text: str):
    browser.run(
        f"""(() => {{
          const field = document.querySelector('input[type=search]');
          field.value = {json.dumps(text)};
          field.dispatchEvent(new Event('input', {{ bubbles: true }}));
        }})()"""
    )


def test_it_loads_without_complaints_and_without_a_network(shown, page):
    assert shown.run("document.documentElement.dataset.ready") == "true"
    assert shown.complaints() == []
    addresses = [url for url in shown.requests() if not url.startswith("data:")]
    assert addresses == [page.as_uri()]
    ids = shown.run("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))


def test_its_numbers_are_those_of_the_run(droidflow, shown, results, page):
    status = droidflow.json("status", results, "--all", code=3)
    document = content(page)
    listed = rows(document)
    states = [document["strings"][row["state"]] for row in listed]
    for state in ("done", "quarantined", "skipped"):
        assert states.count(state) == status[state]
    summary = shown.run("document.getElementById('summary').innerText")
    assert f"done {status['done']} " in summary
    assert f"quarantined {status['quarantined']} " in summary
    failures = shown.run("document.getElementById('failures').innerText")
    for episode in status["episodes"]:
        if episode["state"] == "quarantined":
            assert episode["status"] in failures and episode["stage"] in failures
            assert " ".join(episode["message"].split()) in " ".join(failures.split())
    told = {row["key"]: row for row in listed}
    for quality in qualities(results):
        row = told[quality["episode_id"]]
        assert row["steps"] == quality["num_frames"]
        assert row["path_m"] == pytest.approx(quality["path_length_mm"] / 1000, rel=1e-4)
        assert [document["strings"][i] for i in row["warnings"]] == list(
            dict.fromkeys(warning["code"] for warning in quality["warnings"])
        )
        metrics = [camera["calibration_metric"] for camera in quality["cameras"].values()]
        assert [camera[3] for camera in row["cameras"]] == [
            metric and pytest.approx(metric["value"], rel=1e-4) for metric in metrics
        ]


def test_bars_count_as_numpy_does(results, page):
    drawn = {one["title"]: one for one in content(page)["distributions"]}
    wanted = {
        "Steps": [quality["num_frames"] for quality in qualities(results)],
        "Path length": [quality["path_length_mm"] / 1000 for quality in qualities(results)],
        "Gripper (0 open, 1 closed)": np.concatenate(
            [conftest.load(path)["gripper_positions"] for path in results.glob("*/*/*/*/tracks.npz")]
        ),
        "Frame rate": [
            float(conftest.load(path)["fps"]) for path in results.glob("*/*/*/*/tracks.npz")
        ],
        "Step start minus image": [
            camera["capture_delay_ms"]
            for quality in qualities(results)
            for camera in quality["cameras"].values()
            if camera["capture_delay_ms"] is not None
        ],
    }
    for title, values in wanted.items():
        one = drawn[title]
        edges = one["first"] + one["step"] * np.arange(len(one["counts"]) + 1)
        exact = [np.min(values), np.median(values), np.max(values)]
        # Rounding may put a value at an edge to either side.
        values = np.clip(np.asarray(values, float) + one["step"] * 1e-9, edges[0], edges[-1])
        assert one["n"] == len(values) == sum(one["counts"])
        np.testing.assert_array_equal(one["counts"], np.histogram(values, edges)[0], title)
        told = [one["min"], one["middle"], one["max"]]
        np.testing.assert_allclose(told, exact, rtol=1e-12, err_msg=title)
    assert any(title.startswith("Calibration: IoU") for title in drawn)


def with_content(page: pathlib.Path, path: pathlib.Path, change) -> pathlib.Path:
    """The page with other data inside."""
    document = content(page)
    change(document)
    start, rest = page.read_text().split('id="data">', 1)
    path.write_text(start + 'id="data">' + json.dumps(document).replace("<", "\\u003c") + rest[rest.index("</script>") :])
    return path


def test_the_rate_is_that_of_the_time_that_was_worked(browser, page, tmp_path):
    """Three episodes done one after the other in 152 s, a quarantined one, and the same again a day later."""

    def change(document):
        place = document["columns"].index
        state = document["strings"].index
        (row,) = [r for r in document["rows"] if r[place("state")] == state("done")][:1]
        document["rows"] = []
        for start in (0, 86_400):
            for began, took, how in ((0, 50, "done"), (50, 50, "done"), (60, 30, "quarantined"), (100, 52, "done")):
                made = list(row)
                made[place("key")] = f"{start}+{began}"
                made[place("start_s")], made[place("time_s")] = start + began, took
                made[place("state")] = state(how)
                document["rows"].append(made)

    browser.open(with_content(page, tmp_path / "rate.html", change))
    told = browser.run("document.querySelector('#throughput .facts').innerText")
    assert "6 episodes done: 1.18 a minute, 2 episodes quarantined: 23.7 an hour" in told
    assert "5 m 04 s" in told and "2 times" in told
    assert browser.complaints() == []


def test_numbers_of_a_distribution_are_exact_and_told_apart(browser, page, tmp_path):
    def change(document):
        rate = next(one for one in document["distributions"] if one["title"] == "Frame rate")
        rate |= {"first": 14.28, "step": 0.002, "counts": [1, 0, 1, 2], "below": 0, "above": 0, "n": 4}
        rate |= {"min": 14.2812, "middle": 14.2857, "max": 14.2871}
        matches = dict(rate, title="Matches", unit="", first=8200, step=200, counts=[2, 1, 1])
        matches |= {"min": 8229, "middle": 8401.5, "max": 8650}
        document["distributions"] = [rate, matches]

    browser.open(with_content(page, tmp_path / "exact.html", change))
    facts = browser.run("[...document.querySelectorAll('#distributions .facts')].map((p) => p.innerText)")
    assert facts[0].startswith("median 14.2857, 14.2812 to 14.2871 steps/s")
    assert facts[1].startswith("median 8,401.5, 8,229 to 8,650")
    bars = browser.run("[...document.querySelectorAll('#distributions title')].map((t) => t.textContent)")
    ranges = [bar.split(" steps/s")[0].split(" – ") for bar in bars[:4]]
    assert ranges[0] == ["14.28", "14.282"] and all(low != high for low, high in ranges)


def test_the_score_is_that_of_the_check(droidflow, browser, results, tmp_path):
    """The least of the external cameras, as `--min-check` takes it, and not a mean with the wrist's."""
    out = tmp_path / "out"
    wanted = []
    for template, scores in zip(qualities(results), [(0.9, 0.2, 0.95), (0.7, 0.8, 0.1)]):
        folder = out / template["source_path"]
        shutil.copytree(results / template["source_path"], folder)
        cameras = {serial: {"score": score} for serial, score in zip(template["cameras"], scores)}
        template["check"] = {"score": min(scores[:2]), "cameras": cameras}
        (folder / "quality.json").write_text(json.dumps(template))
        wanted.append((template["episode_id"], min(scores[:2])))
    path = tmp_path / "r.html"
    droidflow("report", out, "-o", path, "--sheets", 1, code=0)
    document = content(path)
    assert {row["key"]: row["score"] for row in rows(document)} == dict(wanted)
    (drawn,) = [one for one in document["distributions"] if one["title"].startswith("Label check")]
    assert (drawn["of"], drawn["min"], drawn["max"]) == ("episodes", 0.2, 0.7)
    browser.open(path)
    best = browser.run("document.querySelector('#pictures figcaption').innerText")
    assert wanted[1][0] in best and "score 0.70" in best
    assert sorted(column(browser, "Score")) == ["0.20", "0.70"]
    assert "least of an episode's external cameras" in browser.run("document.querySelector('#episodes').innerText")


def test_a_click_on_a_heading_sorts(shown):
    def numbers():
        shown_now = [text.replace(",", "") for text in column(shown, "Path, m")]
        return [float(text) for text in shown_now if text != "–"], shown_now

    click(shown, "Path, m")
    values, texts = numbers()
    assert len(values) > 5 and values == sorted(values, reverse=True)
    assert texts[len(values) :] == ["–"] * (len(texts) - len(values)), "what has none comes last"
    heads = "[...document.querySelectorAll('#episodes thead th')].map((head) => head.ariaSort)"
    assert shown.run(heads).count("descending") == 1
    click(shown, "Path, m")
    values, texts = numbers()
    assert values == sorted(values)
    assert shown.run(heads).count("ascending") == 1
    click(shown, "Episode")
    names = column(shown, "Episode")
    assert names == sorted(names) and len(set(names)) == len(names)


def test_search_finds_words_of_an_episode(shown, results):
    everything = column(shown, "Episode")
    quality = qualities(results)[0]
    search(shown, quality["episode_id"].upper())
    assert column(shown, "Episode") == [quality["episode_id"]]
    search(shown, "bad_values nan")
    (found,) = column(shown, "State")
    assert found.startswith("quarantined")
    search(shown, "no such thing")
    assert "None." in shown.run("document.querySelector('#episodes tbody').innerText")
    click(shown, "Show all")
    assert column(shown, "Episode") == everything
    lab = quality["episode_id"].split("+")[0]
    shown.run(
        f"""(() => {{
          const field = document.getElementById('lab');
          field.value = {json.dumps(lab)};
          field.dispatchEvent(new Event('change'));
        }})()"""
    )
    assert {name.split("+")[0].split("/")[0] for name in column(shown, "Episode")} == {lab}
    said = shown.run("document.querySelector('#episodes [role=status]').innerText")
    assert f"of {len(column(shown, 'Episode'))}" in said and f"out of {len(everything)}" in said
    assert shown.complaints() == []


def test_an_episode_opens_and_says_more(shown, results):
    quality = qualities(results)[0]
    search(shown, quality["episode_id"])
    click(shown, quality["episode_id"])
    opened = shown.run("document.querySelector('#episodes .detail').innerText")
    assert quality["source_path"] in opened and all(s in opened for s in quality["cameras"])
    click(shown, quality["episode_id"])
    assert shown.run("document.querySelectorAll('#episodes .detail').length") == 0


def test_it_can_be_used_with_the_keyboard(shown):
    shown.press("Tab")
    assert shown.run("document.activeElement.innerText") == "Skip to the content"
    shown.press("Enter", "\r")
    assert shown.run("document.activeElement.id") == "main"
    shown.run("document.querySelector('#episodes thead button').focus()")
    shown.press("Enter", "\r")
    names = column(shown, "Episode")
    assert names == sorted(names)
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    shown.press("Tab")
    assert shown.run(outline) != "none"
    unnamed = """[...document.querySelectorAll('input, select')]
      .filter((field) => !document.querySelector(`label[for="${field.id}"]`)).length"""
    assert shown.run(unnamed) == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_screens_in_light_and_dark(browser, page, tmp_path, width, dark):
    browser.open(page, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []
    path = browser.picture(tmp_path / "page.png")
    if not have_ffmpeg():
        conftest._unavailable("no ffmpeg on this machine")
    gray = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "gray", "-")
    brightness = np.median(np.frombuffer(gray, "u1"))
    assert brightness < 60 if dark else brightness > 200
    if keep := os.environ.get("DROIDFLOW_SCREENSHOTS"):
        name = f"report-{width}-{'dark' if dark else 'light'}.png"
        browser.picture(pathlib.Path(keep) / name, whole=True)


def test_pictures_are_decoded_when_they_are_looked_at(shown, data, results, page, tmp_path):
    images = shown.run(
        """[...document.querySelectorAll('#pictures img')].map((image) =>
          [image.loading, image.decoding, image.width > 0, image.alt !== '', image.src])"""
    )
    assert len(images) == 6
    for loading, decoding, has_size, has_text, source in images:
        assert (loading, decoding, has_size, has_text) == ("lazy", "async", True, True)
        jpeg = tmp_path / "picture.jpg"
        jpeg.write_bytes(base64.b64decode(source.removeprefix("data:image/jpeg;base64,")))
        pixels = ffmpeg("-i", jpeg, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
        assert np.frombuffer(pixels, "u1").std() > 10
    sizes = shown.run(
        """Promise.all([...document.querySelectorAll('#pictures img')].map(async (image) => {
          image.loading = 'eager';
          await image.decode();
          return image.naturalWidth;
        }))"""
    )
    assert min(sizes) > 300
    assert shown.run("[...document.querySelectorAll('#pictures h3')].map((h) => h.innerText)") == [
        "Best",
        "Worst",
        "Random",
    ]
    # The best has a score that no other exceeds.
    scores = [row["score"] for row in rows(content(page)) if row["score"] is not None]
    best = shown.run("document.querySelector('#pictures figcaption').innerText")
    assert f"score {max(scores):.2f}" in best


def test_depth_is_beside_the_pictures(droidflow, results, tmp_path):
    if not have_ffmpeg():
        conftest._unavailable("no ffmpeg on this machine")
    template = qualities(results)[0]
    folder = tmp_path / "out" / template["source_path"]
    shutil.copytree(results / template["source_path"], folder)
    pages = []
    for serials in ([], template["cameras"]):
        for serial in serials:
            depth = folder / "recordings" / serial / "depth.mkv"
            source = ["-f", "lavfi", "-i", f"testsrc=s=320x180:r=15:d={STEPS / 15}"]
            ffmpeg(*source, "-pix_fmt", "gray16le", "-c:v", "ffv1", "-level", "3", "-g", "1", depth)
            meta = {"step_to_frame": list(range(STEPS))}
            depth.with_name("depth_meta.json").write_text(json.dumps(meta))
        droidflow("report", tmp_path / "out", "-o", tmp_path / "r.html", "--sheets", 1, code=0)
        pages.append((tmp_path / "r.html").read_text())
    # Depth that was cut off is noted, and the pictures are there without it.
    depth.write_bytes(depth.read_bytes()[:2000])
    told = droidflow.json("report", tmp_path / "out", "-o", tmp_path / "r.html", "--sheets", 1)
    assert told["pictures"] == 1 and sum(str(depth) in note for note in told["notes"]) == 1
    without, beside = (int(re.search(r'async" width="(\d+)"', page)[1]) for page in pages)
    assert beside > 1.3 * without
    assert ["and its depth" in page for page in pages] == [False, True]


def test_the_same_results_give_the_same_page(droidflow, results, tmp_path):
    for name in ("a.html", "b.html"):
        droidflow("report", results, "-o", tmp_path / name, "--sheets", 1, code=0)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_results_without_a_run_and_a_run_without_results(droidflow, browser, results, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(results, alone, ignore=shutil.ignore_patterns(".droidflow"))
    told = droidflow.json("report", alone, "-o", tmp_path / "alone.html", "--sheets", 1)
    assert told["episodes"] == len(qualities(results)) and told["pictures"] == 3
    assert any("No run directory" in note for note in told["notes"])

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(results / ".droidflow", elsewhere)
    bare = droidflow.json("report", elsewhere, "-o", tmp_path / "bare.html")
    assert bare["pictures"] == 0 and any("--results" in note for note in bare["notes"])
    both = droidflow.json(
        *("report", elsewhere, "--results", results, "-o", tmp_path / "both.html", "--sheets", 0)
    )
    inside = droidflow.json(
        *("report", results / ".droidflow", "-o", tmp_path / "inside.html", "--sheets", 0)
    )
    assert both["episodes"] == inside["episodes"] == bare["episodes"] > told["episodes"]
    for name in ("alone", "bare", "both"):
        browser.open(tmp_path / f"{name}.html")
        assert browser.complaints() == []
        assert browser.run("document.documentElement.dataset.ready") == "true"


def made_up(folder: pathlib.Path, template: dict, episodes: int):
    """Folders with a quality.json each, as of many scenes."""
    random = np.random.default_rng(7)
    labs = [f"LAB{i}" for i in range(13)]
    for i in range(episodes):
        quality = template  # Whose values are replaced again and again.
        lab = labs[i % len(labs)]
        quality["episode_id"] = f"{lab}+{random.integers(1 << 32):08x}+2023-07-01-10h-{i:05}m"
        quality["source_path"] = f"{lab}/success/2023-07-01/Sat_Jul__1_{i:05}_2023"
        quality["num_frames"] = int(random.integers(50, 900))
        quality["path_length_mm"] = float(random.lognormal(7, 0.5))
        quality["current_task"] = f"put thing {random.integers(3000)} into thing {i % 50}"
        for camera in quality["cameras"].values():
            camera["calibration_metric"] = {"type": "IoU", "value": float(random.random())}
            camera["capture_delay_ms"] = float(random.normal(56, 5))
            camera["depth_valid_fraction"] = float(random.random())
        scores = {serial: float(random.random()) for serial in quality["cameras"]}
        quality["check"] = {
            "score": min(scores.values()),
            "cameras": {serial: {"score": score} for serial, score in scores.items()},
        }
        directory = folder / quality["source_path"]
        directory.mkdir(parents=True)
        (directory / "quality.json").write_text(json.dumps(quality))


def test_ten_thousand_episodes_are_a_page_of_few_megabytes(droidflow, browser, results, tmp_path):
    made_up(tmp_path / "out", qualities(results)[0], TEN_THOUSAND)
    path = tmp_path / "report.html"
    flags = ["-o", path, "--sheets", 0, "--json"]
    told = json.loads(droidflow("report", tmp_path / "out", *flags, code=0, timeout=300).stdout)
    assert told["episodes"] == TEN_THOUSAND
    assert told["bytes"] == path.stat().st_size < MOST_BYTES / 2, "and as much is for pictures"
    browser.open(path)
    assert browser.complaints() == []
    assert "Label check" in browser.run("document.getElementById('distributions').innerText")
    assert len(column(browser, "Episode")) == 50
    click(browser, "Score")
    scores = [float(text) for text in column(browser, "Score")]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 0.7
    search(browser, f"lab{1007 % 13} 01007m")
    (found,) = column(browser, "Episode")
    assert found.startswith(f"LAB{1007 % 13}+") and found.endswith("01007m")


def test_text_of_others_stays_text(droidflow, browser, results, tmp_path):
    template = qualities(results)[0]
    evil = "</script><img src=x onerror=\"throw 'caught'\"><!--<script>\u2028"
    template["current_task"] = template["episode_id"] = evil
    template["warnings"] = [{"code": evil, "text": evil}]
    folder = tmp_path / "out/LAB/success/2023-07-01/a"
    shutil.copytree(results / template["source_path"], folder)
    (folder / "quality.json").write_text(json.dumps(template))
    droidflow("report", tmp_path / "out", "-o", tmp_path / "r.html", code=0)
    browser.open(tmp_path / "r.html")
    assert browser.complaints() == []
    assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    (shown,) = column(browser, "Episode")
    assert shown.startswith("</script><img src=x")


def test_what_cannot_be_read_is_said(droidflow, results, tmp_path):
    out = tmp_path / "r.html"
    for wrong in (tmp_path, tmp_path / "nothing"):
        done = droidflow("report", wrong, "-o", out)
        assert done.returncode == 10 and str(wrong) in done.stderr
    broken = tmp_path / "broken/.droidflow"
    broken.mkdir(parents=True)
    (broken / "run.sqlite").write_bytes(b"no database" * 100)
    done = droidflow("report", broken.parent, "-o", out)
    assert done.returncode == 1 and "run.sqlite" in done.stderr
    assert droidflow("report", results, "-o", out, "--sheets", 99).returncode == 2
    assert not out.exists()
    # A damaged episode is noted, the rest is told.
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    victim, other = sorted(copy.glob("*/*/*/*/quality.json"))[:2]
    victim.write_text("{")
    other.with_name("tracks.npz").write_bytes(b"PK")
    told = droidflow.json("report", copy, "-o", out, "--sheets", 12)
    notes = "\n".join(told["notes"])
    assert "without a readable quality.json" in notes and str(other.parent) in notes
