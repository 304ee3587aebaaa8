#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/dataset_card.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/pipeline/repository_check.h"
#include "droidflow/pipeline/repository_contents.h"
#include "droidflow/transfer/upload_queue.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t kShown = 20;  ///< lines of a kind, for people

struct HubCommand {
  OptionFlags flags;
  std::string path;
  int sample = 16;
  bool print = false;
  bool json = false;
};

int ReportHub(const Error& error) {
  const int code = Report(error);
  if (error.status == store_status::kNoRepository) return kExitNoInput;
  return NeedsPermission(error) ? kExitForbidden : code;
}

/// What a command does with one place; it adds to the document when JSON is wanted, else it prints.
///
/// @return  the exit code.
using VisitPlace = std::function<Result<int>(const HubPlace&, const HubOptions&, Json&)>;

/// Does it with every place that the options name. The highest exit code counts.
int VisitPlaces(const HubCommand& command, Pipeline pipeline, const VisitPlace& visit) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  if (command.flags.print_config()) {
    fmt::print("{}", FormatConfig(*options));
    return kExitDone;
  }
  const HubOptions& hub = options->hub;
  if (!hub.HasPlace()) return Report({ErrorKind::kUsage, "which one? Give --hf-repo or --hub"});
  const auto say = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  const Result<std::vector<HubPlace>> places = MakeHubPlaces(hub, pipeline, say);
  if (!places) return Report(places.error());
  int code = kExitDone;
  Json documents = Json::array();
  for (const HubPlace& place : *places) {
    Json document{{"repository", place.store->Describe()}};
    const Result<int> visited = visit(place, hub, document);
    if (!visited) return ReportHub(visited.error());
    code = std::max(code, *visited);
    documents.push_back(std::move(document));
  }
  if (command.json) PrintJson({{"repositories", std::move(documents)}});
  return code;
}

// ---------------------------------------------------------------------------------------------- ls

Result<int> ListPlace(const HubPlace& place, bool json, Json& document) {
  DF_ASSIGN_OR_RETURN(const RepositoryContents contents, ReadRepository(*place.store));
  std::vector<std::vector<std::string>> rows = {{"files", "bytes", "episode", "in"}};
  std::size_t files = 0;
  std::uint64_t bytes = 0;
  document["revision"] = contents.revision;
  Json& episodes = document["episodes"] = Json::array();
  for (const RepositoryEpisode& episode : contents.episodes) {
    const std::uint64_t episode_bytes = episode.TotalBytes();
    files += episode.files.size();
    bytes += episode_bytes;
    if (json) {
      episodes.push_back({{"path", episode.folder},
                          {"uuid", episode.uuid.empty() ? Json() : Json(episode.uuid)},
                          {"shard", episode.shard.empty() ? Json() : Json(episode.shard)},
                          {"files", episode.files.size()},
                          {"bytes", episode_bytes}});
    } else {
      rows.push_back({fmt::to_string(episode.files.size()),
                      fmt::to_string(episode_bytes),
                      episode.folder,
                      episode.shard});
    }
  }
  document["files"] = files;
  document["bytes"] = bytes;
  if (!json) {
    if (rows.size() > 1) fmt::print("{}", FormatTable(rows, {0, 1}));
    fmt::print("{}: {}, {}, {}\n",
               place.store->Describe(),
               Counted(contents.episodes.size(), "episode"),
               Counted(files, "file"),
               FormatBytes(static_cast<double>(bytes)));
  }
  return kExitDone;
}

// ------------------------------------------------------------------------------------------ verify

/// What is on this machine: a queue, an output tree, or both.
struct LocalSide {
  std::optional<fs::path> tree;
  std::optional<fs::path> queue_dir;
};

Result<LocalSide> FindLocalSide(const std::string& given) {
  LocalSide local;
  if (given.empty()) return local;
  const fs::path path = fs::absolute(fs::path(given) / "").lexically_normal().parent_path();
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    return Fail(ErrorKind::kNotFound, "no such folder: {}", path.string());
  }
  const auto has_queue = [&](const fs::path& dir) {
    return fs::exists(dir / "upload.sqlite", ignored);
  };
  if (has_queue(path)) {
    local.queue_dir = path;
    return local;
  }
  if (path.filename() == ".droidflow") {
    return Fail(ErrorKind::kNotFound, "no queue of uploads in {}", path.string());
  }
  local.tree = path;
  if (has_queue(path / ".droidflow")) local.queue_dir = path / ".droidflow";
  return local;
}

/// A queue without whole episodes was filled by a run without depth.
Result<Pipeline> PipelineOf(std::optional<UploadQueue>& queue) {
  if (!queue) return Pipeline::kFull;
  DF_ASSIGN_OR_RETURN(const auto counts, queue->Counts());
  return counts.contains(kMetadataDestination) && !counts.contains(kFullDestination)
             ? Pipeline::kMetadata
             : Pipeline::kFull;
}

Json ToJson(const std::vector<RepositoryFinding>& findings) {
  Json rows = Json::array();
  for (const RepositoryFinding& finding : findings) {
    rows.push_back({{"path", finding.path}, {"problem", finding.text}});
  }
  return rows;
}

template <typename Finding, typename Format>
void PrintSome(const char* kind, const std::vector<Finding>& findings, const Format& format) {
  for (std::size_t i = 0; i < std::min(findings.size(), kShown); ++i) {
    fmt::print("{:<9} {}\n", kind, format(findings[i]));
  }
  if (findings.size() > kShown) {
    fmt::print("{:<9} and {} more; --json lists them\n", kind, findings.size() - kShown);
  }
}

void PrintFindings(const std::string& place, const RepositoryFindings& findings, bool has_local) {
  const auto path = [](const std::string& file) { return file; };
  const auto with_text = [](const RepositoryFinding& finding) {
    return fmt::format("{}: {}", finding.path, finding.text);
  };
  PrintSome("missing", findings.missing, path);
  PrintSome("different", findings.different, with_text);
  PrintSome("damaged", findings.damaged, with_text);
  if (has_local) PrintSome("extra", findings.extra, path);
  fmt::print("{}: ", place);
  if (has_local) {
    fmt::print("{} with {} from here, {} missing, {} different, {} extra; ",
               Counted(findings.expected_episodes, "episode"),
               Counted(findings.expected_files, "file"),
               findings.missing.size(),
               findings.different.size(),
               findings.extra.size());
  }
  fmt::print(
      "{} read back, {} damaged\n", Counted(findings.read_back, "file"), findings.damaged.size());
}

Result<int> VerifyPlace(const HubPlace& place,
                        const HubCommand& command,
                        const LocalSide& local,
                        std::optional<UploadQueue>& queue,
                        Json& document) {
  DF_ASSIGN_OR_RETURN(const RepositoryContents contents, ReadRepository(*place.store));
  RepositoryCheck check(contents);
  if (local.tree) DF_RETURN_IF_ERROR(ExpectTree(check, *local.tree, place.destination));
  if (queue) DF_RETURN_IF_ERROR(ExpectConfirmed(check, *queue, place.destination));
  DF_ASSIGN_OR_RETURN(const RepositoryFindings findings,
                      check.Finish(*place.store, static_cast<std::size_t>(command.sample)));
  const bool has_local = local.tree || queue;
  if (command.json) {
    document["revision"] = contents.revision;
    document["ok"] = findings.AllWell();
    document["expected_episodes"] = findings.expected_episodes;
    document["expected_files"] = findings.expected_files;
    document["missing"] = findings.missing;
    document["different"] = ToJson(findings.different);
    document["extra"] = has_local ? Json(findings.extra) : Json();
    document["read_back"] = findings.read_back;
    document["damaged"] = ToJson(findings.damaged);
  } else {
    PrintFindings(place.store->Describe(), findings, has_local);
  }
  return findings.AllWell() ? kExitDone : kExitQuarantined;
}

int RunHubVerify(const HubCommand& command) {
  const Result<LocalSide> local = FindLocalSide(command.path);
  if (!local) return Report(local.error());
  std::optional<UploadQueue> queue;
  if (local->queue_dir) {
    Result<UploadQueue> opened = UploadQueue::Open(*local->queue_dir);
    if (!opened) return Report(opened.error());
    queue = *std::move(opened);
  }
  const Result<Pipeline> pipeline = PipelineOf(queue);
  if (!pipeline) return Report(pipeline.error());
  return VisitPlaces(
      command, *pipeline, [&](const HubPlace& place, const HubOptions&, Json& document) {
        return VerifyPlace(place, command, *local, queue, document);
      });
}

// -------------------------------------------------------------------------------------------- card

Result<int> WriteCard(const HubPlace& place,
                      const HubOptions& hub,
                      const HubCommand& command,
                      Json& document) {
  CardContext context = MakeCardContext(place, hub);
  DF_ASSIGN_OR_RETURN(const RepositoryContents contents, ReadRepository(*place.store));
  DF_RETURN_IF_ERROR(LookThrough(*place.store, contents, context));
  document["card"] = kCardFile;
  if (command.print) {
    document["text"] = FormatDatasetCard(context);
    if (!command.json) fmt::print("{}", document["text"].get<std::string>());
    return kExitDone;
  }
  DF_ASSIGN_OR_RETURN(const CardOutcome outcome, WriteDatasetCard(*place.store, context));
  document["outcome"] = outcome == CardOutcome::kWritten    ? "written"
                        : outcome == CardOutcome::kUpToDate ? "up to date"
                                                            : "kept";
  if (!command.json) {
    fmt::print("{}: {} {}\n",
               place.store->Describe(),
               kCardFile,
               outcome == CardOutcome::kKept
                   ? "was written or changed by a person and stays; --print shows droidflow's"
                   : document["outcome"].get<std::string>());
  }
  return kExitDone;
}

}  // namespace

void AddHubCommand(CLI::App& app, int& exit_code) {
  CLI::App* hub =
      app.add_subcommand("hub", "Look into a repository of results, check it, write its card");
  hub->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, const char* footer) {
    auto command = std::make_shared<HubCommand>();
    CLI::App* sub = hub->add_subcommand(name, help);
    command->flags.AddTo(*sub, {});
    command->flags.AddKeys(
        *sub, {"hf_repo", "hf_metadata_repo", "hf_type", "hf_branch", "hub", "metadata_hub"});
    sub->add_flag("--json", command->json, "Print JSON");
    sub->footer(fmt::format(
        "Example:\n  droidflow hub {}\n"
        "Exit status: 0 done, 1 failed, 2 usage, {}10 no such repository, 12 the token may not.",
        footer,
        std::string_view(name) == "verify" ? "3 something is wrong, " : ""));
    return std::pair(command, sub);
  };

  const auto [ls, ls_app] =
      add("ls", "List the episodes of a repository", "ls --hf-repo me/droid-tracks");
  ls_app->callback([&exit_code, command = ls] {
    exit_code = VisitPlaces(
        *command, Pipeline::kFull, [&](const HubPlace& place, const HubOptions&, Json& document) {
          return ListPlace(place, command->json, document);
        });
  });

  const auto [verify, verify_app] = add("verify",
                                        "Compare a repository with what is here or was uploaded",
                                        "verify /data/tracks --hf-repo me/droid-tracks");
  verify_app
      ->add_option(
          "PATH",
          verify->path,
          "Output folder (its episodes, and those confirmed by its queue) or run directory "
          "(confirmed ones only); without it the repository is compared with itself")
      ->type_name("");
  verify_app->add_option("--sample", verify->sample, "Files that are read back and hashed (16)")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  verify_app->callback([&exit_code, command = verify] { exit_code = RunHubVerify(*command); });

  const auto [card, card_app] =
      add("card",
          "Write the repository's README.md, unless a person has written or changed it",
          "card --hf-repo me/droid-tracks --print");
  card->flags.AddKeys(*card_app, {"hub_layout"});
  card_app->add_flag("--print", card->print, "Print the card and write nothing");
  card_app->callback([&exit_code, command = card] {
    exit_code = VisitPlaces(*command,
                            Pipeline::kFull,
                            [&](const HubPlace& place, const HubOptions& options, Json& document) {
                              return WriteCard(place, options, *command, document);
                            });
  });
}

}  // namespace droidflow
