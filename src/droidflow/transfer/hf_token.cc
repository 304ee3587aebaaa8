#include "droidflow/transfer/hf_token.h"

#include "droidflow/core/environment.h"
#include "droidflow/core/files.h"

#include <sstream>
#include <string_view>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

std::string Strip(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1));
}

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
    line = Strip(line);
    if (line.starts_with("export ")) line = Strip(line.substr(7));
    if (!line.starts_with("HF_TOKEN=")) continue;
    token = Strip(line.substr(9));
    if (token.size() >= 2 && (token[0] == '"' || token[0] == '\'') && token.back() == token[0]) {
      token = Strip(token.substr(1, token.size() - 2));
    }
  }
  return token;
}

}  // namespace

HfToken FindHfToken(const std::string& given, const fs::path& working_dir) {
  if (std::string token = Strip(given); !token.empty()) return {token, "the token given"};
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (std::string token = Strip(EnvironmentVariable(name).value_or("")); !token.empty()) {
      return {token, name};
    }
  }
  const fs::path file = TokenFile();
  if (std::string token = Strip(ReadFileText(file).value_or("")); !token.empty()) {
    return {token, file.string()};
  }
  const fs::path dot_env = working_dir / ".env";
  if (std::string token = TokenOfDotEnv(ReadFileText(dot_env).value_or("")); !token.empty()) {
    return {token, dot_env.string()};
  }
  return {};
}

}  // namespace droidflow
