// The gate's selection (plain code, a token at a time) and the gradients through it.
#include "kernels/moe/gate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/kernel_set.hpp"
#include "kernels/cpu/profile.hpp"
#include "kernels/moe/moe_kernels.hpp"
#include "kernels/moe/top_k.hpp"

namespace sluice::kernels {
namespace {

constexpr float kSumMin = 1e-20f;  // as transformers: a token whose scores are all zero gets zeros

void check_desc(const GateDesc& desc) {
  SLUICE_CHECK(desc.groups >= 1 && desc.experts % desc.groups == 0, "{} experts in {} groups",
               desc.experts, desc.groups);
  SLUICE_CHECK(desc.groups_kept >= 1 && desc.groups_kept <= desc.groups);
  SLUICE_CHECK(desc.top_k >= 1 && desc.top_k <= desc.experts / desc.groups * desc.groups_kept,
               "top {} of {} experts in {} of {} groups", desc.top_k, desc.experts,
               desc.groups_kept, desc.groups);
}

void check_choices(const GateDesc& desc, const TensorView& scores, std::size_t choices) {
  check_desc(desc);
  SLUICE_CHECK_EQ(scores.columns, desc.experts);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(choices), scores.rows * desc.top_k);
}

// Memory for one piece of tokens: chosen groups and the keys of choices. Not tensors: some hundred
// bytes that a thread takes once a call.
struct Scratch {
  explicit Scratch(const GateDesc& desc)
      : groups(static_cast<std::size_t>(desc.groups_kept)),
        keys(static_cast<std::size_t>(std::max(desc.groups_kept, desc.top_k))) {}
  std::vector<std::int32_t> groups;
  std::vector<float> keys;
};

float biased(const float* scores, std::span<const float> bias, std::int64_t expert) {
  return bias.empty() ? scores[expert] : scores[expert] + bias[static_cast<std::size_t>(expert)];
}

float group_score(const float* scores, std::span<const float> bias, std::int64_t first,
                  std::int64_t size) {
  float best = biased(scores, bias, first);
  if (size == 1) return best;
  float second = -std::numeric_limits<float>::infinity();
  for (std::int64_t e = first + 1; e < first + size; ++e) {
    const float c = biased(scores, bias, e);
    second = std::max(second, std::min(best, c));
    best = std::max(best, c);
  }
  return best + second;
}

void choose_groups(const GateDesc& desc, const float* scores, std::span<const float> bias,
                   Scratch& scratch) {
  const std::int64_t size = desc.experts / desc.groups;
  TopK top(scratch.groups, scratch.keys);
  for (std::int64_t g = 0; g < desc.groups; ++g) {
    top.offer(static_cast<std::int32_t>(g), group_score(scores, bias, g * size, size));
  }
  std::sort(scratch.groups.begin(), scratch.groups.end());
}

void choose_experts(const GateDesc& desc, const float* scores, std::span<const float> bias,
                    Scratch& scratch, std::span<std::int32_t> experts) {
  choose_groups(desc, scores, bias, scratch);
  const std::int64_t size = desc.experts / desc.groups;
  TopK top(experts, scratch.keys);
  for (const std::int32_t group : scratch.groups) {
    for (std::int64_t e = group * size; e < (group + 1) * size; ++e) {
      top.offer(static_cast<std::int32_t>(e), biased(scores, bias, e));
    }
  }
  std::sort(experts.begin(), experts.end());
}

float chosen_sum(const float* scores, std::span<const std::int32_t> experts) {
  float sum = 0;
  for (const std::int32_t e : experts) sum += scores[e];
  return sum + kSumMin;
}

void weigh(const GateDesc& desc, const float* scores, std::span<const std::int32_t> experts,
           std::span<float> weights) {
  const float sum = desc.normalize ? chosen_sum(scores, experts) : 1.0f;
  for (std::size_t k = 0; k < experts.size(); ++k) {
    weights[k] = scores[experts[k]] / sum * desc.scaling;
  }
}

// With S the sum of the chosen scores, w_k = scaling · s_k / S: dw/ds has a term through S.
void token_backward(const GateDesc& desc, const float* scores,
                    std::span<const std::int32_t> experts, std::span<const float> dweights,
                    float* dlogits) {
  const float sum = desc.normalize ? chosen_sum(scores, experts) : 1.0f;
  float mean = 0;
  if (desc.normalize) {
    for (std::size_t k = 0; k < experts.size(); ++k) mean += dweights[k] * scores[experts[k]];
    mean /= sum;
  }
  for (std::size_t k = 0; k < experts.size(); ++k) {
    const float s = scores[experts[k]];
    dlogits[experts[k]] = desc.scaling / sum * (dweights[k] - mean) * s * (1.0f - s);
  }
}

template <class T>
std::span<T> token_part(std::span<T> all, std::int64_t token, std::int64_t top_k) {
  return all.subspan(static_cast<std::size_t>(token * top_k), static_cast<std::size_t>(top_k));
}

}  // namespace

void gate(const ComputeContext& context, const GateDesc& desc, TensorView logits,
          std::span<const float> bias, TensorView scores, std::span<std::int32_t> experts,
          std::span<float> weights) {
  check_choices(desc, scores, experts.size());
  check_same_shape(logits, scores);
  SLUICE_CHECK_EQ(weights.size(), experts.size());
  if (!bias.empty()) SLUICE_CHECK_EQ(static_cast<std::int64_t>(bias.size()), desc.experts);
  const auto from = logits.as<const float>();
  const auto to = scores.as<float>();
  const ProfileScope profile(context, "gate");
  const MoeKernels& kernels = select(context.isa, reference::kMoe, avx2::kMoe, avx512::kMoe);
  context.team->parallel_for(from.rows, grain_rows(8 * desc.experts),
                             [&](std::int64_t first, std::int64_t last) {
                               Scratch scratch(desc);
                               for (std::int64_t t = first; t < last; ++t) {
                                 kernels.sigmoid(from.row(t), to.row(t), desc.experts);
                                 const auto chosen = token_part(experts, t, desc.top_k);
                                 choose_experts(desc, to.row(t), bias, scratch, chosen);
                                 weigh(desc, to.row(t), chosen, token_part(weights, t, desc.top_k));
                               }
                             });
}

void gate_backward(const ComputeContext& context, const GateDesc& desc, TensorView scores,
                   std::span<const std::int32_t> experts, std::span<const float> dweights,
                   TensorView dlogits) {
  check_choices(desc, scores, experts.size());
  check_same_shape(scores, dlogits);
  SLUICE_CHECK_EQ(dweights.size(), experts.size());
  const auto s = scores.as<const float>();
  const auto out = dlogits.as<float>();
  const ProfileScope profile(context, "gate_backward");
  context.team->parallel_for(s.rows, grain_rows(2 * desc.experts),
                             [&](std::int64_t first, std::int64_t last) {
                               for (std::int64_t t = first; t < last; ++t) {
                                 std::fill_n(out.row(t), desc.experts, 0.0f);
                                 token_backward(desc, s.row(t), token_part(experts, t, desc.top_k),
                                                token_part(dweights, t, desc.top_k), out.row(t));
                               }
                             });
}

}  // namespace sluice::kernels
