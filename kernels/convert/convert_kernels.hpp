// What each kernel set provides for conversions, and FP16 in plain code.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/convert/convert.hpp"

namespace sluice::kernels {

/// IEEE binary16.
struct F16 {
  std::uint16_t bits = 0;

  [[nodiscard]] static F16 from_float(float value);  ///< nearest, ties to even; NaN becomes quiet
  [[nodiscard]] float to_float() const;              ///< exact; NaN becomes quiet
};

struct ConvertKernels {
  /// `count` elements lie one after the other on both sides.
  void (*run)(const void* from, DType from_type, void* to, DType to_type, std::int64_t count);
};
namespace reference {
extern const ConvertKernels kConvert;
}
namespace avx2 {
extern const ConvertKernels kConvert;
}
namespace avx512 {
extern const ConvertKernels kConvert;
}

}  // namespace sluice::kernels
