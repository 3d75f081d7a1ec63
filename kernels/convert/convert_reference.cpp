// Conversions in plain scalar code; whatever the types, a value passes through fp32.
#include <cmath>

#include "kernels/convert/convert_kernels.hpp"
#include "kernels/cpu/elements.hpp"

namespace sluice::kernels {

F16 F16::from_float(float value) {
  const auto u = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (u >> 16) & 0x8000u, m = u & 0x7fffffffu;
  const auto with_sign = [sign](std::uint32_t bits) {
    return F16{static_cast<std::uint16_t>(sign | bits)};
  };
  if (m > 0x7f800000u) return with_sign(0x7e00u | ((m >> 13) & 0x3ffu));  // NaN, made quiet
  if (m >= 0x477ff000u) return with_sign(0x7c00u);  // 65520 and more round to infinity
  if (m < 0x38800000u) {                            // below 2^-14: multiples of 2^-24
    const float magnitude = std::bit_cast<float>(m);
    return with_sign(static_cast<std::uint32_t>(std::nearbyint(magnitude * 0x1p24f)));
  }
  const std::uint32_t rounded = (m + 0xfffu + ((m >> 13) & 1u)) >> 13;
  return with_sign(rounded - ((127u - 15u) << 10));
}

float F16::to_float() const {
  const std::uint32_t sign = (std::uint32_t{bits} & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 31u, fraction = bits & 0x3ffu;
  if (exponent == 31) {
    const std::uint32_t quiet = fraction != 0 ? 0x400000u : 0u;
    return std::bit_cast<float>(sign | 0x7f800000u | quiet | fraction << 13);
  }
  if (exponent == 0) {
    return std::bit_cast<float>(
        std::bit_cast<std::uint32_t>(static_cast<float>(fraction) * 0x1p-24f) | sign);
  }
  return std::bit_cast<float>(sign | (exponent + 112u) << 23 | fraction << 13);
}

namespace reference {
namespace {

float widen(float value) { return value; }
float widen(double value) { return static_cast<float>(value); }
float widen(BF16 value) { return value.to_float(); }
float widen(F16 value) { return value.to_float(); }

template <class To>
To narrow(float value) {
  if constexpr (std::is_arithmetic_v<To>) {
    return value;
  } else {
    return To::from_float(value);
  }
}

template <class F>
void visit_convertible(DType dtype, F&& f) {
  if (dtype == DType::kF64) return f(double{});
  if (dtype == DType::kF16) return f(F16{});
  visit_element(dtype, f);
}

void run(const void* from, DType from_type, void* to, DType to_type, std::int64_t count) {
  visit_convertible(from_type, [&]<class From>(From) {
    visit_convertible(to_type, [&]<class To>(To) {
      const auto* source = static_cast<const From*>(from);
      auto* target = static_cast<To*>(to);
      for (std::int64_t i = 0; i < count; ++i) {
        if constexpr (std::is_same_v<From, To>) {
          target[i] = source[i];
        } else {
          target[i] = narrow<To>(widen(source[i]));
        }
      }
    });
  });
}

}  // namespace

const ConvertKernels kConvert{run};

}  // namespace reference
}  // namespace sluice::kernels
