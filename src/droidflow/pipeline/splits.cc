#include "droidflow/pipeline/splits.h"

#include "droidflow/core/sha256.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {

Result<SplitShares> ParseSplitShares(std::string_view text) {
  SplitShares shares{};
  const char* at = text.data();
  const char* const end = at + text.size();
  bool is_good = true;
  for (std::size_t i = 0; i < shares.size() && is_good; ++i) {
    const auto [after, error] = std::from_chars(at, end, shares[i]);
    const bool is_last = i + 1 == shares.size();
    is_good = error == std::errc() && std::isfinite(shares[i]) && shares[i] >= 0 &&
              (is_last ? after == end : after != end && *after == '/');
    at = after + (is_last ? 0 : 1);
  }
  if (!is_good || !(shares[0] + shares[1] + shares[2] > 0)) {
    return Fail(ErrorKind::kUsage,
                "want TRAIN/VAL/TEST, three shares of 0 or more as in 80/10/10, have '{}'",
                text);
  }
  return shares;
}

std::string_view SplitOf(std::string_view lab,
                         std::string_view building,
                         std::int64_t scene_id,
                         const SplitShares& shares) {
  const auto quoted = [](std::string_view text) {
    return nlohmann::json(text).dump(
        -1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
  };
  const std::string scene = fmt::format("[{}, {}, {}]", quoted(lab), quoted(building), scene_id);
  Sha256 sha256;
  sha256.Add(std::as_bytes(std::span(scene)));
  const std::string digest = sha256.Finish();
  std::uint64_t number = 0;
  std::from_chars(digest.data(), digest.data() + 16, number, 16);
  const double place = static_cast<double>(number) * 0x1p-64 * (shares[0] + shares[1] + shares[2]);
  if (place < shares[0]) return kSplits[0];
  return place < shares[0] + shares[1] ? kSplits[1] : kSplits[2];
}

}  // namespace droidflow
