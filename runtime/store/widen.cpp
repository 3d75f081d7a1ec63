// Element decoding for loading; not a kernel: it runs once, on unaligned bytes of a file.
#include "runtime/store/widen.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/base/check.hpp"

namespace sluice::store {
namespace {

// A small binary float: sign, `exponent_bits`, `fraction_bits`; no infinities when `finite`.
float decode_small(unsigned bits, int exponent_bits, int fraction_bits, bool finite) {
  const int exponent_max = (1 << exponent_bits) - 1;
  const int bias = exponent_max / 2;
  const int exponent = static_cast<int>(bits >> fraction_bits) & exponent_max;
  const int fraction = static_cast<int>(bits) & ((1 << fraction_bits) - 1);
  const float sign = (bits >> (exponent_bits + fraction_bits) & 1) != 0 ? -1.0f : 1.0f;
  if (exponent == exponent_max && (!finite || fraction == (1 << fraction_bits) - 1)) {
    return !finite && fraction == 0 ? sign * std::numeric_limits<float>::infinity()
                                    : std::numeric_limits<float>::quiet_NaN();
  }
  const int significand = exponent == 0 ? fraction : fraction | 1 << fraction_bits;
  const int power = (exponent == 0 ? 1 : exponent) - bias - fraction_bits;
  return sign * std::ldexp(static_cast<float>(significand), power);
}

const std::array<float, 256>& e4m3_values() {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> table{};
    for (unsigned bits = 0; bits < 256; ++bits) table[bits] = decode_small(bits, 4, 3, true);
    return table;
  }();
  return values;
}

template <class Element, class Convert>
void widen_each(std::span<const std::byte> stored, std::span<float> out, Convert convert) {
  SLUICE_CHECK_EQ(stored.size(), out.size() * sizeof(Element));
  for (std::size_t i = 0; i < out.size(); ++i) {
    Element element;
    std::memcpy(&element, stored.data() + i * sizeof(Element), sizeof(Element));
    out[i] = convert(element);
  }
}

}  // namespace

bool can_widen(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 ||
         dtype == DType::kF64 || dtype == DType::kE4M3;
}

void widen(DType dtype, std::span<const std::byte> stored, std::span<float> out) {
  switch (dtype) {
    case DType::kF32: return widen_each<float>(stored, out, [](float x) { return x; });
    case DType::kF64:
      return widen_each<double>(stored, out, [](double x) { return static_cast<float>(x); });
    case DType::kBF16:
      return widen_each<std::uint16_t>(stored, out,
                                       [](std::uint16_t x) { return BF16{x}.to_float(); });
    case DType::kF16:
      return widen_each<std::uint16_t>(
          stored, out, [](std::uint16_t x) { return decode_small(x, 5, 10, false); });
    case DType::kE4M3: {
      const auto& values = e4m3_values();
      return widen_each<std::uint8_t>(stored, out, [&values](std::uint8_t x) { return values[x]; });
    }
    default: SLUICE_CHECK(false, "{} is not a floating dtype", name_of(dtype));
  }
}

}  // namespace sluice::store
