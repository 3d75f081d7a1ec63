// BPE against its definition: merge the best pair, look again.
#include "runtime/tokenizer/bpe.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/base/check.hpp"
#include "kernels/base/random.hpp"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<TokenId>;

Bpe make(Bpe::Definition definition) {
  auto bpe = Bpe::create(std::move(definition));
  SLUICE_CHECK(bpe.has_value());
  return std::move(*bpe);
}

Ids encode(const Bpe& bpe, std::string_view text) {
  Bpe::Scratch scratch;
  Ids ids;
  bpe.encode(text, false, scratch, ids);
  return ids;
}

/// A vocabulary over the letters a..d and random merges of tokens that exist by then.
Bpe::Definition random_definition(const Random& random) {
  Bpe::Definition definition;
  for (const char c : {'a', 'b', 'c', 'd'}) {
    definition.vocabulary.emplace_back(std::string(1, c),
                                       static_cast<TokenId>(definition.vocabulary.size()));
  }
  for (std::uint64_t i = 0; i < 60; ++i) {
    const auto size = definition.vocabulary.size();
    const auto left = definition.vocabulary[random.below(size, 2 * i)].first;
    const auto right = definition.vocabulary[random.below(size, 2 * i + 1)].first;
    const auto joined = left + right;
    definition.merges.emplace_back(left, right);
    const bool known = std::any_of(definition.vocabulary.begin(), definition.vocabulary.end(),
                                   [&](const auto& entry) { return entry.first == joined; });
    if (!known) definition.vocabulary.emplace_back(joined, static_cast<TokenId>(size));
  }
  return definition;
}

Ids encode_by_definition(const Bpe::Definition& definition, std::string_view text) {
  std::vector<std::string> symbols;
  for (const char c : text) symbols.emplace_back(1, c);
  while (true) {
    std::size_t best = definition.merges.size(), place = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      // A pair that is listed twice has the rank of its last entry.
      for (std::size_t rank = definition.merges.size(); rank-- > 0;) {
        if (definition.merges[rank] != std::pair(symbols[i], symbols[i + 1])) continue;
        if (rank < best) best = rank, place = i;
        break;
      }
    }
    if (best == definition.merges.size()) break;
    symbols[place] += symbols[place + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
  Ids ids;
  for (const auto& symbol : symbols) {
    for (const auto& [content, id] : definition.vocabulary) {
      if (content == symbol) ids.push_back(id);
    }
  }
  return ids;
}

TEST(Bpe, EqualsItsDefinitionOnRandomVocabularies) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Random random(seed, RandomPurpose::kTest);
    const auto definition = random_definition(random);
    const Bpe bpe = make(definition);
    Bpe::Scratch scratch;  // kept, so that the cache is used too
    for (std::uint64_t i = 0; i < 20; ++i) {
      const Random letters(seed, RandomPurpose::kTest, i + 1);
      std::string text(letters.below(i % 2 == 0 ? 12 : 300, 0) + 1, 'a');
      for (std::size_t at = 0; at < text.size(); ++at) {
        text[at] = static_cast<char>('a' + letters.below(4, at + 1));
      }
      Ids ids;
      bpe.encode(text, false, scratch, ids);
      ASSERT_EQ(ids, encode_by_definition(definition, text)) << seed << " " << text;
    }
  }
}

TEST(Bpe, TakesUnknownCharactersAsAsked) {
  Bpe::Definition definition;
  definition.vocabulary = {{"a", 0}, {"<unk>", 1}, {"<0xC3>", 2}, {"<0xA9>", 3}};
  EXPECT_THAT(encode(make(definition), "a\u00E9a"), ElementsAre(0, 0));  // dropped
  definition.unknown_token = "<unk>";
  EXPECT_THAT(encode(make(definition), "xya"), ElementsAre(1, 1, 0));
  definition.fuse_unknown = true;
  EXPECT_THAT(encode(make(definition), "xya"), ElementsAre(1, 0));
  definition.byte_fallback = true;
  EXPECT_THAT(encode(make(definition), "a\u00E9a"), ElementsAre(0, 2, 3, 0));
  EXPECT_THAT(encode(make(definition), "\u00E8a"), ElementsAre(1, 0));  // <0xA8> is no token
}

TEST(Bpe, DecoratesCharactersWithPrefixAndSuffix) {
  Bpe::Definition definition;
  definition.vocabulary = {{"a", 0}, {"##b", 1}, {"##c</w>", 2}, {"ab", 3}};
  definition.continuing_subword_prefix = "##";
  definition.end_of_word_suffix = "</w>";
  definition.merges = {{"a", "##b"}};
  EXPECT_THAT(encode(make(definition), "abc"), ElementsAre(3, 2));
}

TEST(Bpe, LooksUpWholePiecesWhenMergesAreIgnored) {
  Bpe::Definition definition;
  definition.vocabulary = {{"a", 0}, {"b", 1}, {"ab", 2}};
  EXPECT_THAT(encode(make(definition), "ab"), ElementsAre(0, 1));
  definition.ignore_merges = true;
  EXPECT_THAT(encode(make(definition), "ab"), ElementsAre(2));
  EXPECT_THAT(encode(make(definition), "aba"), ElementsAre(0, 1, 0));
}

TEST(Bpe, RejectsVocabulariesThatDoNotHoldTogether) {
  Bpe::Definition good, bad;
  const auto error = [&bad] {
    const auto bpe = Bpe::create(bad);
    return bpe ? std::string() : bpe.error().message;
  };
  good.vocabulary = {{"a", 0}, {"b", 1}};
  bad = good;
  bad.vocabulary[1].second = 0;
  EXPECT_THAT(error(), HasSubstr("id 0 twice"));
  bad = good;
  bad.vocabulary[1].second = 2000000000;
  EXPECT_THAT(error(), HasSubstr("id 2000000000"));
  bad = good;
  bad.merges = {{"a", "b"}};
  EXPECT_THAT(error(), HasSubstr("model.merges[0]"));
  bad = good;
  bad.unknown_token = "<unk>";
  EXPECT_THAT(error(), HasSubstr("unk_token"));
}

}  // namespace
}  // namespace sluice
