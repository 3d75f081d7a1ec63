// Conversions: checks, the split over rows or elements, and FP8 by blocks (plain code for all
// kernel sets: it runs when files are read and written).
#include "kernels/convert/convert.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "kernels/convert/convert_kernels.hpp"
#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/kernel_set.hpp"
#include "kernels/cpu/profile.hpp"

namespace sluice::kernels {
namespace {

constexpr std::int64_t kBlock = 128;
constexpr float kE4M3Largest = 448.0f;
constexpr float kBlockLargestMin = 1e-4f;  // a block of zeros still has a finite scale

std::array<float, 256> make_e4m3_table() {
  std::array<float, 256> table{};
  for (std::uint32_t bits = 0; bits < 256; ++bits) {
    const std::uint32_t exponent = (bits >> 3) & 15u, mantissa = bits & 7u;
    const float fraction = static_cast<float>(mantissa) / 8.0f;
    float magnitude = exponent == 0 ? std::ldexp(fraction, -6)
                                    : std::ldexp(1.0f + fraction, static_cast<int>(exponent) - 7);
    if ((bits & 0x7fu) == 0x7fu) magnitude = std::bit_cast<float>(0x7fc00000u);
    table[bits] = std::copysign(magnitude, (bits & 0x80u) != 0 ? -1.0f : 1.0f);
  }
  return table;
}

bool contiguous(const TensorView& view) {
  return view.rows <= 1 || view.row_stride == view.columns;
}

void check_convertible(DType dtype) {
  SLUICE_CHECK(
      dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF64,
      "no conversion of {}", name_of(dtype));
}

void check_blocks(const TensorView& full, const TensorView& w, const TensorView& scale_inv) {
  check_same_shape(full, w);
  SLUICE_CHECK(w.dtype == DType::kE4M3, "weights of {}", name_of(w.dtype));
  SLUICE_CHECK_EQ(scale_inv.rows, (w.rows + kBlock - 1) / kBlock);
  SLUICE_CHECK_EQ(scale_inv.columns, (w.columns + kBlock - 1) / kBlock);
}

MatrixView<std::uint8_t> e4m3_bytes(const TensorView& view) {
  return {static_cast<std::uint8_t*>(view.data), view.rows, view.columns, view.row_stride};
}

void quantize_block(MatrixView<const float> in, MatrixView<std::uint8_t> w, float& scale_inv) {
  float largest = kBlockLargestMin;
  for (std::int64_t r = 0; r < in.rows; ++r) {
    for (std::int64_t c = 0; c < in.columns; ++c) {
      largest = std::max(largest, std::abs(in.row(r)[c]));
    }
  }
  scale_inv = largest / kE4M3Largest;
  for (std::int64_t r = 0; r < in.rows; ++r) {
    for (std::int64_t c = 0; c < in.columns; ++c) {
      w.row(r)[c] = float_to_e4m3(in.row(r)[c] / scale_inv);
    }
  }
}

}  // namespace

void convert(const ComputeContext& context, TensorView from, TensorView to) {
  check_convertible(from.dtype);
  check_convertible(to.dtype);
  check_same_shape(from, to);
  const ProfileScope profile(context, "convert");
  const ConvertKernels& kernels =
      select(context.isa, reference::kConvert, avx2::kConvert, avx512::kConvert);
  if (contiguous(from) && contiguous(to)) {
    from = {from.data, from.dtype, from.rows * from.columns, 1, 1};
    to = {to.data, to.dtype, to.rows * to.columns, 1, 1};
    context.team->parallel_for(from.rows, grain_rows(1),
                               [&](std::int64_t first, std::int64_t last) {
                                 kernels.run(from.rows_from(first, 1).data, from.dtype,
                                             to.rows_from(first, 1).data, to.dtype, last - first);
                               });
    return;
  }
  context.team->parallel_for(from.rows, grain_rows(from.columns),
                             [&](std::int64_t first, std::int64_t last) {
                               for (std::int64_t r = first; r < last; ++r) {
                                 kernels.run(from.rows_from(r, 1).data, from.dtype,
                                             to.rows_from(r, 1).data, to.dtype, from.columns);
                               }
                             });
}

float e4m3_to_float(std::uint8_t bits) {
  static const std::array<float, 256> table = make_e4m3_table();
  return table[bits];
}

std::uint8_t float_to_e4m3(float value) {
  const auto u = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>((u >> 24) & 0x80u);
  const float magnitude = std::abs(value);
  if (std::isnan(value)) return sign | 0x7fu;
  if (magnitude >= kE4M3Largest) return sign | 0x7eu;
  if (magnitude < 0x1p-6f) {  // subnormal: multiples of 2^-9; 8 of them are the smallest normal
    return sign | static_cast<std::uint8_t>(std::nearbyint(magnitude * 0x1p9f));
  }
  // Keep 3 of 23 fraction bits, to nearest even; a carry runs into the exponent as it should.
  const std::uint32_t m = u & 0x7fffffffu;
  const std::uint32_t rounded = (m + 0x7ffffu + ((m >> 20) & 1u)) >> 20;
  return sign | static_cast<std::uint8_t>(rounded - ((127u - 7u) << 3));
}

void dequantize_blocks(const ComputeContext& context, TensorView w, TensorView scale_inv,
                       TensorView out) {
  check_blocks(out, w, scale_inv);
  const auto to = out.as<float>();
  const auto scales = scale_inv.as<const float>();
  const auto bytes = e4m3_bytes(w);
  const ProfileScope profile(context, "dequantize_blocks");
  context.team->parallel_for(
      w.rows, grain_rows(w.columns), [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t r = first; r < last; ++r) {
          for (std::int64_t c = 0; c < w.columns; ++c) {
            to.row(r)[c] = e4m3_to_float(bytes.row(r)[c]) * scales.row(r / kBlock)[c / kBlock];
          }
        }
      });
}

void quantize_blocks(const ComputeContext& context, TensorView in, TensorView w,
                     TensorView scale_inv) {
  check_blocks(in, w, scale_inv);
  const auto from = in.as<const float>();
  const auto scales = scale_inv.as<float>();
  const auto bytes = e4m3_bytes(w);
  const ProfileScope profile(context, "quantize_blocks");
  context.team->parallel_for(scales.rows, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t br = first; br < last; ++br) {
      const std::int64_t row = br * kBlock, rows = std::min(kBlock, from.rows - row);
      for (std::int64_t bc = 0; bc < scales.columns; ++bc) {
        const std::int64_t column = bc * kBlock, columns = std::min(kBlock, from.columns - column);
        quantize_block(from.rows_from(row, rows).columns_from(column, columns),
                       bytes.rows_from(row, rows).columns_from(column, columns),
                       scales.row(br)[bc]);
      }
    }
  });
}

}  // namespace sluice::kernels
