// Embedding, output head with its loss, and multi-token prediction.
#include "graph/model/ends.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/embedding/embedding.hpp"
#include "kernels/loss/cross_entropy.hpp"
#include "kernels/norm/rms_norm.hpp"

namespace sluice::model {
namespace {

// Logits at a time. A block reads the weights twice and their gradients once, and writes those:
// with fewer rows than here the products around it wait for memory.
constexpr std::int64_t kLogitsInBlock = std::int64_t{1} << 22;
constexpr std::int64_t kRowsInBlockMin = 512;

std::string mtp_prefix(const ModelConfig& config, std::int64_t depth) {
  return fmt::format("model.layers.{}.", config.num_hidden_layers + depth - 1);
}

}  // namespace

Embedding::Embedding(const std::shared_ptr<const ModelConstants>& constants, ParameterSet& set)
    : recipe_(constants->recipe) {
  const ModelConfig& config = constants->config;
  const ParameterSet::Whole whole =
      set.whole(set.add("model.embed_tokens.weight", ParameterKind::kMatrix,
                        Shape{config.vocab_size, config.hidden_size}));
  table_ = whole.compute;
  gradient_ = whole.gradient;
}

Tensor Embedding::forward(const kernels::ComputeContext& context, const Tensor& tokens) {
  Tensor x = context.make(activation_dtype(recipe_),
                          Shape{tokens.shape().count(), table_.shape().columns()});
  kernels::embed(context, table_.view(), tokens.values<const std::int32_t>(), x.view());
  return x;
}

void Embedding::backward(const kernels::ComputeContext& context, const Tensor& tokens,
                         const Tensor& dx) {
  kernels::embed_backward(context, tokens.values<const std::int32_t>(), dx.view(),
                          gradient_.view());
}

Head::Head(const std::shared_ptr<const ModelConstants>& constants, ParameterSet& set)
    : head_(set, set.add("lm_head.weight", ParameterKind::kMatrix,
                         Shape{constants->config.vocab_size, constants->config.hidden_size})) {}

std::int64_t Head::rows_in_block(std::int64_t vocab_size) {
  return std::max(kRowsInBlockMin, kLogitsInBlock / vocab_size);
}

Tensor Head::logits(const kernels::ComputeContext& context, const Tensor& h) {
  Tensor logits = context.make(DType::kF32, Shape{h.shape().rows(), head_.outputs()});
  head_.forward(context, h.view(), logits.view());
  return logits;
}

struct Head::Block {
  TensorView h;
  std::span<const std::int32_t> targets;
  std::span<float> losses;
  TensorView logits;
  TensorView dlogits;  ///< in the type of h; the memory of the logits where that is fp32
};

void Head::block_loss(const kernels::ComputeContext& context, const Block& block, float dloss) {
  head_.forward(context, block.h, block.logits);
  kernels::cross_entropy(context, block.logits, block.targets, dloss, block.losses, block.dlogits);
}

// each(block, first row): blocks of rows, one after the other, in the same memory.
template <class Each>
void Head::for_each_block(const kernels::ComputeContext& context, const Tensor& h,
                          const Tensor& targets, const Tensor& losses, bool gradient, Each&& each) {
  const std::int64_t tokens = h.shape().rows(), vocab_size = head_.outputs();
  const std::int64_t most = std::min(tokens, rows_in_block(vocab_size));
  const Tensor logits = context.make(DType::kF32, Shape{most, vocab_size});
  Tensor dlogits = logits;
  if (gradient && h.dtype() != DType::kF32) dlogits = context.make(h.dtype(), logits.shape());
  for (std::int64_t first = 0; first < tokens; first += most) {
    const std::int64_t rows = std::min(most, tokens - first);
    const auto begin = static_cast<std::size_t>(first), count = static_cast<std::size_t>(rows);
    Block block{h.view().rows_from(first, rows),
                targets.values<const std::int32_t>().subspan(begin, count),
                losses.values<float>().subspan(begin, count),
                logits.view().rows_from(0, rows),
                {}};
    if (gradient) block.dlogits = dlogits.view().rows_from(0, rows);
    each(block, first);
  }
}

Head::Loss Head::loss(const kernels::ComputeContext& context, const Tensor& h,
                      const Tensor& targets, bool gradient, float dloss, bool weights_later) {
  const Tensor losses = context.make(DType::kF32, Shape{h.shape().rows()});
  Loss loss;
  if (gradient) loss.dh = context.make(h.dtype(), h.shape());
  for_each_block(
      context, h, targets, losses, gradient, [&](const Block& block, std::int64_t first) {
        block_loss(context, block, dloss);
        if (!gradient) return;
        head_.backward_input(context, block.dlogits, loss.dh.view().rows_from(first, block.h.rows));
        if (!weights_later) head_.backward_weight(context, block.dlogits, block.h);
      });
  for (const float l : losses.values<const float>()) loss.sum += static_cast<double>(l);
  return loss;
}

void Head::backward_weights(const kernels::ComputeContext& context, const Tensor& h,
                            const Tensor& targets, float dloss) {
  const Tensor losses = context.make(DType::kF32, Shape{h.shape().rows()});
  for_each_block(context, h, targets, losses, true, [&](const Block& block, std::int64_t) {
    block_loss(context, block, dloss);
    head_.backward_weight(context, block.dlogits, block.h);
  });
}

MtpModule::MtpModule(std::shared_ptr<const ModelConstants> constants, std::int64_t depth,
                     ParameterSet& set)
    : enorm_(constants, mtp_prefix(constants->config, depth) + "enorm.weight", set),
      hnorm_(constants, mtp_prefix(constants->config, depth) + "hnorm.weight", set),
      eh_proj_(
          set,
          set.add(mtp_prefix(constants->config, depth) + "eh_proj.weight", ParameterKind::kMatrix,
                  Shape{constants->config.hidden_size, 2 * constants->config.hidden_size})),
      layer_(constants, constants->config.num_hidden_layers + depth - 1, set),
      output_(constants, mtp_prefix(constants->config, depth) + "shared_head.norm.weight", set) {}

Tensor MtpModule::input_forward(const kernels::ComputeContext& context, const Tensor& h,
                                const Tensor& embedding, bool keep, Saved& saved) {
  const std::int64_t tokens = h.shape().rows(), hidden = eh_proj_.outputs();
  const Tensor joined = context.make(h.dtype(), Shape{tokens, 2 * hidden});
  enorm_.forward(context, embedding.view(), joined.view().columns_from(0, hidden), keep,
                 saved.enorm);
  hnorm_.forward(context, h.view(), joined.view().columns_from(hidden, hidden), keep, saved.hnorm);
  if (keep) {
    saved.joined = joined;
    saved.enorm.x = embedding;
    saved.hnorm.x = h;
  }
  Tensor z = context.make(h.dtype(), Shape{tokens, hidden});
  eh_proj_.forward(context, joined.view(), z.view());
  return z;
}

Tensor MtpModule::output_forward(const kernels::ComputeContext& context, const Tensor& y, bool keep,
                                 Saved& saved) {
  return output_.forward(context, y, keep, saved.output);
}

Tensor MtpModule::output_backward(const kernels::ComputeContext& context, const Tensor& dh,
                                  Saved& saved) {
  return output_.backward_input(context, dh, saved.output);
}

MtpModule::InputGradients MtpModule::input_backward(const kernels::ComputeContext& context,
                                                    const Tensor& dz, Saved& saved) {
  const std::int64_t hidden = eh_proj_.outputs();
  const Tensor djoined = context.make(dz.dtype(), saved.joined.shape());
  eh_proj_.backward_input(context, dz.view(), djoined.view());
  saved.dz = dz;
  InputGradients gradients{context.make(dz.dtype(), dz.shape()),
                           context.make(dz.dtype(), dz.shape())};
  enorm_.backward_input(context, saved.enorm.x.view(), djoined.view().columns_from(0, hidden),
                        gradients.embedding.view(), saved.enorm);
  hnorm_.backward_input(context, saved.hnorm.x.view(), djoined.view().columns_from(hidden, hidden),
                        gradients.h.view(), saved.hnorm);
  saved.enorm.x = saved.hnorm.x = {};
  return gradients;
}

void MtpModule::backward_weights(const kernels::ComputeContext& context, Saved& saved) {
  eh_proj_.backward_weight(context, saved.dz.view(), saved.joined.view());
  saved.dz = saved.joined = {};
  enorm_.backward_weights(context, saved.enorm);
  hnorm_.backward_weights(context, saved.hnorm);
  output_.backward_weights(context, saved.output);
}

Tensor sum(const kernels::ComputeContext& context, const Tensor& a, const Tensor& b) {
  Tensor y = context.make(a.dtype(), a.shape());
  kernels::add(context, a.view(), b.view(), y.view());
  return y;
}

}  // namespace sluice::model
