// UTF-8 in pieces: ill-formed bytes, unfinished characters, and the table of White_Space.
#include "runtime/tokenizer/utf8.hpp"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Utf8, GivesOneReplacementPerMaximalSubpart) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(to_valid_utf8("a\xE4\xBD z"), "a" + r + " z");      // truncated
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(to_valid_utf8("\xC0\xAF"), r + r);                  // overlong
  EXPECT_EQ(to_valid_utf8("\xF4\x90\x80\x80"), r + r + r + r);  // past U+10FFFF
  EXPECT_EQ(to_valid_utf8("\xF1\x80\x80"
                          "A"),
            r + "A");
  EXPECT_EQ(to_valid_utf8("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");  // well-formed
  EXPECT_EQ(utf8_valid_prefix("0123456789\xE4"), 10u);
}

TEST(Utf8, RoundTripsEveryScalarValue) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    const Utf8Head head = utf8_head(text);
    std::size_t size = 0;
    ASSERT_EQ(head.kind, Utf8Head::Kind::kCharacter);
    ASSERT_EQ(head.code_point, c);
    ASSERT_EQ(utf8_front(text, size), c);
    ASSERT_EQ(size, text.size());
  }
}

TEST(Utf8, StreamGivesTheSameTextHoweverItIsCut) {
  const std::string bytes = "x\xE4\xBD\xA0\xED\xA0\x80\xF1\x80 \xF0\x9F\x98\x80\xFF\xE4\xBD";
  const std::string whole = to_valid_utf8(bytes);
  for (std::size_t step = 1; step <= bytes.size(); ++step) {
    Utf8Stream stream;
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += step)
      stream.push(bytes.substr(at, step), out);
    stream.finish(out);
    EXPECT_EQ(out, whole) << step;
  }
}

TEST(Utf8, WhiteSpaceIsUnicodes) {
  for (const char32_t c : {0x09, 0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x3000}) {
    EXPECT_TRUE(is_white_space(c));
  }
  for (const char32_t c : {0x08, 0x0E, 0x180E, 0x200B, 0xFEFF, 0x2060})
    EXPECT_FALSE(is_white_space(c));
}

}  // namespace
}  // namespace sluice
