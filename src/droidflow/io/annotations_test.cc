#include "droidflow/io/annotations.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <fstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

// A folder of annotation files under their published names.
class AnnotationFolder {
 public:
  AnnotationFolder& Add(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << text;
    return *this;
  }
  [[nodiscard]] Result<Annotations> Open() const {
    return Annotations::Open(FindAnnotations(directory_.path()));
  }
  [[nodiscard]] Result<Annotations> OpenIndexed() const {
    return Annotations::OpenIndexed(FindAnnotations(directory_.path()), directory_ / "indexes");
  }
  [[nodiscard]] Status SaveIndexes(const Annotations& annotations) const {
    return annotations.SaveIndexes(directory_ / "indexes");
  }

 private:
  TemporaryDirectory directory_;
};

constexpr char kSuperset[] = "cam2base_extrinsic_superset.json";
constexpr char kCam2base[] = "cam2base_extrinsics.json";

TEST(Annotations, ReadThePublishedFormats) {
  DF_NEEDS_SHARED("data/real_episode");
  const auto annotations = Annotations::Open(FindAnnotations(SharedPath("data/real_episode")));
  ASSERT_THAT(annotations, IsOk());
  constexpr char kUuid[] = "AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s";
  const auto calibration = annotations->Calibration(kUuid);
  ASSERT_THAT(calibration, IsOk());
  ASSERT_TRUE(*calibration);
  ASSERT_THAT((*calibration)->cameras, SizeIs(2));
  const CameraCalibration& first = (*calibration)->cameras[0];
  EXPECT_EQ(first.serial, "22008760");
  EXPECT_EQ(first.pose[1], 0.6071800031562721);
  EXPECT_EQ(first.metric_type, MetricType::kIou);
  EXPECT_EQ(first.metric_value, 0.616);
  EXPECT_EQ(first.source, "GT");
  EXPECT_EQ(first.file, "superset");
  EXPECT_EQ((*calibration)->cameras[1].metric_type, MetricType::kNumMatches);
  EXPECT_THAT((*calibration)->raw_json, HasSubstr("\"22008760_source\": \"GT\""));
  EXPECT_THAT((*calibration)->warnings, IsEmpty());

  const auto intrinsics = annotations->IntrinsicsOf(kUuid);
  ASSERT_THAT(intrinsics, IsOk());
  const Intrinsics want{.fx_px = 725.6,
                        .fy_px = 725.6,
                        .cx_px = 641.2,
                        .cy_px = 365,
                        .width_px = 1280,
                        .height_px = 720};
  ASSERT_THAT(*intrinsics, SizeIs(3));
  EXPECT_EQ(intrinsics->at("18026681"), want);
}

TEST(Annotations, ReadTheGoldenEpisodesFiles) {
  DF_NEEDS_SHARED("data/golden");
  const auto annotations = Annotations::Open(FindAnnotations(SharedPath("data/golden")));
  ASSERT_THAT(annotations, IsOk());
  constexpr char kUuid[] = "TRI+52ca9b6a+2023-11-03-12h-35m-07s";
  EXPECT_EQ(*annotations->PathOf(kUuid), "TRI/success/2023-11-03/Fri_Nov__3_12:35:07_2023");
  EXPECT_THAT(*annotations->SerialsOf(kUuid),
              ElementsAre(Pair(CameraRole::kExternal1, "23404442"),
                          Pair(CameraRole::kExternal2, "29838012"),
                          Pair(CameraRole::kWrist, "19824535")));
  const auto intrinsics = annotations->IntrinsicsOf(kUuid);
  EXPECT_EQ(intrinsics->at("23404442").cx_px, 647.8496276483127);
  EXPECT_EQ(intrinsics->at("23404442").width_px, 1280);
  EXPECT_EQ((*annotations->Calibration(kUuid))->cameras[0].metric_type, MetricType::kIou);
}

TEST(Annotations, DecideEachCameraByTheSupersetFirst) {
  AnnotationFolder folder;
  folder
      .Add(kSuperset,
           R"({"a": {"relative_path": "x", "2": [1, 2, 3, 4, 5, 6], "2_metric_type": "IOU",
                "2_quality_metric": 0.5, "1": [6, 5, 4, 3, 2, 1]}})")
      .Add(kCam2base,
           R"({"a": {"2": [0, 0, 0, 0, 0, 0], "3": [7, 7, 7, 7, 7, 7],
                "metric_type": "num_matches", "quality_metric": 900, "source": "Pred"},
               "b": {"4": [1, 1, 1, 1, 1, 1], "metric_type": "new", "quality_metric": 1}})");
  const auto annotations = folder.Open();
  ASSERT_THAT(annotations, IsOk());
  const auto both = annotations->Calibration("a");
  ASSERT_TRUE(both && *both);
  ASSERT_THAT((*both)->cameras, SizeIs(3));
  EXPECT_EQ((*both)->cameras[0].serial, "2");
  EXPECT_EQ((*both)->cameras[0].pose[5], 6);
  EXPECT_EQ((*both)->cameras[0].metric_type, MetricType::kIou);
  EXPECT_EQ((*both)->cameras[1].serial, "1");
  EXPECT_FALSE((*both)->cameras[1].metric_value);
  EXPECT_EQ((*both)->cameras[2].serial, "3");
  EXPECT_EQ((*both)->cameras[2].file, "cam2base");
  EXPECT_EQ((*both)->cameras[2].metric_value, 900);
  EXPECT_EQ((*both)->cameras[2].source, "Pred");
  EXPECT_THAT((*both)->raw_json, HasSubstr("relative_path"));

  EXPECT_EQ((*annotations->Calibration("b"))->cameras[0].metric_type, MetricType::kOther);
  EXPECT_FALSE(*annotations->Calibration("c"));
}

TEST(Annotations, PassOverEntriesWithoutAPoseAndSayWhich) {
  AnnotationFolder folder;
  folder
      .Add(kSuperset,
           R"({"a": {"1": [], "2": [1, 2, 3], "3": null, "4": [1, 2, 3, 4, 5, null],
                "5": [1, 2, 3, 4, 5, 6]}})")
      .Add(kCam2base, R"({"a": {"1": [9, 9, 9, 9, 9, 9]}})");
  const auto annotations = folder.Open();
  ASSERT_THAT(annotations, IsOk());
  const auto calibration = annotations->Calibration("a");
  ASSERT_TRUE(calibration && *calibration);
  ASSERT_THAT((*calibration)->cameras, SizeIs(2));
  EXPECT_EQ((*calibration)->cameras[0].serial, "5");
  EXPECT_EQ((*calibration)->cameras[1].serial, "1");
  ASSERT_THAT((*calibration)->warnings, SizeIs(4));
  EXPECT_EQ((*calibration)->warnings[1].code, "no_extrinsics");
  EXPECT_THAT((*calibration)->warnings[1].text, AllOf(HasSubstr("2:"), HasSubstr("[1,2,3]")));
}

TEST(Annotations, SkipIntrinsicsThatNoCameraHas) {
  AnnotationFolder folder;
  folder.Add("intrinsics.json",
             R"({"a": {"1": [500, 640, 501, 360], "2": [0, 0, 0, 0], "3": [500, 640], "4": null,
                 "5": {"cameraMatrix": [500, 640, 501, 360], "width": 0, "height": 0},
                 "6": {"cameraMatrix": [250, 336, 251, 188], "width": 672, "height": 376},
                 "7": {"distCoeffs": []}}})");
  const auto annotations = folder.Open();
  ASSERT_THAT(annotations, IsOk());
  const auto intrinsics = annotations->IntrinsicsOf("a");
  ASSERT_THAT(intrinsics, IsOk());
  ASSERT_THAT(*intrinsics, SizeIs(2));
  EXPECT_EQ(intrinsics->at("1").fy_px, 501);
  EXPECT_EQ(intrinsics->at("6").width_px, 672);
  EXPECT_THAT(*annotations->IntrinsicsOf("b"), IsEmpty());
}

TEST(Annotations, SummariseWithinATypeAndSortByUuid) {
  AnnotationFolder folder;
  folder
      .Add(kSuperset,
           R"({"b": {"1": [1, 2, 3, 4, 5, 6], "1_metric_type": "Reprojection_error",
                "1_quality_metric": 4, "2": [1, 2, 3, 4, 5, 6], "2_metric_type": "reprojection_error",
                "2_quality_metric": 2, "3": [1, 2, 3, 4, 5, 6]},
               "empty": {"1": []}})")
      .Add(kCam2base,
           R"({"b": {"1": [1, 2, 3, 4, 5, 6], "4": [1, 2, 3, 4, 5, 6], "metric_type": "IoU",
                "quality_metric": 0.75},
               "a": {"4": [1, 2, 3, 4, 5, 6]}})");
  const auto annotations = folder.Open();
  ASSERT_THAT(annotations, IsOk());
  ASSERT_THAT(annotations->Summaries(), SizeIs(2));
  EXPECT_EQ(annotations->Summaries()[0].uuid, "a");
  const CalibrationSummary& summary = annotations->Summaries()[1];
  EXPECT_EQ(summary.uuid, "b");
  EXPECT_EQ(summary.cameras, 4);
  const auto& error = summary.metrics[static_cast<std::size_t>(MetricType::kReprojectionError)];
  EXPECT_EQ(error.cameras, 2);
  EXPECT_EQ(error.best, 2);

  const auto& iou = summary.metrics[static_cast<std::size_t>(MetricType::kIou)];
  EXPECT_EQ(iou.cameras, 1);
  EXPECT_EQ(iou.best, 0.75);
}

TEST(Annotations, AnswerInForkedProcesses) {
  AnnotationFolder folder;
  folder.Add("episode_id_to_path.json", R"({"a": "x/y", "b": "\u006c/success/2023-01-01/f"})");
  const auto annotations = folder.Open();
  ASSERT_THAT(annotations, IsOk());
  for (int worker = 0; worker < 4; ++worker) {
    const pid_t child = fork();
    if (child == 0) {
      for (int i = 0; i < 200; ++i) {
        if (annotations->PathOf("b") != "l/success/2023-01-01/f" ||
            annotations->PathOf("a") != "x/y") {
          _exit(1);
        }
      }
      _exit(0);
    }
    ASSERT_GT(child, 0);
  }
  for (int worker = 0; worker < 4; ++worker) {
    int exit_status = -1;
    wait(&exit_status);
    EXPECT_EQ(exit_status, 0);
  }
}

TEST(Annotations, AnswerByIndexesThatAreMapped) {
  AnnotationFolder folder;
  folder.Add(kSuperset, R"({"u": {"1": [1,2,3,4,5,6], "1_metric_type": "IoU"}})")
      .Add("episode_id_to_path.json", R"({"u": "x/y"})")
      .Add("camera_serials.json", R"({"u": {"wrist_cam_serial": "7"}})");
  const auto opened = folder.Open();
  ASSERT_THAT(opened, IsOk());
  ASSERT_THAT(folder.SaveIndexes(*opened), IsOk());
  const auto indexed = folder.OpenIndexed();
  ASSERT_THAT(indexed, IsOk());
  EXPECT_EQ(indexed->PathOf("u"), "x/y");
  EXPECT_THAT(*indexed->SerialsOf("u"), ElementsAre(Pair(CameraRole::kWrist, "7")));
  const auto calibration = indexed->Calibration("u");
  ASSERT_THAT(calibration, IsOk());
  ASSERT_TRUE(*calibration);
  EXPECT_THAT((*calibration)->cameras, SizeIs(1));
  EXPECT_EQ((*calibration)->cameras[0].pose[5], 6);
  EXPECT_THAT(*indexed->IntrinsicsOf("u"), IsEmpty());
  EXPECT_THAT(indexed->Summaries(), IsEmpty());
}

TEST(Annotations, KnowInstructionsAndStepsToKeep) {
  AnnotationFolder folder;
  folder
      .Add("droid_language_annotations.json",
           R"({"u": {"language_instruction1": "open it", "language_instruction2": "",
               "language_instruction3": "open the lid"}})")
      .Add(
          "keep_ranges_1_0_1.json",
          R"({"gs://b/r2d2/A/success/2023-01-02/f/recordings/MP4--/nfs/x/trajectory.h5": [[0, 4], [6, 9]],
               "A/failure/2023-01-02/g/recordings/MP4--x": [],
               "of somebody else": [[0, 1]],
               "gs://b/A/success/2023-01-02/bad/recordings/MP4--x": [[0]]})");
  const auto opened = folder.Open();
  ASSERT_THAT(opened, IsOk());
  ASSERT_THAT(folder.SaveIndexes(*opened), IsOk());
  const auto indexed = folder.OpenIndexed();
  ASSERT_THAT(indexed, IsOk());
  for (const Annotations* annotations : {&*opened, &*indexed}) {
    EXPECT_THAT(*annotations->LanguageOf("u"), ElementsAre("open it", "open the lid"));
    EXPECT_THAT(*annotations->LanguageOf("v"), IsEmpty());
    const auto kept = annotations->KeepRangesOf("A/success/2023-01-02/f");
    ASSERT_THAT(kept, IsOk());
    ASSERT_TRUE(*kept);
    EXPECT_THAT(**kept, ElementsAre(StepRange{0, 4}, StepRange{6, 9}));
    EXPECT_THAT(**annotations->KeepRangesOf("A/failure/2023-01-02/g"), IsEmpty());
    EXPECT_EQ(*annotations->KeepRangesOf("A/success/2023-01-02/e"), std::nullopt);
    EXPECT_EQ(*annotations->KeepRangesOf("A/success/2023-01-02/z"), std::nullopt);
    EXPECT_THAT(annotations->KeepRangesOf("A/success/2023-01-02/bad"),
                FailsWith(ErrorKind::kInvalidData, HasSubstr("[[0]]")));
  }
}

TEST(Annotations, RefuseKeepRangesThatNameNoFolder) {
  AnnotationFolder folder;
  folder.Add("keep_ranges_1_0_1.json", R"({"some/key": [[0, 1]]})");
  EXPECT_THAT(folder.Open(), FailsWith(ErrorKind::kInvalidData, HasSubstr("'some/key'")));
}

TEST(Annotations, SayWhatTheOtherFileHasOfACamera) {
  AnnotationFolder folder;
  folder.Add(kSuperset, R"({"u": {"1": [1,2,3,4,5,6]}})")
      .Add(kCam2base, R"({"u": {"1": [9,2,3,4,5,6], "2": [7,2,3,4,5,6]}})");
  const auto annotations = folder.Open();
  ASSERT_THAT(annotations, IsOk());
  const auto calibration = annotations->Calibration("u");
  ASSERT_THAT(calibration, IsOk());
  ASSERT_THAT((*calibration)->cameras, SizeIs(2));
  EXPECT_EQ((*calibration)->cameras[0].pose[0], 1);
  ASSERT_THAT((*calibration)->passed_over, SizeIs(1));
  EXPECT_EQ((*calibration)->passed_over[0].pose[0], 9);
  EXPECT_EQ((*calibration)->passed_over[0].file, "cam2base");
}

TEST(Annotations, WithoutFilesKnowNothing) {
  const auto annotations = Annotations::Open({});
  ASSERT_THAT(annotations, IsOk());
  EXPECT_EQ(annotations->Calibration("a"), std::nullopt);
  EXPECT_EQ(annotations->PathOf("a"), std::nullopt);
  EXPECT_THAT(*annotations->SerialsOf("a"), IsEmpty());
  EXPECT_THAT(annotations->Summaries(), IsEmpty());
}

TEST(Annotations, RefuseAMissingFileAndSayWhereAFileIsNotJson) {
  EXPECT_THAT(Annotations::Open({.superset = "/nowhere/s.json",
                                 .cam2base = {},
                                 .intrinsics = {},
                                 .episode_paths = {},
                                 .serials = {},
                                 .language = {},
                                 .keep_ranges = {}}),
              FailsWith(ErrorKind::kNotFound, HasSubstr("/nowhere/s.json")));
  AnnotationFolder folder;
  folder.Add("intrinsics.json", "{\n\"a\": {\"1\": [1, 2, 3, 4]},\n\"b\": {\"1\": [1, 2,, 4]}}");
  EXPECT_THAT(
      folder.Open(),
      FailsWith(ErrorKind::kInvalidData,
                AllOf(HasSubstr("line 3"), HasSubstr("byte"), HasSubstr("intrinsics.json"))));
}

TEST(Annotations, RefuseEntriesOfAnotherShape) {
  AnnotationFolder superset;
  superset.Add(kSuperset, R"({"a": {"1": []}, "b": 7})");
  EXPECT_THAT(superset.Open(),
              FailsWith(ErrorKind::kInvalidData, AllOf(HasSubstr("entry b"), HasSubstr("'7'"))));
  AnnotationFolder paths;
  paths.Add("episode_id_to_path.json", R"({"a": [1]})");
  const auto annotations = paths.Open();
  ASSERT_THAT(annotations, IsOk());
  EXPECT_THAT(annotations->PathOf("a"), FailsWith(ErrorKind::kInvalidData, HasSubstr("[1]")));
}

TEST(MetricType, KnowsWhichValueIsBetter) {
  EXPECT_TRUE(IsBetter(MetricType::kIou, 0.7, 0.6));
  EXPECT_TRUE(IsBetter(MetricType::kNumMatches, 20000, 900));
  EXPECT_TRUE(IsBetter(MetricType::kReprojectionError, 1, 2));
  EXPECT_FALSE(IsBetter(MetricType::kReprojectionError, 2, 1));
  EXPECT_FALSE(IsBetter(MetricType::kOther, 2, 1));
}

}  // namespace
}  // namespace droidflow
