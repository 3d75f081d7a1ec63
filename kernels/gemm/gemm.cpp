// Entry points: check what was given, choose the kernel set once, hand plain products to it.
#include "kernels/gemm/gemm.hpp"

#include <memory>

#include "kernels/cpu/profile.hpp"
#include "kernels/gemm/gemm_kernel_set.hpp"

namespace sluice::kernels {
namespace {

void check_factor(TensorView view) {
  SLUICE_CHECK(view.dtype == DType::kF32 || view.dtype == DType::kBF16, "a factor of {}",
               name_of(view.dtype));
  SLUICE_CHECK(view.rows <= 1 || view.row_stride >= view.columns, "rows of {} every {}",
               view.columns, view.row_stride);
}

Operand make_operand(TensorView view, bool k_along_row,
                     std::span<const std::int32_t> row_index = {}) {
  check_factor(view);
  return {.data = static_cast<const std::byte*>(view.data),
          .dtype = view.dtype,
          .row_stride = view.row_stride,
          .row_index = row_index.empty() ? nullptr : row_index.data(),
          .k_along_row = k_along_row};
}

Operand left_operand(TensorView a, Layout layout) {
  return make_operand(a, layout == Layout::kNormal);
}
Operand right_operand(TensorView b, Layout layout) {
  return make_operand(b, layout == Layout::kTransposed);
}

std::int64_t k_of_left(TensorView a, Layout layout) {
  return layout == Layout::kNormal ? a.columns : a.rows;
}
std::int64_t m_of_left(TensorView a, Layout layout) {
  return layout == Layout::kNormal ? a.rows : a.columns;
}
std::int64_t k_of_right(TensorView b, Layout layout) {
  return layout == Layout::kNormal ? b.rows : b.columns;
}
std::int64_t n_of_right(TensorView b, Layout layout) {
  return layout == Layout::kNormal ? b.columns : b.rows;
}

void check_result(TensorView c, bool accumulate) {
  SLUICE_CHECK(c.dtype == DType::kF32 || (c.dtype == DType::kBF16 && !accumulate),
               "a result of {}, accumulate {}", name_of(c.dtype), accumulate);
}

void set_packed(Product& p, const ComputeContext& context, const PackedB& b, DType left) {
  SLUICE_CHECK_EQ(p.k, b.k());
  SLUICE_CHECK_EQ(p.n(), b.n());
  SLUICE_CHECK(left == b.dtype(), "{} times packed {}", name_of(left), name_of(b.dtype()));
  SLUICE_CHECK(b.kernels() == choose_gemm_kernels(context, left), "packed for another kernel set");
  p.b_panels = b.panels();
  p.b = {.data = b.panels(), .row_stride = b.n()};  // as the reference packs
}

void run(const ComputeContext& context, const GemmKernelSet* kernels,
         std::span<const Product> products, Varying varying = Varying::kNothing) {
  if (kernels == nullptr) return run_reference(context, products);
  run_products(context, *kernels, products, varying);
}

// Products of one call, in pooled memory.
class ProductList {
 public:
  ProductList(const ComputeContext& context, std::size_t n)
      : storage_(context.allocator->allocate(n * sizeof(Product))),
        products_(reinterpret_cast<Product*>(storage_.get())) {
    std::uninitialized_value_construct_n(products_, n);
    span_ = {products_, n};
  }
  Product& operator[](std::size_t i) { return products_[i]; }
  [[nodiscard]] std::span<const Product> span() const { return span_; }

 private:
  std::shared_ptr<std::byte> storage_;  // shared: what Allocator returns
  Product* products_;
  std::span<const Product> span_;
};

void check_offsets(std::span<const std::int32_t> offsets, std::size_t groups, std::int64_t rows) {
  SLUICE_CHECK_EQ(offsets.size(), groups + 1);
  SLUICE_CHECK_EQ(offsets.front(), 0);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(offsets.back()), rows);
  for (std::size_t g = 0; g < groups; ++g) SLUICE_CHECK_LE(offsets[g], offsets[g + 1]);
}

// One entry a row of the product; without an index the rows are the source's own.
void check_index(std::span<const std::int32_t> row_index, std::int64_t source_rows,
                 std::int64_t rows) {
  if (rows == 0) return;
  SLUICE_CHECK_EQ(row_index.empty() ? source_rows : static_cast<std::int64_t>(row_index.size()),
                  rows);
}

}  // namespace

const GemmKernelSet* choose_gemm_kernels(const ComputeContext& context, DType operands) {
  if (operands == DType::kBF16 && context.bf16.amx_bf16) return &amx_bf16::kGemm;
  if (operands == DType::kBF16 && context.bf16.avx512_bf16) return &avx512_bf16::kGemm;
  switch (context.isa) {
    case Isa::kReference: return nullptr;
    case Isa::kAvx2: return &avx2::kGemmFloats;
    case Isa::kAvx512: return &avx512::kGemmFloats;
  }
  return nullptr;
}

std::string_view gemm_kernel_set_name(const ComputeContext& context, DType operands) {
  const GemmKernelSet* kernels = choose_gemm_kernels(context, operands);
  return kernels == nullptr ? name_of(Isa::kReference) : kernels->name;
}

std::size_t PackedB::size_bytes(const ComputeContext& context, DType dtype, std::int64_t k,
                                std::int64_t n) {
  const GemmKernelSet* kernels = choose_gemm_kernels(context, dtype);
  if (kernels == nullptr) return static_cast<std::size_t>(k * n) * sizeof(float);
  return static_cast<std::size_t>(kernels->panels_bytes(k, n));
}

void PackedB::pack(const ComputeContext& context, TensorView b, Layout layout) {
  const GemmKernelSet* kernels = choose_gemm_kernels(context, b.dtype);
  const std::int64_t k = k_of_right(b, layout);
  const std::int64_t n = n_of_right(b, layout);
  const ProfileScope scope(context, "gemm.pack");
  if (panels_.empty() || k != k_ || n != n_ || b.dtype != dtype_ || kernels != kernels_) {
    const auto bytes = static_cast<std::int64_t>(size_bytes(context, b.dtype, k, n));
    panels_ = context.make(DType::kU8, Shape{bytes});
    k_ = k;
    n_ = n;
    dtype_ = b.dtype;
    kernels_ = kernels;
  }
  const Operand operand = right_operand(b, layout);
  if (kernels == nullptr) {
    return widen_reference(operand, k, n, reinterpret_cast<float*>(panels_.bytes()));
  }
  pack_panels(context, *kernels, operand, k, n, panels_.bytes());
}

void gemm(const ComputeContext& context, TensorView a, Layout a_layout, TensorView b,
          Layout b_layout, TensorView c, bool accumulate) {
  check_result(c, accumulate);
  SLUICE_CHECK(a.dtype == b.dtype, "{} times {}", name_of(a.dtype), name_of(b.dtype));
  SLUICE_CHECK_EQ(m_of_left(a, a_layout), c.rows);
  SLUICE_CHECK_EQ(n_of_right(b, b_layout), c.columns);
  SLUICE_CHECK_EQ(k_of_left(a, a_layout), k_of_right(b, b_layout));
  const Product product{.a = left_operand(a, a_layout),
                        .b = right_operand(b, b_layout),
                        .c = c,
                        .k = k_of_left(a, a_layout),
                        .accumulate = accumulate};
  const ProfileScope scope(context, "gemm", gemm_operations(c.rows, c.columns, product.k));
  run(context, choose_gemm_kernels(context, a.dtype), {&product, 1});
}

void gemm(const ComputeContext& context, TensorView a, Layout a_layout, const PackedB& b,
          TensorView c, bool accumulate) {
  check_result(c, accumulate);
  SLUICE_CHECK_EQ(m_of_left(a, a_layout), c.rows);
  Product product{.a = left_operand(a, a_layout),
                  .c = c,
                  .k = k_of_left(a, a_layout),
                  .accumulate = accumulate};
  set_packed(product, context, b, a.dtype);
  const ProfileScope scope(context, "gemm", gemm_operations(c.rows, c.columns, product.k));
  run(context, choose_gemm_kernels(context, a.dtype), {&product, 1});
}

namespace {

// Products of row groups, but for their right operands, which set_right(g, product) fills in.
template <class SetRight>
void run_grouped(const ComputeContext& context, TensorView a,
                 std::span<const std::int32_t> row_index, std::span<const std::int32_t> offsets,
                 std::size_t groups, TensorView c, const SetRight& set_right) {
  check_result(c, false);
  check_offsets(offsets, groups, c.rows);
  check_index(row_index, a.rows, c.rows);
  const Operand left = make_operand(a, true, row_index);
  ProductList products(context, groups);
  for (std::size_t g = 0; g < groups; ++g) {
    const std::int64_t first = offsets[g];
    products[g].a = rows_from(left, first);
    products[g].c = c.rows_from(first, offsets[g + 1] - first);
    products[g].k = a.columns;
    set_right(g, products[g]);
  }
  const ProfileScope scope(context, "gemm.grouped", gemm_operations(c.rows, c.columns, a.columns));
  run(context, choose_gemm_kernels(context, a.dtype), products.span(), Varying::kRows);
}

}  // namespace

void grouped_gemm(const ComputeContext& context, TensorView a,
                  std::span<const std::int32_t> row_index, std::span<const std::int32_t> offsets,
                  std::span<const PackedB* const> b, TensorView c) {
  run_grouped(context, a, row_index, offsets, b.size(), c, [&](std::size_t g, Product& product) {
    set_packed(product, context, *b[g], a.dtype);
  });
}

void grouped_gemm(const ComputeContext& context, TensorView a,
                  std::span<const std::int32_t> row_index, std::span<const std::int32_t> offsets,
                  std::span<const TensorView> b, Layout b_layout, TensorView c) {
  run_grouped(context, a, row_index, offsets, b.size(), c, [&](std::size_t g, Product& product) {
    SLUICE_CHECK(a.dtype == b[g].dtype, "{} times {}", name_of(a.dtype), name_of(b[g].dtype));
    SLUICE_CHECK_EQ(product.k, k_of_right(b[g], b_layout));
    SLUICE_CHECK_EQ(product.n(), n_of_right(b[g], b_layout));
    product.b = right_operand(b[g], b_layout);
  });
}

void grouped_gemm_weights(const ComputeContext& context, TensorView a, TensorView b,
                          std::span<const std::int32_t> b_row_index,
                          std::span<const std::int32_t> offsets, std::span<const TensorView> c) {
  SLUICE_CHECK(a.dtype == b.dtype, "{} times {}", name_of(a.dtype), name_of(b.dtype));
  check_offsets(offsets, c.size(), a.rows);
  check_index(b_row_index, b.rows, a.rows);
  const Operand left = make_operand(a, false);
  const Operand right = make_operand(b, false, b_row_index);
  ProductList products(context, c.size());
  for (std::size_t g = 0; g < c.size(); ++g) {
    check_result(c[g], true);
    SLUICE_CHECK_EQ(c[g].rows, a.columns);
    SLUICE_CHECK_EQ(c[g].columns, b.columns);
    products[g] = {.a = rows_from(left, offsets[g]),
                   .b = rows_from(right, offsets[g]),
                   .c = c[g],
                   .k = offsets[g + 1] - offsets[g],
                   .accumulate = true};
  }
  const ProfileScope scope(context, "gemm.grouped_weights",
                           gemm_operations(a.columns, b.columns, a.rows));
  run(context, choose_gemm_kernels(context, a.dtype), products.span(), Varying::kDepth);
}

}  // namespace sluice::kernels
