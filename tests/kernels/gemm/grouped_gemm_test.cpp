// Grouped products against one product a group, for every kernel set, with gathered rows and empty
// groups.
#include <gtest/gtest.h>

#include <deque>
#include <numeric>

#include "tests/kernels/gemm/gemm_cases.hpp"

namespace sluice::kernels {
namespace {

struct Groups {
  std::vector<std::int32_t> offsets;
  std::int64_t m, n;  ///< of a weight gradient; n and k of a forward product are n and m
  bool gathered;

  [[nodiscard]] std::size_t count() const { return offsets.size() - 1; }
  [[nodiscard]] std::int64_t rows() const { return offsets.back(); }
  /// Rows of a matrix with fewer rows than the groups have: several groups take the same row.
  [[nodiscard]] std::int64_t source_rows() const {
    return gathered ? std::max<std::int64_t>(1, rows() / 2) : rows();
  }
  [[nodiscard]] std::vector<std::int32_t> row_index() const {
    std::vector<std::int32_t> index;
    const Random random(9, RandomPurpose::kTest);
    for (std::int64_t r = 0; gathered && r < rows(); ++r) {
      index.push_back(static_cast<std::int32_t>(
          random.below(static_cast<std::uint64_t>(source_rows()), static_cast<std::uint64_t>(r))));
    }
    return index;
  }
};

void PrintTo(const Groups& g, std::ostream* out) {
  *out << "groups";
  for (const std::int32_t offset : g.offsets) *out << " " << offset;
  *out << ", " << g.m << "x" << g.n << (g.gathered ? " gathered" : "");
}

Matrix gather(const Matrix& from, std::span<const std::int32_t> index) {
  if (index.empty()) return from;
  Matrix out(from.view().dtype, static_cast<std::int64_t>(index.size()), from.columns());
  for (std::size_t r = 0; r < index.size(); ++r) {
    for (std::int64_t c = 0; c < from.columns(); ++c) {
      out.set(static_cast<std::int64_t>(r), c, from.at(index[r], c));
    }
  }
  return out;
}

Matrix run_grouped(const ComputeContext& context, const Groups& g, DType dtype) {
  const Matrix a = Matrix::random(dtype, g.source_rows(), g.m, 1);
  std::deque<PackedB> weights(g.count());
  std::vector<const PackedB*> b;
  for (std::size_t i = 0; i < g.count(); ++i) {
    weights[i].pack(context, Matrix::random(dtype, g.n, g.m, 10 + i).view(), Layout::kTransposed);
    b.push_back(&weights[i]);
  }
  const std::vector<std::int32_t> index = g.row_index();
  Matrix c = Matrix::random(dtype, g.rows(), g.n, 3);
  grouped_gemm(context, a.view(), index, g.offsets, b, c.view());
  return c;
}

Matrix transposed(const Matrix& from, std::int64_t rows) {
  Matrix out(from.view().dtype, from.columns(), rows);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < from.columns(); ++c) out.set(c, r, from.at(r, c));
  }
  return out;
}

Matrix run_grouped_unpacked(const ComputeContext& context, const Groups& g, DType dtype,
                            Layout layout) {
  const Matrix a = Matrix::random(dtype, g.source_rows(), g.m, 1);
  std::vector<Matrix> weights;
  std::vector<TensorView> b;
  for (std::size_t i = 0; i < g.count(); ++i) {
    Matrix w = Matrix::random(dtype, g.n, g.m, 10 + i);
    weights.push_back(layout == Layout::kTransposed ? std::move(w) : transposed(w, g.n));
  }
  for (const Matrix& w : weights) b.push_back(w.view());
  const std::vector<std::int32_t> index = g.row_index();
  Matrix c = Matrix::random(dtype, g.rows(), g.n, 3);
  grouped_gemm(context, a.view(), index, g.offsets, b, layout, c.view());
  return c;
}

Matrix run_one_by_one(const ComputeContext& context, const Groups& g, DType dtype) {
  const std::vector<std::int32_t> index = g.row_index();
  const Matrix a = gather(Matrix::random(dtype, g.source_rows(), g.m, 1), index);
  Matrix c = Matrix::random(dtype, g.rows(), g.n, 3);
  for (std::size_t i = 0; i < g.count(); ++i) {
    const std::int64_t first = g.offsets[i];
    const std::int64_t n = g.offsets[i + 1] - first;
    gemm(context, a.view().rows_from(first, n), Layout::kNormal,
         Matrix::random(dtype, g.n, g.m, 10 + i).view(), Layout::kTransposed,
         c.view().rows_from(first, n));
  }
  return c;
}

std::vector<Matrix> run_weights(const ComputeContext& context, const Groups& g, DType dtype) {
  const Matrix a = Matrix::random(dtype, g.rows(), g.m, 1);
  const Matrix b = Matrix::random(dtype, g.source_rows(), g.n, 2);
  std::vector<Matrix> c;
  std::vector<TensorView> views;
  for (std::size_t i = 0; i < g.count(); ++i) {
    c.push_back(Matrix::random(DType::kF32, g.m, g.n, 20 + i));
    views.push_back(c.back().view());
  }
  const std::vector<std::int32_t> index = g.row_index();
  grouped_gemm_weights(context, a.view(), b.view(), index, g.offsets, views);
  return c;
}

std::vector<Matrix> run_weights_one_by_one(const ComputeContext& context, const Groups& g,
                                           DType dtype) {
  const Matrix a = Matrix::random(dtype, g.rows(), g.m, 1);
  const std::vector<std::int32_t> index = g.row_index();
  const Matrix b = gather(Matrix::random(dtype, g.source_rows(), g.n, 2), index);
  std::vector<Matrix> c;
  for (std::size_t i = 0; i < g.count(); ++i) {
    c.push_back(Matrix::random(DType::kF32, g.m, g.n, 20 + i));
    const std::int64_t first = g.offsets[i];
    const std::int64_t n = g.offsets[i + 1] - first;
    gemm(context, a.view().rows_from(first, n), Layout::kTransposed, b.view().rows_from(first, n),
         Layout::kNormal, c.back().view(), true);
  }
  return c;
}

class GroupedGemm : public testing::TestWithParam<Groups> {};

TEST_P(GroupedGemm, IsOneProductAGroup) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Machine reference(Isa::kReference);
    const Matrix want = run_one_by_one(reference.context, GetParam(), dtype);
    for (const Isa isa : available_isas()) {
      for (const int threads : {1, 3}) {
        const Machine machine(isa, threads);
        EXPECT_TRUE(run_grouped(machine.context, GetParam(), dtype).same_bytes(want))
            << name_of(isa) << ", threads " << threads;
      }
    }
  }
}

TEST_P(GroupedGemm, UnpackedOperandsGiveTheSameBits) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Machine reference(Isa::kReference);
    const Matrix want = run_grouped(reference.context, GetParam(), dtype);
    for (const Isa isa : available_isas()) {
      for (const Layout layout : {Layout::kNormal, Layout::kTransposed}) {
        const Machine machine(isa, 3);
        EXPECT_TRUE(
            run_grouped_unpacked(machine.context, GetParam(), dtype, layout).same_bytes(want))
            << name_of(isa) << (layout == Layout::kNormal ? ", normal" : ", transposed");
      }
    }
  }
}

// Blocks that were asked for, by size.
class Asked final : public Allocator {
 public:
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    sizes.push_back(bytes);
    return heap_allocator().allocate(bytes);
  }
  std::vector<std::size_t> sizes;
};

// An expert's rows vary from step to step, and a step takes no new memory.
TEST(GroupedGemmMemory, DoesNotDependOnTheRows) {
  constexpr std::int64_t kColumns = 1100, kK = 8;
  const Matrix b = Matrix::random(DType::kF32, kK, kColumns, 2);
  const std::vector<TensorView> right{b.view()};
  for (const Isa isa : available_isas()) {
    Machine machine(isa, 2);
    std::vector<std::vector<std::size_t>> sizes;
    for (const std::int32_t rows : {100, 1500, 3000}) {
      Asked asked;
      machine.context.allocator = &asked;
      const Matrix a = Matrix::random(DType::kF32, rows, kK, 1);
      const Matrix c(DType::kF32, rows, kColumns);
      const std::vector<std::int32_t> offsets{0, rows};
      grouped_gemm(machine.context, a.view(), {}, offsets, right, Layout::kNormal, c.view());
      sizes.push_back(asked.sizes);
      EXPECT_EQ(sizes.back(), sizes.front()) << name_of(isa) << ", " << rows << " rows";
    }
  }
}

TEST_P(GroupedGemm, WeightGradientsAreOneProductAGroup) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Machine reference(Isa::kReference);
    const std::vector<Matrix> want = run_weights_one_by_one(reference.context, GetParam(), dtype);
    for (const Isa isa : available_isas()) {
      for (const int threads : {1, 3}) {
        const Machine machine(isa, threads);
        const std::vector<Matrix> got = run_weights(machine.context, GetParam(), dtype);
        for (std::size_t i = 0; i < want.size(); ++i) {
          EXPECT_TRUE(got[i].same_bytes(want[i]))
              << name_of(isa) << ", threads " << threads << ", group " << i;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GroupedGemm,
                         testing::Values(Groups{{0, 0}, 4, 4, false},
                                         Groups{{0, 0, 0, 0}, 5, 3, true},
                                         Groups{{0, 7}, 33, 17, true},
                                         Groups{{0, 5, 5, 6, 40}, 24, 50, false},
                                         Groups{{0, 0, 100, 101, 101, 230, 230}, 47, 81, true},
                                         Groups{{0, 64, 128, 192, 256}, 64, 96, false},
                                         Groups{{0, 3, 350}, 600, 70, true}));

}  // namespace
}  // namespace sluice::kernels
