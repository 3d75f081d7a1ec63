// FIM cuts: whole characters, every document by its own numbers, the rate kept.
#include "runtime/data/fim.hpp"

#include <gtest/gtest.h>

#include <string>

#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

TEST(Fim, CutsBetweenCharactersAndLosesNothing) {
  const std::string text = "a\u00E9\u4F60\U0001F600z";
  bool differs = false;
  for (std::uint64_t document = 0; document < 500; ++document) {
    const FimCut cut = fim_cut(text, 1, document);
    EXPECT_EQ(std::string(cut.prefix) + std::string(cut.middle) + std::string(cut.suffix), text);
    for (const auto part : {cut.prefix, cut.middle, cut.suffix}) {
      EXPECT_EQ(utf8_valid_prefix(part), part.size());
    }
    differs = differs || cut.prefix != fim_cut(text, 1, document + 1).prefix;
    EXPECT_EQ(cut.middle, fim_cut(text, 1, document).middle);
  }
  EXPECT_TRUE(differs);
}

TEST(Fim, ChoosesTheAskedShare) {
  int chosen = 0;
  for (std::uint64_t document = 0; document < 10000; ++document) {
    chosen += fim_chosen(5, document, 0.1) ? 1 : 0;
    EXPECT_FALSE(fim_chosen(5, document, 0.0));
    EXPECT_TRUE(fim_chosen(5, document, 1.0));
  }
  EXPECT_NEAR(chosen, 1000, 120);  // 4 sigma
}

}  // namespace
}  // namespace sluice
