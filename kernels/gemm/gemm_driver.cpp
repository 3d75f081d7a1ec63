// Blocking, packing and threads: the same for every kernel set.
//
// Work items are blocks of C; threads take the next one from a counter. An item runs along K block
// by block (so every element's chain stays in order), packs its rows of A, and multiplies them with
// panels of B that are either packed already or packed by the item for itself.
//
// Where each of many items would transpose the same rows of A again, all threads pack B together
// before, a slab of columns at a time.
//
// # Why not always? Panels that another thread packed come from its cache or from memory, which
// costs more than packing them twice where A is cheap to pack or has few rows.
#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>

#include "kernels/cpu/work_shares.hpp"
#include "kernels/gemm/gemm_heuristics.hpp"
#include "kernels/gemm/gemm_kernel_set.hpp"

namespace sluice::kernels {
namespace {

constexpr std::int64_t kAlignment = 64;
constexpr std::int64_t kItemsPerThread = 4;
constexpr std::int64_t kAnyDepth = std::int64_t{1} << 20;  // whole K blocks of the full length

std::int64_t align_up(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

GemmTile tile_of(const GemmKernelSet& kernels) {
  return {kernels.rows, kernels.columns, kernels.k_unit, kernels.element_bytes,
          kernels.reads_a_in_place};
}

GemmShape shape_of(const Product& p) {
  const GemmRight raw = p.b.k_along_row ? GemmRight::kRowsOfColumns : GemmRight::kRowsOfK;
  return {p.m(), p.n(), p.k, p.b_panels == nullptr ? raw : GemmRight::kPacked};
}

// The right operand from its column `first` on.
Operand columns_from(Operand b, std::int64_t first) {
  if (b.k_along_row) return rows_from(b, first);
  b.data += first * static_cast<std::int64_t>(b.size_of_element());
  return b;
}

// Calls body(i) for i in [0, count) on up to `threads` of the team, with the set's begin and end.
template <class Body>
void for_each_item(const ComputeContext& context, const GemmKernelSet& kernels, int threads,
                   std::int64_t count, const Body& body) {
  WorkShares shares(count, threads);
  const auto work = [&](int thread) {
    if (thread >= threads) return;
    if (kernels.begin != nullptr) kernels.begin();
    for (std::int64_t i = shares.take(thread); i >= 0; i = shares.take(thread)) {
      body(i, thread);
    }
    if (kernels.end != nullptr) kernels.end();
  };
  if (threads == 1) return work(0);
  context.team->run(std::ref(work));  // a reference: std::function then allocates nothing
}

// A product with its blocking, and the number of its first item among all products'.
struct Job {
  Product product;
  GemmBlocking blocking;
  std::int64_t first_item = 0;
};

// One thread's buffers: a block of A, a block of B and a tile block of C, where they are needed.
struct ScratchLayout {
  std::int64_t a_bytes = 0;
  std::int64_t b_bytes = 0;
  std::int64_t c_bytes = 0;

  [[nodiscard]] std::int64_t bytes() const { return a_bytes + b_bytes + c_bytes; }
};

class Item {
 public:
  /// `next_a`: what the thread's next item probably packs first.
  Item(const GemmKernelSet& kernels, const Job& job, std::int64_t index, std::byte* scratch,
       const ScratchLayout& layout, const Ahead& next_a)
      : kernels_(kernels),
        p_(job.product),
        k_block_(job.blocking.k_block),
        a_rows_(job.blocking.a_tiles * kernels.rows),
        packs_block_(job.product.b_panels == nullptr && !job.blocking.by_panel),
        packs_panels_(job.product.b_panels == nullptr && job.blocking.by_panel),
        reads_a_in_place_(reads_in_place(kernels, job.product)),
        sums_live_in_tile_(sums_live_in_tile(job)),
        next_a_(next_a),
        a_(scratch),
        b_(scratch + layout.a_bytes) {
    const GemmBlocking& b = job.blocking;
    const std::int64_t n_block = index % b.n_blocks;
    const Rows rows = rows_of(kernels, job, index);
    first_row_ = rows.first;
    rows_ = rows.count;
    first_column_ = b.first_n_tile(n_block) * kernels.columns;
    columns_ = std::min(b.first_n_tile(n_block + 1) * kernels.columns, p_.n()) - first_column_;
    if (p_.c.dtype == DType::kBF16) {
      c_ = reinterpret_cast<float*>(scratch + layout.a_bytes + layout.b_bytes);
      c_stride_ = sums_live_in_tile_ ? kernels.columns : columns_;
    } else {
      c_ = static_cast<float*>(p_.c.data) + first_row_ * p_.c.row_stride + first_column_;
      c_stride_ = p_.c.row_stride;
    }
  }

  void run() const {
    if (p_.k == 0) return clear();
    for (std::int64_t k = 0; k < p_.k; k += k_block_) {
      const std::int64_t length = std::min(k_block_, p_.k - k);
      if (packs_block_) pack_b(0, columns_, k, length);
      for (std::int64_t row = 0; row < rows_; row += a_rows_) {
        const std::int64_t rows = std::min(a_rows_, rows_ - row);
        const std::int64_t in_place = reads_a_in_place_ ? rows / kernels_.rows * kernels_.rows : 0;
        if (in_place < rows) pack_a(row + in_place, rows - in_place, k, length);
        multiply(row, rows, in_place, k, length);
      }
    }
  }

  /// Results in BF16 need fp32 sums: of one micro-tile at a time when K is a single block, else of
  /// the whole item from the first block of K to the last.
  [[nodiscard]] static bool sums_live_in_tile(const Job& job) {
    return job.product.c.dtype == DType::kBF16 && job.product.k <= job.blocking.k_block;
  }

  /// What an item of the job packs first of A.
  [[nodiscard]] static Ahead first_of_a(const GemmKernelSet& kernels, const Job& job,
                                        std::int64_t index) {
    const Rows rows = rows_of(kernels, job, index);
    return memory_of(job.product.a, rows.first,
                     std::min(job.blocking.a_tiles * kernels.rows, rows.count), 0,
                     std::min(job.blocking.k_block, job.product.k));
  }

  [[nodiscard]] static std::int64_t a_panel_stride(const GemmKernelSet& kernels,
                                                   std::int64_t padded_k) {
    return align_up(kernels.rows * padded_k * kernels.element_bytes + GemmKernelSet::kSlackBytes);
  }

 private:
  struct Rows {
    std::int64_t first = 0;
    std::int64_t count = 0;
  };
  // Of the item; a thread's share of the items is a range of rows.
  [[nodiscard]] static Rows rows_of(const GemmKernelSet& kernels, const Job& job,
                                    std::int64_t index) {
    const std::int64_t m_block = index / job.blocking.n_blocks;
    const std::int64_t first = job.blocking.first_m_tile(m_block) * kernels.rows;
    const std::int64_t behind = job.blocking.first_m_tile(m_block + 1) * kernels.rows;
    return {first, std::min(behind, job.product.m()) - first};
  }

  [[nodiscard]] static bool reads_in_place(const GemmKernelSet& kernels, const Product& p) {
    return kernels.reads_a_in_place && p.a.k_along_row && p.a.row_index == nullptr &&
           p.k % kernels.k_unit == 0;
  }

  // Sums of nothing.
  void clear() const {
    if (p_.accumulate) return;
    for (std::int64_t row = 0; row < rows_; ++row) {
      const TensorView c =
          p_.c.rows_from(first_row_ + row, 1).columns_from(first_column_, columns_);
      std::memset(c.data, 0, static_cast<std::size_t>(columns_) * size_of(c.dtype));
    }
  }

  void pack_a(std::int64_t row, std::int64_t rows, std::int64_t k, std::int64_t length) const {
    const std::int64_t padded = kernels_.padded_k(length);
    kernels_.pack_a({.operand = &p_.a,
                     .first_line = first_row_ + row,
                     .lines = rows,
                     .all_lines = p_.m(),
                     .first_k = k,
                     .k = length,
                     .padded_k = padded,
                     .width = kernels_.rows,
                     .last_width = (rows - 1) % kernels_.rows + 1,
                     .out = a_,
                     .panel_stride = a_panel_stride(kernels_, padded)});
  }

  void pack_b(std::int64_t column, std::int64_t columns, std::int64_t k,
              std::int64_t length) const {
    const std::int64_t padded = kernels_.padded_k(length);
    const std::int64_t last = (columns - 1) % kernels_.columns + 1;
    kernels_.pack_b({.operand = &p_.b,
                     .first_line = first_column_ + column,
                     .lines = columns,
                     .all_lines = p_.n(),
                     .first_k = k,
                     .k = length,
                     .padded_k = padded,
                     .width = kernels_.columns,
                     .last_width = kernels_.panel_width(last),
                     .out = b_,
                     .panel_stride = kernels_.columns * padded * kernels_.element_bytes});
  }

  // Where the panel of B that starts at this column of the item holds index k.
  [[nodiscard]] const std::byte* b_panel(std::int64_t column, std::int64_t k,
                                         std::int64_t padded) const {
    if (packs_panels_) return b_;
    if (packs_block_) return b_ + column * padded * kernels_.element_bytes;
    const std::int64_t at = first_column_ + column;
    const std::int64_t width = kernels_.panel_width(p_.n() - at);
    return p_.b_panels + (at * kernels_.padded_k(p_.k) + k * width) * kernels_.element_bytes;
  }

  // Rows [first, first + rows) of the item, of which the first `in_place` are not packed.
  void multiply(std::int64_t first, std::int64_t rows, std::int64_t in_place, std::int64_t k,
                std::int64_t length) const {
    const std::int64_t padded = kernels_.padded_k(length);
    const std::int64_t a_stride = a_panel_stride(kernels_, padded);
    const bool rounds = p_.c.dtype == DType::kBF16 && k + length >= p_.k;
    TileJob tile{.k = padded, .c_stride = c_stride_, .load = p_.accumulate || k > 0};
    Ahead next_a = a_behind(first + rows, k, length);
    for (std::int64_t column = 0; column < columns_; column += kernels_.columns) {
      tile.columns = std::min(kernels_.columns, columns_ - column);
      if (packs_panels_) pack_b(column, tile.columns, k, length);
      tile.b = b_panel(column, k, padded);
      Ahead next_b = b_behind(column, k, length);
      for (std::int64_t row = 0; row < rows; row += kernels_.rows) {
        tile.rows = std::min(kernels_.rows, rows - row);
        set_a(tile, first, row, in_place, k, a_stride);
        tile.c = sums_of(first + row, column);
        tile.ahead = next_b.is_done() ? &next_a : &next_b;
        kernels_.tile(tile);
        if (rounds) round(tile, first + row, column);
      }
    }
  }

  void set_a(TileJob& tile, std::int64_t first, std::int64_t row, std::int64_t in_place,
             std::int64_t k, std::int64_t a_stride) const {
    if (row < in_place) {
      const auto bytes = static_cast<std::int64_t>(p_.a.size_of_element());
      tile.a = p_.a.row(first_row_ + first + row) + k * bytes;
      tile.a_row_bytes = p_.a.row_stride * bytes;
    } else {
      tile.a = a_ + (row - in_place) / kernels_.rows * a_stride;
      tile.a_row_bytes = 0;
    }
  }

  // What is packed after the block of A that ends at `row`: the rows below, else the first ones of
  // the next block of K.
  [[nodiscard]] Ahead a_behind(std::int64_t row, std::int64_t k, std::int64_t length) const {
    if (row == rows_) {
      row = 0;
      k += length;
      if (k == p_.k) return next_a_;
      length = std::min(k_block_, p_.k - k);
    }
    return memory_of(p_.a, first_row_ + row, std::min(a_rows_, rows_ - row), k, length);
  }

  // The panel behind the one that starts at `column`, or what it is packed from.
  [[nodiscard]] Ahead b_behind(std::int64_t column, std::int64_t k, std::int64_t length) const {
    const std::int64_t next = column + kernels_.columns;
    if (packs_block_ || next >= columns_) return {};
    const std::int64_t columns = std::min(kernels_.columns, columns_ - next);
    if (packs_panels_) return memory_of(p_.b, first_column_ + next, columns, k, length);
    const std::int64_t padded = kernels_.padded_k(length);
    const std::int64_t width = kernels_.panel_width(p_.n() - first_column_ - next);
    return {b_panel(next, k, padded), 1, width * padded * kernels_.element_bytes, 0};
  }

  // Nothing where rows are scattered, or there is no next one.
  [[nodiscard]] static Ahead memory_of(const Operand& from, std::int64_t line, std::int64_t lines,
                                       std::int64_t k, std::int64_t length) {
    if (from.row_index != nullptr) return {};
    const auto bytes = static_cast<std::int64_t>(from.size_of_element());
    const std::int64_t stride = from.row_stride * bytes;
    if (from.k_along_row) return {from.row(line) + k * bytes, lines, length * bytes, stride};
    return {from.row(k) + line * bytes, length, lines * bytes, stride};
  }

  // Where the item's row and column have their sum; c_stride_ from row to row.
  [[nodiscard]] float* sums_of(std::int64_t row, std::int64_t column) const {
    if (sums_live_in_tile_) return c_;
    return c_ + row * c_stride_ + column;
  }

  void round(const TileJob& tile, std::int64_t first, std::int64_t column) const {
    const MatrixView<BF16> out = p_.c.as<BF16>();
    kernels_.round({.from = tile.c,
                    .from_stride = c_stride_,
                    .to = out.row(first_row_ + first) + first_column_ + column,
                    .to_stride = p_.c.row_stride,
                    .rows = tile.rows,
                    .columns = tile.columns});
  }

  const GemmKernelSet& kernels_;
  const Product& p_;
  std::int64_t k_block_;
  std::int64_t a_rows_;
  bool packs_block_;   // of B, before its rows meet it
  bool packs_panels_;  // of B, one by one
  bool reads_a_in_place_;
  bool sums_live_in_tile_;
  const Ahead& next_a_;
  std::byte* a_;
  std::byte* b_;
  float* c_ = nullptr;
  std::int64_t c_stride_ = 0;
  std::int64_t first_row_ = 0;
  std::int64_t rows_ = 0;
  std::int64_t first_column_ = 0;
  std::int64_t columns_ = 0;
};

void widen(ScratchLayout& layout, const GemmKernelSet& kernels, const Job& job) {
  const GemmBlocking& b = job.blocking;
  const std::int64_t columns = b.n_tiles_max() * kernels.columns;
  const std::int64_t b_columns = b.by_panel ? kernels.columns : columns;
  const std::int64_t a_bytes = b.a_tiles * Item::a_panel_stride(kernels, b.k_block);
  layout.a_bytes = std::max(layout.a_bytes, align_up(a_bytes));
  if (job.product.b_panels == nullptr) {
    layout.b_bytes =
        std::max(layout.b_bytes, align_up(b_columns * b.k_block * kernels.element_bytes));
  }
  if (job.product.c.dtype == DType::kBF16) {
    const std::int64_t elements = Item::sums_live_in_tile(job)
                                      ? kernels.rows * kernels.columns
                                      : b.m_tiles_max() * kernels.rows * columns;
    layout.c_bytes =
        std::max(layout.c_bytes, align_up(elements * static_cast<std::int64_t>(sizeof(float))));
  }
}

// Jobs, blockings and buffers of one call; a block from the pool holds them all.
class Run {
 public:
  Run(const ComputeContext& context, const GemmKernelSet& kernels,
      std::span<const Product> products, Varying varying)
      : context_(context),
        kernels_(kernels),
        varying_(varying),
        job_storage_(context.allocator->allocate(products.size() * sizeof(Job))),
        jobs_(reinterpret_cast<Job*>(job_storage_.get()), products.size()) {
    std::uninitialized_value_construct(jobs_.begin(), jobs_.end());
    threads_ = count_threads(products);
    const std::int64_t wanted = items_wanted(products);
    for (std::size_t i = 0; i < jobs_.size(); ++i) add(jobs_[i], products[i], wanted);
    if (varying_ != Varying::kNothing) reserve_most(products.front());
    const int threads = varying_ == Varying::kNothing ? threads_ : context_.team->threads();
    const std::int64_t bytes = layout_.bytes() * threads;
    scratch_ = context.allocator->allocate(static_cast<std::size_t>(bytes));
  }

  void run() const {
    for_each_item(context_, kernels_, threads_, items_, [this](std::int64_t i, int thread) {
      const Job& job = job_of(i);
      const Ahead next_a = i + 1 < items_ ? first_of_a(i + 1) : Ahead();
      Item(kernels_, job, i - job.first_item, scratch_.get() + thread * layout_.bytes(), layout_,
           next_a)
          .run();
    });
  }

 private:
  [[nodiscard]] int count_threads(std::span<const Product> products) const {
    double operations = 0;
    double bytes = 0;
    for (const Product& p : products) {
      const auto m = static_cast<double>(p.m());
      const auto n = static_cast<double>(p.n());
      const auto k = static_cast<double>(p.k);
      operations += 2 * m * n * k;
      bytes += (m * k + k * n + m * n) * static_cast<double>(kernels_.element_bytes);
    }
    return choose_threads(operations, bytes, context_.team->threads());
  }

  // A product's share of the items that keep all threads busy. Several a thread even out threads of
  // different speed; one alone does not pack its operands again and again.
  [[nodiscard]] std::int64_t items_wanted(std::span<const Product> products) const {
    if (threads_ == 1) return 1;
    const bool packs_both = products.size() == 1 && products[0].b_panels == nullptr;
    const auto count = static_cast<std::int64_t>(products.size());
    return (threads_ * (packs_both ? 1 : kItemsPerThread) + count - 1) / count;
  }

  void add(Job& job, const Product& product, std::int64_t items_wanted) {
    const GemmTile tile = tile_of(kernels_);
    GemmShape shape = shape_of(product);
    job.product = product;
    if (varying_ == Varying::kDepth) shape.k = kAnyDepth;
    job.blocking = choose_blocking(shape, tile, cache_sizes(), items_wanted);
    if (varying_ == Varying::kDepth) job.blocking = with_depth(job.blocking, product.k, tile);
    job.first_item = items_;
    items_ += job.blocking.items();
    if (job.blocking.items() > 0) widen(layout_, kernels_, job);
  }

  // Room for the largest blocks that any number of rows, or any depth, can lead to.
  void reserve_most(const Product& product) {
    const GemmTile tile = tile_of(kernels_);
    GemmShape shape = shape_of(product);
    if (varying_ == Varying::kDepth) {
      shape.k = kAnyDepth;
      return reserve(product, shape);
    }
    for (const std::int64_t rows : rows_of_largest_buffers(shape, tile, cache_sizes())) {
      shape.m = rows;
      reserve(product, shape);
    }
  }

  void reserve(const Product& product, const GemmShape& shape) {
    const Job widest{product, choose_blocking(shape, tile_of(kernels_), cache_sizes(), 1), 0};
    if (widest.blocking.items() > 0) widen(layout_, kernels_, widest);
  }

  [[nodiscard]] Ahead first_of_a(std::int64_t item) const {
    const Job& job = job_of(item);
    return Item::first_of_a(kernels_, job, item - job.first_item);
  }

  [[nodiscard]] const Job& job_of(std::int64_t item) const {
    const auto behind =
        std::upper_bound(jobs_.begin(), jobs_.end(), item,
                         [](std::int64_t i, const Job& job) { return i < job.first_item; });
    return *std::prev(behind);
  }

  const ComputeContext& context_;
  const GemmKernelSet& kernels_;
  Varying varying_;
  std::shared_ptr<std::byte> job_storage_;  // shared: what Allocator returns
  std::span<Job> jobs_;
  std::shared_ptr<std::byte> scratch_;
  ScratchLayout layout_;
  std::int64_t items_ = 0;
  int threads_ = 1;
};

}  // namespace

void pack_panels(const ComputeContext& context, const GemmKernelSet& kernels, const Operand& b,
                 std::int64_t k, std::int64_t n, std::byte* panels) {
  constexpr std::int64_t kPanelsAtOnce = 4;
  const std::int64_t step = kPanelsAtOnce * kernels.columns;
  const std::int64_t padded = kernels.padded_k(k);
  const std::int64_t column_bytes = padded * kernels.element_bytes;
  const int threads =
      choose_threads(0, 2.0 * static_cast<double>(n * column_bytes), context.team->threads());
  for_each_item(context, kernels, threads, (n + step - 1) / step, [&](std::int64_t i, int) {
    const std::int64_t first = i * step;
    const std::int64_t columns = std::min(step, n - first);
    kernels.pack_b({.operand = &b,
                    .first_line = first,
                    .lines = columns,
                    .all_lines = n,
                    .first_k = 0,
                    .k = k,
                    .padded_k = padded,
                    .width = kernels.columns,
                    .last_width = kernels.panel_width((columns - 1) % kernels.columns + 1),
                    .out = panels + first * column_bytes,
                    .panel_stride = kernels.columns * column_bytes});
  });
}

namespace {

// Never where the memory taken must not depend on how many rows there are this time.
bool shares_panels(const GemmKernelSet& kernels, std::span<const Product> products,
                   Varying varying) {
  if (varying != Varying::kNothing) return false;
  if (products.size() != 1 || products[0].b_panels != nullptr) return false;
  const Product& p = products[0];
  const bool transposes_a = p.a.k_along_row && !kernels.reads_a_in_place;
  return transposes_a && pays_to_share_panels(shape_of(p), tile_of(kernels), cache_sizes());
}

void run_by_slabs(const ComputeContext& context, const GemmKernelSet& kernels,
                  const Product& product) {
  const std::int64_t slab = columns_of_slab(product.n(), tile_of(kernels));
  const auto panels =
      context.allocator->allocate(static_cast<std::size_t>(kernels.panels_bytes(product.k, slab)));
  for (std::int64_t first = 0; first < product.n(); first += slab) {
    Product part = product;
    part.b = columns_from(product.b, first);
    part.c = product.c.columns_from(first, std::min(slab, product.n() - first));
    pack_panels(context, kernels, part.b, part.k, part.n(), panels.get());
    part.b_panels = panels.get();
    Run(context, kernels, {&part, 1}, Varying::kNothing).run();
  }
}

}  // namespace

void run_products(const ComputeContext& context, const GemmKernelSet& kernels,
                  std::span<const Product> products, Varying varying) {
  if (products.empty()) return;
  if (shares_panels(kernels, products, varying)) return run_by_slabs(context, kernels, products[0]);
  Run(context, kernels, products, varying).run();
}

}  // namespace sluice::kernels
