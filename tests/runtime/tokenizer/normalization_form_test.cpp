// Normalization forms: examples of UAX #15, Hangul by arithmetic, and the laws between the forms.
#include "runtime/tokenizer/normalization_form.hpp"

#include <gtest/gtest.h>

#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

using Form = NormalizationForm;

std::string nfc(std::string_view text) { return to_normalization_form(text, Form::kNfc); }
std::string nfd(std::string_view text) { return to_normalization_form(text, Form::kNfd); }
std::string nfkc(std::string_view text) { return to_normalization_form(text, Form::kNfkc); }
std::string nfkd(std::string_view text) { return to_normalization_form(text, Form::kNfkd); }

TEST(NormalizationForm, GivesTheStandardsExamples) {
  EXPECT_EQ(nfd("\u00C5"), "A\u030A");
  EXPECT_EQ(nfc("A\u030A"), "\u00C5");
  EXPECT_EQ(nfc("\u212B"), "\u00C5");  // the Angstrom sign is a singleton
  EXPECT_EQ(nfd("\u1E69"), "s\u0323\u0307");
  EXPECT_EQ(nfd("\u1E0B\u0323"), "d\u0323\u0307");  // put in order
  EXPECT_EQ(nfc("\u1E0B\u0323"), "\u1E0D\u0307");
  EXPECT_EQ(nfc("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093C");  // excluded from composition
  EXPECT_EQ(nfkc("\uFB01"), "fi");
  EXPECT_EQ(nfc("\uFB01"), "\uFB01");
  EXPECT_EQ(nfkd("2\u2075"), "25");
  EXPECT_EQ(nfkc("\u1E9B\u0323"), "\u1E69");
  EXPECT_EQ(nfkc("\uFF21\u3000\u00BD"), "A 1\u20442");
}

TEST(NormalizationForm, TakesHangulApartAndTogether) {
  EXPECT_EQ(nfd("\uD4DB"), "\u1111\u1171\u11B6");
  EXPECT_EQ(nfc("\u1111\u1171\u11B6"), "\uD4DB");
  EXPECT_EQ(nfc("\u1100\u1161"), "\uAC00");
  EXPECT_EQ(nfc("\uAC00\u11A7"), "\uAC00\u11A7");  // U+11A7 is no trailing consonant
}

TEST(NormalizationForm, ABlockedMarkStays) {
  EXPECT_EQ(nfc("a\u0300\u0300"), "\u00E0\u0300");
  EXPECT_EQ(nfc("e\u0327\u0301"), "\u0229\u0301");
  EXPECT_EQ(nfc("\u0301a"), "\u0301a");
}

TEST(NormalizationForm, LawsHoldForEveryCharacter) {
  for (char32_t c = 0; c < 0x30000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    const std::string d = nfd(text), kd = nfkd(text), composed = nfc(text);
    ASSERT_EQ(nfd(d), d) << std::hex << static_cast<std::uint32_t>(c);
    ASSERT_EQ(nfkd(kd), kd);
    ASSERT_EQ(nfkd(d), kd);
    ASSERT_EQ(nfc(composed), composed);
    ASSERT_EQ(nfc(d), composed);
    ASSERT_EQ(nfd(composed), d);
    ASSERT_EQ(nfkc(text), nfc(kd));
  }
}

TEST(NormalizationForm, ManyMarksAreNoTrouble) {
  std::string marks = "a";
  for (int i = 0; i < 200000; ++i) marks += i % 2 == 0 ? "\u0301" : "\u0323";
  EXPECT_EQ(nfd(nfc(marks)), nfd(marks));
}

}  // namespace
}  // namespace sluice
