// The token cache: what was appended comes back, in both widths; damage is noticed.
#include "runtime/data/token_cache.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using Ids = std::vector<std::int32_t>;

constexpr std::uint64_t kKey = 42;

void write(const std::string& path, std::uint64_t vocab_size, const Ids& train,
           const Ids& validation) {
  auto writer = TokenCacheWriter::create(path, kKey, vocab_size);
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->append(DataPart::kTrain, train));
  ASSERT_TRUE(writer->append(DataPart::kValidation, validation));
  writer->count_document(DataPart::kTrain);
  EXPECT_FALSE(fs::exists(path));  // not before it is whole
  ASSERT_TRUE(writer->finish());
}

std::size_t files_in(const fs::path& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(TokenCache, GivesBackWhatWasAppended) {
  const test::TemporaryFolder folder;
  for (const std::uint64_t vocab_size : {300u, 100000u}) {
    const auto path = folder / fmt::format("new/{}.tokens", vocab_size);
    const auto big = static_cast<std::int32_t>(vocab_size) - 1;
    write(path, vocab_size, {1, 2, big, 2}, {7, 8});
    const auto cache = TokenCache::open(path, kKey);
    ASSERT_TRUE(cache && *cache);
    Ids ids(3);
    ASSERT_TRUE((*cache)->read(DataPart::kTrain, 1, ids));
    EXPECT_THAT(ids, ElementsAre(2, big, 2));
    ids.resize(2);
    ASSERT_TRUE((*cache)->read(DataPart::kValidation, 0, ids));
    EXPECT_THAT(ids, ElementsAre(7, 8));
    EXPECT_EQ((*cache)->train_counts()[2], 2u);
    EXPECT_EQ((*cache)->validation_counts()[2], 0u);
    EXPECT_EQ((*cache)->documents(), 1u);
  }
  EXPECT_EQ(files_in(folder / "new"), 2u);  // nothing else is left
}

TEST(TokenCache, MovesTheEndOfTrainingToValidation) {
  const test::TemporaryFolder folder;
  const auto path = folder / "a.tokens";
  write(path, 300, {1, 2, 3, 4}, {7});
  auto cache = TokenCache::open(path, kKey);
  ASSERT_TRUE(cache && *cache);
  ASSERT_TRUE((*cache)->move_to_validation(2));
  EXPECT_EQ((*cache)->train_tokens(), 2u);
  Ids ids(3);
  ASSERT_TRUE((*cache)->read(DataPart::kValidation, 0, ids));
  EXPECT_THAT(ids, ElementsAre(3, 4, 7));
  EXPECT_EQ((*cache)->train_counts()[3], 0u);
  EXPECT_EQ((*cache)->validation_counts()[3], 1u);
}

TEST(TokenCache, AbsentTruncatedForeignOrDamagedIsNoCache) {
  const test::TemporaryFolder folder;
  const auto path = folder / "a.tokens";
  EXPECT_FALSE(TokenCache::open(path, kKey).value());
  write(path, 300, {1, 2, 3}, {});
  EXPECT_TRUE(TokenCache::open(path, kKey).value());
  EXPECT_FALSE(TokenCache::open(path, kKey + 1).value());
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(32) << "x";
  EXPECT_FALSE(TokenCache::open(path, kKey).value());
  for (const std::uint64_t size : {100u, 72u, 10u, 0u}) {
    fs::resize_file(path, size);
    EXPECT_FALSE(TokenCache::open(path, kKey).value());
  }
}

TEST(TokenCache, AnIdOutsideTheVocabularyIsDamage) {
  const test::TemporaryFolder folder;
  const auto path = folder / "a.tokens";
  write(path, 300, {1, 2, 3}, {});
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary)
          .seekp(sizeof(TokenCacheHeader))
      << "\xFF\xFF";
  const auto cache = TokenCache::open(path, kKey);
  ASSERT_TRUE(cache && *cache);
  Ids ids(3);
  const auto status = (*cache)->read(DataPart::kTrain, 0, ids);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, testing::HasSubstr("damaged"));
}

TEST(TokenCache, AnUnfinishedOneLeavesNothing) {
  const test::TemporaryFolder folder;
  {
    auto writer = TokenCacheWriter::create(folder / "a.tokens", kKey, 300);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->append(DataPart::kTrain, Ids{1, 2}));
  }
  EXPECT_EQ(files_in(folder / ""), 0u);
}

}  // namespace
}  // namespace sluice
