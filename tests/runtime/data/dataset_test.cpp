// The dataset: windows, parts without leakage, order, FIM, the cache, and inputs that cannot work.
#include "runtime/data/dataset.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/support/temporary_folder.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;
using Ids = std::vector<std::int32_t>;

constexpr std::int32_t kBos = 256;
constexpr std::int32_t kEos = 257;

const Tokenizer& bytes() {
  static const Tokenizer tokenizer = *Tokenizer::load("bytes");
  return tokenizer;
}

struct Fixture {
  test::TemporaryFolder folder;
  DataConfig config;

  Fixture() {
    config.cache_directory = folder / "cache";
    config.validation_share = 0;
  }
  Result<Dataset> open(std::int64_t length, std::int64_t depth = 0) const {
    return Dataset::open(config, bytes(), {.sequence_length = length, .mtp_depth = depth});
  }
  std::string error(std::int64_t length = 4) const {
    const auto dataset = open(length);
    return dataset ? "" : dataset.error().message;
  }
};

Ids train(const Dataset& dataset, std::uint64_t index) {
  Ids out(static_cast<std::size_t>(dataset.shape().tokens()));
  EXPECT_TRUE(dataset.train_sample(index, out));
  return out;
}

Ids validation(const Dataset& dataset, std::uint64_t index) {
  Ids out(static_cast<std::size_t>(dataset.shape().tokens()));
  EXPECT_TRUE(dataset.validation_sample(index, out));
  return out;
}

TEST(Dataset, SamplesAreWindowsOfTheStream) {
  Fixture f;
  f.config.paths = {f.folder.write("a.txt", "abcdef"), f.folder.write("b.txt", "gh")};
  // Stream: BOS a b c d e f EOS BOS g h EOS; windows of 3 + 1 + 1, 3 apart.
  const auto dataset = f.open(3, 1);
  ASSERT_TRUE(dataset) << dataset.error().message;
  EXPECT_EQ(dataset->train_tokens(), 12u);
  EXPECT_EQ(dataset->documents(), 2u);
  ASSERT_EQ(dataset->train_samples(), 3u);
  std::set<Ids> samples;
  for (std::uint64_t i = 0; i < 3; ++i) samples.insert(train(*dataset, i));
  EXPECT_THAT(samples,
              UnorderedElementsAre(Ids{kBos, 'a', 'b', 'c', 'd'}, Ids{'c', 'd', 'e', 'f', kEos},
                                   Ids{'f', kEos, kBos, 'g', 'h'}));
}

TEST(Dataset, EachEpochHasEverySampleOnceInAnotherOrder) {
  Fixture f;
  std::string text;
  for (int i = 0; i < 400; ++i) text += fmt::format("{:04} ", i);
  f.config.paths = {f.folder.write("a.txt", text)};
  const auto order = [&](std::uint64_t seed, std::uint64_t epoch) {
    f.config.seed = seed;
    const auto dataset = f.open(5);
    std::vector<Ids> out;
    const std::uint64_t n = dataset->train_samples();
    for (std::uint64_t i = 0; i < n; ++i) out.push_back(train(*dataset, epoch * n + i));
    return out;
  };
  const auto first = order(1, 0), second = order(1, 1), other = order(2, 0);
  ASSERT_GE(first.size(), 390u);
  EXPECT_EQ(first, order(1, 0));
  EXPECT_NE(first, second);
  EXPECT_NE(first, other);
  const auto as_set = [](const std::vector<Ids>& samples) {
    return std::multiset<Ids>(samples.begin(), samples.end());
  };
  EXPECT_EQ(as_set(first), as_set(second));
  EXPECT_EQ(as_set(first), as_set(other));
}

/// All bytes of a part, from its samples.
std::string text_of(const std::vector<Ids>& samples) {
  std::string text;
  for (const auto& sample : samples) {
    for (const auto id : sample) text.push_back(static_cast<char>(id));
  }
  return text;
}

TEST(Dataset, ValidationIsWholeDocumentsThatTrainingNeverSees) {
  Fixture f;
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += fmt::format("{{\"text\": \"{:06}\"}}\n", i);  // 8 tokens
  f.config.paths = {f.folder.write("a.jsonl", lines)};
  f.config.validation_share = 0.1;
  const auto dataset = f.open(7);  // a window of 8: a document with its ends, or a piece of two
  ASSERT_TRUE(dataset) << dataset.error().message;
  EXPECT_NEAR(static_cast<double>(dataset->validation_tokens()), 800, 16);
  EXPECT_EQ(dataset->train_tokens() + dataset->validation_tokens(), 8000u);
  std::string held_out;
  for (std::uint64_t i = 0; i < dataset->validation_samples(); ++i) {
    const Ids ids = validation(*dataset, i);
    for (const auto id : std::span(ids).first(7)) {
      held_out.push_back(id == kBos ? '<' : id == kEos ? '>' : static_cast<char>(id));
    }
  }
  std::set<std::string> held_out_documents;
  for (std::size_t at = 0; at + 8 <= held_out.size(); at += 8) {
    ASSERT_EQ(held_out[at], '<');
    ASSERT_EQ(held_out[at + 7], '>');
    held_out_documents.insert(held_out.substr(at + 1, 6));
  }
  EXPECT_GE(held_out_documents.size(), 95u);
  const Dataset& d = *dataset;
  for (std::uint64_t i = 0; i < d.train_samples(); ++i) {
    const std::string window = text_of({train(d, i)});
    for (const auto& document : held_out_documents) {
      ASSERT_EQ(window.find(document), std::string::npos);
    }
  }
}

TEST(Dataset, AFewDocumentsGiveTheirEndToValidation) {
  Fixture f;
  std::string text;
  for (int i = 0; i < 250; ++i) text += fmt::format("{:03}\n", i);
  f.config.paths = {f.folder.write("a.txt", text)};
  f.config.validation_share = 0.2;
  const auto dataset = f.open(9);
  ASSERT_TRUE(dataset) << dataset.error().message;
  // BOS, 1000 bytes, EOS: training keeps 802 of the tokens.
  EXPECT_EQ(dataset->train_tokens(), 802u);
  EXPECT_EQ(dataset->validation_tokens(), 200u);
  EXPECT_EQ(text_of({validation(*dataset, 0)}), text.substr(801, 10));
  for (std::uint64_t i = 0; i < dataset->train_samples(); ++i) {
    const std::string window = text_of({train(*dataset, i)});
    EXPECT_LE(text.find(window.substr(1)) + window.size() - 1, 801u);
  }
}

TEST(Dataset, ValidationHasAtLeastOneSample) {
  Fixture f;
  f.config.paths = {f.folder.write("a.txt", std::string(100, 'x'))};
  f.config.validation_share = 0.01;
  const auto dataset = f.open(20);
  ASSERT_TRUE(dataset) << dataset.error().message;
  EXPECT_EQ(dataset->validation_samples(), 1u);
  EXPECT_EQ(dataset->train_tokens(), 81u);
}

TEST(Dataset, FillInTheMiddleKeepsEveryByte) {
  Fixture f;
  f.config.paths = {
      f.folder.write("a.jsonl", "{\"text\": \"abcdefgh\"}\n{\"text\": \"ijklmnop\"}\n")};
  f.config.fim_rate = 1;
  const auto dataset = f.open(25);  // one window: all of both
  ASSERT_TRUE(dataset) << dataset.error().message;
  EXPECT_EQ(dataset->train_tokens(), 26u);
  const Ids ids = train(*dataset, 0);
  ASSERT_EQ(ids[0], kBos);
  ASSERT_EQ(ids[1], 258);
  const auto hole = std::find(ids.begin(), ids.end(), 259),
             end = std::find(ids.begin(), ids.end(), 260),
             eos = std::find(ids.begin(), ids.end(), kEos);
  ASSERT_TRUE(hole < end && end < eos);
  const Ids prefix(ids.begin() + 2, hole), suffix(hole + 1, end), middle(end + 1, eos);
  Ids joined = prefix;
  joined.insert(joined.end(), middle.begin(), middle.end());
  joined.insert(joined.end(), suffix.begin(), suffix.end());
  EXPECT_EQ(joined, bytes().encode("abcdefgh").value());
}

TEST(Dataset, SpecialTokensInTheTextAreText) {
  Fixture f;
  const std::string text = "a<｜end▁of▁sentence｜>b";
  f.config.paths = {f.folder.write("a.txt", text)};
  const auto dataset = f.open(5);
  ASSERT_TRUE(dataset);
  EXPECT_EQ(dataset->train_tokens(), text.size() + 2);
}

TEST(Dataset, FindsItsCacheAndNoticesChanges) {
  Fixture f;
  const auto path = f.folder.write("a.txt", "abcdefgh");
  f.config.paths = {path};
  int tokenized = 0;
  const auto open = [&] {
    tokenized = 0;
    auto dataset = Dataset::open(f.config, bytes(), {.sequence_length = 4},
                                 [&](std::uint64_t, std::uint64_t) { ++tokenized; });
    EXPECT_TRUE(dataset);
    return dataset->train_tokens();
  };
  EXPECT_EQ(open(), 10u);
  EXPECT_GT(tokenized, 0);
  EXPECT_EQ(open(), 10u);
  EXPECT_EQ(tokenized, 0);
  f.config.seed = 9;  // changes the order, not the tokens
  EXPECT_EQ(open(), 10u);
  EXPECT_EQ(tokenized, 0);
  f.folder.write("a.txt", "abcdefghi");
  EXPECT_EQ(open(), 11u);
  EXPECT_GT(tokenized, 0);
  f.config.fim_rate = 1;
  EXPECT_EQ(open(), 14u);
}

TEST(Dataset, KnowsTheUnigramLosses) {
  Fixture f;
  f.config.paths = {f.folder.write("a.txt", std::string(500, 'a') + std::string(500, 'b'))};
  const auto dataset = f.open(4);
  ASSERT_TRUE(dataset);
  // BOS, 500 a, 500 b, EOS.
  EXPECT_NEAR(dataset->train_unigram_entropy(),
              (1000 * std::log(1002.0 / 500) + 2 * std::log(1002.0)) / 1002, 1e-12);
  EXPECT_EQ(dataset->validation_unigram_loss(), 0);
  f.config.validation_share = 0.25;  // the end
  const auto split = f.open(4);
  ASSERT_TRUE(split);
  // 1002 tokens, of which validation has 251: 250 b and EOS. Training keeps BOS, 500 a and 250 b of
  // a vocabulary of 264.
  EXPECT_NEAR(split->validation_unigram_loss(),
              -(250 * std::log(251.0 / 1015) + std::log(1.0 / 1015)) / 251, 1e-12);
}

TEST(Dataset, SaysWhatIsWrong) {
  Fixture f;
  EXPECT_THAT(f.error(), HasSubstr("data.paths"));
  f.config.paths = {f.folder / "absent.txt"};
  EXPECT_THAT(f.error(), HasSubstr("absent.txt"));
  f.config.paths = {f.folder.write("empty.txt", "")};
  EXPECT_THAT(f.error(), HasSubstr("empty"));
  f.config.paths = {f.folder.write("short.txt", "abc")};
  EXPECT_THAT(f.error(5), HasSubstr("train.sequence_length"));
  EXPECT_EQ(f.error(4), "");
  f.config.validation_share = 0.5;
  EXPECT_THAT(f.error(3), HasSubstr("one sample each"));
  f.config.validation_share = 1;
  EXPECT_THAT(f.error(), HasSubstr("data.validation_share"));
  f.config.validation_share = std::nan("");
  EXPECT_THAT(f.error(), HasSubstr("data.validation_share"));
  f.config.validation_share = 0;
  f.config.fim_rate = 1.5;
  EXPECT_THAT(f.error(), HasSubstr("data.fim_rate"));
  f.config.fim_rate = 0;
  f.config.paths = {f.folder.write("bad.jsonl", "{\"text\": \"a\"}\nx\n")};
  EXPECT_THAT(f.error(), HasSubstr("bad.jsonl:2"));
  for (const auto& entry : std::filesystem::directory_iterator(f.config.cache_directory)) {
    EXPECT_EQ(entry.path().extension(), ".tokens");  // nothing half-written
  }
}

TEST(Dataset, NeedsEndsAndFimTokensFromTheTokenizer) {
  Fixture f;
  f.config.paths = {f.folder.write("a.txt", "abab")};
  const auto open = [&](const std::string& config) {
    const auto tokenizer = Tokenizer::parse(
        R"({"model": {"vocab": {"a": 0, "b": 1, "<e>": 2}, "merges": []}})", config, "t");
    const auto dataset = Dataset::open(f.config, *tokenizer, {.sequence_length = 2});
    return dataset ? "" : dataset.error().message;
  };
  EXPECT_THAT(open(""), HasSubstr("eos_token"));
  EXPECT_EQ(open(R"({"eos_token": "<e>"})"), "");
  f.config.fim_rate = 0.5;
  EXPECT_THAT(open(R"({"eos_token": "<e>"})"), HasSubstr("data.fim_rate"));
}

TEST(Dataset, AFolderThatCannotBeWrittenIsAnError) {
  Fixture f;
  f.config.paths = {f.folder.write("a.txt", "abcdef")};
  f.config.cache_directory = f.config.paths[0] + "/cache";  // below a file
  EXPECT_THAT(f.error(), HasSubstr("cache"));
}

}  // namespace
}  // namespace sluice
