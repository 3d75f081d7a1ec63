// Philox 4x32-10.
#include "kernels/base/random.hpp"

#include <cmath>
#include <numbers>

namespace sluice {

std::array<std::uint32_t, 4> Random::block(std::uint64_t index) const {
  // The counter holds step and index, the key seed and purpose; purpose is mixed into the high key
  // word.
  std::array<std::uint32_t, 4> c{
      static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
      static_cast<std::uint32_t>(step_), static_cast<std::uint32_t>(step_ >> 32)};
  std::uint32_t k0 = static_cast<std::uint32_t>(seed_);
  std::uint32_t k1 = static_cast<std::uint32_t>(seed_ >> 32) ^ (purpose_ * 0x9e3779b9u);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

std::uint64_t Random::bits(std::uint64_t index) const {
  const auto b = block(index);
  return std::uint64_t{b[0]} | std::uint64_t{b[1]} << 32;
}

float Random::uniform(std::uint64_t index) const {
  return static_cast<float>(block(index)[0] >> 8) * 0x1p-24f;
}

std::uint64_t Random::below(std::uint64_t n, std::uint64_t index) const {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits(index)) * n) >> 64);
}

float Random::normal(std::uint64_t index) const {
  const auto b = block(index);
  const double u = (static_cast<double>(b[0]) + 1.0) * 0x1p-32;  // (0, 1]
  const double v = static_cast<double>(b[1]) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v));
}

}  // namespace sluice
