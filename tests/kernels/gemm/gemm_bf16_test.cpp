// BF16 dot products: within their roundings of the exact product, and the same bits for any number
// of threads and way of packing.
#include <gtest/gtest.h>

#include "tests/kernels/gemm/gemm_cases.hpp"

namespace sluice::kernels {
namespace {

struct Bf16Set {
  const char* name;
  Bf16Features features;
  bool available;
};

std::vector<Bf16Set> bf16_sets() {
  const Bf16Features machine = bf16_features();
  return {{"avx512_bf16", {.avx512_bf16 = true, .amx_bf16 = false}, machine.avx512_bf16},
          {"amx_bf16", {.avx512_bf16 = true, .amx_bf16 = true}, machine.amx_bf16}};
}

std::vector<GemmCase> bf16_cases() {
  std::vector<GemmCase> cases;
  for (const Layout a : {Layout::kNormal, Layout::kTransposed}) {
    for (const Layout b : {Layout::kNormal, Layout::kTransposed}) {
      for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{0, 5, 7},
                                    {5, 0, 7},
                                    {5, 7, 0},
                                    {1, 1, 1},
                                    {1, 40, 33},
                                    {14, 32, 2},
                                    {15, 33, 31},
                                    {32, 16, 32},
                                    {33, 17, 64},
                                    {47, 100, 65},
                                    {100, 130, 70},
                                    {20, 40, 1100},
                                    {150, 64, 256}}) {
        cases.push_back({m, n, k, a, b, false, DType::kBF16});
        cases.push_back({m, n, k, a, b, true, DType::kBF16});
        cases.push_back({m, n, k, a, b, false, DType::kBF16, DType::kBF16});
      }
    }
  }
  return cases;
}

class GemmBf16 : public testing::TestWithParam<Bf16Set> {
 protected:
  void SetUp() override {
    if (!GetParam().available) GTEST_SKIP() << "this CPU has no " << GetParam().name;
  }
  [[nodiscard]] Machine machine(int threads) const {
    return Machine(best_isa(), threads, GetParam().features);
  }
};

// The products are exact in fp32; a pair adds at most two roundings each way (vdpbf16ps adds the
// two products one after the other, tdpbf16ps as well), and denormals count as zero.
TEST_P(GemmBf16, IsTheProduct) {
  const Machine one = machine(1);
  const Machine three = machine(3);
  ASSERT_EQ(gemm_kernel_set_name(one.context, DType::kBF16), GetParam().name);
  for (const GemmCase& c : bf16_cases()) {
    SCOPED_TRACE(testing::PrintToString(c));
    const Matrix a = c.a(), b = c.b(), start = c.c();
    const Matrix out = c.run(one.context, a, b, start);
    ASSERT_TRUE(is_product(c, out, 2.0 * static_cast<double>(c.k) + 2));
    ASSERT_TRUE(out.same_bytes(c.run_packed(one.context, a, b, start)));
    ASSERT_TRUE(out.same_bytes(c.run(three.context, a, b, start)));
    ASSERT_TRUE(out.same_bytes(c.run_packed(three.context, a, b, start)));
  }
}

TEST_P(GemmBf16, ResultsAreSumsRoundedToNearestEven) {
  const Machine one = machine(1);
  for (const GemmCase& c : bf16_cases()) {
    if (c.result != DType::kBF16) continue;
    SCOPED_TRACE(testing::PrintToString(c));
    GemmCase in_fp32 = c;
    in_fp32.result = DType::kF32;
    const Matrix sums = in_fp32.run(one.context);
    const Matrix rounded = c.run(one.context);
    for (std::int64_t row = 0; row < c.m; ++row) {
      for (std::int64_t column = 0; column < c.n; ++column) {
        ASSERT_EQ(rounded.at(row, column), BF16::from_float(sums.at(row, column)).to_float());
      }
    }
  }
}

TEST_P(GemmBf16, Fp32OperandsKeepTheFp32Kernels) {
  const Machine bf16 = machine(1);
  const Machine plain(best_isa());
  const GemmCase c{30, 40, 50};
  EXPECT_TRUE(c.run(bf16.context).same_bytes(c.run(plain.context)));
}

INSTANTIATE_TEST_SUITE_P(Sets, GemmBf16, testing::ValuesIn(bf16_sets()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(GemmKernelSet, IsChosenFromTheContext) {
  const Machine reference(Isa::kReference);
  EXPECT_EQ(gemm_kernel_set_name(reference.context, DType::kBF16), "reference");
  const Machine best(best_isa());
  EXPECT_EQ(gemm_kernel_set_name(best.context, DType::kF32), name_of(best_isa()));
  EXPECT_EQ(gemm_kernel_set_name(best.context, DType::kBF16), name_of(best_isa()));
}

}  // namespace
}  // namespace sluice::kernels
