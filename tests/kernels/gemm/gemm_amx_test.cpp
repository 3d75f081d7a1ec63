// The AMX kernel set on emulated tiles: packing, edges, blocking, tile configuration.
//
// The emulated dot adds one product after the other with an FMA, in order of K. tdpbf16ps rounds
// otherwise, but so the whole set must give the reference's bits, and any misplaced element shows.
#include "kernels/gemm/gemm_amx.hpp"

#include <gtest/gtest.h>

#include "kernels/gemm/gemm_pack.hpp"
#include "tests/kernels/gemm/emulated_tiles.hpp"
#include "tests/kernels/gemm/gemm_cases.hpp"

namespace sluice::kernels {
namespace {

Operand operand(const Matrix& m, bool k_along_row) {
  const TensorView v = m.view();
  return {.data = static_cast<const std::byte*>(v.data),
          .dtype = v.dtype,
          .row_stride = v.row_stride,
          .row_index = nullptr,
          .k_along_row = k_along_row};
}

class GemmAmx : public testing::Test {
 protected:
  void SetUp() override {
    if (best_isa() != Isa::kAvx512) GTEST_SKIP() << "packing for AMX needs AVX-512";
  }
};

Matrix run_emulated(const Machine& machine, const GemmCase& c, bool packed) {
  const Matrix a = c.a(), b = c.b();
  Matrix out = c.c();
  Product p{.a = operand(a, c.a_layout == Layout::kNormal),
            .b = operand(b, c.b_layout == Layout::kTransposed),
            .b_panels = nullptr,
            .c = out.view(),
            .k = c.k,
            .accumulate = c.accumulate};
  std::shared_ptr<std::byte> panels;
  if (packed) {
    const std::int64_t elements = kEmulated.padded_k(c.k) * kEmulated.padded_n(c.n);
    panels = heap_allocator().allocate(static_cast<std::size_t>(elements) * sizeof(BF16));
    pack_panels(machine.context, kEmulated, p.b, c.k, c.n, panels.get());
    p.b_panels = panels.get();
  }
  run_products(machine.context, kEmulated, {&p, 1}, Varying::kNothing);
  return out;
}

TEST_F(GemmAmx, EmulatedTilesGiveTheReferencesBits) {
  const Machine reference(Isa::kReference);
  const Machine one(best_isa(), 1);
  const Machine two(best_isa(), 2);
  for (const Layout a : {Layout::kNormal, Layout::kTransposed}) {
    for (const Layout b : {Layout::kNormal, Layout::kTransposed}) {
      for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{1, 1, 1},
                                    {5, 7, 0},
                                    {16, 16, 32},
                                    {17, 16, 31},
                                    {32, 32, 64},
                                    {31, 33, 33},
                                    {48, 48, 96},
                                    {65, 80, 1100},
                                    {10, 200, 40}}) {
        for (const bool accumulate : {false, true}) {
          const GemmCase c{m, n, k, a, b, accumulate, DType::kBF16};
          SCOPED_TRACE(testing::PrintToString(c));
          const Matrix want = c.run(reference.context);
          ASSERT_TRUE(run_emulated(one, c, false).same_bytes(want));
          ASSERT_TRUE(run_emulated(one, c, true).same_bytes(want));
          ASSERT_TRUE(run_emulated(two, c, false).same_bytes(want));
        }
      }
    }
  }
}

TEST_F(GemmAmx, ResultsInBf16AreRoundedOnce) {
  const Machine machine(best_isa());
  const GemmCase c{37,    45,           150,         Layout::kNormal, Layout::kTransposed,
                   false, DType::kBF16, DType::kBF16};
  EXPECT_TRUE(run_emulated(machine, c, true).same_bytes(c.run(Machine(Isa::kReference).context)));
}

// Weight gradients of expert groups: rows of B gathered, groups empty or odd.
TEST_F(GemmAmx, GroupsOfGatheredRows) {
  const std::vector<std::int32_t> offsets{0, 5, 5, 70}, index = [] {
    std::vector<std::int32_t> rows(70);
    for (std::size_t r = 0; r < rows.size(); ++r) rows[r] = static_cast<std::int32_t>(r * 7 % 30);
    return rows;
  }();
  const Matrix a = Matrix::random(DType::kBF16, 70, 33, 1);
  const Matrix b = Matrix::random(DType::kBF16, 30, 50, 2);
  const auto results = [] {
    std::vector<Matrix> c;
    for (std::uint64_t g = 0; g < 3; ++g) c.push_back(Matrix::random(DType::kF32, 33, 50, 5 + g));
    return c;
  };
  std::vector<Matrix> want = results(), got = results();
  const Machine reference(Isa::kReference);
  std::vector<TensorView> views;
  for (const Matrix& m : want) views.push_back(m.view());
  grouped_gemm_weights(reference.context, a.view(), b.view(), index, offsets, views);

  std::vector<Product> products;
  for (std::size_t g = 0; g < got.size(); ++g) {
    Product p;
    p.a = operand(a, false);
    p.a.data = p.a.row(offsets[g]);
    p.b = operand(b, false);
    p.b.row_index = index.data() + offsets[g];
    p.c = got[g].view();
    p.k = offsets[g + 1] - offsets[g];
    p.accumulate = true;
    products.push_back(p);
  }
  const Machine machine(best_isa(), 2);
  run_products(machine.context, kEmulated, products, Varying::kDepth);
  for (std::size_t g = 0; g < got.size(); ++g) EXPECT_TRUE(got[g].same_bytes(want[g])) << g;
}

}  // namespace
}  // namespace sluice::kernels
