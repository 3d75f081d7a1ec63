// Cross entropy in 16 lanes, for every SIMD kernel set.
#include <algorithm>
#include <limits>

#include "kernels/cpu/elements.hpp"
#include "kernels/loss/cross_entropy_kernels.hpp"

#define SLUICE_ISA_SOURCE "kernels/loss/cross_entropy_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA
namespace sluice::kernels::SLUICE_ISA {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Sixteen logits; those behind the row's end are -inf: no maximum, e^ of them is 0.
template <class T>
SLUICE_INLINE Lanes load_logits(const T* logits, std::int64_t n) {
  if (n >= kLanes) return load(logits);
  alignas(64) float buffer[kLanes];
  for (std::int64_t i = 0; i < kLanes; ++i)
    buffer[i] = i < n ? to_float(logits[i]) : kMinusInfinity;
  return load(buffer);
}

template <class T, class D>
float row_loss(const T* logits, std::int64_t n, std::int32_t target, float dloss, D* dlogits) {
  Lanes largest_lanes = set1(kMinusInfinity);
  for (std::int64_t i = 0; i < n; i += kLanes) {
    largest_lanes = max(load_logits(logits + i, n - i), largest_lanes);
  }
  const float largest = fold_max(largest_lanes);
  const Lanes shift = set1(largest);
  Lanes sum_lanes = zero();
  for (std::int64_t i = 0; i < n; i += kLanes) {
    sum_lanes = add(sum_lanes, exp(sub(load_logits(logits + i, n - i), shift)));
  }
  const float sum = fold_sum(sum_lanes);
  const float logit = to_float(logits[target]);
  if (dlogits != nullptr) {
    const float scale = dloss / sum;
    for (std::int64_t i = 0; i < n; i += kLanes) {
      const Lanes e = exp(sub(load_logits(logits + i, n - i), shift));
      store_up_to(dlogits + i, mul(e, set1(scale)), n - i);
    }
    dlogits[target] = from_float<D>(target_gradient(logit, largest, scale, dloss));
  }
  return loss_of(sum, largest, logit);
}

template <class T, class D>
void loss_rows(const CrossEntropyArgs& args, std::int64_t first, std::int64_t last) {
  const auto logits = args.logits.as<T>();
  for (std::int64_t r = first; r < last; ++r) {
    const auto row = static_cast<std::size_t>(r);
    D* dlogits = args.dlogits.rows != 0 ? args.dlogits.as<D>().row(r) : nullptr;
    if (args.targets[row] < 0) {
      args.losses[row] = 0;
      if (dlogits != nullptr) std::fill_n(dlogits, logits.columns, D{});
      continue;
    }
    args.losses[row] =
        row_loss(logits.row(r), logits.columns, args.targets[row], args.dloss, dlogits);
  }
}

void rows(const CrossEntropyArgs& args, std::int64_t first, std::int64_t last) {
  const bool narrow_out =
      (args.dlogits.rows != 0 ? args.dlogits.dtype : args.logits.dtype) == DType::kBF16;
  if (args.logits.dtype == DType::kF32) {
    if (narrow_out) return loss_rows<float, BF16>(args, first, last);
    return loss_rows<float, float>(args, first, last);
  }
  if (narrow_out) return loss_rows<BF16, BF16>(args, first, last);
  loss_rows<BF16, float>(args, first, last);
}

}  // namespace

const CrossEntropyKernels kCrossEntropy{rows};

}  // namespace sluice::kernels::SLUICE_ISA
#endif
