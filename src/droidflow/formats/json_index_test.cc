#include "droidflow/formats/json_index.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <chrono>
#include <fstream>
#include <map>
#include <random>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Optional;
using ::testing::Pair;

class JsonIndexTest : public ::testing::Test {
 protected:
  Result<JsonIndex> Build(std::string_view text, const JsonEntryCallback& callback = {}) {
    std::ofstream(path_, std::ios::binary) << text;
    return JsonIndex::Build(path_, callback);
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "annotations.json";
};

std::vector<std::string_view> Keys(const JsonIndex& index) {
  std::vector<std::string_view> keys;
  for (std::size_t i = 0; i < index.size(); ++i) keys.push_back(index.Key(i));
  return keys;
}

TEST_F(JsonIndexTest, GivesTheTextOfEveryKindOfValue) {
  const auto index = Build(
      "\xEF\xBB\xBF \r\n{ \"z\" : {\"a\": [1, {\"}\": \"]\"}]} ,\"s\":\"x\\\\\",\"n\":-1.5e3, "
      "\"q\": \"\\\"{\",\n\t\"t\":true,\"f\":false,\"0\":null,\"e\":{},\"l\":[]}\n ");
  ASSERT_THAT(index, IsOk());
  EXPECT_THAT(Keys(*index), ElementsAre("z", "s", "n", "q", "t", "f", "0", "e", "l"));
  const std::map<std::string, std::string> want{{"z", R"({"a": [1, {"}": "]"}]})"},
                                                {"s", R"("x\\")"},
                                                {"n", "-1.5e3"},
                                                {"q", R"("\"{")"},
                                                {"t", "true"},
                                                {"f", "false"},
                                                {"0", "null"},
                                                {"e", "{}"},
                                                {"l", "[]"}};
  for (const auto& [key, text] : want) {
    const auto entry = index->ReadEntry(key);
    ASSERT_THAT(entry, IsOk());
    EXPECT_THAT(*entry, Optional(text)) << key;
  }
  EXPECT_EQ(*index->ReadEntry("missing"), std::nullopt);
  EXPECT_EQ(index->Find("q"), 3U);
  EXPECT_EQ(index->Find(""), std::nullopt);
  EXPECT_EQ(index->num_duplicates(), 0U);
}

TEST_F(JsonIndexTest, TakesAnEmptyObject) {
  for (const char* const text : {"{}", " { \n } "}) {
    const auto index = Build(text);
    ASSERT_THAT(index, IsOk());
    EXPECT_EQ(index->size(), 0U);
    EXPECT_EQ(*index->ReadEntry("x"), std::nullopt);
  }
}

TEST_F(JsonIndexTest, DecodesKeys) {
  const auto index = Build(R"({"a\"b": 1, "\u00e9\ud83d\ude00": 2, "": 3, "AUTOLab+84bd5053": 4})");
  ASSERT_THAT(index, IsOk());
  EXPECT_THAT(Keys(*index), ElementsAre("a\"b", "é😀", "", "AUTOLab+84bd5053"));
  EXPECT_THAT(*index->ReadEntry("é😀"), Optional(std::string("2")));
}

TEST_F(JsonIndexTest, TakesTheLastOfEqualKeysAtThePlaceOfTheFirst) {
  const auto index = Build(R"({"b": 1, "a": 2, "b": 3, "c": 4, "b": [5]})");
  ASSERT_THAT(index, IsOk());
  EXPECT_THAT(Keys(*index), ElementsAre("b", "a", "c"));
  EXPECT_THAT(*index->ReadEntry("b"), Optional(std::string("[5]")));
  EXPECT_THAT(*index->ReadEntry("c"), Optional(std::string("4")));
  EXPECT_EQ(index->num_duplicates(), 2U);
}

TEST_F(JsonIndexTest, CallsBackForEveryEntryInFileOrder) {
  const std::string text = R"({"b": 1, "a": [2], "b": 3})";
  std::vector<std::pair<std::string, std::string>> seen;
  ASSERT_THAT(Build(text,
                    [&](const JsonEntry& entry) -> Status {
                      seen.emplace_back(entry.key, entry.value);
                      EXPECT_EQ(text.substr(static_cast<std::size_t>(entry.offset_bytes),
                                            entry.value.size()),
                                entry.value);
                      return {};
                    }),
              IsOk());
  EXPECT_THAT(seen, ElementsAre(Pair("b", "1"), Pair("a", "[2]"), Pair("b", "3")));

  int calls = 0;
  EXPECT_THAT(Build(text,
                    [&](const JsonEntry&) -> Status {
                      ++calls;
                      return Fail(ErrorKind::kCancelled, "enough");
                    }),
              FailsWith(ErrorKind::kCancelled, "enough"));
  EXPECT_EQ(calls, 1);
}

TEST_F(JsonIndexTest, SaysOnWhichLineAndByteTheFileIsWrong) {
  const auto refuses = [&](std::string_view text, const std::string& message) {
    EXPECT_THAT(Build(text), FailsWith(ErrorKind::kInvalidData, HasSubstr(message))) << text;
  };
  refuses("", "line 1, byte 0: want an object at the top, the file ends");
  refuses("\n [1]", "line 2, byte 2: want an object at the top, found '['");
  refuses("null", "line 1, byte 0: want an object at the top, found 'n'");
  refuses("{\n a: 1}", "line 2, byte 3: want a key in quotes, found 'a'");
  refuses("{\"a\" 1}", "byte 5: want ':' behind a key, found '1'");
  refuses("{\"a\":}", "byte 5: want a value, found '}'");
  refuses("{\"a\":,", "byte 5: want a value, found ','");
  refuses("{\"a\":", "byte 5: want a value, the file ends");
  refuses("{\"a\":1,}", "byte 7: want a key behind ',', found '}'");
  refuses("{\"a\":1 \"b\":2}", "byte 7: want ',' or '}' behind a value, found '\"'");
  refuses("{\"a\":1]", "byte 6: want ',' or '}' behind a value, found ']'");
  refuses("{\"a\":1}\n\n{}", "line 3, byte 9: want nothing behind the object, found '{'");
  refuses("{\"a\":1}x", "byte 7: want nothing behind the object, found 'x'");
  refuses("{\"ok\":1,\n\"bad\": [1, 2},\n\"c\":3}",
          "line 2, byte 16: the value of \"bad\" starts here and is not JSON");
  refuses("{\"a\":01}", "byte 5: the value of \"a\" starts here and is not JSON");
  refuses("{\"a\":nul}", "byte 5: the value of \"a\" starts here and is not JSON");
  refuses("{\"a\":[1,]}", "byte 5: the value of \"a\" starts here and is not JSON");
  refuses("{\"a\":\"\xFF\"}", "byte 5: the value of \"a\" starts here and is not JSON");
  refuses("{\"\xFF\":1}", "byte 1: the key starts here and is not JSON");
  refuses("{\"a\":[[1]", "byte 9: the file ends inside the value of \"a\"");
  refuses("{\"a\":\"b\\\"}", "byte 10: the file ends inside the value of \"a\"");
  refuses(std::string("{\"a\":\0}", 7), "byte 5: the value of \"a\" starts here and is not JSON");
  refuses("{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}", "is not JSON");
}

TEST_F(JsonIndexTest, RefusesEveryShorterFile) {
  const std::string text = R"({"uuid": {"a": [1.5, "x\"y"], "b": null}, "v": true})";
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_THAT(Build(text.substr(0, size)),
                FailsWith(ErrorKind::kInvalidData, HasSubstr("annotations.json")));
  }
  EXPECT_THAT(Build(text), IsOk());
}

TEST_F(JsonIndexTest, RefusesAnEntryTooLargeToHold) {
  EXPECT_THAT(Build("{\"a\":\"" + std::string(70 << 20, 'x') + "\"}"),
              FailsWith(ErrorKind::kInvalidData,
                        HasSubstr("byte 5: the value of \"a\" is longer than 67108864")));
}

TEST_F(JsonIndexTest, AgreesWithPythonOnEntriesAcrossItsWindow) {
  // About 11 MB: several windows, and one entry larger than a window.
  RunPython("path = '" + path_.string() + R"('
import json, random
random.seed(7)
texts = [''.join(random.choices('ab"\\{}[],:\n é', k=k)) for k in range(500)]
def value(i):
    return {'t': random.choices(texts, k=4), 'n': [random.random()] * (i % 7), 'i': i}
data = {'key "%d" é' % i: value(i) for i in range(3000)}
data['large'] = 'x"' * 2500000
data['after'] = {'i': 3001}
json.dump(data, open(path, 'w'), indent=1, ensure_ascii=False)
)");
  const auto index = JsonIndex::Build(path_);
  ASSERT_THAT(index, IsOk());
  EXPECT_EQ(index->size(), 3'002U);
  EXPECT_EQ((*index->ReadEntry("large"))->size(), 2U + 2'500'000 * 3);
  std::ofstream entries(directory_ / "entries.txt", std::ios::binary);
  for (std::size_t i = 0; i < index->size(); ++i) {
    const auto entry = index->ReadEntry(index->Key(i));
    ASSERT_THAT(entry, IsOk());
    entries << '"' << i << "\": " << **entry << '\n' << (i + 1 < index->size() ? "," : "");
  }
  entries.close();
  RunPython("import json; want = json.load(open('" + path_.string() +
            "')); have = json.loads('{' + open('" + (directory_ / "entries.txt").string() +
            "').read() + '}'); assert list(want.values()) == list(have.values())");
}

TEST_F(JsonIndexTest, SaysThatTheFileHasChanged) {
  const auto index = Build(R"({"a": 1, "b": 2})");
  ASSERT_THAT(index, IsOk());
  std::ofstream(path_) << R"({"a": 10, "b": 2})";
  EXPECT_THAT(index->ReadEntry("a"),
              FailsWith(ErrorKind::kInternal,
                        HasSubstr("changed since it was indexed (16 bytes then, 17 now): ")));
  std::ofstream(path_) << R"({"a": 7, "b": 2})";
  std::filesystem::last_write_time(
      path_, std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_THAT(index->ReadEntry("a"), FailsWith(ErrorKind::kInternal, HasSubstr("changed since")));
}

TEST_F(JsonIndexTest, KeepsToTheFileItIndexedWhenAnotherTakesItsPlace) {
  const auto index = Build(R"({"a": "old"})");
  ASSERT_THAT(index, IsOk());
  ASSERT_THAT(WriteFileAtomically(path_, R"({"a": "new one"})"), IsOk());
  EXPECT_THAT(*index->ReadEntry("a"), Optional(std::string("\"old\"")));
}

TEST_F(JsonIndexTest, IsMappedAsItWasSaved) {
  const auto built = Build(R"({"z": [1, 2], "a": "old", "m": {}, "a": "new"})");
  ASSERT_THAT(built, IsOk());
  ASSERT_THAT(built->Save(directory_ / "index"), IsOk());
  const auto mapped = JsonIndex::Map(path_, directory_ / "index");
  ASSERT_THAT(mapped, IsOk());
  EXPECT_THAT(Keys(*mapped), ElementsAre("z", "a", "m"));
  EXPECT_EQ(mapped->num_duplicates(), 1);
  EXPECT_EQ(mapped->Find("m"), 2);
  EXPECT_EQ(mapped->Find("b"), std::nullopt);
  EXPECT_THAT(*mapped->ReadEntry("z"), Optional(std::string("[1, 2]")));
  EXPECT_THAT(*mapped->ReadEntry("a"), Optional(std::string("\"new\"")));
}

TEST_F(JsonIndexTest, MapsNothingThatIsNotItsIndex) {
  const auto built = Build(R"({"a": 1, "b": 2})");
  ASSERT_THAT(built, IsOk());
  ASSERT_THAT(built->Save(directory_ / "index"), IsOk());
  const std::string whole = *ReadFileText(directory_ / "index");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    ASSERT_THAT(WriteFileAtomically(directory_ / "cut", whole.substr(0, size)), IsOk());
    EXPECT_THAT(JsonIndex::Map(path_, directory_ / "cut"),
                FailsWith(ErrorKind::kInvalidData, HasSubstr("an index of a JSON file, whole")))
        << size;
  }
  EXPECT_THAT(JsonIndex::Map(path_, directory_ / "none"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("none")));
  ASSERT_THAT(WriteFileAtomically(path_, R"({"a": 1, "b": 22})"), IsOk());
  EXPECT_THAT(JsonIndex::Map(path_, directory_ / "index"),
              FailsWith(ErrorKind::kInternal, HasSubstr("16 bytes then, 17 now")));
}

TEST_F(JsonIndexTest, IsSharedByThreadsAndForkedProcesses) {
  std::string text = "{\"0\": [0]";
  for (int i = 1; i < 1000; ++i) text += fmt::format(", \"{0}\": [{0}]", i);
  const auto index = Build(text + "}");
  ASSERT_THAT(index, IsOk());
  const auto read_all = [&] {
    for (int i = 0; i < 1000; ++i) {
      const auto entry = index->ReadEntry(std::to_string(i));
      if (!entry || *entry != fmt::format("[{}]", i)) return false;
    }
    return true;
  };
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(read_all() ? 0 : 1);
  bool in_thread = false;
  std::thread thread([&] { in_thread = read_all(); });
  EXPECT_TRUE(read_all());
  thread.join();
  EXPECT_TRUE(in_thread);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(JsonIndexTest, ReadsTheAnnotations) {
  DF_NEEDS_SHARED("data/golden/intrinsics.json");
  for (const char* const name :
       {"intrinsics.json", "cam2base_extrinsic_superset.json", "episode_id_to_path.json"}) {
    const auto index = JsonIndex::Build(SharedPath("data/golden") / name);
    ASSERT_THAT(index, IsOk()) << name;
    EXPECT_TRUE(index->Find("AUTOLab+84bd5053+2023-07-07-09h-42m-23s")) << name;
  }
}

TEST_F(JsonIndexTest, SaysWhichFileIsMissing) {
  EXPECT_THAT(JsonIndex::Build("/nowhere/x.json"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("/nowhere/x.json")));
  EXPECT_THAT(JsonIndex::Build(directory_.path()),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("no regular file")));
}

}  // namespace
}  // namespace droidflow
