// Sets of moments, as sorted intervals that do not touch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace sluice::trace {

class Intervals {
 public:
  struct Interval {
    std::int64_t begin = 0;
    std::int64_t end = 0;  ///< not in it
    friend bool operator==(const Interval&, const Interval&) = default;
  };

  Intervals() = default;
  /// Their union, whatever their order.
  explicit Intervals(std::vector<Interval> parts);

  [[nodiscard]] const std::vector<Interval>& all() const { return all_; }
  [[nodiscard]] std::int64_t length() const;
  [[nodiscard]] Intervals operator&(const Intervals& other) const;
  [[nodiscard]] Intervals operator-(const Intervals& other) const;

 private:
  std::vector<Interval> all_;
};

}  // namespace sluice::trace
