// Oniguruma's dialect on PCRE2: what a pattern matches, and that no pattern or text breaks it.
#include "runtime/tokenizer/regex.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// What of `text` does not match, as the tokenizers library's Split with "removed" leaves it.
std::vector<std::string> left_over(std::string_view pattern, std::string_view text) {
  auto regex = Regex::compile(pattern);
  if (!regex) return {regex.error().message};
  Regex::Scratch scratch;
  std::vector<std::string> out;
  const auto status =
      regex->split(text, scratch, [&](std::size_t begin, std::size_t end, bool match) {
        if (!match) out.emplace_back(text.substr(begin, end - begin));
      });
  if (!status) out.push_back(status.error().message);
  return out;
}

// The expected values are Oniguruma's, by tokenizers 0.22.
TEST(Regex, MatchesWhatOnigurumaMatches) {
  EXPECT_THAT(left_over("\\s", "\u0085a\u3000b\u180Ec\u200Bd"),
              ElementsAre("a", "b\u180Ec\u200Bd"));
  EXPECT_THAT(left_over("[^\\S\\n]", "\n\t a"), ElementsAre("\n", "a"));
  EXPECT_THAT(left_over("[\\S]", "a\u180E b"), ElementsAre(" "));
  EXPECT_THAT(left_over("\\w", "a_1\u00B2\u0301\u24B6-\u2460"), ElementsAre("-\u2460"));
  EXPECT_THAT(left_over("[\\W]", "a-b"), ElementsAre("a", "b"));
  EXPECT_THAT(left_over("\\h", "fg"), ElementsAre("g"));
  EXPECT_THAT(left_over("[[:punct:]]", "$a\u00D7b!"), ElementsAre("a", "b"));
  EXPECT_THAT(left_over("^a", "b\na"), ElementsAre("b\n"));
  EXPECT_THAT(left_over("a$", "a\nb"), ElementsAre("\nb"));
  EXPECT_THAT(left_over(".", "\r\n\x0b"), ElementsAre("\n"));
  EXPECT_THAT(left_over("(?m).", "\n"), ElementsAre());
  EXPECT_THAT(left_over("a{,2}", "aab"), ElementsAre("b"));
  EXPECT_THAT(left_over("\\u0061", "ab"), ElementsAre("b"));
  EXPECT_THAT(left_over("(?i:'s)", "'\u017F!"), ElementsAre("!"));
  EXPECT_THAT(left_over("\\p{Han}", "\u3005\u4E00\u3006\u30FB"), ElementsAre("\u3006\u30FB"));
  EXPECT_THAT(left_over("\\p{^L}", "a1"), ElementsAre("a"));
  EXPECT_THAT(left_over("\\p{Letter}", "a1"), ElementsAre("1"));
}

TEST(Regex, TakesClassesInClassesAndIntersections) {
  EXPECT_THAT(left_over("[a[bc]]", "abcd"), ElementsAre("d"));
  EXPECT_THAT(left_over("[a-z&&[^c]]", "abcd"), ElementsAre("c"));
  EXPECT_THAT(left_over("[^a-z&&[^c]]", "abcd"), ElementsAre("ab", "d"));
  EXPECT_THAT(left_over("[a-d&&b-z]", "abcd"), ElementsAre("a"));
  EXPECT_THAT(left_over("[]a]", "]a-"), ElementsAre("-"));
  EXPECT_THAT(left_over("[a\\]-]", "]a-b"), ElementsAre("b"));
}

TEST(Regex, EmptyMatchesCutButDoNotLoop) {
  auto regex = Regex::compile("b*");
  ASSERT_TRUE(regex);
  Regex::Scratch scratch;
  std::vector<std::string> out;
  ASSERT_TRUE(
      regex->split("ab\u00E9", scratch, [&](std::size_t begin, std::size_t end, bool match) {
        out.push_back(std::string("ab\u00E9").substr(begin, end - begin) + (match ? "!" : ""));
      }));
  EXPECT_THAT(out, ElementsAre("a", "b!", "\u00E9"));
}

TEST(Regex, RejectsBadPatterns) {
  for (const char* pattern : {"(", "[", "[a", "a{2", "\\p{NoSuchThing}", "(?<n", "*", "\\"}) {
    const auto regex = Regex::compile(pattern);
    if (pattern == std::string_view("a{2")) continue;  // literal in both dialects
    ASSERT_FALSE(regex) << pattern;
    EXPECT_THAT(regex.error().message, HasSubstr("bad pattern"));
  }
  EXPECT_FALSE(Regex::compile(std::string(1 << 20, 'a')));
  EXPECT_FALSE(Regex::compile("((((a{999}){999}){999}){999})"));
}

TEST(Regex, BacktrackingWithoutEndIsAnError) {
  auto regex = Regex::compile("(a|aa)+$");
  ASSERT_TRUE(regex);
  Regex::Scratch scratch;
  Match match;
  const auto found = regex->find(std::string(200, 'a') + "b", 0, match, scratch);
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr("backtrack"));
}

TEST(Regex, LongMatchesNeedNoStack) {
  const std::string letters(1 << 20, 'a');
  for (const char* pattern : {"\\p{L}+", "(?:\\p{L})+", "(?:ab|a)+", "[\\s\\p{L}&&[^b]]+"}) {
    EXPECT_THAT(left_over(pattern, letters), ElementsAre()) << pattern;
  }
}

}  // namespace
}  // namespace sluice
