#pragma once

/// As much of the CUDA runtime as droidflow's kernels and the code around them use, on the CPU: the
/// very same sources are compiled against this header by a plain C++ compiler and run without a
/// GPU.
///
/// Kernels    Every thread of a block is a fiber; one runs at a time, blocks one after the other. A
///            thread gives way only where it waits for others (warp operations, barriers), so these
///            behave exactly, and waiting for somebody who never comes is found and reported. The
///            order of threads and blocks can be chosen (cuda_emulation.h): results that depend on
///            it show a race.
/// Streams    Nothing is done before somebody waits for it, and then no more than that needs: an
///            order between streams that no event promises is not there.
/// Memory     Filled with 0xCD when new, with guard bytes around it that are checked after every
///            kernel. Under AddressSanitizer every access is checked.
///
/// What it cannot find: what depends on real concurrency, on the memory model or on a GPU's limits.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <type_traits>

#define DROIDFLOW_CUDA_EMULATION 1

#define __host__
#define __device__
#define __global__
// Blocks run one after the other, so one copy is enough.
#define __shared__ static
#define __launch_bounds__(...)

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchFailure = 719,
};
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();

struct uint2 {
  alignas(8) unsigned x;
  unsigned y;
};
struct uint3 {
  unsigned x, y, z;
};
struct uint4 {
  alignas(16) unsigned x;
  unsigned y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

// --- Devices, memory, streams, events -----------------------------------------------------------

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor };
struct CudaEmulatedStream;
struct CudaEmulatedEvent;
using cudaStream_t = CudaEmulatedStream*;
using cudaEvent_t = CudaEmulatedEvent*;
inline constexpr unsigned cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventDefault = 0;
inline constexpr unsigned cudaEventBlockingSync = 1;
inline constexpr unsigned cudaEventDisableTiming = 2;

cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** memory, std::size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemcpyAsync(
    void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

// --- Kernels ------------------------------------------------------------------------------------

struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace cuda_emulation {

struct Exchanged {
  unsigned values[32];
  unsigned least;
};
/// Gives each of the warp's lanes the values of all. `operation` must be the same for all.
const Exchanged& Exchange(const char* operation, unsigned mask, unsigned value);
void WaitForBlock();
unsigned Lane();
cudaError_t Launch(const cudaLaunchConfig_t& config, std::function<void()> thread);

}  // namespace cuda_emulation

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config,
                               void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  return cuda_emulation::Launch(*config, [=] { kernel(arguments...); });
}

// --- What threads of a warp and a block do together ---------------------------------------------

inline void __syncthreads() { cuda_emulation::WaitForBlock(); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU) {
  cuda_emulation::Exchange("__syncwarp", mask, 0);
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int lane) {
  static_assert(sizeof(T) == 4 && std::is_integral_v<T>);
  return static_cast<T>(cuda_emulation::Exchange("__shfl_sync", mask, static_cast<unsigned>(value))
                            .values[lane & 31]);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta) {
  static_assert(sizeof(T) == 4 && std::is_integral_v<T>);
  const unsigned lane = cuda_emulation::Lane();
  const unsigned* const all =
      cuda_emulation::Exchange("__shfl_up_sync", mask, static_cast<unsigned>(value)).values;
  return lane < delta ? value : static_cast<T>(all[lane - delta]);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
  static_assert(sizeof(T) == 4 && std::is_integral_v<T>);
  const unsigned lane = cuda_emulation::Lane();
  const unsigned* const all =
      cuda_emulation::Exchange("__shfl_down_sync", mask, static_cast<unsigned>(value)).values;
  return lane + delta > 31 ? value : static_cast<T>(all[lane + delta]);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value) {
  return cuda_emulation::Exchange("__reduce_min_sync", mask, value).least;
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const unsigned* const all =
      cuda_emulation::Exchange("__ballot_sync", mask, predicate != 0 ? 1 : 0).values;
  unsigned bits = 0;
  for (unsigned lane = 0; lane < 32; ++lane) bits |= all[lane] << lane;
  return bits;
}
inline unsigned __match_any_sync(unsigned mask, unsigned value) {
  const unsigned* const all = cuda_emulation::Exchange("__match_any_sync", mask, value).values;
  unsigned bits = 0;
  for (unsigned lane = 0; lane < 32; ++lane) bits |= (all[lane] == value ? 1U : 0U) << lane;
  return bits;
}
inline unsigned atomicMin(unsigned* at, unsigned value) {
  const unsigned old = *at;
  if (value < old) *at = value;
  return old;
}
inline unsigned atomicAdd(unsigned* at, unsigned value) {
  const unsigned old = *at;
  *at = old + value;
  return old;
}

// --- Arithmetic ---------------------------------------------------------------------------------

inline int __popc(unsigned value) { return std::popcount(value); }
inline int __clz(int value) { return std::countl_zero(static_cast<unsigned>(value)); }
inline int __ffs(int value) {
  return value == 0 ? 0 : std::countr_zero(static_cast<unsigned>(value)) + 1;
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const std::uint64_t bytes = static_cast<std::uint64_t>(high) << 32 | low;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned from = selector >> (4 * i) & 7;
    result |= static_cast<unsigned>(bytes >> (8 * from) & 0xFF) << (8 * i);
  }
  return result;
}
inline unsigned __vsadu4(unsigned a, unsigned b) {
  unsigned sum = 0;
  for (unsigned i = 0; i < 32; i += 8) {
    sum += static_cast<unsigned>(
        std::abs(static_cast<int>(a >> i & 0xFF) - static_cast<int>(b >> i & 0xFF)));
  }
  return sum;
}
inline unsigned __vminu2(unsigned a, unsigned b) {
  const unsigned low = (a & 0xFFFF) < (b & 0xFFFF) ? a & 0xFFFF : b & 0xFFFF;
  const unsigned high = a >> 16 < b >> 16 ? a >> 16 : b >> 16;
  return low | high << 16;
}
inline unsigned __vadd2(unsigned a, unsigned b) {
  return ((a + b) & 0xFFFF) | ((a >> 16) + (b >> 16)) << 16;
}
inline unsigned __vimin3_u16x2(unsigned a, unsigned b, unsigned c) {
  return __vminu2(__vminu2(a, b), c);
}
inline unsigned __viaddmin_u16x2(unsigned a, unsigned b, unsigned c) {
  return __vminu2(__vadd2(a, b), c);
}
