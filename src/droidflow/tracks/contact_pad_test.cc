#include "droidflow/tracks/contact_pad.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::size_t CountInY(const std::vector<Vector3>& points) {
  std::size_t count = 1;
  while (count < points.size() && points[count].z() == points[0].z()) ++count;
  return count;
}

Vector3 Mean(const std::vector<Vector3>& points) {
  Vector3 sum = Vector3::Zero();
  for (const Vector3& point : points) sum += point;
  return sum / static_cast<double>(points.size());
}

TEST(PadGridPoints, DefaultIsSixteenByThirty) {
  const Result<std::vector<Vector3>> points = PadGridPoints(kDefaultPadPoints);
  ASSERT_THAT(points, IsOk());
  ASSERT_EQ(points->size(), 480);
  EXPECT_EQ(CountInY(*points), 16);
  // Cells of 22 / 16 mm by 37 / 30 mm.
  EXPECT_LT(((*points)[0] - Vector3(-0.0078, -0.0103125, 0.007 + 0.037 / 60)).norm(), 1e-15);
  EXPECT_LT(((*points)[1] - (*points)[0] - Vector3(0, 0.001375, 0)).norm(), 1e-15);
  EXPECT_LT(((*points)[16] - (*points)[0] - Vector3(0, 0, 0.037 / 30)).norm(), 1e-15);
  EXPECT_LT((points->back() - Vector3(-0.0078, 0.0103125, 0.044 - 0.037 / 60)).norm(), 1e-15);
}

TEST(PadGridPoints, IsCentredOnThePad) {
  for (const std::size_t count : {1, 2, 48, 480, 10'000}) {
    const Result<std::vector<Vector3>> points = PadGridPoints(count);
    ASSERT_THAT(points, IsOk());
    EXPECT_EQ(points->size(), count);
    EXPECT_LT((Mean(*points) - Vector3(-0.0078, 0, 0.0255)).norm(), 1e-12);
  }
  EXPECT_EQ(CountInY(*PadGridPoints(48)), 6);
}

TEST(PadGridPoints, RefusesLongCellsAndNamesTheNearestNumber) {
  // 1 x 5: cells of 22 mm by 7.4 mm. 2 x 2: 11 mm by 18.5 mm.
  EXPECT_THAT(
      PadGridPoints(5),
      FailsWith(ErrorKind::kUsage, AllOf(HasSubstr("5 contact points"), HasSubstr("is 4"))));
  EXPECT_THAT(PadGridPoints(479), FailsWith(ErrorKind::kUsage, HasSubstr("is 480")));
}

TEST(PadGridPoints, RefusesNoneAndTooMany) {
  EXPECT_THAT(PadGridPoints(0), FailsWith(ErrorKind::kUsage, HasSubstr("have 0")));
  EXPECT_THAT(PadGridPoints(std::numeric_limits<std::size_t>::max()),
              FailsWith(ErrorKind::kUsage, HasSubstr("want 1 to 1000000 contact points")));
}

// Two triangles of a rectangle in the plane x, with normal -x.
std::vector<MeshFace> Rectangle(double x_m, double y0_m, double y1_m, double z0_m, double z1_m) {
  const Vector3 a(x_m, y0_m, z0_m);
  const Vector3 b(x_m, y0_m, z1_m);
  const Vector3 c(x_m, y1_m, z1_m);
  const Vector3 d(x_m, y1_m, z0_m);
  return {{a, b, c}, {a, c, d}};
}

std::vector<MeshFace> operator+(std::vector<MeshFace> a, const std::vector<MeshFace>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(PadPointsFromMesh, SpreadsPointsEvenlyOverTheFace) {
  // Two rectangles on one plane, one of three times the other's area, and a decoy behind them.
  const std::vector<MeshFace> mesh = Rectangle(0.01, -0.02, 0.02, 0, 0.04) +
                                     Rectangle(-0.01, -0.01, 0, 0, 0.01) +
                                     Rectangle(-0.01, 0, 0.03, 0, 0.01);
  const Result<std::vector<Vector3>> points = PadPointsFromMesh(mesh, 400);
  ASSERT_THAT(points, IsOk());
  ASSERT_EQ(points->size(), 400);
  std::array<int, 16> in_cell{};  // 4 x 4 cells of equal area
  for (const Vector3& point : *points) {
    EXPECT_DOUBLE_EQ(point.x(), -0.01);
    const auto column = static_cast<std::size_t>((point.y() + 0.01) / 0.01);
    const auto row = static_cast<std::size_t>(point.z() / 0.0025);
    ASSERT_LT(column, 4);
    ASSERT_LT(row, 4);
    ++in_cell[4 * row + column];
  }
  for (const int count : in_cell)
    EXPECT_NEAR(count, 25, 5);  // a random spread has a deviation of 5
  EXPECT_EQ(*PadPointsFromMesh(mesh, 400), *points);
}

TEST(PadPointsFromMesh, FindsThePadOfTheRealFinger) {
  DF_NEEDS_SHARED("data/meshes/inner_finger_fine.STL");
  std::ifstream file(SharedPath("data/meshes/inner_finger_fine.STL"), std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  std::vector<MeshFace> mesh;
  // Binary STL: 84 bytes, then per face a normal, three corners (float32) and two bytes.
  for (std::size_t offset = 84 + 12; offset + 38 <= bytes.size(); offset += 50) {
    std::array<float, 9> c{};
    std::memcpy(c.data(), bytes.data() + offset, sizeof c);
    mesh.push_back(
        {Vector3(c[0], c[1], c[2]), Vector3(c[3], c[4], c[5]), Vector3(c[6], c[7], c[8])});
  }
  ASSERT_EQ(mesh.size(), 2428);
  const Result<std::vector<Vector3>> points = PadPointsFromMesh(mesh, 480);
  ASSERT_THAT(points, IsOk());
  for (const Vector3& point : *points) {
    EXPECT_NEAR(point.x(), PadFace::kX_m, 1e-5);
    EXPECT_LE(std::abs(point.y()), PadFace::kMaxY_m + 1e-6);
    EXPECT_GE(point.z(), PadFace::kMinZ_m - 1e-6);
    EXPECT_LE(point.z(), PadFace::kMaxZ_m + 1e-6);
  }
  // The rounded corners take a little from the rectangle's mean height.
  EXPECT_LT((Mean(*points) - Vector3(-0.0078, 0, 0.0252)).norm(), 3e-4);
}

TEST(PadPointsFromMesh, RefusesMillimetres) {
  EXPECT_THAT(
      PadPointsFromMesh(Rectangle(-7.8, -11, 11, 7, 44), 48),
      FailsWith(ErrorKind::kUsage, AllOf(HasSubstr("up to 44"), HasSubstr("scale it by 0.001"))));
}

TEST(PadPointsFromMesh, RefusesAMeshWithoutAContactFace) {
  EXPECT_THAT(PadPointsFromMesh({}, 48),
              FailsWith(ErrorKind::kUsage, HasSubstr("none of its 0 faces")));
  std::vector<MeshFace> turned = Rectangle(-0.01, 0, 0.01, 0, 0.01);
  for (MeshFace& face : turned) std::swap(face[0], face[1]);
  turned.push_back({Vector3::Zero(), Vector3::Zero(), Vector3::Zero()});  // without area or normal
  EXPECT_THAT(PadPointsFromMesh(turned, 48),
              FailsWith(ErrorKind::kUsage, HasSubstr("none of its 3 faces")));
}

TEST(PadPointsFromMesh, RefusesCornersThatAreNotFinite) {
  std::vector<MeshFace> mesh = Rectangle(-0.01, 0, 0.01, 0, 0.01);
  mesh[1][2].y() = std::nan("");
  EXPECT_THAT(PadPointsFromMesh(mesh, 48),
              FailsWith(ErrorKind::kUsage, HasSubstr("face 1 has a corner")));
}

TEST(PadPointsFromArray, TakesRowsAsPoints) {
  const std::array<std::size_t, 2> shape = {2, 3};
  const std::array values = {0.1, 0.2, 0.3, -0.1, -0.2, -0.3};
  const Result<std::vector<Vector3>> points = PadPointsFromArray(shape, values);
  ASSERT_THAT(points, IsOk());
  EXPECT_EQ(*points, (std::vector{Vector3(0.1, 0.2, 0.3), Vector3(-0.1, -0.2, -0.3)}));
}

TEST(PadPointsFromArray, RefusesWhatIsNoListOfPoints) {
  using Shape = std::vector<std::size_t>;
  const auto refuses = [](const Shape& shape, const std::vector<double>& values, const char* why) {
    EXPECT_THAT(PadPointsFromArray(shape, values), FailsWith(ErrorKind::kUsage, HasSubstr(why)));
  };
  refuses({3}, {1, 2, 3}, "have [3] with 3 values");
  refuses({1, 2}, {1, 2}, "have [1, 2]");
  refuses({2, 3}, {1, 2, 3}, "have [2, 3] with 3 values");
  refuses({std::numeric_limits<std::size_t>::max(), 3}, {1, 2, 3}, "with 3 values");
  refuses({0, 3}, {}, "contact points: want 1 to");
  refuses({1, 3}, {0, std::nan(""), 0}, "(0, nan, 0) in row 0");
  refuses({2, 3}, {0, 0, 0, -7.8, 0, 25}, "want metres");
}

}  // namespace
}  // namespace droidflow
