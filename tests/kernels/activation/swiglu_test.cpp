// SwiGLU: the reference against the formula in fp64 and finite differences, every kernel set
// against the reference, bit for bit.
#include "kernels/activation/swiglu.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/compute_contexts.hpp"
#include "tests/support/finite_difference.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::TestContext;
using test::TestMatrix;
using Doubles = std::span<const double>;

// gate_up [rows, 2n] -> [rows, n]
std::vector<double> formula(Doubles gate_up, Doubles row_weight, std::size_t n) {
  std::vector<double> y;
  for (std::size_t r = 0; r < row_weight.size(); ++r) {
    for (std::size_t i = 0; i < n; ++i) {
      const double gate = gate_up[r * 2 * n + i], up = gate_up[r * 2 * n + n + i];
      y.push_back(gate / (1 + std::exp(-gate)) * up * row_weight[r]);
    }
  }
  return y;
}

struct Sizes {
  std::int64_t rows, columns;
};
constexpr Sizes kSizes[] = {{1, 1}, {3, 5}, {4, 16}, {2, 47}, {150, 128}, {3, 700}, {0, 32}};

class SwiGlu : public testing::TestWithParam<DType> {
 protected:
  test::Tolerance tolerance() const {
    return GetParam() == DType::kF32 ? test::Tolerance{2e-6, 2e-6, 1e-6}
                                     : test::Tolerance{1e-3, 5e-3, 4e-3};
  }
};
INSTANTIATE_TEST_SUITE_P(Types, SwiGlu, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST_P(SwiGlu, ForwardFollowsTheFormula) {
  for (const Sizes s : kSizes) {
    for (const bool weighted : {false, true}) {
      const TestMatrix x = TestMatrix::random(GetParam(), s.rows, 2 * s.columns, 1, 3);
      const TestMatrix weight = TestMatrix::random_vector(s.rows, 2);
      TestMatrix y(GetParam(), s.rows, s.columns);
      swiglu(TestContext(), x.view(), weighted ? weight.values() : std::span<float>(), y.view());
      const std::vector<double> ones(static_cast<std::size_t>(s.rows), 1.0);
      const auto want = formula(x.doubles(), weighted ? weight.doubles() : ones,
                                static_cast<std::size_t>(s.columns));
      EXPECT_TRUE(test::all_close(want, y.view(), tolerance()));
    }
  }
}

TEST_P(SwiGlu, GradientsFollowFiniteDifferences) {
  const Sizes s{4, 21};
  const TestMatrix x = TestMatrix::random(GetParam(), s.rows, 2 * s.columns, 1, 2);
  const TestMatrix dy = TestMatrix::random(GetParam(), s.rows, s.columns, 3);
  const TestMatrix weight = TestMatrix::random_vector(s.rows, 2);
  TestMatrix dx(GetParam(), s.rows, 2 * s.columns), dweight = TestMatrix::vector(s.rows);
  swiglu_backward(TestContext(), x.view(), weight.values(), dy.view(), dx.view(), dweight.values());
  const std::vector<double> v = x.doubles(), w = weight.doubles(), d = dy.doubles();
  const auto loss = [&](Doubles x_at, Doubles w_at) {
    return test::dot(d, formula(x_at, w_at, static_cast<std::size_t>(s.columns)));
  };
  EXPECT_TRUE(test::all_close(test::numeric_gradient([&](Doubles at) { return loss(at, w); }, v),
                              dx.view(), tolerance()));
  EXPECT_TRUE(test::all_close(test::numeric_gradient([&](Doubles at) { return loss(v, at); }, w),
                              dweight.view(), {1e-5, 1e-5, 1e-5}));
}

TEST_P(SwiGlu, SetsAndThreadsAgreeToTheBit) {
  for (const Sizes s : kSizes) {
    for (const bool weighted : {false, true}) {
      test::expect_same_bits([&](const ComputeContext& context) {
        const TestMatrix x = TestMatrix::random(GetParam(), s.rows, 2 * s.columns, 1, 20);
        const TestMatrix dy = TestMatrix::random(GetParam(), s.rows, s.columns, 3);
        const TestMatrix weights = TestMatrix::random_vector(s.rows, 2);
        const std::span<float> weight = weighted ? weights.values() : std::span<float>();
        TestMatrix y(GetParam(), s.rows, s.columns), dx(GetParam(), s.rows, 2 * s.columns);
        TestMatrix dweights = TestMatrix::vector(s.rows);
        swiglu(context, x.view(), weight, y.view());
        swiglu_backward(context, x.view(), weight, dy.view(), dx.view(),
                        weighted ? dweights.values() : std::span<float>());
        return std::vector<TestMatrix>{y, dx, dweights};
      });
    }
  }
}

TEST_P(SwiGlu, BackwardInPlaceIsTheSame) {
  test::for_each_context([&](const TestContext& context) {
    TestMatrix x = TestMatrix::random(GetParam(), 5, 2 * 37, 1), dx(GetParam(), 5, 2 * 37);
    const TestMatrix dy = TestMatrix::random(GetParam(), 5, 37, 3);
    swiglu_backward(context, x.view(), {}, dy.view(), dx.view(), {});
    swiglu_backward(context, x.view(), {}, dy.view(), x.view(), {});
    EXPECT_TRUE(test::same_bits(dx.view(), x.view()));
  });
}

TEST(SwiGluExtremes, SaturateAndStayFinite) {
  test::for_each_context([](const TestContext& context) {
    TestMatrix x(DType::kF32, 1, 8), dy(DType::kF32, 1, 4), dx(DType::kF32, 1, 8), y = dy.clone();
    const float gates[] = {-1e30f, -90.0f, 90.0f, 1e30f};
    for (std::int64_t i = 0; i < 4; ++i) {
      x.set(0, i, gates[i]);
      x.set(0, 4 + i, 1);
      dy.set(0, i, 1);
    }
    swiglu(context, x.view(), {}, y.view());
    EXPECT_NEAR(y.at(0, 0), 0.0f, 1e-8f);  // e^ stops at e^88
    EXPECT_NEAR(y.at(0, 1), 0.0f, 1e-30f);
    EXPECT_EQ(y.at(0, 2), 90.0f);
    EXPECT_EQ(y.at(0, 3), 1e30f);
    swiglu_backward(context, x.view(), {}, dy.view(), dx.view(), {});
    for (std::int64_t i = 0; i < 8; ++i) EXPECT_TRUE(std::isfinite(dx.at(0, i))) << i;
  });
}

}  // namespace
}  // namespace sluice::kernels
