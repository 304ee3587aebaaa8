#pragma once

/// README.md of a repository: what is in it, how it was made, how to read it. The Hub shows it, and
/// reads the block at its start.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/pipeline/repository_contents.h"
#include "droidflow/transfer/store.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace droidflow {

inline constexpr const char kCardFile[] = "README.md";

struct CardContext {
  std::string repo = {};         ///< NAMESPACE/NAME on the Hub; empty: it is elsewhere
  std::string type = "dataset";  ///< or "model"
  std::string branch = "main";
  bool shards = false;        ///< many episodes per file; else files under their own names
  bool depth = false;         ///< whether some episode has it
  std::int64_t episodes = 0;  ///< that it has, or will have
  std::string config = {};    ///< JSON: `config` of a quality.json; empty: not known
  std::string version = {};   ///< of the droidflow that made the episodes; empty: this one
  /// Of a FolderStore: its folder, where people change files without the store's knowing.
  std::filesystem::path folder = {};
};

/// What is known of a place before anybody has looked into it.
[[nodiscard]] CardContext MakeCardContext(const HubPlace& place, const HubOptions& options);

/// The card. Its last line holds a hash of all before, by which IsGeneratedCard knows it.
/// The tables of files are those of docs/formats.md.
[[nodiscard]] std::string FormatDatasetCard(const CardContext& context);

/// Whether a card is as FormatDatasetCard of some version made it: nobody has changed it.
[[nodiscard]] bool IsGeneratedCard(std::string_view card);

enum class CardOutcome {
  kWritten,
  kUpToDate,  ///< it was there already
  kKept,      ///< it was written or changed by a person
};

/// Puts the card into a store, in a commit of its own. One that a person wrote or changed stays.
///
/// @return  the store's errors; kHeadMoved when others committed all the time.
[[nodiscard]] Result<CardOutcome> WriteDatasetCard(Store& store, const CardContext& context);

/// What a repository itself says: layout, whether there is depth, at least how many episodes, and
/// the configuration and version of one of them.
[[nodiscard]] Status LookThrough(Store& store,
                                 const RepositoryContents& contents,
                                 CardContext& context);

/// Where there is no card yet, looks through the repository and writes one; any other stays. For
/// runs, when the first episodes are there; a failure is no reason to stop.
[[nodiscard]] Status EnsureDatasetCard(Store& store, CardContext context);

}  // namespace droidflow
