// Cross entropy in plain scalar code.
#include <algorithm>
#include <limits>

#include "kernels/cpu/elements.hpp"
#include "kernels/loss/cross_entropy_kernels.hpp"

namespace sluice::kernels::reference {
namespace {

template <class T>
float largest_of(const T* logits, std::int64_t n) {
  LaneArray lanes;
  lanes.fill(-std::numeric_limits<float>::infinity());
  for (std::int64_t i = 0; i < n; ++i) {
    float& lane = lanes[static_cast<std::size_t>(i % kLanes)];
    const float logit = to_float(logits[i]);
    lane = logit > lane ? logit : lane;
  }
  return fold_max(lanes);
}

template <class T>
float sum_of_exponentials(const T* logits, std::int64_t n, float largest) {
  LaneSum sum;
  for (std::int64_t i = 0; i < n; ++i) sum.add(i, lane_exp(to_float(logits[i]) - largest));
  return sum.total(n);
}

template <class T, class D>
float row_loss(const T* logits, std::int64_t n, std::int32_t target, float dloss, D* dlogits) {
  const float largest = largest_of(logits, n);
  const float sum = sum_of_exponentials(logits, n, largest);
  const float logit = to_float(logits[target]);
  if (dlogits != nullptr) {
    const float scale = dloss / sum;
    for (std::int64_t i = 0; i < n; ++i) {
      dlogits[i] = from_float<D>(lane_exp(to_float(logits[i]) - largest) * scale);
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
  const DType dlogits = args.dlogits.rows != 0 ? args.dlogits.dtype : args.logits.dtype;
  visit_element(args.logits.dtype, [&]<class T>(T) {
    visit_element(dlogits, [&]<class D>(D) { loss_rows<T, D>(args, first, last); });
  });
}

}  // namespace

const CrossEntropyKernels kCrossEntropy{rows};

}  // namespace sluice::kernels::reference
