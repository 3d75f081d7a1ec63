// The middle one of measured values.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

namespace sluice {

/// The upper of the two middle ones where their number is even; NaN where there is nothing.
[[nodiscard]] inline double median(std::vector<double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace sluice
