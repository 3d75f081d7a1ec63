// Unigram statistics: what a model that knows token frequencies alone would lose per token.
#pragma once

#include <cstdint>
#include <span>

namespace sluice {

/// Entropy of the distribution that `counts` give, in nats per token; 0 without tokens.
[[nodiscard]] double unigram_entropy(std::span<const std::uint64_t> counts);

/// Mean loss, in nats per token, on tokens with `counts` of the unigram model that `model_counts`
/// give with one added to each (so that unseen tokens have a finite loss). Both have one entry a
/// token of the vocabulary; 0 without tokens.
[[nodiscard]] double unigram_cross_entropy(std::span<const std::uint64_t> counts,
                                           std::span<const std::uint64_t> model_counts);

}  // namespace sluice
