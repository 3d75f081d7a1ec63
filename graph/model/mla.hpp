// Multi-head latent attention (report 2.1.1): the naive form for training, the absorbed form over a
// latent cache.
#pragma once

#include <memory>

#include "graph/model/batch.hpp"
#include "kernels/attention/attention.hpp"

namespace sluice::model {

/// The cache of one sequence and layer: kv_lora_rank + qk_rope_head_dim numbers a token
/// (report 2.1.1).
struct LatentCache {
  Tensor rows;  ///< [capacity, kv_lora_rank + qk_rope_head_dim]: normed latent, rotated k_rope
  std::int64_t length = 0;
};
[[nodiscard]] LatentCache make_latent_cache(const ModelConstants& constants, std::int64_t capacity);

class Mla {
 public:
  /// Kept from forward to backward.
  struct Saved {
    Tensor x;  ///< the normed input of the block
    Tensor q_latent, q_inverse_rms, q_normed, q;
    Tensor kv_latent, kv_inverse_rms, kv_normed,
        kv;  ///< kv_latent: [T, rank + rope], k_rope rotated in place
    Tensor out, log_sum_exp;
    // Gradients of the linear maps' outputs, from backward_input to backward_weights.
    Tensor dout, dq, dq_latent, dkv, dkv_latent, dq_normed, dkv_normed;
  };

  Mla(std::shared_ptr<const ModelConstants> constants, const std::string& prefix,
      ParameterSet& set);

  /// x [T, H] (already normed) -> attention output [T, H].
  Tensor forward(const kernels::ComputeContext& context, const Batch& batch, const Tensor& x,
                 bool keep, Saved& saved);
  /// Appends the rows of x to the cache and attends over it.
  Tensor forward_cached(const kernels::ComputeContext& context, const Batch& batch, const Tensor& x,
                        LatentCache& cache);
  /// dy [T, H] -> dx [T, H].
  Tensor backward_input(const kernels::ComputeContext& context, const Batch& batch,
                        const Tensor& dy, Saved& saved);
  void backward_weights(const kernels::ComputeContext& context, Saved& saved);

 private:
  std::shared_ptr<const ModelConstants> constants_;
  bool has_q_latent_;
  Linear q_a_, q_b_, kv_a_, kv_b_, o_;
  const ParameterSet* set_;
  std::size_t q_a_norm_ = 0, kv_a_norm_ = 0;  ///< indices in the set
  ParameterSet* mutable_set_;
};

}  // namespace sluice::model
