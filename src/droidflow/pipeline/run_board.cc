#include "droidflow/pipeline/run_board.h"

#include "droidflow/core/files.h"

#include <cerrno>
#include <new>
#include <sys/mman.h>
#include <vector>

namespace droidflow {

static_assert(std::atomic<int>::is_always_lock_free &&
                  std::atomic<std::int64_t>::is_always_lock_free,
              "processes cannot share what needs a lock");

bool RunBoard::IsOut(int gpu) const {
  return failures[static_cast<std::size_t>(gpu)] >= kMostGpuFailures;
}

bool RunBoard::CountFailure(int gpu) {
  return ++failures[static_cast<std::size_t>(gpu)] >= kMostGpuFailures;
}

void RunBoard::CountSuccess(int gpu) {
  std::atomic<int>& count = failures[static_cast<std::size_t>(gpu)];
  int seen = count;
  while (seen < kMostGpuFailures && !count.compare_exchange_weak(seen, 0)) {
  }
}

void UnmapBoard::operator()(RunBoard* board) const { munmap(board, sizeof(RunBoard)); }

Result<SharedRunBoard> MakeSharedRunBoard() {
  void* const memory =
      mmap(nullptr, sizeof(RunBoard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return FailErrno(errno, "cannot share memory between processes");
  return SharedRunBoard(new (memory) RunBoard);
}

std::optional<int> GpuOfWorker(int worker, int gpus, const RunBoard& board) {
  std::vector<int> left;
  for (int gpu = 0; gpu < gpus; ++gpu) {
    if (!board.IsOut(gpu)) left.push_back(gpu);
  }
  if (left.empty()) return std::nullopt;
  return left[static_cast<std::size_t>(worker) % left.size()];
}

}  // namespace droidflow
