#include "droidflow/view/moments.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace droidflow {
namespace {

std::string EndingOf(const std::filesystem::path& path) {
  std::string end = path.extension().string();
  std::ranges::transform(end, end.begin(), [](unsigned char c) { return std::tolower(c); });
  return end;
}

}  // namespace

bool IsVideoName(const std::filesystem::path& out) { return EndingOf(out) == ".mp4"; }

Status CheckMoments(const std::filesystem::path& out,
                    std::string_view unit,
                    std::optional<int> only,
                    std::optional<int> every) {
  if (!IsVideoName(out) && EndingOf(out) != ".png") {
    return Fail(ErrorKind::kUsage, "want a name that ends in .png or .mp4: {}", out.string());
  }
  if (only && IsVideoName(out)) {
    return Fail(ErrorKind::kUsage,
                "one {} is a picture: want a name that ends in .png: {}",
                unit,
                out.string());
  }
  if (only && every) {
    return Fail(ErrorKind::kUsage, "want one {} or every K-th, have both", unit);
  }
  if (only && *only < 0) {
    return Fail(ErrorKind::kUsage, "{}: want 0 or more, have {}", unit, *only);
  }
  if (every && *every < 1) {
    return Fail(ErrorKind::kUsage, "every: want 1 or more, have {}", *every);
  }
  return {};
}

Result<std::vector<std::int64_t>> ChooseMoments(std::int64_t count,
                                                std::string_view unit,
                                                std::optional<int> only,
                                                std::optional<int> every,
                                                int pictures) {
  if (only) {
    if (*only >= count) {
      return Fail(ErrorKind::kUsage, "{}: want 0 … {}, have {}", unit, count - 1, *only);
    }
    return std::vector<std::int64_t>{*only};
  }
  std::vector<std::int64_t> chosen;
  if (every) {
    if ((count + *every - 1) / *every > kMaxSheetPictures) {
      return Fail(ErrorKind::kUsage,
                  "every: want at least {}, for at most {} of {} {}s on a sheet, have {}",
                  (count + kMaxSheetPictures - 1) / kMaxSheetPictures,
                  kMaxSheetPictures,
                  count,
                  unit,
                  *every);
    }
    for (std::int64_t i = 0; i < count; i += *every) chosen.push_back(i);
    return chosen;
  }
  const std::int64_t shown = std::min<std::int64_t>(count, pictures);
  for (std::int64_t i = 0; i < shown; ++i) {
    chosen.push_back(shown == 1 ? 0 : i * (count - 1) / (shown - 1));
  }
  return chosen;
}

}  // namespace droidflow
