#include "cuda_emulation.h"

#include "droidflow/core/sanitizers.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <initializer_list>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <sys/mman.h>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if DF_ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
#endif

uint3 threadIdx{}, blockIdx{};
dim3 blockDim, gridDim;

// --- Switching stacks ---------------------------------------------------------------------------

#if defined(__x86_64__)
// Saves what a called function must preserve on the stack it leaves, and takes it from the other.
extern "C" void CudaEmulationSwitch(void** from, void* to);
asm(R"(
.text
.globl CudaEmulationSwitch
.type CudaEmulationSwitch, @function
CudaEmulationSwitch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size CudaEmulationSwitch, .-CudaEmulationSwitch
)");
#endif

namespace {

constexpr std::size_t kStack_bytes = 256 << 10;
constexpr std::size_t kPage_bytes = 4096;
constexpr unsigned kLanes = 32;

struct Context {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context{};
#endif
  const void* stack_bottom = nullptr;
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

void Switch(Context& from, Context& to) {
#if DF_ADDRESS_SANITIZER
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack_bottom, to.stack_bytes);
#endif
#if defined(__x86_64__)
  CudaEmulationSwitch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#if DF_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

class Stack {
 public:
  Stack()
      : memory_(static_cast<char*>(mmap(nullptr,
                                        kPage_bytes + kStack_bytes,
                                        PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS,
                                        -1,
                                        0))) {
    if (memory_ == MAP_FAILED || mprotect(memory_, kPage_bytes, PROT_NONE) != 0) std::abort();
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  ~Stack() { munmap(memory_, kPage_bytes + kStack_bytes); }

  [[nodiscard]] char* bottom() const { return memory_ + kPage_bytes; }
  [[nodiscard]] char* top() const { return bottom() + kStack_bytes; }

 private:
  char* memory_;
};

// --- A block ------------------------------------------------------------------------------------

struct Warp {
  unsigned arrived = 0;
  unsigned generation = 0;
  const char* operation = nullptr;
  cuda_emulation::Exchanged exchanged[2] = {};
};

struct Thread {
  std::unique_ptr<Stack> stack = std::make_unique<Stack>();
  Context context;
  uint3 index{};
  Warp* warp = nullptr;
  unsigned lane = 0;
  bool is_done = false;
  // What it waits for: that this counter moves on.
  const unsigned* waits_for = nullptr;
  unsigned waits_since = 0;
  const char* waits_in = nullptr;

  [[nodiscard]] bool can_run() const {
    return !is_done && (waits_for == nullptr || *waits_for != waits_since);
  }
};

struct State {
  cuda_emulation::Settings settings;
  std::string complaint;
  cudaError_t sticky = cudaSuccess;
  int live_objects = 0;
  int allocations = 0;
  int launches = 0;
  std::size_t used_bytes = 0;
  std::map<char*, std::size_t> device;
  std::map<char*, std::size_t> pinned;
  std::set<CudaEmulatedStream*> streams;
  std::mt19937 random{1};

  // The running kernel.
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  unsigned thread_count = 0;
  unsigned barrier_arrived = 0;
  unsigned barrier_generation = 0;
  Thread* current = nullptr;
  Context main;
  const std::function<void()>* body = nullptr;
  bool has_failed = false;
};
State the_state;
State& TheState() { return the_state; }

void Complain(const std::string& text) {
  State& state = TheState();
  if (state.complaint.empty()) state.complaint = text;
  std::fprintf(stderr, "CUDA emulation: %s\n", text.c_str());
}

void GiveWay(Thread& thread) {
  State& state = TheState();
  Switch(thread.context, state.main);
}

void Wait(Thread& thread, const unsigned& counter, unsigned since, const char* operation) {
  thread.waits_for = &counter;
  thread.waits_since = since;
  thread.waits_in = operation;
  GiveWay(thread);
  thread.waits_for = nullptr;
}

// The kernel is given up: its threads are not run again, so nothing may be left on their stacks.
void FailKernel(std::initializer_list<const char*> parts) {
  State& state = TheState();
  {
    std::string text;
    for (const char* part : parts) text += part;
    Complain(text);
  }
  state.has_failed = true;
  GiveWay(*state.current);
}

[[noreturn]] void RunThread() {
  State& state = TheState();
#if DF_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(nullptr, &state.main.stack_bottom, &state.main.stack_bytes);
#endif
  Thread& self = *state.current;
  for (;;) {  // once for each block
    (*state.body)();
    self.is_done = true;
    GiveWay(self);
  }
}

void Prepare(Thread& thread) {
  Context& context = thread.context;
  context.stack_bottom = thread.stack->bottom();
  context.stack_bytes = kStack_bytes;
  context.fake_stack = nullptr;
#if defined(__x86_64__)
  // As if it had been left just before RunThread was entered.
  auto** top = reinterpret_cast<void**>(thread.stack->top());
  *--top = nullptr;  // where it would return to
  *--top = reinterpret_cast<void*>(&RunThread);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context.stack_pointer = top;
#else
  getcontext(&context.context);
  context.context.uc_stack = {thread.stack->bottom(), 0, kStack_bytes};
  context.context.uc_link = nullptr;
  makecontext(&context.context, RunThread, 0);
#endif
}

std::vector<unsigned> InOrder(unsigned count) {
  State& state = TheState();
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0U);
  switch (state.settings.order) {
    case cuda_emulation::Order::kAscending:
      break;
    case cuda_emulation::Order::kDescending:
      std::reverse(order.begin(), order.end());
      break;
    case cuda_emulation::Order::kShuffled:
      std::shuffle(order.begin(), order.end(), state.random);
      break;
  }
  return order;
}

std::string WhoWaits(unsigned count) {
  State& state = TheState();
  std::map<std::string, unsigned> waiting;
  unsigned done = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (state.threads[i]->is_done) {
      ++done;
    } else {
      ++waiting[state.threads[i]->waits_in];
    }
  }
  std::string text = "deadlock in block (" + std::to_string(blockIdx.x) + ", " +
                     std::to_string(blockIdx.y) + "): " + std::to_string(done) + " threads ended";
  for (const auto& [operation, threads] : waiting) {
    text += ", " + std::to_string(threads) + " wait in " + operation;
  }
  return text;
}

void RunBlock(const std::vector<unsigned>& order) {
  State& state = TheState();
  state.barrier_arrived = 0;
  for (Warp& warp : state.warps) warp = Warp{};
  for (const unsigned i : order) state.threads[i]->is_done = false;
  std::size_t left = order.size();
  while (left > 0 && !state.has_failed) {
    bool has_moved = false;
    for (const unsigned i : order) {
      Thread& thread = *state.threads[i];
      // One lane's turn may end what the lanes before it wait for: the warp goes on next time.
      if (!thread.can_run()) continue;
      has_moved = true;
      state.current = &thread;
      threadIdx = thread.index;
      Switch(state.main, thread.context);
      if (state.has_failed) break;
      if (thread.is_done) --left;
    }
    if (!has_moved) {
      Complain(WhoWaits(static_cast<unsigned>(order.size())));
      state.has_failed = true;
    }
  }
}

// --- Memory -------------------------------------------------------------------------------------

constexpr std::size_t kGuard_bytes = 256;
constexpr unsigned char kGuard = 0xA5;
constexpr unsigned char kFresh = 0xCD;

void CheckGuards() {
  State& state = TheState();
  for (const auto& [memory, bytes] : state.device) {
    for (std::size_t i = 0; i < kGuard_bytes; ++i) {
      const auto before = static_cast<unsigned char>(memory[-1 - static_cast<std::ptrdiff_t>(i)]);
      const auto after = static_cast<unsigned char>(memory[bytes + i]);
      if (before != kGuard || after != kGuard) {
        Complain("a kernel wrote outside of an allocation of " + std::to_string(bytes) + " bytes");
        state.sticky = cudaErrorIllegalAddress;
        return;
      }
    }
  }
}

bool IsInside(const std::map<char*, std::size_t>& allocations, const void* at, std::size_t bytes) {
  auto* const wanted = static_cast<char*>(const_cast<void*>(at));
  auto found = allocations.upper_bound(wanted);
  if (found == allocations.begin()) return false;
  --found;
  return wanted + bytes <= found->first + found->second;
}

cudaError_t RunKernel(const cudaLaunchConfig_t& config, const std::function<void()>& body) {
  State& state = TheState();
  const unsigned count = config.blockDim.x * config.blockDim.y * config.blockDim.z;
  while (state.threads.size() < count) {
    state.threads.push_back(std::make_unique<Thread>());
    Prepare(*state.threads.back());
  }
  state.warps.assign(count / kLanes, Warp{});
  state.thread_count = count;
  state.body = &body;
  state.has_failed = false;
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  for (unsigned i = 0; i < count; ++i) {
    Thread& thread = *state.threads[i];
    thread.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    thread.warp = &state.warps[i / kLanes];
    thread.lane = i % kLanes;
  }
  const std::vector<unsigned> threads = InOrder(count);
  for (const unsigned block : InOrder(gridDim.x * gridDim.y * gridDim.z)) {
    blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / (gridDim.x * gridDim.y)};
    RunBlock(threads);
    if (state.has_failed) {
      state.threads.clear();  // each is somewhere in the middle
      return state.sticky = cudaErrorLaunchFailure;
    }
  }
#if !DF_ADDRESS_SANITIZER
  CheckGuards();
#endif
  return state.sticky;
}

}  // namespace

// --- Streams ------------------------------------------------------------------------------------

namespace {
struct Mark {
  CudaEmulatedStream* stream = nullptr;
  bool is_reached = false;
};
}  // namespace

struct CudaEmulatedStream {
  struct Work {
    std::function<void()> run;
    std::shared_ptr<Mark> waits_for;
  };
  std::deque<Work> work;
};

struct CudaEmulatedEvent {
  std::shared_ptr<Mark> mark;
};

namespace {

void RunUntil(const std::shared_ptr<Mark>& mark);

void RunNext(CudaEmulatedStream& stream) {
  const CudaEmulatedStream::Work work = std::move(stream.work.front());
  stream.work.pop_front();
  if (work.waits_for != nullptr) RunUntil(work.waits_for);
  if (work.run) work.run();
}

void RunUntil(const std::shared_ptr<Mark>& mark) {
  while (!mark->is_reached) {
    if (TheState().streams.count(mark->stream) == 0 || mark->stream->work.empty()) {
      Complain("an event that no stream will reach");
      return;
    }
    RunNext(*mark->stream);
  }
}

void Enqueue(cudaStream_t stream, CudaEmulatedStream::Work work) {
  stream->work.push_back(std::move(work));
  if (TheState().settings.is_eager) {
    while (!stream->work.empty()) RunNext(*stream);
  }
}

cudaError_t Invalid(const char* text) {
  Complain(text);
  return cudaErrorInvalidValue;
}

}  // namespace

namespace cuda_emulation {

void Set(const Settings& settings) {
  State& state = TheState();
  state.settings = settings;
  state.complaint.clear();
  state.sticky = cudaSuccess;
  state.random.seed(1);
}

std::string Complaint() { return TheState().complaint; }
int LiveObjects() { return TheState().live_objects; }
int Allocations() { return TheState().allocations; }
int Launches() { return TheState().launches; }

unsigned Lane() { return TheState().current->lane; }

const Exchanged& Exchange(const char* operation, unsigned mask, unsigned value) {
  Thread& thread = *TheState().current;
  Warp& warp = *thread.warp;
  if (mask != 0xFFFFFFFFU) FailKernel({operation, " of a part of a warp"});
  if (warp.arrived == 0) {
    warp.operation = operation;
  } else if (warp.operation != operation && std::strcmp(warp.operation, operation) != 0) {
    FailKernel({"lanes of one warp in ", warp.operation, " and in ", operation});
  }
  // Not overwritten before every lane has come to the next exchange.
  const unsigned generation = warp.generation;
  Exchanged& exchanged = warp.exchanged[generation % 2];
  exchanged.values[thread.lane] = value;
  if (++warp.arrived == kLanes) {
    exchanged.least = *std::min_element(exchanged.values, exchanged.values + kLanes);
    warp.arrived = 0;
    ++warp.generation;
  } else {
    Wait(thread, warp.generation, generation, operation);
  }
  return exchanged;
}

void WaitForBlock() {
  State& state = TheState();
  const unsigned generation = state.barrier_generation;
  if (++state.barrier_arrived == state.thread_count) {
    state.barrier_arrived = 0;
    ++state.barrier_generation;
  } else {
    Wait(*state.current, state.barrier_generation, generation, "__syncthreads");
  }
}

cudaError_t Launch(const cudaLaunchConfig_t& config, std::function<void()> thread) {
  State& state = TheState();
  if (state.sticky != cudaSuccess) return state.sticky;
  const unsigned count = config.blockDim.x * config.blockDim.y * config.blockDim.z;
  if (count == 0 || count % kLanes != 0 || count > 1024 || config.gridDim.x == 0 ||
      config.gridDim.y == 0 || config.gridDim.y > 65535 || config.stream == nullptr) {
    return Invalid("a launch of no blocks, of too many, or of warps that are not whole");
  }
  ++state.launches;
  const bool fails = state.settings.failing_launch > 0 && --state.settings.failing_launch == 0;
  Enqueue(config.stream,
          {[config, fails, thread = std::move(thread)] {
             State& running = TheState();
             if (running.sticky != cudaSuccess) return;
             if (fails) {
               running.sticky = cudaErrorIllegalAddress;
               return;
             }
             RunKernel(config, thread);
           },
           nullptr});
  return cudaSuccess;
}

}  // namespace cuda_emulation

// --- The runtime's functions --------------------------------------------------------------------

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() { return TheState().sticky; }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = TheState().settings.driver_version;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const cuda_emulation::Settings& settings = TheState().settings;
  *count = 0;
  if (settings.driver_version < 13000) return cudaErrorInsufficientDriver;
  if (settings.devices == 0) return cudaErrorNoDevice;
  *count = settings.devices;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor
               ? TheState().settings.compute_capability_major
               : 0;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  State& state = TheState();
  if (state.sticky != cudaSuccess) return state.sticky;
  ++state.allocations;
  if ((state.settings.failing_allocation > 0 && --state.settings.failing_allocation == 0) ||
      state.used_bytes + bytes > state.settings.memory_bytes) {
    return cudaErrorMemoryAllocation;
  }
#if DF_ADDRESS_SANITIZER
  // AddressSanitizer's own guards, exactly at both ends.
  void* allocated = nullptr;
  if (posix_memalign(&allocated, kGuard_bytes, bytes) != 0) return cudaErrorMemoryAllocation;
  auto* const start = static_cast<char*>(allocated);
#else
  auto* const start = static_cast<char*>(std::aligned_alloc(
                          kGuard_bytes, (bytes + 3 * kGuard_bytes) / kGuard_bytes * kGuard_bytes)) +
                      kGuard_bytes;
  std::memset(start - kGuard_bytes, kGuard, kGuard_bytes);
  std::memset(start + bytes, kGuard, kGuard_bytes);
#endif
  std::memset(start, kFresh, bytes);
  state.device[start] = bytes;
  state.used_bytes += bytes;
  ++state.live_objects;
  *memory = start;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  State& state = TheState();
  // Work that has been given to a stream is done before memory goes.
  for (CudaEmulatedStream* stream : state.streams) cudaStreamSynchronize(stream);
  const auto found = state.device.find(static_cast<char*>(memory));
  if (found == state.device.end()) return Invalid("cudaFree of what was not allocated");
  state.used_bytes -= found->second;
  state.device.erase(found);
  --state.live_objects;
#if DF_ADDRESS_SANITIZER
  std::free(memory);
#else
  std::free(static_cast<char*>(memory) - kGuard_bytes);
#endif
  return state.sticky;
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  State& state = TheState();
  if (state.sticky != cudaSuccess) return state.sticky;
  *memory = std::malloc(bytes);
  std::memset(*memory, kFresh, bytes);
  state.pinned[static_cast<char*>(*memory)] = bytes;
  ++state.live_objects;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  State& state = TheState();
  for (CudaEmulatedStream* stream : state.streams) cudaStreamSynchronize(stream);
  if (state.pinned.erase(static_cast<char*>(memory)) == 0) {
    return Invalid("cudaFreeHost of what was not allocated");
  }
  --state.live_objects;
  std::free(memory);
  return state.sticky;
}

cudaError_t cudaMemcpyAsync(
    void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  State& state = TheState();
  if (state.sticky != cudaSuccess) return state.sticky;
  const bool is_up = kind == cudaMemcpyHostToDevice;
  if (!IsInside(is_up ? state.device : state.pinned, to, bytes) ||
      !IsInside(is_up ? state.pinned : state.device, from, bytes)) {
    return Invalid("a copy of memory that is not the device's, not pinned, or too small");
  }
  Enqueue(stream, {[to, from, bytes] { std::memcpy(to, from, bytes); }, nullptr});
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  State& state = TheState();
  if (state.sticky != cudaSuccess) return state.sticky;
  if (!IsInside(state.device, memory, bytes)) return Invalid("cudaMemset outside of memory");
  Enqueue(stream, {[memory, value, bytes] { std::memset(memory, value, bytes); }, nullptr});
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  State& state = TheState();
  if (state.sticky != cudaSuccess) return state.sticky;
  *stream = new CudaEmulatedStream;
  state.streams.insert(*stream);
  ++state.live_objects;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  cudaStreamSynchronize(stream);
  TheState().streams.erase(stream);
  --TheState().live_objects;
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  while (!stream->work.empty()) RunNext(*stream);
  return TheState().sticky;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  if (event->mark != nullptr) Enqueue(stream, {nullptr, event->mark});
  return TheState().sticky;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  if (TheState().sticky != cudaSuccess) return TheState().sticky;
  *event = new CudaEmulatedEvent;
  ++TheState().live_objects;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  --TheState().live_objects;
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (TheState().sticky != cudaSuccess) return TheState().sticky;
  event->mark = std::make_shared<Mark>(Mark{stream, false});
  Enqueue(stream, {[mark = event->mark] { mark->is_reached = true; }, nullptr});
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->mark != nullptr) RunUntil(event->mark);
  return TheState().sticky;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t /*start*/, cudaEvent_t end) {
  if (end->mark == nullptr || !end->mark->is_reached) return cudaErrorNotReady;
  *milliseconds = 0;
  return TheState().sticky;
}
