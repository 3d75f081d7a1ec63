// Six rounds on two halves.
#include "runtime/data/permutation.hpp"

#include <bit>

#include "kernels/base/check.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t kRounds = 6;

}  // namespace

Permutation::Permutation(std::uint64_t count, std::uint64_t seed, std::uint64_t epoch)
    : count_(count),
      half_bits_((std::bit_width(count - 1) + 1) / 2),
      random_(seed, RandomPurpose::kShuffle, epoch) {
  SLUICE_CHECK_GE(count, 1u);
  SLUICE_CHECK_LE(half_bits_, 31);
}

std::uint64_t Permutation::shuffle_bits(std::uint64_t value) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_, right = value & mask;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    const std::uint64_t mixed = left ^ (random_.bits(right * kRounds + round) & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits_ | right;
}

std::uint64_t Permutation::operator()(std::uint64_t index) const {
  SLUICE_CHECK_LT(index, count_);
  do {
    index = shuffle_bits(index);
  } while (index >= count_);
  return index;
}

}  // namespace sluice
