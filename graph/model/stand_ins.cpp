// Shapes of a micro-batch's tensors.
#include "graph/model/stand_ins.hpp"

#include <algorithm>

namespace sluice::model {

Tensor StandIns::rows() const { return Tensor::meta(dtype_, Shape{tokens_, config_->hidden_size}); }

std::vector<Tensor> StandIns::rows_of_depths(std::int64_t depths) const {
  return std::vector<Tensor>(static_cast<std::size_t>(depths), rows());
}

DecoderLayer::Attended StandIns::attended(bool is_moe) const {
  DecoderLayer::Attended out{rows(), rows(), {}};
  if (!is_moe) return out;
  const std::int64_t top_k = config_->num_experts_per_tok;
  out.routing = {Tensor::meta(DType::kF32, Shape{tokens_, config_->n_routed_experts}),
                 Tensor::meta(DType::kI32, Shape{tokens_, top_k}),
                 Tensor::meta(DType::kF32, Shape{tokens_, top_k})};
  return out;
}

std::int64_t StandIns::rows_of(std::int64_t experts) const {
  return tokens_ * config_->num_experts_per_tok * experts / config_->n_routed_experts;
}

std::vector<std::int64_t> StandIns::loads() const {
  return std::vector<std::int64_t>(static_cast<std::size_t>(config_->n_routed_experts), rows_of(1));
}

kernels::TreePartial StandIns::expert_sums(std::int64_t experts) const {
  kernels::TreePartial out;
  out.rows = Tensor::meta(dtype_, Shape{std::min(rows_of(experts), tokens_), config_->hidden_size});
  return out;
}

ExpertGradients StandIns::expert_gradients(std::int64_t experts) const {
  return {expert_sums(experts), {}, Tensor::meta(DType::kF32, Shape{rows_of(experts)})};
}

}  // namespace sluice::model
