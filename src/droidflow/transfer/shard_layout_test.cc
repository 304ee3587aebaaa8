#include "droidflow/transfer/shard_layout.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/sha256.h"
#include "droidflow/core/test_support.h"
#include "droidflow/transfer/tar_writer.h"

#include <algorithm>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

QueuedEntry MakeEpisode(const fs::path& root, const std::string& key) {
  QueuedEntry queued;
  queued.entry = {.destination = "full",
                  .key = key,
                  .root = root,
                  .folder = "AUTOLab/success/" + key,
                  .prefix = "ignored"};
  const fs::path folder = root / queued.entry.folder;
  EXPECT_THAT(WriteFile(folder / "quality.json", R"({"num_frames": 7, "uuid": ")" + key + "\"}"),
              IsOk());
  EXPECT_THAT(WriteFile(folder / "tracks.npz", std::string(700, key[0])), IsOk());
  EXPECT_THAT(WriteFile(folder / "recordings/123/depth.mkv", key + " depth"), IsOk());
  EXPECT_THAT(WriteFile(folder / "empty.json", ""), IsOk());
  queued.entry.files = ListUploadFiles(root, queued.entry.folder).value();
  return queued;
}

TEST(TarWriter, IsReadByPythonAndByTar) {
  const TemporaryDirectory dir;
  const std::string long_name = std::string(120, 'n') + ".npz";
  {
    TarWriter tar = TarWriter::Create(dir / "a.tar").value();
    for (const auto& [name, text] : {std::pair<std::string, std::string>{"a b+c.json", "{}"},
                                     {"empty", ""},
                                     {"block", std::string(512, 'x')},
                                     {long_name, "long"}}) {
      ASSERT_THAT(tar.Begin(name, text.size()), IsOk());
      ASSERT_THAT(tar.Write(std::as_bytes(std::span(text))), IsOk());
      ASSERT_THAT(tar.End(), IsOk());
    }
    EXPECT_FALSE(fs::exists(dir / "a.tar"));
    ASSERT_THAT(tar.Finish(), IsOk());
  }
  EXPECT_EQ(RunPython("import tarfile\n"
                      "for m in tarfile.open('" +
                      (dir / "a.tar").string() +
                      "'):\n"
                      "    print(m.name, m.size, m.mtime, m.uid, oct(m.mode), m.isreg())"),
            "a b+c.json 2 0 0 0o644 True\nempty 0 0 0 0o644 True\nblock 512 0 0 0o644 True\n" +
                long_name + " 4 0 0 0o644 True\n");
  ASSERT_EQ(
      std::system(("tar -C " + dir.path().string() + " -xf " + (dir / "a.tar").string()).c_str()),
      0);
  EXPECT_EQ(ReadFileText(dir / "block").value(), std::string(512, 'x'));
  EXPECT_EQ(ReadFileText(dir / long_name).value(), "long");
}

TEST(ShardMemberName, HasNoSlashAndNoDotInTheKey) {
  EXPECT_EQ(ShardMemberName({}, "IRIS+1-2", "recordings/123/depth.mkv").value(),
            "IRIS+1-2.123.depth.mkv");
  EXPECT_EQ(ShardMemberName({}, "IRIS+1-2", "tracks.npz").value(), "IRIS+1-2.tracks.npz");
  EXPECT_THAT(ShardMemberName({}, "IRIS.1", "a"), FailsAs("refused", HasSubstr("have 'IRIS.1'")));
  EXPECT_THAT(ShardMemberName({}, "IRIS/1", "a"), FailsAs("refused", HasSubstr("have 'IRIS/1'")));
}

TEST(BuildShard, GivesEveryMemberAtItsOffset) {
  const TemporaryDirectory dir;
  BuiltShard shard = BuildShard({.prefix = "v1"},
                                dir / "staging",
                                "shard-run-00000",
                                "AUTOLab",
                                {MakeEpisode(dir / "out", "a"), MakeEpisode(dir / "out", "b")})
                         .value();
  EXPECT_THAT(shard.packed, SizeIs(2));
  EXPECT_THAT(shard.left_out, IsEmpty());
  ASSERT_THAT(shard.entry.files, SizeIs(2));
  EXPECT_EQ(shard.entry.PathOf(shard.entry.files[0]), "v1/data/AUTOLab/shard-run-00000.tar");
  EXPECT_EQ(shard.entry.PathOf(shard.entry.files[1]), "v1/meta/shard-run-00000.jsonl");

  const std::string out = RunPython(
      "import hashlib, json, tarfile\n"
      "root = '" +
      (dir / "staging/shard-run-00000").string() +
      "/'\n"
      R"(
names = [m.name for m in tarfile.open(root + 'data/AUTOLab/shard-run-00000.tar')]
print(*names)
for line in open(root + 'meta/shard-run-00000.jsonl'):
    e = json.loads(line)
    with open(root + e['shard'], 'rb') as tar:
        for m in e['members']:
            tar.seek(m['offset'])
            data = tar.read(m['size'])
            assert hashlib.sha256(data).hexdigest() == m['sha256']
            if m['name'].endswith('.mkv'): print(data.decode())
    print(e['key'], e['folder'], e['quality'])
)");
  EXPECT_EQ(out,
            "a.empty.json a.quality.json a.123.depth.mkv a.tracks.npz "
            "b.empty.json b.quality.json b.123.depth.mkv b.tracks.npz\n"
            "a depth\na AUTOLab/success/a {'num_frames': 7, 'uuid': 'a'}\n"
            "b depth\nb AUTOLab/success/b {'num_frames': 7, 'uuid': 'b'}\n");
  const std::string index =
      ReadFileText(dir / "staging/shard-run-00000/meta/shard-run-00000.jsonl").value();
  EXPECT_THAT(ParseShardIndex(index).value(), ElementsAre("a", "b"));
  const std::vector<ShardedEpisode> read = ParseShardEpisodes(index).value();
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[1].key, "b");
  EXPECT_EQ(read[1].folder, "AUTOLab/success/b");
  EXPECT_EQ(read[1].shard, "data/AUTOLab/shard-run-00000.tar");
  const std::string tar = ReadFileText(dir / "staging/shard-run-00000" / read[1].shard).value();
  for (const ShardMember& member : read[1].members) {
    Sha256 hash;
    hash.Add(std::as_bytes(std::span(tar)).subspan(member.offset, member.size_bytes));
    EXPECT_EQ(hash.Finish(), member.sha256) << member.name;
  }
}

TEST(ParseShardIndex, SaysWhichLineIsNoEpisode) {
  EXPECT_THAT(ParseShardIndex("{\"key\": \"a\"}\n[]\n"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("line 2")));
  EXPECT_THAT(ParseShardEpisodes("{\"key\": \"a\"}\n"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("line 1: ")));
}

TEST(BuildShard, GivesTheSameBytesForTheSameEpisodes) {
  const TemporaryDirectory dir;
  std::vector<std::string> hashes;
  for (const char* const out : {"out", "again"}) {
    ASSERT_THAT(BuildShard({}, dir / "staging", "s", "", {MakeEpisode(dir / out, "a")}), IsOk());
    hashes.push_back(Sha256OfFile(dir / "staging/s/data/s.tar").value());
  }
  EXPECT_EQ(hashes[0], hashes[1]);
}

TEST(BuildShard, LeavesOutWhatIsNotAsItWas) {
  const TemporaryDirectory dir;
  std::vector<QueuedEntry> episodes;
  for (const char* const key : {"a", "b", "c", "d.d", "e"}) {
    episodes.push_back(MakeEpisode(dir / "out", key));
  }
  ASSERT_THAT(WriteFile(dir / "out/AUTOLab/success/b/tracks.npz", "other"), IsOk());
  fs::remove(dir / "out/AUTOLab/success/c/tracks.npz");
  const BuiltShard shard = BuildShard({}, dir / "staging", "s", "", std::move(episodes)).value();
  ASSERT_THAT(shard.left_out, SizeIs(3));
  EXPECT_EQ(shard.left_out[0].entry.entry.key, "b");
  EXPECT_EQ(shard.left_out[0].error.status, "changed");
  EXPECT_EQ(shard.left_out[1].entry.entry.key, "c");
  EXPECT_EQ(shard.left_out[1].error.kind, ErrorKind::kNotFound);
  EXPECT_EQ(shard.left_out[2].entry.entry.key, "d.d");
  EXPECT_EQ(shard.left_out[2].error.status, "refused");
  EXPECT_EQ(RunPython("import tarfile\nprint(*sorted({m.name[0] for m in tarfile.open('" +
                      (dir / "staging/s/data/s.tar").string() + "')}))"),
            "a e\n");
}

}  // namespace
}  // namespace droidflow
