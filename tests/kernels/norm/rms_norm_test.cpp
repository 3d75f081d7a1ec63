// RMSNorm and the residual: the reference against the formula in fp64 and finite differences, every
// kernel set against the reference, bit for bit.
#include "kernels/norm/rms_norm.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/compute_contexts.hpp"
#include "tests/support/finite_difference.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::all_close;
using test::TestContext;
using test::TestMatrix;
using test::Tolerance;
using Doubles = std::span<const double>;

constexpr float kEpsilon = 1e-6f;
constexpr Tolerance kFp32{1e-5, 1e-5, 1e-6};
constexpr Tolerance kBf16{1e-3, 5e-3, 4e-3};

struct Shape2 {
  std::int64_t rows, columns;
};
constexpr Shape2 kShapes[] = {{1, 1},   {3, 5},     {2, 16},   {7, 33},
                              {5, 100}, {300, 257}, {3, 1031}, {0, 64}};

std::vector<double> inverse_rms(Doubles x, std::int64_t columns) {
  const auto n = static_cast<std::size_t>(columns);
  std::vector<double> out;
  for (std::size_t row = 0; row < x.size(); row += n) {
    const Doubles values = x.subspan(row, n);
    out.push_back(1 / std::sqrt(test::dot(values, values) / static_cast<double>(n) + 1e-6));
  }
  return out;
}

std::vector<double> formula(Doubles x, Doubles weight) {
  const std::vector<double> inverse = inverse_rms(x, static_cast<std::int64_t>(weight.size()));
  std::vector<double> y;
  for (std::size_t i = 0; i < x.size(); ++i)
    y.push_back(x[i] * inverse[i / weight.size()] * weight[i % weight.size()]);
  return y;
}

struct Types {
  DType activation, weight;
};
class RmsNorm : public testing::TestWithParam<Types> {
 protected:
  TestMatrix activations(Shape2 s, std::uint64_t seed) const {
    return TestMatrix::random(GetParam().activation, s.rows, s.columns, seed);
  }
  TestMatrix weights(Shape2 s) const {
    return TestMatrix::random(GetParam().weight, 1, s.columns, 99);
  }
  Tolerance tolerance() const { return GetParam().activation == DType::kF32 ? kFp32 : kBf16; }
};
INSTANTIATE_TEST_SUITE_P(Types, RmsNorm,
                         testing::Values(Types{DType::kF32, DType::kF32},
                                         Types{DType::kBF16, DType::kF32},
                                         Types{DType::kBF16, DType::kBF16}),
                         [](const auto& info) {
                           return std::string(name_of(info.param.activation)) + "Weight" +
                                  std::string(name_of(info.param.weight));
                         });

TEST_P(RmsNorm, ForwardFollowsTheFormula) {
  for (const Shape2 s : kShapes) {
    const TestMatrix x = activations(s, 1), weight = weights(s);
    TestMatrix y(GetParam().activation, s.rows, s.columns);
    TestMatrix inverse = TestMatrix::vector(s.rows);
    rms_norm(TestContext(), x.view(), weight.view(), kEpsilon, y.view(), inverse.values());
    EXPECT_TRUE(all_close(formula(x.doubles(), weight.doubles()), y.view(), tolerance()));
    if (s.rows == 0) continue;
    // The statistics are fp32 whatever the activations.
    EXPECT_TRUE(all_close(inverse_rms(x.doubles(), s.columns), inverse.view(), kFp32));
  }
}

TEST_P(RmsNorm, SetsAndThreadsAgreeToTheBit) {
  for (const Shape2 s : kShapes) {
    test::expect_same_bits([&](const ComputeContext& context) {
      const TestMatrix x = activations(s, 1), dy = activations(s, 2), weight = weights(s);
      TestMatrix y(GetParam().activation, s.rows, s.columns), dx = activations(s, 3),
                                                              dx_added = dx.clone();
      TestMatrix inverse = TestMatrix::vector(s.rows);
      TestMatrix dweight = TestMatrix::random_vector(s.columns, 4);
      rms_norm(context, x.view(), weight.view(), kEpsilon, y.view(), inverse.values());
      rms_norm_backward_input(context, x.view(), weight.view(), inverse.values(), dy.view(),
                              dx.view(), false);
      rms_norm_backward_input(context, x.view(), weight.view(), inverse.values(), dy.view(),
                              dx_added.view(), true);
      rms_norm_backward_weight(context, x.view(), inverse.values(), dy.view(), dweight.values());
      TestMatrix sum(GetParam().activation, s.rows, s.columns);
      add(context, x.view(), dy.view(), sum.view());
      return std::vector<TestMatrix>{y, inverse, dx, dx_added, dweight, sum};
    });
  }
}

TEST_P(RmsNorm, GradientsFollowFiniteDifferences) {
  const Shape2 s{3, 37};
  const TestMatrix x = activations(s, 1), dy = activations(s, 2), weight = weights(s);
  TestMatrix y(GetParam().activation, s.rows, s.columns), dx = y.clone();
  TestMatrix inverse = TestMatrix::vector(s.rows), dweight = TestMatrix::vector(s.columns);
  const TestContext context;
  rms_norm(context, x.view(), weight.view(), kEpsilon, y.view(), inverse.values());
  rms_norm_backward_input(context, x.view(), weight.view(), inverse.values(), dy.view(), dx.view(),
                          false);
  rms_norm_backward_weight(context, x.view(), inverse.values(), dy.view(), dweight.values());
  const std::vector<double> d = dy.doubles(), w = weight.doubles(), v = x.doubles();
  EXPECT_TRUE(
      all_close(test::numeric_gradient([&](Doubles at) { return test::dot(d, formula(at, w)); }, v),
                dx.view(), tolerance()));
  EXPECT_TRUE(
      all_close(test::numeric_gradient([&](Doubles at) { return test::dot(d, formula(v, at)); }, w),
                dweight.view(), tolerance()));
}

TEST_P(RmsNorm, BackwardAddsToWhatIsThere) {
  const Shape2 s{4, 21};
  const TestMatrix x = activations(s, 1), dy = activations(s, 2), weight = weights(s);
  const TestMatrix inverse = TestMatrix::random_vector(s.rows, 5);
  const TestContext context;
  TestMatrix fresh(GetParam().activation, s.rows, s.columns), added = activations(s, 3);
  std::vector<double> want = added.doubles();
  rms_norm_backward_input(context, x.view(), weight.view(), inverse.values(), dy.view(),
                          fresh.view(), false);
  rms_norm_backward_input(context, x.view(), weight.view(), inverse.values(), dy.view(),
                          added.view(), true);
  for (std::size_t i = 0; i < want.size(); ++i) want[i] += fresh.doubles()[i];
  EXPECT_TRUE(all_close(want, added.view(),
                        GetParam().activation == DType::kF32 ? Tolerance{1e-6, 1e-6, 1e-6}
                                                             : Tolerance{1e-2, 1e-2, 1e-2}));
}

// A second call goes on with the chain of the first: two halves of a batch give what the whole one
// gives.
TEST(RmsNormWeight, GradientOfHalvesIsThatOfTheWhole) {
  const TestMatrix x = TestMatrix::random(DType::kF32, 10, 30, 1);
  const TestMatrix dy = TestMatrix::random(DType::kF32, 10, 30, 2);
  const TestMatrix inverse = TestMatrix::random_vector(10, 3);
  TestMatrix whole = TestMatrix::vector(30), halves = whole.clone();
  const TestContext context;
  rms_norm_backward_weight(context, x.view(), inverse.values(), dy.view(), whole.values());
  for (const std::int64_t first : {0, 5}) {
    rms_norm_backward_weight(context, x.view().rows_from(first, 5),
                             inverse.values().subspan(static_cast<std::size_t>(first), 5),
                             dy.view().rows_from(first, 5), halves.values());
  }
  EXPECT_TRUE(test::same_bits(whole.view(), halves.view()));
}

TEST(Add, InPlace) {
  test::for_each_context([](const TestContext& context) {
    const TestMatrix a = TestMatrix::random(DType::kBF16, 3, 19, 1);
    TestMatrix b = TestMatrix::random(DType::kBF16, 3, 19, 2);
    const TestMatrix before = b.clone();
    add(context, a.view(), b.view(), b.view());
    for (std::int64_t r = 0; r < 3; ++r) {
      for (std::int64_t c = 0; c < 19; ++c) {
        EXPECT_EQ(b.at(r, c), BF16::from_float(a.at(r, c) + before.at(r, c)).to_float());
      }
    }
  });
}

TEST(RmsNormCheck, RefusesOtherShapes) {
  const TestMatrix x(DType::kF32, 2, 4), weight(DType::kF32, 1, 5);
  TestMatrix y(DType::kF32, 2, 4);
  EXPECT_DEATH(rms_norm(TestContext(), x.view(), weight.view(), kEpsilon, y.view(), {}), "weight");
}

}  // namespace
}  // namespace sluice::kernels
