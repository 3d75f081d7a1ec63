// TOML as assignments: lines, types, and text that would break the parser.
#include "runtime/config/toml_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::config {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string message_of_text(std::string_view text) {
  const auto result = read_toml(text, "x.toml");
  return result ? "(accepted)" : result.error().message;
}

TEST(TomlReader, FlattensInOrderOfLines) {
  const auto result = read_toml(
      "[train]\nsteps = 7\nseed=1\n[data]\npaths = ['a', \"b\"]\nx.y = 1.5\n[empty]\n", "x.toml");
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->size(), 5u);
  EXPECT_EQ((*result)[0].key, "train.steps");
  EXPECT_EQ((*result)[0].line, 2);
  EXPECT_EQ(std::get<std::int64_t>((*result)[0].value), 7);
  EXPECT_EQ((*result)[2].key, "data.paths");
  EXPECT_EQ(std::get<std::vector<std::string>>((*result)[2].value),
            (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ((*result)[3].key, "data.x.y");
  EXPECT_EQ((*result)[4].key, "empty");
  EXPECT_EQ(type_of((*result)[4].value), "section");
}

TEST(TomlReader, NamesTheLineOfASyntaxError) {
  EXPECT_THAT(message_of_text("a = 1\nb = = 2\n"), StartsWith("x.toml:2:"));
  EXPECT_THAT(message_of_text("a = 1\na = 2\n"), StartsWith("x.toml:2:"));
  EXPECT_THAT(message_of_text("a = \"\xff\xfe\"\n"), StartsWith("x.toml:1:"));
  EXPECT_THAT(message_of_text("a = 99999999999999999999"), StartsWith("x.toml:1:"));
  EXPECT_THAT(message_of_text("["), StartsWith("x.toml:"));
}

TEST(TomlReader, OtherTypesAreNamed) {
  const auto type = [](std::string_view value) {
    const auto result = read_toml(fmt::format("a = {}", value), "x");
    return std::string(type_of(result->front().value));
  };
  EXPECT_EQ(type("2024-01-01"), "date");
  EXPECT_EQ(type("[1, 2]"), "list of integers");
  EXPECT_EQ(type("[1, 2.5]"), "array that holds neither strings alone nor integers alone");
  EXPECT_EQ(type("[1, 'a']"), "array that holds neither strings alone nor integers alone");
  EXPECT_EQ(type("[]"), "list of strings");
  EXPECT_EQ(type("nan"), "real");
}

std::string repeated(std::string_view part, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += part;
  return out;
}

TEST(TomlReader, DeepNestingIsRefusedBeforeItCostsTheStack) {
  const auto deep = HasSubstr("nested deeper");
  EXPECT_THAT(message_of_text("a = " + repeated("[", 300'000)), deep);
  EXPECT_THAT(message_of_text("a = " + repeated("{a=", 200'000)), deep);
  EXPECT_THAT(message_of_text(repeated("a.", 300'000) + "a = 1"), deep);
  EXPECT_THAT(message_of_text("[" + repeated("a.", 300'000) + "a]"), deep);
  EXPECT_THAT(
      message_of_text("\n\n# [[[\nb = '[[['\na = \"\"\"\n[[[\\\"\"\"\"\nc = " + repeated("[", 40)),
      StartsWith("x.toml:7: nested"));
  // Brackets and dots in strings and comments nest nothing.
  EXPECT_EQ(message_of_text("a = \"" + repeated("[.", 1000) + "\" # " + repeated("{.", 1000)),
            "(accepted)");
  EXPECT_EQ(message_of_text("a = [" + repeated("1.5, ", 1000) + "]"), "(accepted)");
}

TEST(TomlReader, HugeTextIsRefused) {
  EXPECT_THAT(message_of_text(std::string(2 << 20, '\n')), HasSubstr("more than"));
}

}  // namespace
}  // namespace sluice::config
