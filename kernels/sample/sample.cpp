// Choosing a token: one plain form for all kernel sets.
#include "kernels/sample/sample.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/check.hpp"
#include "kernels/cpu/lanes_math.hpp"

namespace sluice::kernels {
namespace {

struct Candidate {
  float probability;  // not normalised
  std::int32_t token;
};

// The order of a heap whose front is the most probable token, the lowest index among equals.
bool behind(const Candidate& a, const Candidate& b) {
  return a.probability != b.probability ? a.probability < b.probability : a.token > b.token;
}

// Takes candidates from the heap, most probable first, until their sum passes `limit`, or all.
// They end up at the back of `heap`, the first one last. Returns the sum.
double pop_until(std::vector<Candidate>& heap, double limit, std::size_t& popped) {
  double sum = 0;
  popped = 0;
  while (popped < heap.size() && (popped == 0 || sum < limit)) {
    std::pop_heap(heap.begin(), heap.end() - static_cast<std::ptrdiff_t>(popped), behind);
    ++popped;
    sum += static_cast<double>(heap[heap.size() - popped].probability);
  }
  return sum;
}

std::vector<Candidate> candidates_of(std::span<const float> logits, float largest,
                                     float temperature) {
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float probability = lane_exp((logits[i] - largest) / temperature);
    if (probability > 0) candidates.push_back({probability, static_cast<std::int32_t>(i)});
  }
  return candidates;
}

}  // namespace

std::int32_t argmax(std::span<const float> logits) {
  SLUICE_CHECK(!logits.empty());
  std::size_t best = 0;
  for (std::size_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best] || (std::isnan(logits[best]) && !std::isnan(logits[i]))) best = i;
  }
  return static_cast<std::int32_t>(best);
}

std::int32_t sample(std::span<const float> logits, SampleDesc desc, float uniform) {
  SLUICE_CHECK_GE(desc.temperature, 0.0f);
  SLUICE_CHECK(desc.top_p > 0 && desc.top_p <= 1, "top_p {}", desc.top_p);
  SLUICE_CHECK(uniform >= 0 && uniform < 1, "uniform {}", uniform);
  const std::int32_t best = argmax(logits);
  if (desc.temperature == 0) return best;
  std::vector<Candidate> heap =
      candidates_of(logits, logits[static_cast<std::size_t>(best)], desc.temperature);
  if (heap.empty()) return best;  // an infinite or NaN logit on top
  double total = 0;
  for (const Candidate& candidate : heap) total += static_cast<double>(candidate.probability);
  std::make_heap(heap.begin(), heap.end(), behind);
  std::size_t kept = 0;
  const double mass = desc.top_p < 1 ? pop_until(heap, desc.top_p * total, kept) : total;
  if (desc.top_p == 1) pop_until(heap, std::nextafter(uniform * total, 2 * total), kept);
  double sum = 0;
  for (std::size_t i = 1; i <= kept; ++i) {
    sum += static_cast<double>(heap[heap.size() - i].probability);
    if (sum > uniform * mass) return heap[heap.size() - i].token;
  }
  return heap[heap.size() - kept].token;
}

}  // namespace sluice::kernels
