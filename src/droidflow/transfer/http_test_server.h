#pragma once

/// A server on this machine that answers as a test tells it to.

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cctype>
#include <functional>
#include <map>
#include <mutex>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace droidflow {

struct SeenRequest {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;
  int connection = 0;  ///< numbers them

  [[nodiscard]] std::string Header(const std::string& name) const {
    const auto header = headers.find(name);
    return header == headers.end() ? "(none)" : header->second;
  }
};

/// An answer as it goes over the wire.
inline std::string Answer(int status,
                          const std::string& body = {},
                          const std::vector<std::string>& headers = {}) {
  std::string text = fmt::format("HTTP/1.1 {} Told\r\nContent-Length: {}\r\n", status, body.size());
  for (const std::string& header : headers) text += header + "\r\n";
  return text + "\r\n" + body;
}

/// Thread  every connection has one, on which `handler` is called.
class HttpTestServer {
 public:
  /// Empty: the connection is closed without an answer.
  using Handler = std::function<std::string(const SeenRequest&)>;

  explicit HttpTestServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof(address);
    DF_CHECK(bind(listener_.get(), any, size) == 0 && listen(listener_.get(), 64) == 0 &&
             getsockname(listener_.get(), any, &size) == 0);
    port_ = ntohs(address.sin_port);
    threads_.emplace_back([this] { Accept(); });
  }
  HttpTestServer(const HttpTestServer&) = delete;
  HttpTestServer& operator=(const HttpTestServer&) = delete;
  ~HttpTestServer() {
    {
      const std::scoped_lock lock(mutex_);
      stopped_ = true;
      for (const UniqueFd& connection : connections_) shutdown(connection.get(), SHUT_RDWR);
    }
    shutdown(listener_.get(), SHUT_RDWR);
    threads_.front().join();  // no new ones from here on
    for (std::size_t i = 1; i < threads_.size(); ++i) threads_[i].join();
  }

  [[nodiscard]] std::string url(const std::string& path = {}) const {
    return fmt::format("http://127.0.0.1:{}{}", port_, path);
  }
  [[nodiscard]] std::vector<SeenRequest> seen() const {
    const std::scoped_lock lock(mutex_);
    return seen_;
  }

 private:
  void Accept() {
    for (int number = 0;; ++number) {
      UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd.valid()) return;
      const std::scoped_lock lock(mutex_);
      if (stopped_) return;
      const int raw = fd.get();
      connections_.push_back(std::move(fd));
      threads_.emplace_back([this, raw, number] { Serve(raw, number); });
    }
  }

  void Serve(int fd, int number) {
    std::string buffer;
    const auto more = [&] {
      char piece[65536];
      const ssize_t count = read(fd, piece, sizeof(piece));
      if (count > 0) buffer.append(piece, static_cast<std::size_t>(count));
      return count > 0;
    };
    for (;;) {
      while (buffer.find("\r\n\r\n") == std::string::npos) {
        if (!more()) return;
      }
      const std::size_t head_end = buffer.find("\r\n\r\n") + 4;
      SeenRequest request = ParseHead(buffer.substr(0, head_end));
      request.connection = number;
      buffer.erase(0, head_end);
      const auto length = request.headers.find("content-length");
      const std::size_t size = length == request.headers.end() ? 0 : std::stoul(length->second);
      while (buffer.size() < size) {
        if (!more()) return;
      }
      request.body = buffer.substr(0, size);
      buffer.erase(0, size);
      {
        const std::scoped_lock lock(mutex_);
        seen_.push_back(request);
      }
      const std::string answer = handler_(request);
      std::string_view rest = answer;
      while (!rest.empty()) {
        const ssize_t count = send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
        if (count <= 0) break;
        rest.remove_prefix(static_cast<std::size_t>(count));
      }
      if (answer.empty() || !rest.empty() ||
          answer.find("Connection: close") != std::string::npos) {
        break;
      }
    }
    shutdown(fd, SHUT_RDWR);
  }

  static SeenRequest ParseHead(const std::string& head) {
    SeenRequest request;
    const std::size_t space = head.find(' ');
    request.method = head.substr(0, space);
    request.target = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
    for (std::size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
      const std::size_t end = head.find("\r\n", at);
      const std::size_t colon = head.find(": ", at);
      std::string name = head.substr(at, colon - at);
      std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
      request.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    return request;
  }

  Handler handler_;
  UniqueFd listener_;
  int port_ = 0;
  mutable std::mutex mutex_;  ///< guards what follows, but for the first thread's joining
  bool stopped_ = false;
  std::vector<SeenRequest> seen_;
  std::vector<UniqueFd> connections_;
  std::vector<std::thread> threads_;
};

}  // namespace droidflow
