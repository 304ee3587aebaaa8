#include "droidflow/transfer/hf_token.h"

#include "droidflow/core/environment.h"
#include "droidflow/core/files.h"
#include "droidflow/core/text.h"

#include <sstream>
#include <string_view>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

fs::path TokenFile() {
  if (const auto path = EnvironmentVariable("HF_TOKEN_PATH")) return *path;
  if (const auto home = EnvironmentVariable("HF_HOME")) return fs::path(*home) / "token";
  if (const auto cache = EnvironmentVariable("XDG_CACHE_HOME")) {
    return fs::path(*cache) / "huggingface/token";
  }
  return fs::path(EnvironmentVariable("HOME").value_or("/")) / ".cache/huggingface/token";
}

/// The value of HF_TOKEN in lines as a shell reads them.
std::string TokenOfDotEnv(const std::string& text) {
  std::istringstream lines(text);
  std::string token;
  for (std::string line; std::getline(lines, line);) {
    line = StripBlanks(line);
    if (line.starts_with("export ")) line = StripBlanks(line.substr(7));
    if (!line.starts_with("HF_TOKEN=")) continue;
    token = StripBlanks(line.substr(9));
    if (token.size() >= 2 && (token[0] == '"' || token[0] == '\'') && token.back() == token[0]) {
      token = StripBlanks(token.substr(1, token.size() - 2));
    }
  }
  return token;
}

}  // namespace

HfToken FindHfToken(const std::string& given, const fs::path& working_dir) {
  if (std::string token(StripBlanks(given)); !token.empty()) return {token, "the token given"};
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (std::string token(StripBlanks(EnvironmentVariable(name).value_or(""))); !token.empty()) {
      return {token, name};
    }
  }
  const fs::path file = TokenFile();
  if (std::string token(StripBlanks(ReadFileText(file).value_or(""))); !token.empty()) {
    return {token, file.string()};
  }
  const fs::path dot_env = working_dir / ".env";
  if (std::string token = TokenOfDotEnv(ReadFileText(dot_env).value_or("")); !token.empty()) {
    return {token, dot_env.string()};
  }
  return {};
}

}  // namespace droidflow
