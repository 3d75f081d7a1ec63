// Paths, folders and globs to files, and what is wrong with those that give none.
#include "runtime/data/file_list.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/temporary_folder.hpp"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> listed(const std::vector<std::string>& paths) {
  const auto corpus = list_corpus_files(paths);
  if (!corpus) return {corpus.error().message};
  std::vector<std::string> names;
  for (const auto& file : corpus->files) names.push_back(file.path.filename().string());
  return names;
}

TEST(FileList, ExpandsFoldersAndGlobs) {
  const test::TemporaryFolder folder;
  folder.write("b.txt", "b");
  folder.write("a.txt", "a");
  folder.write("deep/er/c.md", "c");
  folder.write("deep/d.txt", "d");
  folder.write(".hidden/e.txt", "e");
  EXPECT_THAT(listed({folder / ""}), ElementsAre("a.txt", "b.txt", "d.txt", "c.md"));
  EXPECT_THAT(listed({folder / "*.txt"}), ElementsAre("a.txt", "b.txt"));
  EXPECT_THAT(listed({folder / "**/*.txt"}), ElementsAre("a.txt", "b.txt", "d.txt"));
  EXPECT_THAT(listed({folder / "deep/**"}), ElementsAre("d.txt", "c.md"));
  EXPECT_THAT(listed({folder / ".hidden/*"}), ElementsAre("e.txt"));
  EXPECT_THAT(listed({folder / "b.txt", folder / "[ab].txt"}), ElementsAre("b.txt", "a.txt"));
}

TEST(FileList, SkipsBinariesItWasNotToldOf) {
  const test::TemporaryFolder folder;
  folder.write("a.txt", "a");
  const auto binary = folder.write("b.bin", std::string_view("\x7F"
                                                             "E\0L",
                                                             4));
  const auto corpus = list_corpus_files({folder / ""});
  ASSERT_TRUE(corpus);
  EXPECT_EQ(corpus->files.size(), 1u);
  EXPECT_EQ(corpus->skipped_binary, 1u);
  EXPECT_THAT(listed({binary}), ElementsAre("b.bin"));
}

TEST(FileList, SaysWhatGivesNoFile) {
  const test::TemporaryFolder folder;
  EXPECT_THAT(listed({})[0], HasSubstr("data.paths"));
  EXPECT_THAT(listed({folder / "absent.txt"})[0], HasSubstr("absent.txt"));
  EXPECT_THAT(listed({folder / "*.txt"})[0], HasSubstr("*.txt"));
  EXPECT_THAT(listed({folder / "absent/*.txt"})[0], HasSubstr("absent"));
  EXPECT_THAT(listed({folder / ""})[0], HasSubstr("gives no file"));
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(listed({folder / "pipe"})[0], HasSubstr("not a plain file"));  // and does not hang
}

TEST(FileList, GlobsMatchWholePaths) {
  EXPECT_TRUE(glob_matches("a/*.txt", "a/b.txt"));
  EXPECT_FALSE(glob_matches("a/*.txt", "a/b/c.txt"));
  EXPECT_TRUE(glob_matches("a/**/c", "a/c"));
  EXPECT_TRUE(glob_matches("a/**/c", "a/b/b/c"));
  EXPECT_FALSE(glob_matches("a/**/c", "a/.b/c"));
  EXPECT_TRUE(glob_matches("**", "a/b"));
  EXPECT_FALSE(glob_matches("*", ".a"));
  // Not exponential.
  std::string glob, path;
  for (int i = 0; i < 40; ++i) glob += "**/", path += "a/";
  EXPECT_FALSE(glob_matches(glob + "b", path + "c"));
}

}  // namespace
}  // namespace sluice
