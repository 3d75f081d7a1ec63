// Single kernels against what was published of them.
#include "graph/cost/kernel.hpp"

#include <gtest/gtest.h>

#include "tests/graph/cost/jobs.hpp"

namespace sluice::cost {
namespace {

struct Published {
  double groups, rows, columns, depth, tflops;
};

double error_of(const Published& row, Product::Type type, const Hardware& hardware) {
  const Product product{type, row.rows, row.columns, row.depth, row.groups};
  const Kernel kernel{"", KernelClass::kProduct, product};
  const double tflops = product.operations() / seconds_of(kernel, hardware, hardware.sms) / 1e12;
  return row.tflops / tflops - 1;  // of the time
}

// deepseek-ai/DeepGEMM@a6d97a1 README, M >= 4096.
constexpr Published kDeepGemm[] = {{1, 4096, 2112, 7168, 1058}, {1, 4096, 24576, 1536, 990},
                                   {1, 4096, 32768, 512, 590},  {1, 4096, 7168, 16384, 1358},
                                   {1, 4096, 4096, 7168, 1304}, {1, 4096, 7168, 2048, 1025},
                                   {4, 8192, 4096, 7168, 1297}, {4, 8192, 7168, 2048, 1099},
                                   {8, 4096, 4096, 7168, 1288}, {8, 4096, 7168, 2048, 1093}};
// Pull request 95 of it.
constexpr Published kWeightGradients[] = {
    {1, 7168, 2112, 4096, 920},  {1, 1536, 24576, 4096, 986},  {1, 512, 32768, 4096, 878},
    {1, 16384, 7168, 4096, 994}, {1, 7168, 4096, 4096, 942},   {1, 2048, 7168, 4096, 920},
    {1, 7168, 2112, 8192, 1052}, {1, 1536, 24576, 8192, 1092}, {1, 512, 32768, 8192, 1014}};

TEST(KernelCost, DeepGemmsTableWithinTheFitsError) {
  const Hardware hardware = test::h800("deepgemm");
  for (const Published& row : kDeepGemm) {
    EXPECT_NEAR(error_of(row, Product::Type::kFp8, hardware), 0, 0.023)
        << row.groups << " x " << row.rows << " x " << row.columns << " x " << row.depth;
  }
}

TEST(KernelCost, WeightGradientsWithinTheFitsError) {
  const Hardware hardware = test::h800("deepgemm");
  for (const Published& row : kWeightGradients) {
    EXPECT_NEAR(error_of(row, Product::Type::kFp8Weight, hardware), 0, 0.06)
        << row.rows << " x " << row.columns << " x " << row.depth;
  }
}

// Products of the trace on 112 SMs, in us: rows are tokens.
TEST(KernelCost, TheTracesProducts) {
  constexpr Published kTrace[] = {{1, 4096, 1536, 7168, 104},  {1, 4096, 576, 7168, 54},
                                  {1, 4096, 24576, 1536, 362}, {1, 4096, 32768, 512, 241},
                                  {1, 4096, 7168, 16384, 885}, {1, 4096, 16384, 7168, 923},
                                  {1, 4096, 1536, 24576, 332}, {1, 4096, 512, 32768, 219}};
  const Hardware trace = test::h800("trace"), cutlass = test::h800("cutlass");
  for (const Published& row : kTrace) {
    const Kernel kernel{"", KernelClass::kProduct,
                        Product{Product::Type::kFp8, row.rows, row.columns, row.depth, row.groups}};
    const double us = row.tflops;
    EXPECT_NEAR(seconds_of(kernel, trace, 112) * 1e6 / us, 1, 0.07) << us;
    EXPECT_NEAR(seconds_of(kernel, cutlass, 112) * 1e6 / us, 1.055, 0.06) << us;
  }
}

TEST(KernelCost, ProductsComeInWholeWaves) {
  const Hardware hardware = test::h800("deepgemm");
  const auto seconds = [&](double rows, double sms) {
    return seconds_of({"", KernelClass::kProduct, Product{Product::Type::kFp8, rows, 128, 1024, 1}},
                      hardware, sms);
  };
  EXPECT_EQ(seconds(128, 100), seconds(128.0 * 100, 100));
  EXPECT_DOUBLE_EQ(2 * seconds(128, 100), seconds(128.0 * 100 + 1, 100));
  EXPECT_DOUBLE_EQ(seconds(1280, 5), 2 * seconds(1280, 10));
}

TEST(KernelCost, AttentionScalesWithSmsAndMovementDoesNot) {
  const Hardware hardware = test::h800("trace");
  const Kernel attention{"", KernelClass::kAttentionForward, Attention{1e12, false}};
  EXPECT_DOUBLE_EQ(seconds_of(attention, hardware, 112), 1 / 556.0);
  EXPECT_DOUBLE_EQ(seconds_of(attention, hardware, 56), 2 / 556.0);
  const Kernel move{"", KernelClass::kMovement, Move{Movement::kRotate, 1.1e12}};
  EXPECT_DOUBLE_EQ(seconds_of(move, hardware, 132), hardware.rates.movement_traffic);
  EXPECT_DOUBLE_EQ(seconds_of(move, hardware, 1), hardware.rates.movement_traffic);
}

}  // namespace
}  // namespace sluice::cost
