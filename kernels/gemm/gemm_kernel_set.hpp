// Inside the family: what a set of micro-kernels offers to the driver (gemm_driver.cpp).
//
// B lies in panels of `columns` columns with all of K, one panel after the other; the last panel is
// only `narrow_columns` wide where that is enough. A block of A lies in panels of up to `rows`
// rows. How elements lie inside a panel is between a set's packing and its tile function. K is
// padded with zeros to a multiple of `k_unit`.
#pragma once

#include "kernels/gemm/gemm_product.hpp"

namespace sluice::kernels {

/// Lines [first_line, first_line + lines) and K [first_k, first_k + k) of an operand into panels of
/// `width` lines (the last one of `last_width`), `panel_stride` bytes apart. K behind `k` is zero
/// up to padded_k; lines behind `lines` hold anything.
struct PackJob {
  const Operand* operand = nullptr;
  std::int64_t first_line = 0;
  std::int64_t lines = 0;
  std::int64_t all_lines = 0;  ///< of the operand: what may be read past the job
  std::int64_t first_k = 0;
  std::int64_t k = 0;
  std::int64_t padded_k = 0;
  std::int64_t width = 0;
  std::int64_t last_width = 0;
  std::byte* out = nullptr;
  std::int64_t panel_stride = 0;

  [[nodiscard]] std::int64_t panels() const { return (lines + width - 1) / width; }
  [[nodiscard]] std::int64_t panel_width(std::int64_t panel) const {
    return panel + 1 == panels() ? last_width : width;
  }
};

/// Memory that will be needed soon: tiles fetch a line of it now and then while they multiply. Rows
/// of `bytes`, `stride` bytes apart.
class Ahead {
 public:
  static constexpr int kLocality = 2;  ///< of __builtin_prefetch: into L2, past L1

  Ahead() = default;
  Ahead(const std::byte* first, std::int64_t rows, std::int64_t bytes, std::int64_t stride)
      : next_(first),
        lines_((bytes + kLineBytes - 1) / kLineBytes),
        to_next_row_(stride - lines_ * kLineBytes),
        left_in_row_(lines_),
        left_(rows * lines_) {}

  [[nodiscard]] bool is_done() const { return left_ == 0; }

  /// Costs next to nothing beside a tile's multiply-adds.
  [[gnu::always_inline]] void fetch_line() {
    if (left_ == 0) return;
    __builtin_prefetch(next_, 0, kLocality);
    next_ += kLineBytes;
    --left_;
    if (--left_in_row_ > 0) return;
    next_ += to_next_row_;
    left_in_row_ = lines_;
  }

 private:
  static constexpr std::int64_t kLineBytes = 64;

  const std::byte* next_ = nullptr;
  std::int64_t lines_ = 0;
  std::int64_t to_next_row_ = 0;
  std::int64_t left_in_row_ = 0;
  std::int64_t left_ = 0;
};

/// C tile [rows, columns] (+)= a panel of A times a panel of B.
struct TileJob {
  const std::byte* a = nullptr;
  std::int64_t a_row_bytes = 0;  ///< > 0: A as it lies in memory, K along its rows, instead
  const std::byte* b = nullptr;
  std::int64_t k = 0;  ///< padded, > 0
  float* c = nullptr;
  std::int64_t c_stride = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  bool load = false;       ///< start from what c holds instead of zero
  Ahead* ahead = nullptr;  ///< never null
};

/// A tile of sums to BF16, rounded to nearest even.
struct RoundJob {
  const float* from = nullptr;
  std::int64_t from_stride = 0;
  BF16* to = nullptr;
  std::int64_t to_stride = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

struct GemmKernelSet {
  const char* name;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t narrow_columns;
  std::int64_t k_unit;
  std::int64_t element_bytes;
  void (*pack_a)(const PackJob&);
  void (*pack_b)(const PackJob&);
  void (*tile)(const TileJob&);
  void (*round)(const RoundJob&);
  /// Multiply-adds on registers alone; returns the operations done.
  double (*burst)(std::int64_t rounds);
  void (*begin)();                ///< on each thread before its first tile; may be null
  void (*end)();                  ///< on each thread after its last tile; may be null
  bool reads_a_in_place = false;  ///< whole tiles of rows, where K is a multiple of k_unit

  [[nodiscard]] std::int64_t padded_k(std::int64_t k) const {
    return (k + k_unit - 1) / k_unit * k_unit;
  }
  /// Width of the panel that starts where `columns_left` columns are left.
  [[nodiscard]] std::int64_t panel_width(std::int64_t columns_left) const {
    return columns_left <= narrow_columns ? narrow_columns : columns;
  }
  /// Columns of all panels of an operand with n columns.
  [[nodiscard]] std::int64_t padded_n(std::int64_t n) const {
    const std::int64_t full = n / columns * columns;
    return full == n ? full : full + panel_width(n - full);
  }
  /// Of an operand [k, n] packed whole.
  [[nodiscard]] std::int64_t panels_bytes(std::int64_t k, std::int64_t n) const {
    return padded_k(k) * padded_n(n) * element_bytes + kSlackBytes;
  }
  /// Packing A may write this many bytes past a panel; packing B never does.
  static constexpr std::int64_t kSlackBytes = 64;
};

namespace avx2 {
extern const GemmKernelSet kGemmFloats;
}
namespace avx512 {
extern const GemmKernelSet kGemmFloats;
}
namespace avx512_bf16 {
extern const GemmKernelSet kGemm;
}
namespace amx_bf16 {
extern const GemmKernelSet kGemm;
}

/// The set for products of such operands; null for the reference.
[[nodiscard]] const GemmKernelSet* choose_gemm_kernels(const ComputeContext& context,
                                                       DType operands);

/// All of B into panels (K not blocked), split over the team.
void pack_panels(const ComputeContext& context, const GemmKernelSet& kernels, const Operand& b,
                 std::int64_t k, std::int64_t n, std::byte* panels);

/// What differs between the products of a call, and from one call to the next: the memory taken
/// does not depend on it.
enum class Varying { kNothing, kRows, kDepth };

/// Independent products, tiles handed out over the team.
void run_products(const ComputeContext& context, const GemmKernelSet& kernels,
                  std::span<const Product> products, Varying varying);

}  // namespace sluice::kernels
