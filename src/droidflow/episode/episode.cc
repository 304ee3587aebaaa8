#include "droidflow/episode/episode.h"

#include <algorithm>
#include <charconv>
#include <cstddef>

namespace droidflow {
namespace {

constexpr std::string_view kUuidShape = "{lab}+{8 characters}+YYYY-MM-DD-HHh-MMm-SSs";
constexpr std::string_view kPathShape = "{lab}/{success|failure}/YYYY-MM-DD/{folder}";
constexpr std::string_view kTimePattern = "dddd-dd-dd-ddh-ddm-dds";
constexpr std::string_view kDatePattern = "dddd-dd-dd";
constexpr std::size_t kCodeLength = 8;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Whether text is the pattern, in which 'd' stands for a digit and the rest for itself.
bool Matches(std::string_view text, std::string_view pattern) {
  return std::equal(
      text.begin(), text.end(), pattern.begin(), pattern.end(), [](char have, char want) {
        return want == 'd' ? IsDigit(have) : have == want;
      });
}

// Precondition: text[position, position + count) are digits.
int Digits(std::string_view text, std::size_t position, std::size_t count) {
  int value = 0;
  std::from_chars(text.data() + position, text.data() + position + count, value);
  return value;
}

// A name that can be one folder of a path: uuids and paths come from files and become folders.
bool IsFolderName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         std::none_of(name.begin(), name.end(), [](char c) {
           return c == '/' || static_cast<unsigned char>(c) < ' ' || c == '\x7f';
         });
}

}  // namespace

std::string_view ToString(Outcome outcome) {
  return outcome == Outcome::kSuccess ? "success" : "failure";
}

std::optional<Outcome> OutcomeFromString(std::string_view text) {
  for (const Outcome outcome : {Outcome::kSuccess, Outcome::kFailure}) {
    if (text == ToString(outcome)) return outcome;
  }
  return std::nullopt;
}

Result<EpisodeId> ParseEpisodeId(std::string_view uuid) {
  const auto fail = [uuid](std::string_view why) {
    return Fail(ErrorKind::kInvalidData, "want a uuid {}, have '{}': {}", kUuidShape, uuid, why);
  };
  // From the right: only the lab has no fixed length.
  constexpr std::size_t kTail = 1 + kCodeLength + 1 + kTimePattern.size();
  if (uuid.size() <= kTail) return fail("too short");
  const std::string_view time = uuid.substr(uuid.size() - kTimePattern.size());
  const std::string_view lab = uuid.substr(0, uuid.size() - kTail);
  const std::string_view code = uuid.substr(lab.size() + 1, kCodeLength);
  if (uuid[lab.size()] != '+' || uuid[lab.size() + 1 + kCodeLength] != '+') {
    return fail("no '+' before or after the code");
  }
  if (!IsFolderName(lab) || !IsFolderName(code)) return fail("not usable as a folder name");
  if (!Matches(time, kTimePattern)) return fail("the time has another shape");

  const EpisodeId id{.lab = std::string(lab),
                     .code = std::string(code),
                     .year = Digits(time, 0, 4),
                     .month = Digits(time, 5, 2),
                     .day = Digits(time, 8, 2),
                     .hour = Digits(time, 11, 2),
                     .minute = Digits(time, 15, 2),
                     .second = Digits(time, 19, 2)};
  if (id.month < 1 || id.month > 12 || id.day < 1 || id.day > 31 || id.hour > 23 ||
      id.minute > 59 || id.second > 60) {
    return fail("no such time");
  }
  return id;
}

Result<EpisodeRef> EpisodeRefFromPath(std::string_view relative_path) {
  const auto fail = [relative_path](std::string_view why) {
    return Fail(ErrorKind::kInvalidData, "want {}: {}: {}", kPathShape, why, relative_path);
  };
  std::array<std::string_view, 4> parts;
  std::string_view rest = relative_path;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t slash = rest.find('/');
    const bool is_last = i + 1 == parts.size();
    if (is_last != (slash == std::string_view::npos)) return fail("want four parts");
    parts[i] = rest.substr(0, slash);
    if (!IsFolderName(parts[i])) return fail("a part is no folder name");
    if (!is_last) rest.remove_prefix(slash + 1);
  }
  const auto [lab, outcome_name, date, folder] = parts;
  const std::optional<Outcome> outcome = OutcomeFromString(outcome_name);
  if (!outcome) return fail("the second part is neither success nor failure");
  if (!Matches(date, kDatePattern)) return fail("the third part is no date");
  return EpisodeRef{.uuid = {},
                    .lab = std::string(lab),
                    .outcome = *outcome,
                    .relative_path = std::string(relative_path)};
}

std::string_view ToString(CameraRole role) {
  switch (role) {
    case CameraRole::kExternal1:
      return "ext1";
    case CameraRole::kExternal2:
      return "ext2";
    case CameraRole::kWrist:
      return "wrist";
  }
  return "unknown";
}

const MetadataCamera* EpisodeMetadata::FindCamera(std::string_view serial) const {
  const auto found = std::find_if(cameras.begin(), cameras.end(), [serial](const auto& camera) {
    return camera.serial == serial;
  });
  return found == cameras.end() ? nullptr : &*found;
}

const MetadataCamera* EpisodeMetadata::FindRole(CameraRole role) const {
  const auto found = std::find_if(
      cameras.begin(), cameras.end(), [role](const auto& camera) { return camera.role == role; });
  return found == cameras.end() ? nullptr : &*found;
}

}  // namespace droidflow
