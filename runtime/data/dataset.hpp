// Dataset: a tokenized corpus as samples for training and validation, each a pure function of its
// number.
//
// Documents follow each other, each with the tokenizer's beginning of text (BOS, where it has one)
// before it and an end-of-text token behind it; a sample is a window of the
// stream, and attention is not masked at document ends (DeepSeek-V3 report, section 4.1). Windows
// start sequence_length apart, so every token is a main target once an epoch. Training samples come
// in an order that depends on (seed, epoch) alone.
//
// Validation gets whole documents, spread over the corpus, up to its share. Where the corpus has
// too few for that it gets the end of the training stream. Either way no token is in both.
//
// Memory does not grow with the corpus: text is tokenized document by document into the token cache
// (token_cache.hpp), and samples are read from it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/result.hpp"
#include "runtime/data/token_cache.hpp"
#include "runtime/tokenizer/tokenizer.hpp"

namespace sluice {

struct DataConfig {
  std::vector<std::string> paths;  ///< text files, .jsonl files, folders, globs
  double validation_share = 0.05;  ///< of the corpus, in [0, 1)
  double fim_rate = 0.0;           ///< share of documents in fill-in-the-middle form, in [0, 1]
  std::string cache_directory = ".cache/tokens";
  std::uint64_t seed = 0;
};

struct SampleShape {
  std::int64_t sequence_length = 0;
  std::int64_t mtp_depth = 0;

  /// A position's input, its main target, and one more target a depth.
  [[nodiscard]] std::int64_t tokens() const { return sequence_length + 1 + mtp_depth; }
};

class Dataset {
 public:
  /// Lists the files; tokenizes them unless the cache has them already. `progress`, where given, is
  /// told the bytes read so far and in all.
  using Progress = std::function<void(std::uint64_t done_bytes, std::uint64_t all_bytes)>;
  static Result<Dataset> open(const DataConfig& config, const Tokenizer& tokenizer,
                              SampleShape shape, const Progress& progress = {});

  [[nodiscard]] SampleShape shape() const { return shape_; }
  /// Samples of an epoch, >= 1.
  [[nodiscard]] std::uint64_t train_samples() const { return samples_in(cache_.train_tokens()); }
  /// 0 only if validation_share is 0.
  [[nodiscard]] std::uint64_t validation_samples() const {
    return samples_in(cache_.validation_tokens());
  }

  /// Tokens of training sample `index` = 0, 1, ... without end: epoch index / train_samples(). Any
  /// thread; out has shape().tokens() elements.
  Status train_sample(std::uint64_t index, std::span<std::int32_t> out) const;
  /// Tokens of validation sample `index` < validation_samples(), in the corpus's order.
  Status validation_sample(std::uint64_t index, std::span<std::int32_t> out) const;

  [[nodiscard]] std::uint64_t train_tokens() const { return cache_.train_tokens(); }
  [[nodiscard]] std::uint64_t validation_tokens() const { return cache_.validation_tokens(); }
  [[nodiscard]] std::uint64_t documents() const { return cache_.documents(); }
  /// Files in folders and globs that are no text.
  [[nodiscard]] std::uint64_t skipped_files() const { return skipped_files_; }

  /// Nats per token of a model that knows the training tokens' frequencies alone: on the training
  /// tokens, and on the validation tokens (see unigram.hpp).
  [[nodiscard]] double train_unigram_entropy() const;
  [[nodiscard]] double validation_unigram_loss() const;

 private:
  Dataset(TokenCache cache, SampleShape shape, std::uint64_t seed, std::uint64_t skipped_files)
      : cache_(std::move(cache)), shape_(shape), seed_(seed), skipped_files_(skipped_files) {}
  [[nodiscard]] std::uint64_t samples_in(std::uint64_t tokens) const;

  TokenCache cache_;
  SampleShape shape_;
  std::uint64_t seed_ = 0;
  std::uint64_t skipped_files_ = 0;
};

}  // namespace sluice
