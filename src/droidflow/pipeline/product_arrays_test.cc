#include "droidflow/pipeline/product_arrays.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/npz_writer.h"

#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

/// An archive with a camera "7" of 640x360, two poses and a count.
class ProductArraysTest : public testing::Test {
 protected:
  void SetUp() override {
    Result<NpzWriter> npz = NpzWriter::Create(path_);
    ASSERT_THAT(npz, IsOk());
    const std::vector<double> matrix{500, 0, 320, 0, 510, 180, 0, 0, 1};
    ASSERT_THAT(npz->AddArray<double>("intrinsics_7", {3, 3}, matrix), IsOk());
    const std::vector<std::int64_t> size{640, 360};
    ASSERT_THAT(npz->AddArray<std::int64_t>("image_size_7", {2}, size), IsOk());
    ASSERT_THAT(npz->AddArray<double>("intrinsics_8", {3, 3}, matrix), IsOk());
    const std::vector<std::int64_t> huge{640, 8193};
    ASSERT_THAT(npz->AddArray<std::int64_t>("image_size_8", {2}, huge), IsOk());
    std::vector<float> poses(32, 0);
    for (const int diagonal : {0, 5, 10, 15, 16, 21, 26, 31}) poses.at(diagonal) = 1;
    poses.at(16 + 7) = 0.25;  // the second one's y
    ASSERT_THAT(npz->AddArray<float>("poses", {2, 4, 4}, poses), IsOk());
    ASSERT_THAT(npz->AddScalar<std::int64_t>("num_frames", 2), IsOk());
    ASSERT_THAT(npz->AddScalar<std::int64_t>("num_nothing", 0), IsOk());
    ASSERT_THAT(npz->Finish(), IsOk());
  }

  ProductArrays Opened() { return ProductArrays::Open(path_).value(); }

  TemporaryDirectory dir_;
  std::filesystem::path path_ = dir_ / "tracks.npz";
};

TEST_F(ProductArraysTest, ReadsNumbersPosesAndACamera) {
  const ProductArrays arrays = Opened();
  EXPECT_TRUE(arrays.Contains("poses"));
  EXPECT_FALSE(arrays.Contains("pose"));
  EXPECT_EQ(arrays.Count("num_frames").value(), 2);
  EXPECT_THAT(arrays.Numbers("image_size_7").value(), ElementsAre(640, 360));
  const std::vector<Transform> poses = arrays.Poses("poses", 2).value();
  EXPECT_EQ(poses.at(0).translation(), Vector3(0, 0, 0));
  EXPECT_EQ(poses.at(1).translation(), Vector3(0, 0.25, 0));
  const Intrinsics want{
      .fx_px = 500, .fy_px = 510, .cx_px = 320, .cy_px = 180, .width_px = 640, .height_px = 360};
  EXPECT_EQ(arrays.IntrinsicsOf("7").value(), want);
  EXPECT_EQ(arrays.IntrinsicsOf("7", 360).value(), want);
}

TEST_F(ProductArraysTest, SaysWhatIsWrongInWhichFile) {
  const ProductArrays arrays = Opened();
  const auto says = [&](const std::string& text, ErrorKind kind = ErrorKind::kInvalidData) {
    return FailsWith(kind, AllOf(HasSubstr(text), HasSubstr(path_.string())));
  };
  EXPECT_THAT(arrays.Poses("poses", 3), says("poses: want 48 numbers, have 32"));
  EXPECT_THAT(arrays.Count("num_nothing"), says("num_nothing: want 1 or more, have 0"));
  EXPECT_THAT(arrays.IntrinsicsOf("8"), says("image_size_8: want 1 … 8192, have 640 x 8193"));
  EXPECT_THAT(arrays.IntrinsicsOf("7", 361), says("image_size_7: want 361 … 8192"));
  EXPECT_THAT(arrays.Numbers("tracks_3d", 6), says("tracks_3d", ErrorKind::kNotFound));
  EXPECT_THAT(arrays.IntrinsicsOf("9"), says("intrinsics_9", ErrorKind::kNotFound));
}

}  // namespace
}  // namespace droidflow
