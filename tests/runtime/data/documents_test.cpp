// Documents from text and JSONL files, slices of long ones, and which line is wrong.
#include "runtime/data/documents.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/tokenizer/utf8.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Read {
  std::vector<std::string> texts;
  std::vector<bool> last;
  std::string error;
};

Read read(const std::string& path) {
  Read out;
  const CorpusFile file{path, std::filesystem::file_size(path), 0};
  const auto status = for_each_document(file, [&](const DocumentSlice& slice) -> Status {
    out.texts.emplace_back(slice.text);
    out.last.push_back(slice.last);
    return {};
  });
  if (!status) out.error = status.error().message;
  return out;
}

TEST(Documents, ATextFileIsOne) {
  const test::TemporaryFolder folder;
  EXPECT_THAT(read(folder.write("a.txt", "one\ntwo")).texts, ElementsAre("one\ntwo"));
  EXPECT_TRUE(read(folder.write("empty.txt", "")).texts.empty());
}

TEST(Documents, LongTextsComeInSlicesOfWholeLinesOrCharacters) {
  const test::TemporaryFolder folder;
  for (const std::string unit : {"a line of text\n", "\u4F60", "x\U0001F600"}) {
    std::string text;
    while (text.size() < 2 * kSliceBytes + 100) text += unit;
    const Read slices = read(folder.write("long.txt", text));
    ASSERT_GE(slices.texts.size(), 3u);
    std::string joined;
    for (const auto& slice : slices.texts) {
      EXPECT_EQ(utf8_valid_prefix(slice), slice.size());
      EXPECT_LE(slice.size(), 2 * kSliceBytes);
      joined += slice;
    }
    EXPECT_EQ(joined, text);
    EXPECT_EQ(std::count(slices.last.begin(), slices.last.end(), true), 1);
    EXPECT_TRUE(slices.last.back());
  }
}

TEST(Documents, AJsonlFileHasOneALine) {
  const test::TemporaryFolder folder;
  const Read lines = read(folder.write(
      "a.jsonl",
      "{\"text\": \"one\", \"id\": 3}\r\n\n{\"text\": \"\"}\n{\"text\": \"t\\u00e9\\n\"}"));
  EXPECT_EQ(lines.error, "");
  EXPECT_THAT(lines.texts, ElementsAre("one", "t\u00E9\n"));
}

TEST(Documents, JsonlLinesMayBeLongerThanAChunk) {
  const test::TemporaryFolder folder;
  const std::string big(kSliceBytes * 2 + 5, 'x');
  const Read lines =
      read(folder.write("a.jsonl", "{\"text\": \"" + big + "\"}\n{\"text\": \"b\"}\n"));
  EXPECT_THAT(lines.texts, ElementsAre(big, "b"));
}

TEST(Documents, ABadLineIsNamed) {
  const test::TemporaryFolder folder;
  const std::pair<const char*, const char*> kBad[] = {
      {"not json", "not JSON"},         {"[1]", "array"},
      {"{\"txt\": \"a\"}", "\"text\""}, {"{\"text\": 3}", "number"},
      {"{\"text\": \"a\"", "not JSON"}, {"{\"text\": \"\\ud800\"}", "not JSON"}};
  for (const auto& [line, what] : kBad) {
    const Read lines =
        read(folder.write("bad.jsonl", std::string("{\"text\": \"a\"}\n\n") + line + "\n"));
    EXPECT_THAT(lines.texts, ElementsAre("a"));
    EXPECT_THAT(lines.error, HasSubstr("bad.jsonl:3"));
    EXPECT_THAT(lines.error, HasSubstr(what));
  }
}

TEST(Documents, DeepNestingIsNoTrouble) {
  const std::string deep(1 << 20, '[');
  EXPECT_FALSE(jsonl_text(deep));
  EXPECT_FALSE(jsonl_text(deep + std::string(1 << 20, ']')));
}

}  // namespace
}  // namespace sluice
