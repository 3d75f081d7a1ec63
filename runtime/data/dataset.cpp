// Opening: list, tokenize or find the cache, balance the parts. Then windows at computed offsets.
#include "runtime/data/dataset.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/base/check.hpp"
#include "runtime/data/corpus.hpp"
#include "runtime/data/file_list.hpp"
#include "runtime/data/permutation.hpp"
#include "runtime/data/unigram.hpp"

namespace sluice {
namespace {

Status check(const DataConfig& config, SampleShape shape) {
  if (!(config.validation_share >= 0 && config.validation_share < 1)) {
    return invalid_input("data.validation_share is {}, expected 0 to less than 1",
                         config.validation_share);
  }
  if (!(config.fim_rate >= 0 && config.fim_rate <= 1)) {
    return invalid_input("data.fim_rate is {}, expected 0 to 1", config.fim_rate);
  }
  if (config.cache_directory.empty()) {
    return invalid_input("data.cache_directory is empty; name a folder for the token cache");
  }
  SLUICE_CHECK(shape.sequence_length >= 1 && shape.mtp_depth >= 0);
  return {};
}

Result<TokenCache> cached_tokens(const DataConfig& config, const CorpusFiles& corpus,
                                 const Tokenizer& tokenizer, const Dataset::Progress& progress) {
  const std::uint64_t key = corpus_key(config, corpus, tokenizer);
  const auto path =
      std::filesystem::path(config.cache_directory) / fmt::format("{:016x}.tokens", key);
  SLUICE_ASSIGN(auto cache, TokenCache::open(path, key));
  if (cache) return std::move(*cache);
  SLUICE_TRY(tokenize_corpus(config, corpus, tokenizer, path, progress));
  SLUICE_ASSIGN(cache, TokenCache::open(path, key));
  if (!cache) return failed("{} vanished while it was written; start again", path.string());
  return std::move(*cache);
}

/// Gives validation the end of the training stream where documents did not fill its share, or not
/// even one sample.
Status balance(const DataConfig& config, std::uint64_t sample_tokens, TokenCache& cache) {
  const std::uint64_t all = cache.train_tokens() + cache.validation_tokens();
  if (all == 0) {
    return invalid_input("the files of data.paths are empty; give files with text");
  }
  const std::uint64_t needed = sample_tokens * (config.validation_share > 0 ? 2 : 1);
  if (all < needed) {
    return invalid_input(
        "the text has {} tokens, and {} need {}; give more text in data.paths or lower "
        "train.sequence_length",
        all,
        config.validation_share > 0 ? "one sample each for training and validation" : "a sample",
        needed);
  }
  if (config.validation_share == 0) return {};
  const auto share =
      static_cast<std::uint64_t>(std::llround(config.validation_share * static_cast<double>(all)));
  std::uint64_t wanted = std::max(cache.validation_tokens(), sample_tokens);
  if (cache.validation_tokens() < share / 2) wanted = std::max(wanted, share);
  wanted = std::min(wanted, all - sample_tokens);
  if (wanted > cache.validation_tokens()) {
    SLUICE_TRY(cache.move_to_validation(wanted - cache.validation_tokens()));
  }
  if (cache.train_tokens() < sample_tokens) {
    return invalid_input(
        "training is left with {} tokens, and a sample needs {}; lower data.validation_share, give "
        "more text or lower train.sequence_length",
        cache.train_tokens(), sample_tokens);
  }
  return {};
}

}  // namespace

Result<Dataset> Dataset::open(const DataConfig& config, const Tokenizer& tokenizer,
                              SampleShape shape, const Progress& progress) {
  SLUICE_TRY(check(config, shape));
  SLUICE_ASSIGN(const auto corpus, list_corpus_files(config.paths));
  SLUICE_ASSIGN(auto cache, cached_tokens(config, corpus, tokenizer, progress));
  SLUICE_TRY(balance(config, static_cast<std::uint64_t>(shape.tokens()), cache));
  return Dataset(std::move(cache), shape, config.seed, corpus.skipped_binary);
}

std::uint64_t Dataset::samples_in(std::uint64_t tokens) const {
  const auto length = static_cast<std::uint64_t>(shape_.sequence_length);
  const auto whole = static_cast<std::uint64_t>(shape_.tokens());
  return tokens < whole ? 0 : (tokens - whole) / length + 1;
}

Status Dataset::train_sample(std::uint64_t index, std::span<std::int32_t> out) const {
  SLUICE_CHECK_EQ(out.size(), static_cast<std::size_t>(shape_.tokens()));
  const std::uint64_t count = train_samples();
  const std::uint64_t place = Permutation(count, seed_, index / count)(index % count);
  return cache_.read(DataPart::kTrain, place * static_cast<std::uint64_t>(shape_.sequence_length),
                     out);
}

Status Dataset::validation_sample(std::uint64_t index, std::span<std::int32_t> out) const {
  SLUICE_CHECK_EQ(out.size(), static_cast<std::size_t>(shape_.tokens()));
  SLUICE_CHECK_LT(index, validation_samples());
  return cache_.read(DataPart::kValidation,
                     index * static_cast<std::uint64_t>(shape_.sequence_length), out);
}

double Dataset::train_unigram_entropy() const { return unigram_entropy(cache_.train_counts()); }

double Dataset::validation_unigram_loss() const {
  return unigram_cross_entropy(cache_.validation_counts(), cache_.train_counts());
}

}  // namespace sluice
