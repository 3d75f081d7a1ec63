// Every fp32 kernel set gives the reference's bits: any shape, layout, stride, element type, number
// of threads, with B packed before or not.
#include <gtest/gtest.h>

#include "tests/kernels/gemm/gemm_cases.hpp"

namespace sluice::kernels {
namespace {

struct Size {
  std::int64_t m, n, k;
};

// Empty, one, odd, around the micro-tiles' edges, several blocks along each dimension.
const std::vector<Size> kSizes{
    {0, 5, 7},     {5, 0, 7},     {5, 7, 0},      {1, 1, 1},       {1, 33, 65},  {2, 16, 3},
    {6, 16, 16},   {7, 17, 31},   {8, 300, 40},   {13, 31, 15},    {14, 32, 16}, {15, 33, 17},
    {28, 64, 129}, {29, 47, 515}, {100, 130, 70}, {157, 50, 1100}, {61, 1100, 9}};

std::vector<GemmCase> all_cases() {
  std::vector<GemmCase> cases;
  for (const Size& s : kSizes) {
    for (const Layout a : {Layout::kNormal, Layout::kTransposed}) {
      for (const Layout b : {Layout::kNormal, Layout::kTransposed}) {
        for (const DType operands : {DType::kF32, DType::kBF16}) {
          cases.push_back({s.m, s.n, s.k, a, b, false, operands});
          cases.push_back({s.m, s.n, s.k, a, b, true, operands});
          cases.push_back({s.m, s.n, s.k, a, b, false, operands, DType::kBF16});
        }
      }
    }
  }
  return cases;
}

class GemmIsa : public testing::TestWithParam<Isa> {};

TEST_P(GemmIsa, EqualsReference) {
  const Machine reference(Isa::kReference);
  const Machine one(GetParam(), 1);
  const Machine three(GetParam(), 3);
  for (const GemmCase& c : all_cases()) {
    const Matrix a = c.a(), b = c.b(), start = c.c();
    const Matrix want = c.run(reference.context, a, b, start);
    for (const Machine* machine : {&one, &three}) {
      SCOPED_TRACE(testing::PrintToString(c) + ", threads " +
                   std::to_string(machine->team.threads()));
      ASSERT_TRUE(c.run(machine->context, a, b, start).same_bytes(want));
      ASSERT_TRUE(c.run_packed(machine->context, a, b, start).same_bytes(want));
    }
  }
}

// K is cut into several blocks, M into many items, N into several slabs whose panels are shared.
TEST_P(GemmIsa, EqualsReferenceOnALargeOne) {
  for (const GemmCase& c : {GemmCase{120, 2200, 2100, Layout::kTransposed, Layout::kNormal, true},
                            GemmCase{401, 213, 1500, Layout::kNormal, Layout::kTransposed},
                            GemmCase{1030, 1101, 37, Layout::kNormal, Layout::kNormal, true},
                            GemmCase{1025, 1090, 45, Layout::kNormal, Layout::kTransposed, false,
                                     DType::kBF16, DType::kBF16}}) {
    const Machine reference(Isa::kReference, 2);
    const Machine machine(GetParam(), 2);
    const Matrix want = c.run(reference.context);
    EXPECT_TRUE(c.run(machine.context).same_bytes(want));
    EXPECT_TRUE(c.run_packed(machine.context).same_bytes(want));
  }
}

// Denormals, infinities and signed zeros take the same path through an FMA everywhere.
TEST_P(GemmIsa, EqualsReferenceOnExtremeNumbers) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> extremes{0.0f, -0.0f, 1e-45f, -1e-40f, 3e38f, -3e38f, infinity, 1.0f};
  Matrix a = Matrix::random(DType::kF32, 20, 40, 1);
  Matrix b = Matrix::random(DType::kF32, 40, 50, 2);
  for (std::size_t i = 0; i < extremes.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    a.set(at, at * 3, extremes[i]);
    b.set(at * 5, at * 6, extremes[extremes.size() - 1 - i]);
  }
  const auto run = [&](const Machine& machine) {
    Matrix c(DType::kF32, 20, 50);
    gemm(machine.context, a.view(), Layout::kNormal, b.view(), Layout::kNormal, c.view());
    return c;
  };
  const Matrix want = run(Machine(Isa::kReference));
  const Matrix got = run(Machine(GetParam()));
  for (std::int64_t i = 0; i < 20; ++i) {
    for (std::int64_t j = 0; j < 50; ++j) {  // a NaN's payload may differ
      const float x = want.at(i, j), y = got.at(i, j);
      EXPECT_TRUE((std::isnan(x) && std::isnan(y)) ||
                  std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y))
          << i << ", " << j << ": " << x << " and " << y;
    }
  }
}

TEST_P(GemmIsa, PackedBufferIsReusedForTheSameShape) {
  const Machine machine(GetParam());
  PackedB packed;
  EXPECT_TRUE(packed.empty());
  packed.pack(machine.context, Matrix::random(DType::kF32, 40, 50, 1).view(), Layout::kNormal);
  const std::byte* first = packed.panels();
  packed.pack(machine.context, Matrix::random(DType::kF32, 50, 40, 2).view(), Layout::kTransposed);
  EXPECT_EQ(packed.panels(), first);
  packed.pack(machine.context, Matrix::random(DType::kF32, 41, 50, 1).view(), Layout::kNormal);
  EXPECT_EQ(packed.k(), 41);
  EXPECT_GE(PackedB::size_bytes(machine.context, DType::kF32, 41, 50), 41 * 50 * sizeof(float));
}

INSTANTIATE_TEST_SUITE_P(All, GemmIsa,
                         testing::ValuesIn(available_isas().begin(), available_isas().end()),
                         [](const auto& test) { return std::string(name_of(test.param)); });

TEST(GemmIsaDeath, PanelsOfAnotherKernelSetAreABug) {
  if (best_isa() == Isa::kReference) GTEST_SKIP() << "one kernel set only";
  const Machine reference(Isa::kReference);
  const Machine best(best_isa());
  PackedB packed;
  packed.pack(best.context, Matrix::random(DType::kF32, 4, 4, 1).view(), Layout::kNormal);
  const Matrix a = Matrix::random(DType::kF32, 4, 4, 2);
  const Matrix c(DType::kF32, 4, 4);
  EXPECT_DEATH(gemm(reference.context, a.view(), Layout::kNormal, packed, c.view()),
               "another kernel set");
}

}  // namespace
}  // namespace sluice::kernels
