// Counter-based random numbers: a value depends on (seed, purpose, step, index) alone, never on who
// asked before.
//
// Philox 4x32 with 10 rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1,
// 2, 3", SC'11).
#pragma once

#include <array>
#include <cstdint>

namespace sluice {

/// What a stream is for. New purposes go to the end: the number is part of every result.
enum class RandomPurpose : std::uint32_t {
  kInitialization,
  kShuffle,
  kFim,
  kSampling,
  kTest,
  kBench,
  kSimulation
};

class Random {
 public:
  Random(std::uint64_t seed, RandomPurpose purpose, std::uint64_t step = 0)
      : seed_(seed), purpose_(static_cast<std::uint32_t>(purpose)), step_(step) {}

  /// 128 random bits of `index` (index < 2^32).
  [[nodiscard]] std::array<std::uint32_t, 4> block(std::uint64_t index) const;
  [[nodiscard]] std::uint64_t bits(std::uint64_t index) const;
  /// In [0, 1), 24 bits.
  [[nodiscard]] float uniform(std::uint64_t index) const;
  /// In [0, n), n >= 1, without modulo bias beyond 2^-64.
  [[nodiscard]] std::uint64_t below(std::uint64_t n, std::uint64_t index) const;
  /// Standard normal (Box-Muller in double precision, rounded to float).
  [[nodiscard]] float normal(std::uint64_t index) const;

 private:
  std::uint64_t seed_;
  std::uint32_t purpose_;
  std::uint64_t step_;
};

}  // namespace sluice
