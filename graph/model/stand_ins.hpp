// What layers give where nothing is computed: shapes without storage, and an even choice of
// experts.
//
// A host that times tasks without running them goes on with these. Which expert groups a token
// needs is the only computed number that decides how much there is to do later; here every expert
// has the same load, and the tokens of a group are spread as thinly as can be.
#pragma once

#include <vector>

#include "graph/model/decoder_layer.hpp"

namespace sluice::model {

/// Of one micro-batch. A view: the config outlives it.
class StandIns {
 public:
  StandIns(const ModelConstants& constants, std::int64_t tokens)
      : config_(&constants.config), dtype_(activation_dtype(constants.recipe)), tokens_(tokens) {}

  /// Hidden states, or their gradients: [T, H].
  [[nodiscard]] Tensor rows() const;
  [[nodiscard]] std::vector<Tensor> rows_of_depths(std::int64_t depths) const;
  [[nodiscard]] DecoderLayer::Attended attended(bool is_moe) const;
  /// Of each expert: T · K / E, rounded down.
  [[nodiscard]] std::vector<std::int64_t> loads() const;
  /// Of a group of `experts`: T · K · experts / E rows, one for a token at most.
  [[nodiscard]] kernels::TreePartial expert_sums(std::int64_t experts) const;
  [[nodiscard]] ExpertGradients expert_gradients(std::int64_t experts) const;

 private:
  [[nodiscard]] std::int64_t rows_of(std::int64_t experts) const;

  const ModelConfig* config_;
  DType dtype_;
  std::int64_t tokens_;
};

}  // namespace sluice::model
