// Positions of a micro-batch, and the constants that all layers share.
#include "graph/model/batch.hpp"

#include "graph/model/rope_table.hpp"

namespace sluice::model {

Batch make_batch(std::int64_t sequences, std::int64_t length) {
  Batch batch{sequences, length, Tensor::zeros(DType::kI32, Shape{sequences * length})};
  const std::span<std::int32_t> positions = batch.positions.values<std::int32_t>();
  for (std::size_t t = 0; t < positions.size(); ++t)
    positions[t] = static_cast<std::int32_t>(static_cast<std::int64_t>(t) % length);
  return batch;
}

std::shared_ptr<const ModelConstants> make_constants(const ModelConfig& config, Recipe recipe,
                                                     std::int64_t positions) {
  return std::make_shared<const ModelConstants>(
      ModelConstants{config, recipe, make_rope_table(config, positions), attention_scale(config)});
}

}  // namespace sluice::model
