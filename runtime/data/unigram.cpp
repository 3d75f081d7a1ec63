// Sums in double precision, in the order of ids.
#include "runtime/data/unigram.hpp"

#include <cmath>
#include <numeric>

#include "kernels/base/check.hpp"

namespace sluice {
namespace {

double total(std::span<const std::uint64_t> counts) {
  return static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
}

}  // namespace

double unigram_entropy(std::span<const std::uint64_t> counts) {
  const double all = total(counts);
  double sum = 0;
  for (const auto count : counts) {
    const auto n = static_cast<double>(count);
    if (count > 0) sum -= n / all * std::log(n / all);
  }
  return sum;
}

double unigram_cross_entropy(std::span<const std::uint64_t> counts,
                             std::span<const std::uint64_t> model_counts) {
  SLUICE_CHECK_EQ(counts.size(), model_counts.size());
  const double all = total(counts);
  const double model_all = total(model_counts) + static_cast<double>(model_counts.size());
  double sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    const double probability = (static_cast<double>(model_counts[i]) + 1) / model_all;
    sum -= static_cast<double>(counts[i]) / all * std::log(probability);
  }
  return sum;
}

}  // namespace sluice
