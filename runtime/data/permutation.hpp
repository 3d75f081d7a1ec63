// A shuffle without memory: where index i of n goes, for any n up to 2^62.
//
// A Feistel network on the smallest even number of bits that holds n, walked until it lands below n
// ("cycle walking": Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). Its round
// functions are counter-based random numbers, so order is a pure function of (seed, epoch).
#pragma once

#include <cstdint>

#include "kernels/base/random.hpp"

namespace sluice {

class Permutation {
 public:
  /// Of 0..count-1, count >= 1.
  Permutation(std::uint64_t count, std::uint64_t seed, std::uint64_t epoch);

  /// A bijection of 0..count-1; index < count.
  [[nodiscard]] std::uint64_t operator()(std::uint64_t index) const;

 private:
  [[nodiscard]] std::uint64_t shuffle_bits(std::uint64_t value) const;

  std::uint64_t count_;
  int half_bits_;
  Random random_;
};

}  // namespace sluice
