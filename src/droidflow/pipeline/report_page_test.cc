#include "droidflow/pipeline/report_page.h"

#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

TEST(EscapeHtml, LeavesNothingThatIsMarkup) {
  EXPECT_EQ(EscapeHtml("a<b>&\"c'"), "a&lt;b&gt;&amp;&quot;c&#39;");
  EXPECT_EQ(EscapeHtml("münchen"), "münchen");
}

TEST(EscapeJsonForScript, KeepsTheValuesAndHasNoTagInIt) {
  const nlohmann::json values = {"</script><script>", "<!--", "a < b & c > \" \\"};
  const std::string text = EscapeJsonForScript(values.dump());
  EXPECT_THAT(text, Not(HasSubstr("<")));
  EXPECT_EQ(nlohmann::json::parse(text), values);
}

TEST(MakeHistogram, CountsInRoundBars) {
  // A bar is at least (60 - 0) / 30 wide.
  const Histogram histogram = MakeHistogram({0, 1.5, 2, 2.5, 60});
  EXPECT_EQ(histogram.step, 2);
  EXPECT_EQ(histogram.first, 0);
  ASSERT_EQ(histogram.counts.size(), 30);
  EXPECT_EQ(histogram.counts[0], 2);
  EXPECT_EQ(histogram.counts[1], 2);
  EXPECT_EQ(histogram.counts[29], 1) << "the largest, at the end of its bar";
  EXPECT_EQ(histogram.count, 5);
  EXPECT_EQ(histogram.min, 0);
  EXPECT_EQ(histogram.median, 2);
  EXPECT_EQ(histogram.max, 60);
}

TEST(MakeHistogram, PutsWhatIsFarAwayIntoTheEnds) {
  std::vector<double> values(1000);
  std::iota(values.begin(), values.end(), 0.0);
  values.push_back(1e9);
  values.push_back(-1e9);
  const Histogram histogram = MakeHistogram(values);
  EXPECT_LE(histogram.counts.size(), 40);
  EXPECT_GE(histogram.below, 1);
  EXPECT_GE(histogram.above, 1);
  EXPECT_EQ(std::accumulate(histogram.counts.begin(), histogram.counts.end(), std::int64_t{0}),
            1002);
  EXPECT_EQ(histogram.max, 1e9);
}

TEST(MakeHistogram, TakesTheMeanOfTheTwoInTheMiddle) {
  EXPECT_EQ(MakeHistogram({9, 1, 4, 2}).median, 3);
  EXPECT_EQ(MakeHistogram({9, 1, 4}).median, 4);
}

TEST(MakeHistogram, DoesNotTellValuesApartThatDifferByRounding) {
  const Histogram histogram = MakeHistogram({100.0 / 7, 100.0 / 7 + 1e-7, 100.0 / 7 - 1e-7});
  EXPECT_GE(histogram.step, 0.001);
  EXPECT_THAT(histogram.counts, ElementsAre(3));
}

TEST(MakeHistogram, GivesEachWholeNumberItsOwnBar) {
  EXPECT_THAT(MakeHistogram({3, 5, 5}).counts, ElementsAre(1, 0, 2));
}

TEST(MakeHistogram, TakesEqualValuesAndLeavesOutWhatIsNone) {
  const double nan = std::nan("");
  const Histogram equal = MakeHistogram({15, 15, nan, 15});
  EXPECT_THAT(equal.counts, ElementsAre(3));
  EXPECT_EQ(equal.first, 15);
  EXPECT_THAT(MakeHistogram({0.3, 0.3}).counts, ElementsAre(2));
  EXPECT_THAT(MakeHistogram({0}).counts, ElementsAre(1));
  EXPECT_EQ(MakeHistogram({nan, std::numeric_limits<double>::infinity()}).count, 0);
}

TEST(MakeHistogram, HoldsAllValuesWhateverTheirSize) {
  for (const double size : {1e-300, 1e-9, 0.1, 7.0, 1e12, 1e300}) {
    const Histogram histogram = MakeHistogram({size, 1.1 * size, 1.2 * size, 2 * size});
    EXPECT_EQ(std::accumulate(histogram.counts.begin(), histogram.counts.end(), std::int64_t{0}), 4)
        << size;
    EXPECT_LE(histogram.counts.size(), 40) << size;
  }
}

ReportEpisode EpisodeWith(const std::string& key, const std::string& type, double metric) {
  ReportEpisode episode;
  episode.key = key;
  episode.directory = "/out/" + key;
  ReportCamera camera;
  camera.serial = "1";
  camera.metric_type = type;
  camera.metric = metric;
  camera.in_image_fraction = 1;
  episode.cameras = {camera};
  return episode;
}

TEST(ScoreEpisodes, RanksWithinATypeInItsDirection) {
  std::vector<ReportEpisode> episodes{EpisodeWith("a", "Reprojection_error", 4),
                                      EpisodeWith("b", "Reprojection_error", 1),
                                      EpisodeWith("c", "Reprojection_error", 2),
                                      EpisodeWith("d", "IoU", 0.5),
                                      EpisodeWith("e", "IoU", 0.9),
                                      EpisodeWith("f", "guess", 7)};
  EXPECT_THAT(ScoreEpisodes(episodes), HasSubstr("calibration"));
  EXPECT_EQ(episodes[0].score, 0);
  EXPECT_EQ(episodes[1].score, 1);
  EXPECT_EQ(episodes[2].score, 0.5);
  EXPECT_EQ(episodes[3].score, 0);
  EXPECT_EQ(episodes[4].score, 1);
  EXPECT_EQ(episodes[5].score, std::nullopt);
}

TEST(ScoreEpisodes, TakesTheCheckWhereThereIsOne) {
  std::vector<ReportEpisode> episodes{EpisodeWith("a", "IoU", 0.9), EpisodeWith("b", "IoU", 0.1)};
  episodes[1].cameras[0].check_score = 0.75;
  episodes[1].check_score = 0.25;
  EXPECT_THAT(ScoreEpisodes(episodes), HasSubstr("check"));
  EXPECT_EQ(episodes[0].score, std::nullopt);
  EXPECT_EQ(episodes[1].score, 0.25);
}

TEST(ScoreEpisodes, SaysNothingWithoutMetrics) {
  std::vector<ReportEpisode> episodes(2);
  EXPECT_EQ(ScoreEpisodes(episodes), "");
}

TEST(ChooseSheets, TakesEachEpisodeOnceAndTheSameEachTime) {
  std::vector<ReportEpisode> episodes;
  for (int i = 0; i < 9; ++i) {
    episodes.push_back(EpisodeWith(fmt::format("episode {}", i), "IoU", i));
  }
  episodes[8].directory.clear();
  episodes[4].cameras[0].in_image_fraction.reset();
  static_cast<void>(ScoreEpisodes(episodes));
  const auto names = [](const std::vector<SheetChoice>& chosen) {
    std::vector<std::string> all;
    for (const auto& [choice, episode] : chosen)
      all.push_back(fmt::format("{} {}", choice, episode));
    return all;
  };
  const std::vector<std::string> first = names(ChooseSheets(episodes, 2));
  ASSERT_EQ(first.size(), 6);
  EXPECT_EQ(first[0], "best 7");
  EXPECT_EQ(first[1], "best 6");
  EXPECT_EQ(first[2], "worst 0");
  EXPECT_EQ(first[3], "worst 1");
  EXPECT_THAT(first[4], ::testing::MatchesRegex("random [235]"));
  EXPECT_EQ(names(ChooseSheets(episodes, 2)), first);
  EXPECT_TRUE(ChooseSheets(episodes, 0).empty());
  EXPECT_EQ(ChooseSheets(episodes, 12).size(), 7);
}

TEST(FormatReportPage, HoldsHostileTextAsText) {
  ReportData data;
  data.where = "<img src=x onerror=alert(1)>";
  ReportEpisode episode;
  episode.key = "</script><b>";
  episode.message = "{{data}} \xff \u2028";
  data.episodes = {episode};
  data.sheets = {{.choice = "random", .episode = 0, .width_px = 3, .height_px = 2, .jpeg = {}}};
  const std::string page = FormatReportPage(data);
  EXPECT_THAT(page, Not(HasSubstr("<img src=x")));
  EXPECT_THAT(page, Not(HasSubstr("</script><b>")));
  EXPECT_THAT(page, HasSubstr("&lt;/script&gt;&lt;b&gt;"));
  EXPECT_THAT(page, EndsWith("</html>\n"));
  const std::string start = R"(<script type="application/json" id="data">)";
  const std::size_t begin = page.find(start) + start.size();
  const auto json =
      nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  EXPECT_EQ(json["rows"][0][0], "</script><b>");
  EXPECT_EQ(json["strings"][json["rows"][0][6].get<int>()], "{{data}} \ufffd \u2028");
  EXPECT_EQ(json["columns"].size(), json["rows"][0].size());
}

TEST(FormatReportPage, KeepsWholeNumbersAsTheyAre) {
  ReportData data;
  data.episodes = {EpisodeWith("a", "num_matches", 1234567)};
  const std::string page = FormatReportPage(data);
  EXPECT_THAT(page, HasSubstr(",1234567,"));
}

TEST(FormatReportPage, StaysBelowTwentyMegabytesWhateverTextsAndPictures) {
  ReportData data;
  for (int i = 0; i < 10'000; ++i) {
    ReportEpisode& episode = data.episodes.emplace_back();
    episode.key = "e" + std::to_string(i);
    episode.message = "cannot: ü" + std::string(2000, 'x') + ": /raw/" + episode.key;
  }
  for (std::size_t i = 0; i < 12; ++i) {
    data.sheets.push_back({.choice = i < 4   ? "best"
                                     : i < 8 ? "worst"
                                             : "random",
                           .episode = i,
                           .jpeg = std::vector<std::byte>(1'000'000)});
  }
  const std::string page = FormatReportPage(data);
  EXPECT_LE(page.size(), 20'000'000U);
  EXPECT_GE(page.size(), 15'000'000U) << "and uses them";
  EXPECT_THAT(page, HasSubstr(R"("cannot: \u00fcx)"));
  EXPECT_THAT(page, HasSubstr("x: /raw/e9999\""));
  EXPECT_THAT(page, HasSubstr("shortened to 1000 bytes"));
  std::map<std::string, int> kept;
  for (const ReportSheet& sheet : data.sheets) ++kept[sheet.choice];
  EXPECT_THAT(kept, ElementsAre(Pair("best", 2), Pair("random", 2), Pair("worst", 2)));
  EXPECT_THAT(page, HasSubstr("6 pictures are left out"));
}

}  // namespace
}  // namespace droidflow
