// Multi-head latent attention (report 2.1.1): the naive form for training, the absorbed form over a
// latent cache.
//
// Everything that reads the block's input is one matrix: [q_a_proj or, without a query latent,
// q_proj | kv_a_proj_with_mqa], so x is read by one product and its gradient written by one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "graph/model/batch.hpp"
#include "graph/model/norm.hpp"
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
    Tensor x;          ///< [T, H], the normed input of the block
    Tensor projected;  ///< [T, query columns | kv_lora_rank | rope]; k_rope (and queries without a
                       ///< latent) rotated in place
    Tensor q_normed, q;    ///< with a query latent: [T, q_lora_rank], [T, heads · qk_head_dim]
    Tensor kv_normed, kv;  ///< [T, kv_lora_rank], [T, heads · (nope + value)]
    Tensor out, log_sum_exp;
    Norm::Saved q_norm, kv_norm;
    // Gradients of the linear maps' outputs, from backward_input to backward_weights.
    Tensor dy, dprojected, dq, dkv;
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
  [[nodiscard]] bool has_q_latent() const { return constants_->config.q_lora_rank > 0; }
  /// Columns of `projected`: queries or their latent, then the key-value latent, then k_rope.
  [[nodiscard]] std::int64_t query_columns() const;
  [[nodiscard]] TensorView latent_of(const Tensor& projected) const;
  [[nodiscard]] TensorView k_rope_of(const Tensor& projected) const;
  [[nodiscard]] TensorView query_latent_of(const Tensor& projected) const;
  [[nodiscard]] TensorView queries_of(const Tensor& projected, const Tensor& q) const;

  /// projected, and queries where they come through a latent; unrotated.
  void project(const kernels::ComputeContext& context, const Tensor& x, bool keep, Saved& saved);
  void rotate_queries(const kernels::ComputeContext& context, const Batch& batch, bool inverse,
                      TensorView q) const;
  void rotate_key(const kernels::ComputeContext& context, const Batch& batch, bool inverse,
                  TensorView k_rope) const;
  [[nodiscard]] kernels::AttentionDesc desc(const Batch& batch) const;
  /// Backward through o_proj, attention and rotation; then from dq and dkv to dprojected.
  void backward_core(const kernels::ComputeContext& context, const Batch& batch, const Tensor& dy,
                     Saved& saved);
  void backward_latents(const kernels::ComputeContext& context, Saved& saved);
  /// The cache's new rows: normed latent, rotated key.
  void append(const kernels::ComputeContext& context, const Batch& batch, const Tensor& projected,
              LatentCache& cache);
  /// Queries (rotated) -> heads' outputs: W^UK absorbed into the queries, W^UV applied to what
  /// attention over the latents returns.
  Tensor attend_absorbed(const kernels::ComputeContext& context, TensorView q,
                         const LatentCache& cache);
  /// Packs W^UK and W^UV of every head, once per version of the weights.
  void pack_absorbed(const kernels::ComputeContext& context);

  std::shared_ptr<const ModelConstants> constants_;
  const ParameterSet* set_;
  Linear in_, q_b_, kv_b_, o_;
  std::unique_ptr<Norm> q_norm_;  ///< null without a query latent
  std::unique_ptr<Norm> kv_norm_;
  std::vector<kernels::PackedB> absorbed_keys_, absorbed_values_;  ///< by head; decoding only
  std::uint64_t absorbed_version_ = 0;
};

}  // namespace sluice::model
