// Conversions: every code of the narrow types, rounding against the nearest of all codes, FP8
// blocks, and every kernel set bit for bit.
#include "kernels/convert/convert.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/base/random.hpp"
#include "tests/support/compute_contexts.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::TestContext;
using test::TestMatrix;

// All bit patterns of a type of 16 bits.
Tensor all_codes(DType dtype) {
  Tensor codes = Tensor::zeros(dtype, {1, 65536});
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto code = static_cast<std::uint16_t>(i);
    std::memcpy(codes.bytes() + 2 * i, &code, 2);
  }
  return codes;
}

std::uint16_t code_at(const Tensor& tensor, std::size_t i) {
  std::uint16_t code = 0;
  std::memcpy(&code, tensor.bytes() + 2 * i, 2);
  return code;
}

// From the definition of binary16.
double f16_value(std::uint32_t code) {
  const int exponent = static_cast<int>((code >> 10) & 31u);
  const double fraction = static_cast<double>(code & 0x3ffu) / 1024;
  const double sign = (code & 0x8000u) != 0 ? -1 : 1;
  if (exponent == 31) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  }
  return sign *
         (exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15));
}

TEST(Convert, WidensEveryCodeExactlyAndBack) {
  for (const DType narrow : {DType::kF16, DType::kBF16}) {
    const Tensor codes = all_codes(narrow);
    test::for_each_context([&](const TestContext& context) {
      const Tensor wide = Tensor::zeros(DType::kF32, {1, 65536}),
                   back = Tensor::zeros(narrow, {1, 65536});
      convert(context, codes.view(), wide.view());
      convert(context, wide.view(), back.view());
      for (std::size_t i = 0; i < 65536; ++i) {
        const float value = wide.values<float>()[i];
        const double want =
            narrow == DType::kF16
                ? f16_value(static_cast<std::uint32_t>(i))
                : static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(i) << 16));
        if (std::isnan(want)) {
          ASSERT_TRUE(std::isnan(value)) << i;
        } else {
          ASSERT_EQ(static_cast<double>(value), want) << i;
          ASSERT_EQ(code_at(back, i), i);
        }
      }
    });
  }
}

// Values that lie between, on and just beside the codes, and beyond the largest.
std::vector<float> floats_around(std::span<const float> codes) {
  std::vector<float> values;
  for (std::size_t i = 0; i + 1 < codes.size(); ++i) {
    const float middle = codes[i] + (codes[i + 1] - codes[i]) / 2;  // exact: one bit more
    for (const float value : {codes[i], middle}) {
      for (const float beside :
           {value, std::nextafter(value, 1e9f), std::nextafter(value, -1e9f)}) {
        values.push_back(beside);
        values.push_back(-beside);
      }
    }
  }
  return values;
}

// The nearest of rising `codes` (index = bit pattern); the even one of two that are equally near.
std::size_t nearest(std::span<const float> codes, float magnitude) {
  const auto above = std::lower_bound(codes.begin(), codes.end(), magnitude) - codes.begin();
  const auto high = static_cast<std::size_t>(above);
  if (high == codes.size()) return high - 1;
  if (high == 0) return 0;
  const double to_high = static_cast<double>(codes[high]) - static_cast<double>(magnitude);
  const double to_low = static_cast<double>(magnitude) - static_cast<double>(codes[high - 1]);
  if (to_high != to_low) return to_high < to_low ? high : high - 1;
  return high % 2 == 0 ? high : high - 1;
}

TEST(Convert, NarrowsToTheNearestF16) {
  std::vector<float> codes;
  for (std::uint32_t code = 0; code < 0x7c00; ++code)
    codes.push_back(static_cast<float>(f16_value(code)));
  std::vector<float> values = floats_around(codes);
  codes.push_back(65536.0f);  // infinity takes the place of the next code
  for (const float value :
       {65519.99f, 65520.0f, 65536.0f, 1e30f, std::numeric_limits<float>::infinity()}) {
    values.push_back(value);
  }
  const auto n = static_cast<std::int64_t>(values.size());
  const Tensor from = Tensor::from<float>(values, {1, n});
  test::for_each_context([&](const TestContext& context) {
    const Tensor to = Tensor::zeros(DType::kF16, {1, n});
    convert(context, from.view(), to.view());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t want = nearest(codes, std::min(65536.0f, std::abs(values[i])));
      ASSERT_EQ(code_at(to, i), want | (std::signbit(values[i]) ? 0x8000u : 0u)) << values[i];
    }
  });
}

TEST(Convert, SetsAgreeOnAnyBits) {
  const Random random(1, RandomPurpose::kTest);
  const DType types[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kF64};
  for (const DType from : types) {
    const Tensor source = Tensor::zeros(from, {6, 1001});
    for (std::size_t i = 0; i < source.size_bytes() / 4; ++i) {
      const auto bits = static_cast<std::uint32_t>(random.bits(i));
      std::memcpy(source.bytes() + 4 * i, &bits, 4);
    }
    for (const DType to : types) {
      for (const std::int64_t columns : {1001, 37}) {  // contiguous rows, and rows apart
        TensorView in = source.view();
        in.columns = columns;
        const Tensor want = Tensor::zeros(to, {6, 1001});
        TensorView out = want.view();
        out.columns = columns;
        convert(TestContext(), in, out);
        test::for_each_context([&](const TestContext& context) {
          const Tensor got = Tensor::zeros(to, {6, 1001});
          TensorView view = got.view();
          view.columns = columns;
          convert(context, in, view);
          EXPECT_EQ(0, std::memcmp(want.bytes(), got.bytes(), want.size_bytes()))
              << name_of(from) << " to " << name_of(to);
        });
      }
    }
  }
}

TEST(Convert, TakesNothing) {
  TestMatrix from(DType::kF32, 0, 5), to(DType::kBF16, 0, 5);
  convert(TestContext(), from.view(), to.view());
}

// From the definition of E4M3: bias 7, no infinities, only 0x7f is NaN.
std::vector<float> e4m3_codes() {
  std::vector<float> codes;
  for (int code = 0; code < 127; ++code) {
    const int exponent = code / 8, fraction = code % 8;
    codes.push_back(static_cast<float>(exponent == 0
                                           ? std::ldexp(fraction / 8.0, -6)
                                           : std::ldexp(1 + fraction / 8.0, exponent - 7)));
  }
  return codes;
}

TEST(E4M3, EveryCode) {
  const std::vector<float> codes = e4m3_codes();
  for (std::uint32_t code = 0; code < 256; ++code) {
    const auto bits = static_cast<std::uint8_t>(code);
    const float value = e4m3_to_float(bits);
    if (code % 128 == 127) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_EQ(float_to_e4m3(value) & 0x7f, 0x7f);
      continue;
    }
    EXPECT_EQ(std::abs(value), codes[code % 128]);
    EXPECT_EQ(std::signbit(value), code >= 128);
    EXPECT_EQ(float_to_e4m3(value), bits);
  }
}

TEST(E4M3, RoundsToTheNearest) {
  const std::vector<float> codes = e4m3_codes();
  std::vector<float> values = floats_around(codes);
  const Random random(2, RandomPurpose::kTest);
  for (std::uint64_t i = 0; i < 200000; ++i) {
    const float scale = std::ldexp(1.0f, static_cast<int>(random.below(24, i)) - 13);
    values.push_back(random.normal(i) * scale);
  }
  for (const float value : {447.9f, 448.1f, 1e9f, std::numeric_limits<float>::infinity(), 1e-40f}) {
    values.push_back(value);
    values.push_back(-value);
  }
  for (const float value : values) {
    const std::size_t want = nearest(codes, std::abs(value));
    ASSERT_EQ(float_to_e4m3(value), want | (std::signbit(value) ? 0x80u : 0u)) << value;
  }
}

TEST(Blocks, QuantizeAndBack) {
  for (const auto& [rows, columns] :
       {std::pair<std::int64_t, std::int64_t>{1, 1}, {128, 128}, {130, 257}, {300, 70}}) {
    const TestMatrix in = TestMatrix::random(DType::kF32, rows, columns, 1);
    const std::int64_t block_rows = (rows + 127) / 128, block_columns = (columns + 127) / 128;
    for (std::int64_t r = 0; r < rows; ++r) {  // blocks of very different size
      for (std::int64_t c = 0; c < columns; ++c) {
        in.set(r, c,
               in.at(r, c) * std::ldexp(1.0f, static_cast<int>(7 * (r / 128) - 5 * (c / 128))));
      }
    }
    test::for_each_context([&, rows = rows, columns = columns](const TestContext& context) {
      const Tensor w = Tensor::zeros(DType::kE4M3, {rows, columns});
      const TestMatrix scale(DType::kF32, block_rows, block_columns);
      TestMatrix out(DType::kF32, rows, columns);
      quantize_blocks(context, in.view(), w.view(), scale.view());
      dequantize_blocks(context, w.view(), scale.view(), out.view());
      for (std::int64_t br = 0; br < block_rows; ++br) {
        for (std::int64_t bc = 0; bc < block_columns; ++bc) {
          float largest = 0;
          for (std::int64_t r = br * 128; r < std::min(rows, br * 128 + 128); ++r) {
            for (std::int64_t c = bc * 128; c < std::min(columns, bc * 128 + 128); ++c) {
              largest = std::max(largest, std::abs(in.at(r, c)));
              const float step = std::max(std::abs(in.at(r, c)) / 16, scale.at(br, bc) * 0x1p-10f);
              ASSERT_LE(std::abs(out.at(r, c) - in.at(r, c)), step * 1.001f);
            }
          }
          EXPECT_EQ(scale.at(br, bc), std::max(largest, 1e-4f) / 448.0f);
        }
      }
      EXPECT_TRUE(out.guards_intact() && scale.guards_intact());
    });
  }
}

TEST(Blocks, ZerosStayZeros) {
  const TestMatrix in(DType::kF32, 4, 4), scale(DType::kF32, 1, 1), out(DType::kF32, 4, 4);
  const Tensor w = Tensor::zeros(DType::kE4M3, {4, 4});
  quantize_blocks(TestContext(), in.view(), w.view(), scale.view());
  dequantize_blocks(TestContext(), w.view(), scale.view(), out.view());
  EXPECT_TRUE(test::same_bits(in.view(), out.view()));
}

}  // namespace
}  // namespace sluice::kernels
