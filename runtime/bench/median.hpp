// The middle one of measured values.
#pragma once

#include <algorithm>
#include <vector>

namespace sluice::bench {

/// The upper of the two middle ones where their number is even; `values` is not empty.
[[nodiscard]] inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace sluice::bench
