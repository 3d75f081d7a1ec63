// Every E4M3 and FP16 value against its definition, and exactness of the wider types.
#include "runtime/store/widen.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace sluice::store {
namespace {

template <class Element>
std::vector<float> widened(DType dtype, const std::vector<Element>& stored) {
  std::vector<float> out(stored.size());
  widen(dtype, std::as_bytes(std::span(stored)), out);
  return out;
}

TEST(Widen, E4m3HasNoInfinitiesAndReaches448) {
  const auto values =
      widened<std::uint8_t>(DType::kE4M3, {0x00, 0x01, 0x07, 0x08, 0x38, 0x7e, 0x80, 0xb8, 0xfe});
  const std::vector<float> expected{0,
                                    std::ldexp(1.0f, -9),
                                    std::ldexp(7.0f, -9),
                                    std::ldexp(1.0f, -6),
                                    1.0f,
                                    448.f,
                                    -0.0f,
                                    -1.0f,
                                    -448.f};
  EXPECT_EQ(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)), 0);
  for (const float x : widened<std::uint8_t>(DType::kE4M3, {0x7f, 0xff}))
    EXPECT_TRUE(std::isnan(x));
}

TEST(Widen, E4m3RisesWithItsBits) {
  std::vector<std::uint8_t> bits;
  for (int i = 0; i < 0x7f; ++i) bits.push_back(static_cast<std::uint8_t>(i));
  const auto values = widened(DType::kE4M3, bits);
  for (std::size_t i = 1; i < values.size(); ++i) EXPECT_LT(values[i - 1], values[i]);
}

TEST(Widen, Fp16) {
  const auto values = widened<std::uint16_t>(DType::kF16, {0x0000, 0x0001, 0x03ff, 0x0400, 0x3c00,
                                                           0x3555, 0x7bff, 0x7c00, 0xfc00, 0xc000});
  const std::vector<float> expected{0,
                                    std::ldexp(1.0f, -24),
                                    std::ldexp(1023.0f, -24),
                                    std::ldexp(1.0f, -14),
                                    1.0f,
                                    std::ldexp(1365.0f, -12),
                                    65504.0f,
                                    INFINITY,
                                    -INFINITY,
                                    -2.0f};
  EXPECT_EQ(values, expected);
  EXPECT_TRUE(std::isnan(widened<std::uint16_t>(DType::kF16, {0x7e00})[0]));
}

TEST(Widen, Bf16AndDouble) {
  EXPECT_EQ(widened<std::uint16_t>(DType::kBF16, {0x3f80, 0xc2f7}),
            (std::vector<float>{1.0f, -123.5f}));
  EXPECT_EQ(widened<double>(DType::kF64, {0.1, -3.0}), (std::vector<float>{0.1f, -3.0f}));
}

}  // namespace
}  // namespace sluice::store
