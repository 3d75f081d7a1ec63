// Element types, with their names in safetensors files, and bfloat16.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

enum class DType : std::uint8_t { kF32, kBF16, kF16, kE4M3, kI32, kI64, kU8, kF64 };

/// Bytes of one element.
[[nodiscard]] std::size_t size_of(DType dtype);
/// Name as in a safetensors header: "F32", "BF16", "F8_E4M3", ...
[[nodiscard]] std::string_view name_of(DType dtype);
[[nodiscard]] std::optional<DType> dtype_from_name(std::string_view name);

/// The upper 16 bits of an fp32.
struct BF16 {
  std::uint16_t bits = 0;

  [[nodiscard]] static BF16 from_float(
      float value) {  // round to nearest, ties to even; NaN stays NaN
    const auto u = std::bit_cast<std::uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((u >> 16) | 0x40u)};
    return {static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
  }
  [[nodiscard]] float to_float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

template <class T>
inline constexpr DType kDTypeOf = [] { static_assert(sizeof(T) == 0, "no dtype for T"); }();
template <>
inline constexpr DType kDTypeOf<float> = DType::kF32;
template <>
inline constexpr DType kDTypeOf<BF16> = DType::kBF16;
template <>
inline constexpr DType kDTypeOf<std::int32_t> = DType::kI32;
template <>
inline constexpr DType kDTypeOf<std::int64_t> = DType::kI64;
template <>
inline constexpr DType kDTypeOf<std::uint8_t> = DType::kU8;
template <>
inline constexpr DType kDTypeOf<double> = DType::kF64;

}  // namespace sluice
