// Merging sorted intervals.
#include "runtime/trace/intervals.hpp"

namespace sluice::trace {

Intervals::Intervals(std::vector<Interval> parts) {
  std::sort(parts.begin(), parts.end(),
            [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  for (const Interval& part : parts) {
    if (part.end <= part.begin) continue;
    if (!all_.empty() && part.begin <= all_.back().end) {
      all_.back().end = std::max(all_.back().end, part.end);
    } else {
      all_.push_back(part);
    }
  }
}

std::int64_t Intervals::length() const {
  std::int64_t sum = 0;
  for (const Interval& part : all_) sum += part.end - part.begin;
  return sum;
}

Intervals Intervals::operator&(const Intervals& other) const {
  Intervals out;
  for (auto a = all_.begin(), b = other.all_.begin(); a != all_.end() && b != other.all_.end();) {
    const Interval both{std::max(a->begin, b->begin), std::min(a->end, b->end)};
    if (both.begin < both.end) out.all_.push_back(both);
    if (a->end < b->end) {
      ++a;
    } else {
      ++b;
    }
  }
  return out;
}

Intervals Intervals::operator-(const Intervals& other) const {
  Intervals out;
  auto b = other.all_.begin();
  for (Interval rest : all_) {
    while (b != other.all_.end() && b->end <= rest.begin) ++b;
    for (auto cut = b; cut != other.all_.end() && cut->begin < rest.end; ++cut) {
      if (rest.begin < cut->begin) out.all_.push_back({rest.begin, cut->begin});
      rest.begin = std::max(rest.begin, cut->end);
    }
    if (rest.begin < rest.end) out.all_.push_back(rest);
  }
  return out;
}

}  // namespace sluice::trace
