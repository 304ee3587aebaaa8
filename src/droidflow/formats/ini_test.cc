#include "droidflow/formats/ini.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

namespace droidflow {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kText =
    "\xEF\xBB\xBF; made by hand\r\n"
    "[LEFT_CAM_HD]\r\n"
    "fx = 535.19 ; pixels\r\n"
    "  cx=+638.5\r\n"
    "k1=-5.07985e-2\r\n"
    "# nothing yet\r\n"
    "[STEREO]\r\n"
    "Baseline=120\r\n"
    "baseline=119.5\r\n"
    "note=about 12 cm\r\n"
    "none=\r\n"
    "nan=nan\r\n";

Ini Sample() {
  const auto ini = ParseIni(kText, "SN1.conf");
  EXPECT_THAT(ini, IsOk());
  return ini.value_or(Ini());
}

TEST(ParseIni, FindsValuesWithoutRegardToCase) {
  const Ini ini = Sample();
  EXPECT_EQ(ini.Find("left_cam_hd", "FX"), "535.19");
  EXPECT_EQ(ini.Find("Stereo", "note"), "about 12 cm");
  EXPECT_EQ(ini.Find("STEREO", "none"), "");
  EXPECT_EQ(ini.Find("STEREO", "fx"), std::nullopt);
  EXPECT_EQ(ini.Find("RIGHT_CAM_HD", "fx"), std::nullopt);
  EXPECT_EQ(ini.name(), "SN1.conf");
}

TEST(ParseIni, TakesAnIndentedLineForALine) {
  const Ini ini = Sample();
  EXPECT_EQ(ini.Find("LEFT_CAM_HD", "fx"), "535.19");
  EXPECT_EQ(ini.Find("LEFT_CAM_HD", "cx"), "+638.5");
}

TEST(ParseIni, TakesTheLastOfTwoValues) { EXPECT_EQ(Sample().Find("STEREO", "Baseline"), "119.5"); }

TEST(ParseIni, TakesNothingForAnEmptyFile) {
  EXPECT_EQ(ParseIni("", "x")->Find("", ""), std::nullopt);
}

TEST(ParseIni, SaysWhichLineIsNone) {
  const auto refuses = [](const std::string& text, const std::string& message) {
    EXPECT_THAT(ParseIni(text, "SN1.conf"), FailsWith(ErrorKind::kInvalidData, HasSubstr(message)));
  };
  refuses("[A]\nx=1\n\nnonsense\ny=2\n",
          "line 4: want [section] or key = value, found \"nonsense\" in SN1.conf");
  refuses("[A]\n[B\n", "line 2: want [section] or key = value, found \"[B\"");
  refuses("<html>\n<body>404</body></html>\n", "line 1: want [section]");
  refuses("[A]\nx=" + std::string(300, '1'), "line 2: want at most 190 bytes");
  refuses("[" + std::string(60, 'A') + "]\n", "line 1: want a name of at most 49 bytes");
  refuses(std::string(60, 'k') + "=1\n", "line 1: want a name of at most 49 bytes");
  refuses(std::string("[A]\nx=1\0y=2\n", 12), "line 2: want text, found \"a NUL byte\"");
}

TEST(ParseIni, TakesNamesAndLinesOfTheLongestLength) {
  const std::string section(49, 'S');
  const std::string key(49, 'k');
  const std::string value(190 - 50, 'v');
  const auto ini = ParseIni("[" + section + "]\n" + key + "=" + value + "\n", "x");
  ASSERT_THAT(ini, IsOk());
  EXPECT_EQ(ini->Find(section, key), value);
}

TEST(IniGetDouble, ReadsNumbers) {
  const Ini ini = Sample();
  EXPECT_EQ(ini.GetDouble("LEFT_CAM_HD", "fx"), 535.19);
  EXPECT_EQ(ini.GetDouble("LEFT_CAM_HD", "cx"), 638.5);
  EXPECT_EQ(ini.GetDouble("LEFT_CAM_HD", "k1"), -0.0507985);
}

TEST(IniGetDouble, SaysWhatItSawInstead) {
  const Ini ini = Sample();
  EXPECT_THAT(ini.GetDouble("STEREO", "TY"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("no TY in section [STEREO] of SN1.conf")));
  for (const auto& [key, text] : {std::pair("note", "about 12 cm"), {"none", ""}, {"nan", "nan"}}) {
    EXPECT_THAT(
        ini.GetDouble("STEREO", key),
        FailsWith(
            ErrorKind::kInvalidData,
            HasSubstr(fmt::format(
                "{} in section [STEREO]: want a number, found \"{}\" in SN1.conf", key, text))));
  }
}

TEST(ReadIni, ReadsEveryPublishedCalibration) {
  DF_NEEDS_SHARED("data/zed_conf");
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SharedPath("data/zed_conf"))) {
    if (entry.path().extension() != ".conf") continue;
    SCOPED_TRACE(entry.path());
    const auto ini = ReadIni(entry.path());
    ASSERT_THAT(ini, IsOk());
    const auto baseline_mm = ini->GetDouble("STEREO", "Baseline");
    ASSERT_THAT(baseline_mm, IsOk());
    EXPECT_NEAR(*baseline_mm, *baseline_mm < 90 ? 63 : 120, 2);
    EXPECT_THAT(ini->GetDouble("RIGHT_CAM_VGA", "cy"), IsOk());
    ++num_files;
  }
  EXPECT_GT(num_files, 30);
}

TEST(ReadIni, SaysWhichFileIsMissing) {
  EXPECT_THAT(ReadIni("/nowhere/SN1.conf"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("/nowhere/SN1.conf")));
}

}  // namespace
}  // namespace droidflow
