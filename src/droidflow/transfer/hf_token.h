#pragma once

#include <filesystem>
#include <string>

namespace droidflow {

struct HfToken {
  std::string text = {};    ///< empty: there is none
  std::string source = {};  ///< where it came from, for messages: "HF_TOKEN", a file
};

/// Finds the token of Hugging Face where its own client looks, first one first: what was given,
/// HF_TOKEN, HUGGING_FACE_HUB_TOKEN, the file HF_TOKEN_PATH, token in HF_HOME, huggingface/token in
/// XDG_CACHE_HOME or ~/.cache; and then HF_TOKEN=… in a file .env of `working_dir`. Blanks around
/// it are no part of it.
[[nodiscard]] HfToken FindHfToken(const std::string& given,
                                  const std::filesystem::path& working_dir = ".");

}  // namespace droidflow
