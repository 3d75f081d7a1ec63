// Multi-head latent attention on gemm, norm, rope and attention kernels.
#include "graph/model/mla.hpp"

#include <array>

#include "kernels/convert/convert.hpp"

namespace sluice::model {
namespace {

// Whatever rms_norm_eps says: transformers constructs the latents' norms with their default.
constexpr float kLatentEpsilon = 1e-6f;

Linear add_linear(ParameterSet& set, const std::string& name, std::int64_t outputs,
                  std::int64_t inputs) {
  return {set, set.add(name, ParameterKind::kMatrix, Shape{outputs, inputs})};
}

Linear add_input(ParameterSet& set, const std::string& prefix, const ModelConfig& config) {
  const bool latent = config.q_lora_rank > 0;
  const std::array<std::string, 2> names{prefix + (latent ? "q_a_proj.weight" : "q_proj.weight"),
                                         prefix + "kv_a_proj_with_mqa.weight"};
  const std::array<std::int64_t, 2> rows{
      latent ? config.q_lora_rank : config.num_attention_heads * config.qk_head_dim(),
      config.kv_lora_rank + config.qk_rope_head_dim};
  return {set, set.add_stacked(names, rows, config.hidden_size)};
}

}  // namespace

LatentCache make_latent_cache(const ModelConstants& constants, std::int64_t capacity) {
  const ModelConfig& config = constants.config;
  return {Tensor::zeros(activation_dtype(constants.recipe),
                        Shape{capacity, config.kv_lora_rank + config.qk_rope_head_dim}),
          0};
}

Mla::Mla(std::shared_ptr<const ModelConstants> constants, const std::string& prefix,
         ParameterSet& set)
    : constants_(std::move(constants)), set_(&set) {
  const ModelConfig& config = constants_->config;
  const std::int64_t heads = config.num_attention_heads;
  in_ = add_input(set, prefix, config);
  if (has_q_latent()) {
    q_norm_ = std::make_unique<Norm>(set, prefix + "q_a_layernorm.weight", config.q_lora_rank,
                                     kLatentEpsilon);
    q_b_ = add_linear(set, prefix + "q_b_proj.weight", heads * config.qk_head_dim(),
                      config.q_lora_rank);
  }
  kv_norm_ = std::make_unique<Norm>(set, prefix + "kv_a_layernorm.weight", config.kv_lora_rank,
                                    kLatentEpsilon);
  kv_b_ = add_linear(set, prefix + "kv_b_proj.weight", heads * config.kv_head_dim(),
                     config.kv_lora_rank);
  o_ = add_linear(set, prefix + "o_proj.weight", config.hidden_size, heads * config.v_head_dim);
}

std::int64_t Mla::query_columns() const {
  const ModelConfig& config = constants_->config;
  return in_.outputs() - config.kv_lora_rank - config.qk_rope_head_dim;
}

TensorView Mla::latent_of(const Tensor& projected) const {
  return projected.view().columns_from(query_columns(), constants_->config.kv_lora_rank);
}

TensorView Mla::k_rope_of(const Tensor& projected) const {
  const ModelConfig& config = constants_->config;
  return projected.view().columns_from(query_columns() + config.kv_lora_rank,
                                       config.qk_rope_head_dim);
}

TensorView Mla::queries_of(const Tensor& projected, const Tensor& q) const {
  return has_q_latent() ? q.view() : query_latent_of(projected);
}

TensorView Mla::query_latent_of(const Tensor& projected) const {
  return projected.view().columns_from(0, query_columns());
}

void Mla::project(const kernels::ComputeContext& context, const Tensor& x, bool keep,
                  Saved& saved) {
  const std::int64_t tokens = x.shape().rows();
  saved.projected = context.make(x.dtype(), Shape{tokens, in_.outputs()});
  in_.forward(context, x.view(), saved.projected.view());
  if (!has_q_latent()) return;
  saved.q_normed = context.make(x.dtype(), Shape{tokens, query_columns()});
  q_norm_->forward(context, query_latent_of(saved.projected), saved.q_normed.view(), keep,
                   saved.q_norm);
  saved.q = context.make(x.dtype(), Shape{tokens, q_b_.outputs()});
  q_b_.forward(context, saved.q_normed.view(), saved.q.view());
}

void Mla::rotate_queries(const kernels::ComputeContext& context, const Batch& batch, bool inverse,
                         TensorView q) const {
  const ModelConfig& config = constants_->config;
  kernels::RopeHeads heads{config.num_attention_heads, config.qk_head_dim(),
                           config.qk_nope_head_dim, config.qk_rope_head_dim};
  heads.interleaved = config.rope_interleave;
  kernels::rope(context, constants_->rope, batch.positions.values<std::int32_t>(), heads, inverse,
                q);
}

void Mla::rotate_key(const kernels::ComputeContext& context, const Batch& batch, bool inverse,
                     TensorView k_rope) const {
  const ModelConfig& config = constants_->config;
  kernels::RopeHeads heads{1, config.qk_rope_head_dim, 0, config.qk_rope_head_dim};
  heads.interleaved = config.rope_interleave;
  kernels::rope(context, constants_->rope, batch.positions.values<std::int32_t>(), heads, inverse,
                k_rope);
}

kernels::AttentionDesc Mla::desc(const Batch& batch) const {
  const ModelConfig& config = constants_->config;
  return {.sequences = batch.sequences,
          .length = batch.length,
          .heads = config.num_attention_heads,
          .nope = config.qk_nope_head_dim,
          .rope = config.qk_rope_head_dim,
          .value = config.v_head_dim,
          .scale = constants_->attention_scale};
}

Tensor Mla::forward(const kernels::ComputeContext& context, const Batch& batch, const Tensor& x,
                    bool keep, Saved& saved) {
  Saved local;  // without `keep` all of it goes at the end
  Saved& s = keep ? saved : local;
  const std::int64_t tokens = batch.tokens();
  project(context, x, keep, s);
  rotate_queries(context, batch, false, queries_of(s.projected, s.q));
  rotate_key(context, batch, false, k_rope_of(s.projected));

  s.kv_normed = context.make(x.dtype(), Shape{tokens, kv_b_.inputs()});
  kv_norm_->forward(context, latent_of(s.projected), s.kv_normed.view(), keep, s.kv_norm);
  s.kv = context.make(x.dtype(), Shape{tokens, kv_b_.outputs()});
  kv_b_.forward(context, s.kv_normed.view(), s.kv.view());

  s.out = context.make(x.dtype(), Shape{tokens, o_.inputs()});
  s.log_sum_exp = context.make(DType::kF32, Shape{tokens * constants_->config.num_attention_heads});
  kernels::attention(context, desc(batch), queries_of(s.projected, s.q), s.kv.view(),
                     k_rope_of(s.projected), s.out.view(), s.log_sum_exp.values<float>());
  s.x = x;
  Tensor y = context.make(x.dtype(), Shape{tokens, o_.outputs()});
  o_.forward(context, s.out.view(), y.view());
  return y;
}

void Mla::backward_core(const kernels::ComputeContext& context, const Batch& batch,
                        const Tensor& dy, Saved& s) {
  Tensor dout = context.make(dy.dtype(), s.out.shape());
  o_.backward_input(context, dy.view(), dout.view());
  s.dprojected = context.make(dy.dtype(), s.projected.shape());
  s.dkv = context.make(dy.dtype(), s.kv.shape());
  if (has_q_latent()) s.dq = context.make(dy.dtype(), s.q.shape());
  const TensorView dqueries = queries_of(s.dprojected, s.dq);
  kernels::attention_backward(context, desc(batch), queries_of(s.projected, s.q), s.kv.view(),
                              k_rope_of(s.projected), s.out.view(),
                              s.log_sum_exp.values<const float>(), dout.view(), dqueries,
                              s.dkv.view(), k_rope_of(s.dprojected));
  s.q = s.kv = s.log_sum_exp = {};
  rotate_queries(context, batch, true, dqueries);
  rotate_key(context, batch, true, k_rope_of(s.dprojected));
}

void Mla::backward_latents(const kernels::ComputeContext& context, Saved& s) {
  Tensor dnormed = context.make(s.dkv.dtype(), s.kv_normed.shape());
  kv_b_.backward_input(context, s.dkv.view(), dnormed.view());
  kv_norm_->backward_input(context, latent_of(s.projected), dnormed.view(), latent_of(s.dprojected),
                           s.kv_norm);
  if (!has_q_latent()) return;
  dnormed = {};
  dnormed = context.make(s.dq.dtype(), s.q_normed.shape());
  q_b_.backward_input(context, s.dq.view(), dnormed.view());
  q_norm_->backward_input(context, query_latent_of(s.projected), dnormed.view(),
                          query_latent_of(s.dprojected), s.q_norm);
}

Tensor Mla::backward_input(const kernels::ComputeContext& context, const Batch& batch,
                           const Tensor& dy, Saved& s) {
  backward_core(context, batch, dy, s);
  backward_latents(context, s);
  s.projected = {};
  s.dy = dy;
  Tensor dx = context.make(dy.dtype(), s.x.shape());
  in_.backward_input(context, s.dprojected.view(), dx.view());
  return dx;
}

void Mla::backward_weights(const kernels::ComputeContext& context, Saved& s) {
  o_.backward_weight(context, s.dy.view(), s.out.view());
  kv_b_.backward_weight(context, s.dkv.view(), s.kv_normed.view());
  kv_norm_->backward_weights(context, s.kv_norm);
  if (has_q_latent()) {
    q_b_.backward_weight(context, s.dq.view(), s.q_normed.view());
    q_norm_->backward_weights(context, s.q_norm);
  }
  in_.backward_weight(context, s.dprojected.view(), s.x.view());
  s = {};
}

void Mla::pack_absorbed(const kernels::ComputeContext& context) {
  if (absorbed_version_ == set_->version()) return;
  const ModelConfig& config = constants_->config;
  const auto heads = static_cast<std::size_t>(config.num_attention_heads);
  absorbed_keys_.resize(heads);
  absorbed_values_.resize(heads);
  for (std::size_t h = 0; h < heads; ++h) {
    const TensorView head = kv_b_.weight().view().rows_from(
        static_cast<std::int64_t>(h) * config.kv_head_dim(), config.kv_head_dim());
    absorbed_keys_[h].pack(context, head.rows_from(0, config.qk_nope_head_dim),
                           kernels::Layout::kNormal);
    absorbed_values_[h].pack(context, head.rows_from(config.qk_nope_head_dim, config.v_head_dim),
                             kernels::Layout::kTransposed);
  }
  absorbed_version_ = set_->version();
}

void Mla::append(const kernels::ComputeContext& context, const Batch& batch,
                 const Tensor& projected, LatentCache& cache) {
  const std::int64_t rank = constants_->config.kv_lora_rank;
  const std::int64_t rope = constants_->config.qk_rope_head_dim;
  SLUICE_CHECK_LE(cache.length + batch.tokens(), cache.rows.shape()[0]);
  const TensorView rows = cache.rows.view().rows_from(cache.length, batch.tokens());
  Norm::Saved none;
  kv_norm_->forward(context, latent_of(projected), rows.columns_from(0, rank), false, none);
  kernels::convert(context, k_rope_of(projected), rows.columns_from(rank, rope));
  rotate_key(context, batch, false, rows.columns_from(rank, rope));
  cache.length += batch.tokens();
}

Tensor Mla::attend_absorbed(const kernels::ComputeContext& context, TensorView q,
                            const LatentCache& cache) {
  const ModelConfig& config = constants_->config;
  const std::int64_t rank = config.kv_lora_rank, rope = config.qk_rope_head_dim;
  const std::int64_t nope = config.qk_nope_head_dim, heads = config.num_attention_heads;
  const DType dtype = q.dtype;
  Tensor absorbed = context.make(dtype, Shape{q.rows, heads * (rank + rope)});
  for (std::int64_t h = 0; h < heads; ++h) {
    const TensorView head = q.columns_from(h * config.qk_head_dim(), config.qk_head_dim());
    const TensorView to = absorbed.view().columns_from(h * (rank + rope), rank + rope);
    kernels::gemm(context, head.columns_from(0, nope), kernels::Layout::kNormal,
                  absorbed_keys_[static_cast<std::size_t>(h)], to.columns_from(0, rank));
    kernels::convert(context, head.columns_from(nope, rope), to.columns_from(rank, rope));
  }
  Tensor latents = context.make(dtype, Shape{q.rows, heads * rank});
  kernels::latent_attention(context, heads, rank, rope, constants_->attention_scale,
                            absorbed.view(), {cache.rows.view(), cache.length}, latents.view());
  Tensor out = context.make(dtype, Shape{q.rows, o_.inputs()});
  for (std::int64_t h = 0; h < heads; ++h) {
    kernels::gemm(context, latents.view().columns_from(h * rank, rank), kernels::Layout::kNormal,
                  absorbed_values_[static_cast<std::size_t>(h)],
                  out.view().columns_from(h * config.v_head_dim, config.v_head_dim));
  }
  return out;
}

Tensor Mla::forward_cached(const kernels::ComputeContext& context, const Batch& batch,
                           const Tensor& x, LatentCache& cache) {
  SLUICE_CHECK_EQ(batch.sequences, 1);
  pack_absorbed(context);
  Saved s;
  project(context, x, false, s);
  rotate_queries(context, batch, false, queries_of(s.projected, s.q));
  append(context, batch, s.projected, cache);
  const Tensor out = attend_absorbed(context, queries_of(s.projected, s.q), cache);
  Tensor y = context.make(x.dtype(), Shape{batch.tokens(), o_.outputs()});
  o_.forward(context, out.view(), y.view());
  return y;
}

}  // namespace sluice::model
