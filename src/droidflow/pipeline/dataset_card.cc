#include "droidflow/pipeline/dataset_card.h"

#include "droidflow/core/files.h"
#include "droidflow/core/sha256.h"
#include "droidflow/core/temporary_folder.h"
#include "droidflow/pipeline/build_info.h"
#include "droidflow/pipeline/formats_text.h"
#include "droidflow/pipeline/products.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSeal = "<!-- written by droidflow; sha256 of the lines above: ";
constexpr std::string_view kSealEnd = " -->\n";
constexpr int kTries = 5;  ///< while others commit

constexpr char kLicence[] = R"(## Licence

[CC-BY-4.0](https://creativecommons.org/licenses/by/4.0/), as [DROID](https://droid-dataset.github.io), which this was computed
from: whoever uses it names both. The software that made it has a licence of its own.

## Citation

```bibtex
@inproceedings{khazatsky2024droid,
  title     = {{DROID}: A Large-Scale In-The-Wild Robot Manipulation Dataset},
  author    = {Khazatsky, Alexander and Pertsch, Karl and Nair, Suraj and Balakrishna, Ashwin and
               Dasari, Sudeep and Karamcheti, Siddharth and Nasiriany, Soroush and others},
  booktitle = {Proceedings of Robotics: Science and Systems},
  address   = {Delft, Netherlands},
  month     = {July},
  year      = {2024},
  doi       = {10.15607/RSS.2024.XX.120},
  note      = {arXiv:2403.12945}
}
```
)";

constexpr char kReadFiles[] = R"(```python
import io, json
from pathlib import Path

import numpy as np

episodes = sorted(path.parent for path in Path(".").glob("**/tracks.npz"))


def read(episode, name):
    return (episode / name).read_bytes()
```
)";

constexpr char kReadShards[] = R"(```python
import io, json
from pathlib import Path

import numpy as np

lines = [
    json.loads(line)
    for path in sorted(Path("meta").glob("*.jsonl"))
    for line in path.read_text().strip().split("\n")
]
episodes = list({line["key"]: line for line in lines}.values())  # the later one counts


def read(episode, name):
    member = next(m for m in episode["members"] if m["name"] == name)
    with open(episode["shard"], "rb") as shard:
        shard.seek(member["offset"])
        return shard.read(member["size"])
```
)";

constexpr char kReadRanges[] = R"(
Whoever wants a few episodes of many downloads `meta/` only, and fetches bytes `offset` to `offset + size - 1` of a shard.
`quality` of an index line is the episode's quality.json, so choosing takes no further request. In place of the `read` above:

```python
import os, urllib.parse, urllib.request

endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def read(episode, name):
    member = next(m for m in episode["members"] if m["name"] == name)
    path = urllib.parse.quote(episode["shard"])
    request = urllib.request.Request(f"{endpoint}/@KIND@@REPO@/resolve/@BRANCH@/{path}")
    last = member["offset"] + member["size"] - 1
    request.add_header("Range", f"bytes={member['offset']}-{last}")
    with urllib.request.urlopen(request) as reply:
        return reply.read()
```
)";

constexpr char kUseNumPy[] = R"(
NumPy: points of the gripper, and where a camera sees them.

```python
episode = episodes[0]
quality = json.loads(read(episode, "quality.json"))
tracks = np.load(io.BytesIO(read(episode, "tracks.npz")))
extrinsics = np.load(io.BytesIO(read(episode, "extrinsics.npz")))

points_m = tracks["tracks_3d"]  # [T, N, 3], robot base
for serial in tracks["cameras_with_2d_tracks"]:
    wrist = serial == quality["wrist_camera"]
    T_world_cam = extrinsics["wrist_extrinsics" if wrist else f"external_{serial}"]
    T_world_cam = np.broadcast_to(T_world_cam, (len(points_m), 4, 4))
    points_cam_m = (points_m - T_world_cam[:, None, :3, 3]) @ T_world_cam[:, :3, :3]
    with np.errstate(divide="ignore", invalid="ignore"):
        u_v_1 = points_cam_m @ tracks[f"intrinsics_{serial}"].T / points_cam_m[..., 2:]
    pixels = tracks[f"tracks_2d_{serial}"]  # [T, N, 2]: the same, NaN behind the camera
    width, height = tracks[f"image_size_{serial}"]
    in_image = ((pixels >= -0.5) & (pixels < [width - 0.5, height - 0.5])).all(axis=-1)
```

PyTorch: episodes differ in length, so a batch is one episode.

```python
import torch


class Episodes(torch.utils.data.Dataset):
    keys = ["normalized_tracks_3d", "normalized_frames", "gripper_positions"]

    def __len__(self):
        return len(episodes)

    def __getitem__(self, index):
        with np.load(io.BytesIO(read(episodes[index], "tracks.npz"))) as tracks:
            return {key: torch.from_numpy(tracks[key]) for key in self.keys}


for sample in torch.utils.data.DataLoader(Episodes(), batch_size=None, shuffle=True):
    break
```
)";

constexpr char kUseCompact[] = R"(
Tracks are stored compactly: droidflow's Python package computes their arrays when they are asked for, and
`droidflow convert --tracks-layout full` writes all of them.

```python
import droidflow

episode = episodes[0]
quality = json.loads(read(episode, "quality.json"))
tracks = droidflow.Dataset(".")[quality["episode_id"]]
points_m = tracks.tracks_3d  # [T, N, 3], robot base
pixels = tracks.tracks_2d["wrist"]  # [T, N, 2], NaN behind the camera
```
)";

constexpr char kUseDepth[] = R"(
Depth, with FFmpeg 5.1 or newer: metres, NaN where there is none.

```python
import subprocess

serial = next(serial for serial, depth in quality["depth"].items() if depth["reason"] is None)
meta = json.loads(read(episode, f"recordings/{serial}/depth_meta.json"))
command = "ffmpeg -v error -i - -fps_mode passthrough -f rawvideo -pix_fmt gray16le -"
video = read(episode, f"recordings/{serial}/depth.mkv")
raw = subprocess.run(command.split(), input=video, stdout=subprocess.PIPE, check=True).stdout
depth_mm = np.frombuffer(raw, "<u2").reshape(-1, meta["height"], meta["width"])
depth_m = np.where(depth_mm == meta["invalid_value"], np.nan, depth_mm / meta["scale"])
frame_of_step = meta["step_to_frame"]  # [T] -1: no frame shows that step
```
)";

constexpr char kFrames[] = R"(
## Frames, units and invalid values

"world" is the robot's base: x forward, z up. Cameras look along +z, x is right and y down in the image; the centre of the
top-left pixel is (0, 0). A pose of b in a, 4x4, takes coordinates of b to a; poses of cameras are those of the left lens. All
frames are right-handed; metres, radians and pixels, unless a name says otherwise. Invalid is NaN in pixels, 0 in depth videos,
-1 in maps of steps to frames, null in JSON.
)";

constexpr char kQuality[] = R"(
## What quality means

`quality.json` says of every episode what was used and how good it is; filter by it.

- `calibration_metric` of a camera is how well DROID's authors found its pose to fit: `IoU` and `num_matches` are better when
  higher, `Reprojection_error` when lower; null: nobody measured it. Values of different types do not compare.
- `extrinsics_source` and `intrinsics_source` say where a camera's numbers come from.
- `in_image_fraction` is the share of the track points within the image; near 0, the camera looks elsewhere or its pose is wrong.
- `capture_delay_ms` is how much older the image is than the robot's state that it stands beside.
- `warnings` names what was missing or did not agree, by code.
)";

constexpr char kLimits[] = R"(
## Known limits

- Tracks are computed from the robot's joints and a model of the gripper (Robotiq 2F-85), not seen in images: points of other
  fingertips, or of a finger that bends, are off, and nothing says whether a point is hidden.
- Poses of cameras are DROID's, and some are wrong by centimetres or more.
- Tracks are those of the control step, its image is some 50 ms older, unless `config` says `pose_time` `capture`.
- Images are not here; DROID has them, under the same relative paths.
)";

constexpr char kDepthLimits[] =
    R"(- Depth comes from matching both eyes: surfaces without texture, mirrors, glass and repeated patterns have gaps or errors, and
  its error grows with the square of the distance. The fingers are often nearer than the least depth.
)";

std::string HashOf(std::string_view text) {
  Sha256 hash;
  hash.Add(std::as_bytes(std::span(text)));
  return hash.Finish();
}

void ReplaceAll(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

struct Section {
  std::string title;  ///< with its '#'
  std::string text;
};

/// docs/formats.md at its headings; what stands before the first of level 2 has its title.
std::vector<Section> FormatsSections() {
  std::string text = kFormatsText;
  for (const char* page : {"formats.md", "frames.md", "running.md"}) {
    ReplaceAll(text, fmt::format("[{0}]({0})", page), fmt::format("droidflow's docs/{}", page));
  }
  std::vector<Section> sections;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t next = text.size();
    for (const char* heading : {"\n## ", "\n### "})
      next = std::min(next, text.find(heading, begin));
    const std::size_t title_end = text.find('\n', begin);
    sections.push_back(
        {text.substr(begin, title_end - begin), text.substr(title_end + 1, next - title_end - 1)});
    begin = next + 1;
  }
  return sections;
}

/// A section without its code: the card has some of its own.
std::string WithoutCode(std::string text) {
  const std::string_view start = ":\n\n```python\n";
  const std::string_view end = "\n```\n";
  for (std::size_t at = 0; (at = text.find(start, at)) != std::string::npos;) {
    text.replace(at, text.find(end, at + start.size()) + end.size() - at, ".\n");
  }
  return text;
}

bool IsCompact(const CardContext& context) {
  const auto config = nlohmann::json::parse(context.config, nullptr, /*allow_exceptions=*/false);
  return config.is_object() &&
         config.value("tracks_layout", "") == ToString(TracksLayout::kCompact);
}

std::string FormatFiles(const CardContext& context, const std::vector<Section>& sections) {
  std::string text = "\n## Files\n";
  for (const Section& section : sections) {
    if (!IsCompact(context) && section.title.find("compact") != std::string::npos) continue;
    if (!context.depth && section.title.find("/depth") != std::string::npos) continue;
    if (!context.shards && section.title == "## Shards") continue;
    if (&section != &sections.front()) text += fmt::format("\n#{}\n", section.title);
    text += WithoutCode(section.text);
  }
  return text;
}

const char* SizeCategory(std::int64_t episodes) {
  constexpr std::array<std::pair<std::int64_t, const char*>, 4> kBins = {
      {{1'000, "n<1K"}, {10'000, "1K<n<10K"}, {100'000, "10K<n<100K"}, {1'000'000, "100K<n<1M"}}};
  for (const auto& [limit, name] : kBins) {
    if (episodes < limit) return name;
  }
  return "1M<n<10M";
}

std::string PrettyName(const CardContext& context) {
  return context.depth ? "Contact tracks, camera poses and depth of DROID"
                       : "Contact tracks and camera poses of DROID";
}

std::string FormatFrontMatter(const CardContext& context) {
  return fmt::format(R"(---
license: cc-by-4.0
pretty_name: {}
task_categories:
- robotics
tags:
- robotics
- droid
- franka
- manipulation
- point-tracking
- camera-calibration
{}- droidflow
annotations_creators:
- machine-generated
source_datasets:
- extended
size_categories:
- {}
{}---
)",
                     PrettyName(context),
                     context.depth ? "- depth\n- stereo\n" : "",
                     SizeCategory(context.episodes),
                     // The viewer knows no npz; of shards it shows the index.
                     context.shards
                         ? "configs:\n- config_name: episodes\n  data_files: meta/*.jsonl\n"
                         : "viewer: false\n");
}

std::string FormatContents(const CardContext& context) {
  std::string text = fmt::format(R"(
# {}

Computed from raw episodes of [DROID](https://droid-dataset.github.io) with droidflow. Of every episode: 3-D tracks of points on
the gripper's contact pads, the same tracks resampled at equal distances of travel, their 2-D projections in every camera,
camera poses and intrinsics{}; and a record of what was used and how good it is.

)",
                                 PrettyName(context),
                                 context.depth ? ", metric depth of stereo recordings" : "");
  text += context.shards ? R"(```
data/{lab}/shard-*.tar   many episodes each
meta/shard-*.jsonl       a line per episode: key, shard, folder, members with offset, size and sha256, quality
```

`key` is the episode's uuid and `folder` its path in DROID; `members` are the files below. Archives are WebDataset's: a member
is called `{key}.{name}`, without `recordings/` and with `.` for `/`. The lines load as a table too:
`datasets.load_dataset`.
)"
                         : R"(```
{lab}/{success|failure}/{YYYY-MM-DD}/{timestamp}/    as in DROID
    tracks.npz
    extrinsics.npz
    quality.json
    recordings/{serial}/intrinsics.json
    recordings/{serial}/video.json
)";
  if (context.shards) return text;
  if (context.depth) {
    text += "    recordings/{serial}/depth.mkv\n    recordings/{serial}/depth_meta.json\n";
  }
  return text + "```\n";
}

std::string FormatOrigin(const CardContext& context) {
  std::string text = fmt::format(
      "\n## How it was made\n\ndroidflow {}. Every episode's `quality.json` names the version and "
      "every "
      "parameter that shaped its numbers, as `config`.\n",
      context.version.empty() ? build_info::kVersion : context.version);
  const auto config =
      nlohmann::ordered_json::parse(context.config, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return text;
  return text + fmt::format("When this card was written it was:\n\n```json\n{}\n```\n",
                            config.dump(2, ' ', false, decltype(config)::error_handler_t::replace));
}

std::string FormatLoading(const CardContext& context) {
  std::string text = "\n## How to read it\n\n";
  if (!context.repo.empty()) {
    text += fmt::format(
        "`hf download {} --repo-type {}{} --local-dir data`, with `--include` for a part of "
        "it; then in "
        "`data`:\n\n",
        context.repo,
        context.type,
        context.branch == "main" ? "" : " --revision " + context.branch);
  }
  text += context.shards ? kReadShards : kReadFiles;
  if (context.shards && !context.repo.empty()) text += kReadRanges;
  text += IsCompact(context) ? kUseCompact : kUseNumPy;
  if (context.depth) text += kUseDepth;
  ReplaceAll(text, "@KIND@", context.type == "dataset" ? "datasets/" : "");
  ReplaceAll(text, "@REPO@", context.repo);
  ReplaceAll(text, "@BRANCH@", context.branch);
  return text;
}

/// The card that stands there; nothing: none.
Result<std::optional<std::string>> ReadCard(Store& store,
                                            const CardContext& context,
                                            const std::string& head) {
  if (!context.folder.empty()) {
    Result<std::string> text = ReadFileText(context.folder / kCardFile);
    if (text) return *std::move(text);
    if (text.error().kind == ErrorKind::kNotFound) return std::nullopt;
    return tl::unexpected(std::move(text).error());
  }
  const std::array paths{std::string(kCardFile)};
  DF_ASSIGN_OR_RETURN(const auto stats, store.Stat(head, paths));
  if (!stats.front()) return std::nullopt;
  return ReadStored(store, head, kCardFile);
}

Status CommitCard(Store& store, const std::string& card, const std::string& head, bool is_new) {
  DF_ASSIGN_OR_RETURN(const TemporaryFolder folder, TemporaryFolder::Make());
  const fs::path file = folder.path() / kCardFile;
  DF_RETURN_IF_ERROR(WriteFile(file, card));
  OutgoingFile outgoing{
      .path = kCardFile, .source = file, .size_bytes = card.size(), .sha256 = HashOf(card)};
  DF_ASSIGN_OR_RETURN(outgoing.git_oid, GitBlobOidOfFile(file));
  DF_RETURN_IF_ERROR(store.Put({&outgoing, 1}).front());
  const Result<std::string> committed =
      store.Commit({.files = {outgoing},
                    .summary = is_new ? "Add the dataset card" : "Renew the dataset card",
                    .batch_id = outgoing.sha256.substr(0, 16),
                    .parent = head});
  if (!committed) return tl::unexpected(committed.error());
  return {};
}

}  // namespace

CardContext MakeCardContext(const HubPlace& place, const HubOptions& options) {
  return {.repo = place.repo,
          .type = options.type,
          .branch = options.branch,
          .shards = options.layout == HubLayout::kShards,
          .folder = place.folder};
}

std::string FormatDatasetCard(const CardContext& context) {
  std::vector<Section> sections = FormatsSections();
  const Section unproved = sections.back();
  sections.pop_back();
  std::string text = FormatFrontMatter(context) + FormatContents(context) + FormatOrigin(context) +
                     FormatLoading(context) + kFrames + FormatFiles(context, sections) + kQuality +
                     kLimits;
  if (context.depth) text += kDepthLimits;
  text += fmt::format("\n#{}\n{}\n", unproved.title, unproved.text);
  text += kLicence;
  text += '\n';
  return text + fmt::format("{}{}{}", kSeal, HashOf(text), kSealEnd);
}

bool IsGeneratedCard(std::string_view card) {
  const std::size_t seal = card.rfind(kSeal);
  return seal != std::string_view::npos &&
         card.substr(seal) == fmt::format("{}{}{}", kSeal, HashOf(card.substr(0, seal)), kSealEnd);
}

Result<CardOutcome> WriteDatasetCard(Store& store, const CardContext& context) {
  const std::string card = FormatDatasetCard(context);
  for (int tries = 1;; ++tries) {
    DF_ASSIGN_OR_RETURN(const std::string head, store.Head());
    DF_ASSIGN_OR_RETURN(const std::optional<std::string> old, ReadCard(store, context, head));
    if (old == card) return CardOutcome::kUpToDate;
    if (old && !IsGeneratedCard(*old)) return CardOutcome::kKept;
    const Status status = CommitCard(store, card, head, !old);
    if (status) return CardOutcome::kWritten;
    if (status.error().status != store_status::kHeadMoved || tries == kTries) {
      return tl::unexpected(During("writing the dataset card")(status.error()));
    }
  }
}

Status LookThrough(Store& store, const RepositoryContents& contents, CardContext& context) {
  std::set<std::string_view> folders;
  for (const RepositoryEpisode& episode : contents.episodes) folders.insert(episode.folder);
  context.episodes = std::max(context.episodes, static_cast<std::int64_t>(folders.size()));
  if (folders.empty()) return {};
  context.shards = contents.HasShards();
  context.depth = contents.HasDepth();
  for (const RepositoryEpisode& episode : contents.episodes) {
    const auto file = std::ranges::find(episode.files, kQualityFile, &RepositoryFile::name);
    if (file == episode.files.end()) continue;
    DF_ASSIGN_OR_RETURN(
        const std::string text,
        ReadStored(
            store, contents.revision, episode.StoredIn(*file), file->offset, file->size_bytes));
    const auto quality = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!quality.is_object() || !quality.contains("config")) continue;
    context.config = quality["config"].dump();
    const auto version = quality.find("droidflow_version");
    if (version != quality.end() && version->is_string()) context.version = *version;
    break;
  }
  return {};
}

Status EnsureDatasetCard(Store& store, CardContext context) {
  DF_ASSIGN_OR_RETURN(const std::string head, store.Head());
  DF_ASSIGN_OR_RETURN(const std::optional<std::string> old, ReadCard(store, context, head));
  if (old) return {};
  DF_ASSIGN_OR_RETURN(const RepositoryContents contents, ReadRepository(store));
  DF_RETURN_IF_ERROR(LookThrough(store, contents, context));
  const Result<CardOutcome> written = WriteDatasetCard(store, context);
  if (!written) return tl::unexpected(written.error());
  return {};
}

}  // namespace droidflow
