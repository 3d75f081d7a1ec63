// The few best of many candidates, by insertion.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

namespace sluice::kernels {

/// The `best.size()` highest keys among candidates that are offered by rising index; ties go to the
/// lower one. A NaN counts as -inf.
class TopK {
 public:
  TopK(std::span<std::int32_t> best, std::span<float> keys) : best_(best), keys_(keys) {}

  void offer(std::int32_t index, float key) {
    if (std::isnan(key)) key = -std::numeric_limits<float>::infinity();
    if (filled_ == best_.size()) {
      if (!(key > keys_[filled_ - 1])) return;
    } else {
      ++filled_;
    }
    std::size_t place = filled_ - 1;
    for (; place > 0 && key > keys_[place - 1]; --place) {
      best_[place] = best_[place - 1];
      keys_[place] = keys_[place - 1];
    }
    best_[place] = index;
    keys_[place] = key;
  }

 private:
  std::span<std::int32_t> best_;
  std::span<float> keys_;
  std::size_t filled_ = 0;
};

}  // namespace sluice::kernels
