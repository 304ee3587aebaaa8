#pragma once

/// A repository of the Hugging Face Hub as the place for finished episodes.

#include "droidflow/transfer/clock.h"
#include "droidflow/transfer/store.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>

namespace droidflow {

struct HfStoreOptions {
  std::string endpoint = {};                 ///< empty: HF_ENDPOINT, or https://huggingface.co
  std::string repo = {};                     ///< NAMESPACE/NAME
  std::string type = "dataset";              ///< or "model"
  std::string branch = "main";               ///< made when it is not there
  bool is_private = false;                   ///< of a repository that Prepare makes
  std::string token = {};                    ///< empty: FindHfToken
  std::filesystem::path working_dir = ".";   ///< where FindHfToken looks for .env
  int upload_jobs = 5;                       ///< connections that a Put sends by
  std::chrono::seconds low_speed_time{120};  ///< below 1 kB/s for so long: the try has failed
  std::chrono::milliseconds backoff{1000};   ///< HttpOptions::backoff
  std::chrono::seconds max_wait{60};         ///< HttpOptions::max_wait
  std::uint64_t group_bytes = std::uint64_t{1} << 30;  ///< asked for at once: URLs expire
  Clock* clock = &SystemClock();
  /// Called by any thread with warnings of the Hub, each topic once, and as HttpOptions::notice.
  std::function<void(const std::string&)> notice = {};
};

/// Speaks the Hub's HTTP interface: large files by Git LFS (basic and multipart), small ones within
/// commits. The Hub decides which is which.
///
/// Prepare makes the repository with a .gitattributes that covers what droidflow writes, or adds
/// what is missing to one that is there. Put does not send what the Hub has; every file is hashed
/// again while it is sent. Commit looks first which files stand there already. A token that is
/// refused is looked for once more.
///
/// Memory  below 64 MiB whatever the size of the files, and 1 kB per file of a commit.
class HfStore : public Store {
 public:
  /// Talks to nobody yet. @return kUsage: what the options say is no repository or endpoint, or
  /// HF_HUB_OFFLINE is set.
  [[nodiscard]] static Result<std::unique_ptr<HfStore>> Make(HfStoreOptions options);
  ~HfStore() override;

  [[nodiscard]] std::string Describe() const override;
  [[nodiscard]] Status Prepare() override;
  [[nodiscard]] Result<std::string> Head() override;
  [[nodiscard]] Status List(const std::string& revision,
                            const std::string& folder,
                            const std::function<void(StoredFile)>& tell) override;
  [[nodiscard]] Result<std::vector<std::optional<StoredFile>>> Stat(
      const std::string& revision, std::span<const std::string> paths) override;
  [[nodiscard]] std::vector<Status> Put(std::span<const OutgoingFile> files) override;
  [[nodiscard]] Result<std::string> Commit(const CommitRequest& request) override;
  [[nodiscard]] Status Read(const std::string& revision,
                            const std::string& path,
                            std::uint64_t offset,
                            std::optional<std::uint64_t> length,
                            const std::function<Status(std::span<const std::byte>)>& sink) override;

 private:
  class Hub;
  explicit HfStore(std::unique_ptr<Hub> hub);
  std::unique_ptr<Hub> hub_;
};

}  // namespace droidflow
