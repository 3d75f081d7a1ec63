// The 16-lane contract in plain scalar code: what every kernel set computes, bit for bit.
//
// A reduction over a row puts element i into lane i mod 16, in order of i, and folds the lanes by a
// fixed tree: lane j += lane j+8, then +4, +2, +1. exp and log are our own, so that they do not
// depend on the C library. The build sets -ffp-contract=off: a multiply and an add are fused only
// where std::fma says so.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace sluice::kernels {

inline constexpr int kLanes = 16;
using LaneArray = std::array<float, kLanes>;

[[nodiscard]] inline float fold_sum(LaneArray lanes) {
  for (std::size_t half = 8; half >= 1; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

/// The same tree for the maximum, a > b ? a : b.
[[nodiscard]] inline float fold_max(LaneArray lanes) {
  for (std::size_t half = 8; half >= 1; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) {
      lanes[j] = lanes[j] > lanes[j + half] ? lanes[j] : lanes[j + half];
    }
  }
  return lanes[0];
}

/// A row's sum of products: element i goes to lane i mod 16; the last lanes of a row whose length
/// is no multiple of 16 get zeros.
class LaneSum {
 public:
  void add_product(std::int64_t i, float a, float b) {
    float& lane = lanes_[static_cast<std::size_t>(i % kLanes)];
    lane = std::fma(a, b, lane);
  }
  void add(std::int64_t i, float a) { lanes_[static_cast<std::size_t>(i % kLanes)] += a; }
  /// Of a row of `length` elements.
  [[nodiscard]] float total(std::int64_t length) {
    for (std::int64_t i = length; i % kLanes != 0; ++i) add(i, 0.0f);
    return fold_sum(lanes_);
  }

 private:
  LaneArray lanes_{};
};

/// Coefficients of exp: e^r = 1 + r + r²/2 + ... on |r| <= ln2/2, the upper four fitted to the
/// smallest relative error (4e-9); below 2 units in the last place in all over the clamped range.
struct ExpConstants {
  static constexpr float kLog2E = 1.44269504088896341f;
  static constexpr float kLn2High = 0.693145751953125f;
  static constexpr float kLn2Low = 1.42860682030941723212e-6f;
  static constexpr float kSmallest = -87.0f;  ///< below: 0
  static constexpr float kLargest = 88.0f;    ///< above: e^88, finite
  static constexpr std::array<float, 6> kC{1.3863756e-3f, 8.36751e-3f, 4.1667238e-2f,
                                           1.6666535e-1f, 0.5f,        1.0f};
};

/// e^x for the kernels: 0 below -87, clamped above 88, NaN stays NaN.
[[nodiscard]] inline float lane_exp(float x) {
  using C = ExpConstants;
  const float clamped = x > C::kLargest ? C::kLargest : x;
  if (clamped < C::kSmallest) return 0.0f;
  if (std::isnan(clamped)) return x;
  const float n = std::nearbyint(clamped * C::kLog2E);
  float r = std::fma(-n, C::kLn2High, clamped);
  r = std::fma(-n, C::kLn2Low, r);
  float p = C::kC[0];
  for (std::size_t i = 1; i < C::kC.size(); ++i) p = std::fma(p, r, C::kC[i]);
  p = std::fma(p, r, 1.0f);
  return p * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}

/// 1 / (1 + e^-x).
[[nodiscard]] inline float lane_sigmoid(float x) { return 1.0f / (1.0f + lane_exp(0.0f - x)); }

/// Natural logarithm of a positive finite number, in fp64 without fused operations; error below
/// 1e-15 relative to 1.
[[nodiscard]] inline double lane_log(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // exact
  if (m < 0.70710678118654752440) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1);
  const double s2 = s * s;
  double series = 0;
  for (int k = 23; k >= 1; k -= 2) series = series * s2 + 1.0 / k;
  return 2 * s * series + exponent * 0.69314718055994530942;
}

}  // namespace sluice::kernels
