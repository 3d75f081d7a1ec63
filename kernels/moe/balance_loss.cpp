// The sequence-wise balance loss (DeepSeek-V3 report, eq. 17-20).
//
// With S_t the sum of token t's scores, sum_i f_i P_i = 1/L sum_t q_t, q_t = sum_i f_i s_it / S_t,
// and d q_t / d s_jt = (f_j - q_t) / S_t. Counting goes over all tokens before f is known, hence
// two passes.
#include <algorithm>

#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/profile.hpp"
#include "kernels/moe/gate.hpp"
#include "kernels/moe/top_k.hpp"

namespace sluice::kernels {
namespace {

struct Work {
  const GateDesc& desc;
  MatrixView<const float> scores;
  std::int64_t length;           // tokens of a sequence
  MatrixView<std::int32_t> top;  // [T, K] plain top-K of the scores
  MatrixView<double> fraction;   // [sequences, E] f
  std::span<double> quotient;    // [T] q
};

void choose(const Work& work, std::int64_t first, std::int64_t last) {
  const auto k = static_cast<std::size_t>(work.desc.top_k);
  std::vector<float> keys(k);
  for (std::int64_t t = first; t < last; ++t) {
    TopK top({work.top.row(t), k}, keys);
    for (std::int64_t e = 0; e < work.desc.experts; ++e) {
      top.offer(static_cast<std::int32_t>(e), work.scores.row(t)[e]);
    }
  }
}

// f_i = E / (K L) · how many tokens of the sequence have i among their top K.
void count(const Work& work, std::int64_t sequence) {
  double* fraction = work.fraction.row(sequence);
  const double share =
      static_cast<double>(work.desc.experts) / static_cast<double>(work.desc.top_k * work.length);
  std::fill_n(fraction, work.desc.experts, 0.0);
  for (std::int64_t t = sequence * work.length; t < (sequence + 1) * work.length; ++t) {
    for (std::int64_t k = 0; k < work.desc.top_k; ++k) fraction[work.top.row(t)[k]] += 1;
  }
  for (std::int64_t e = 0; e < work.desc.experts; ++e) fraction[e] *= share;
}

void token(const Work& work, std::int64_t t, float dloss, float* dlogits) {
  const float* scores = work.scores.row(t);
  const double* fraction = work.fraction.row(t / work.length);
  double sum = 0, weighted = 0;
  for (std::int64_t e = 0; e < work.desc.experts; ++e) {
    const double s = scores[e];
    sum += s;
    weighted += fraction[e] * s;
  }
  const double quotient = sum > 0 ? weighted / sum : 0;
  work.quotient[static_cast<std::size_t>(t)] = quotient;
  if (dlogits == nullptr || !(sum > 0)) return;
  const double scale = static_cast<double>(dloss) / (static_cast<double>(work.length) * sum);
  for (std::int64_t e = 0; e < work.desc.experts; ++e) {
    const double s = scores[e];
    dlogits[e] += static_cast<float>(scale * (fraction[e] - quotient) * s * (1 - s));
  }
}

}  // namespace

double balance_loss(const ComputeContext& context, const GateDesc& desc, std::int64_t sequences,
                    TensorView scores, float dloss, TensorView dlogits) {
  SLUICE_CHECK_EQ(scores.columns, desc.experts);
  SLUICE_CHECK(desc.top_k >= 1 && desc.top_k <= desc.experts);
  if (scores.rows == 0) return 0;
  SLUICE_CHECK(sequences >= 1 && scores.rows % sequences == 0, "{} tokens in {} sequences",
               scores.rows, sequences);
  if (dlogits.rows != 0) check_same_shape(scores, dlogits);
  const ProfileScope profile(context, "balance_loss");
  const Tensor top = context.make(DType::kI32, Shape{scores.rows, desc.top_k});
  const Tensor fraction = context.make(DType::kF64, Shape{sequences, desc.experts});
  const Tensor quotient = context.make(DType::kF64, Shape{scores.rows});
  const Work work{desc,
                  scores.as<const float>(),
                  scores.rows / sequences,
                  top.matrix<std::int32_t>(),
                  fraction.matrix<double>(),
                  quotient.values<double>()};
  const std::int64_t grain = grain_rows(4 * desc.experts);
  context.team->parallel_for(scores.rows, grain, [&](std::int64_t first, std::int64_t last) {
    choose(work, first, last);
  });
  context.team->parallel_for(sequences, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t s = first; s < last; ++s) count(work, s);
  });
  context.team->parallel_for(scores.rows, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t t = first; t < last; ++t) {
      token(work, t, dloss, dlogits.rows != 0 ? dlogits.as<float>().row(t) : nullptr);
    }
  });
  double total = 0;
  for (const double q : work.quotient) total += q;
  return total / static_cast<double>(work.length);
}

}  // namespace sluice::kernels
