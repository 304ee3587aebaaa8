// zed_source.h for builds without the ZED SDK.

#include "droidflow/video/zed_source.h"

namespace droidflow {
namespace {

auto NoSdk(const std::filesystem::path& path) {
  return Fail(ErrorKind::kUnsupported,
              "this build of droidflow has no ZED SDK (DROIDFLOW_WITH_ZED): {}",
              path.string());
}

}  // namespace

bool ZedSdkBuiltIn() { return false; }

Result<std::unique_ptr<FrameSource>> OpenZedSource(const std::filesystem::path& path,
                                                   const SourceOptions& options) {
  if (options.sdk_depth) DF_RETURN_IF_ERROR(CheckZedDepthMode(options.zed_depth_mode));
  return NoSdk(path);
}

Result<ZedIntrinsics> ReadZedIntrinsics(const std::filesystem::path& path) { return NoSdk(path); }

}  // namespace droidflow
