// The reference against double precision and against a chain written out by hand.
#include <gtest/gtest.h>

#include "tests/kernels/gemm/gemm_cases.hpp"

namespace sluice::kernels {
namespace {

std::vector<GemmCase> reference_cases() {
  std::vector<GemmCase> cases;
  for (const Layout a : {Layout::kNormal, Layout::kTransposed}) {
    for (const Layout b : {Layout::kNormal, Layout::kTransposed}) {
      for (const bool accumulate : {false, true}) {
        cases.push_back({1, 1, 1, a, b, accumulate});
        cases.push_back({7, 5, 33, a, b, accumulate});
        cases.push_back({3, 17, 0, a, b, accumulate});
        cases.push_back({16, 40, 64, a, b, accumulate, DType::kBF16});
      }
      cases.push_back({9, 11, 40, a, b, false, DType::kBF16, DType::kBF16});
      cases.push_back({9, 11, 40, a, b, false, DType::kF32, DType::kBF16});
    }
  }
  return cases;
}

class GemmReference : public testing::TestWithParam<GemmCase> {};

TEST_P(GemmReference, IsTheProduct) {
  const GemmCase& c = GetParam();
  const Machine machine(Isa::kReference, 2);
  const Matrix out = c.run(machine.context);
  EXPECT_TRUE(is_product(c, out, static_cast<double>(c.k) + 1));
  EXPECT_TRUE(out.same_bytes(c.run_packed(machine.context)));
}

INSTANTIATE_TEST_SUITE_P(Cases, GemmReference, testing::ValuesIn(reference_cases()));

TEST(GemmReferenceChain, IsOneChainOfFmaInOrder) {
  const GemmCase c{4, 6, 129, Layout::kNormal, Layout::kNormal, true};
  const Machine machine(Isa::kReference);
  const Matrix out = c.run(machine.context);
  const Matrix a = c.a(), b = c.b(), start = c.c();
  for (std::int64_t i = 0; i < c.m; ++i) {
    for (std::int64_t j = 0; j < c.n; ++j) {
      float sum = start.at(i, j);
      for (std::int64_t k = 0; k < c.k; ++k) sum = std::fma(a.at(i, k), b.at(k, j), sum);
      EXPECT_EQ(out.at(i, j), sum);
    }
  }
}

TEST(GemmReferenceChain, ComparatorSeesOneWrongElement) {
  const GemmCase c{5, 5, 20};
  const Machine machine(Isa::kReference);
  const Matrix right = c.run(machine.context);
  EXPECT_TRUE(is_product(c, right, 21));
  for (const float wrong :
       {1e-3f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Matrix out = right.clone();
    out.set(4, 4, out.at(4, 4) + wrong);
    EXPECT_FALSE(is_product(c, out, 21)) << wrong;
  }
}

}  // namespace
}  // namespace sluice::kernels
