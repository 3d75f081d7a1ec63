// Constants measured with `sluice bench gemm`.
#include "kernels/gemm/gemm_heuristics.hpp"

#include <algorithm>

namespace sluice::kernels {
namespace {

// Shares of L2, in percent. With B packed before, a block of A stays there while B's panels stream
// past it. An item that packs B for itself keeps that block there instead, and fewer rows of A; or,
// where all rows fit, A and the one panel of B that is being multiplied.
constexpr std::int64_t kPackedL2OfA = 33;
constexpr std::int64_t kRawL2OfA = 24;
constexpr std::int64_t kRawL2OfB = 75;
constexpr std::int64_t kByPanelL2OfA = 60;
// Longer K blocks load and store C less often; shorter ones leave room for more rows and columns:
// those of B that go in at a time pack A once.
constexpr std::int64_t kKBlockBytes = 2048;
constexpr std::int64_t kRawKBlockBytes = 1536;
// Where B is read only once, along rows that go across K, long stretches of each row count more.
constexpr std::int64_t kThinKBlockBytes = 256;
// Columns or rows that one item covers at most: beyond, packing the other side again costs nothing.
constexpr std::int64_t kItemColumns = 1024;
constexpr std::int64_t kRawItemRows = 1024;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Rows of A or columns of B whose K block fills so many percent of L2.
std::int64_t lines_in_l2(std::int64_t percent, std::int64_t k_block, const GemmTile& tile,
                         const CacheSizes& caches) {
  return caches.l2_bytes * percent / 100 / (k_block * tile.element_bytes);
}

// Whole micro-tiles in so many rows or columns.
std::int64_t tiles_in(std::int64_t lines, std::int64_t tile_lines) {
  return std::max<std::int64_t>(1, lines / tile_lines);
}

// Items stay this large, else packing A (and B) and leaving the caches' reach costs more than
// idling.
struct ItemMin {
  std::int64_t rows;
  std::int64_t columns;
};
constexpr ItemMin kPackedItemMin{48, 128};
constexpr ItemMin kRawItemMin{112, 128};

// How many rows of an item weigh as many columns. More items along N pack the same rows of A more
// often, or only read them; more along M read the same panels of B more often. Raw: columns first,
// which are packed by one item then.
std::int64_t weight_of_rows(const GemmTile& tile, bool packed) {
  constexpr std::int64_t kPackingA = 8;
  constexpr std::int64_t kReadingA = 2;
  if (!packed) return 0;
  return tile.reads_a_in_place ? kReadingA : kPackingA;
}

void cut_finer(GemmBlocking& b, const GemmTile& tile, bool packed, std::int64_t items_wanted) {
  const ItemMin& min = packed ? kPackedItemMin : kRawItemMin;
  const std::int64_t weight = weight_of_rows(tile, packed);
  const std::int64_t m_blocks_max = std::max(b.m_blocks, b.m_tiles / tiles_in(min.rows, tile.rows));
  const std::int64_t n_blocks_max =
      std::max(b.n_blocks, b.n_tiles / tiles_in(min.columns, tile.columns));
  const auto uneven = [&] {  // a few items that do not go round
    return b.items() % items_wanted != 0 && b.items() < 4 * items_wanted;
  };
  while ((b.items() < items_wanted || uneven()) &&
         (b.m_blocks < m_blocks_max || b.n_blocks < n_blocks_max)) {
    const bool tall = b.m_tiles_max() * tile.rows * weight >= b.n_tiles_max() * tile.columns;
    const bool cut_rows = b.n_blocks >= n_blocks_max || (b.m_blocks < m_blocks_max && tall);
    ++(cut_rows ? b.m_blocks : b.n_blocks);
  }
}

// What an item may hold at a time.
struct Limits {
  std::int64_t k_block = 0;
  std::int64_t a_tiles = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  bool by_panel = false;
};

// In even blocks.
std::int64_t k_block_of(std::int64_t k, std::int64_t longest, const GemmTile& tile) {
  const std::int64_t blocks = std::max<std::int64_t>(1, ceil_div(k, longest));
  return std::max<std::int64_t>(1, ceil_div(ceil_div(k, blocks), tile.k_unit)) * tile.k_unit;
}

std::int64_t k_block_in(std::int64_t bytes, const GemmShape& shape, const GemmTile& tile) {
  return k_block_of(shape.k, std::max(bytes / tile.element_bytes, tile.k_unit), tile);
}

Limits limits_of(const GemmShape& shape, const GemmTile& tile, const CacheSizes& caches) {
  Limits limits;
  const auto a_tiles = [&](std::int64_t percent) {
    return tiles_in(lines_in_l2(percent, limits.k_block, tile, caches), tile.rows);
  };
  limits.k_block = k_block_in(kKBlockBytes, shape, tile);
  limits.columns = kItemColumns;
  if (shape.b == GemmRight::kPacked) {
    limits.a_tiles = a_tiles(kPackedL2OfA);
    limits.rows = limits.a_tiles * tile.rows;
    return limits;
  }
  limits.rows = kRawItemRows;
  const bool thin = shape.b == GemmRight::kRowsOfK && shape.m <= tile.rows;
  limits.a_tiles = std::min(a_tiles(kByPanelL2OfA), tiles_in(kRawItemRows, tile.rows));
  limits.by_panel = !thin && shape.m <= limits.a_tiles * tile.rows;
  if (limits.by_panel) return limits;
  limits.k_block = k_block_in(thin ? kThinKBlockBytes : kRawKBlockBytes, shape, tile);
  limits.a_tiles = a_tiles(kRawL2OfA);
  limits.columns = std::min(kItemColumns, lines_in_l2(kRawL2OfB, limits.k_block, tile, caches));
  return limits;
}

}  // namespace

GemmBlocking choose_blocking(const GemmShape& shape, const GemmTile& tile, const CacheSizes& caches,
                             std::int64_t items_wanted) {
  const Limits limits = limits_of(shape, tile, caches);
  GemmBlocking b;
  b.m_tiles = ceil_div(shape.m, tile.rows);
  b.n_tiles = ceil_div(shape.n, tile.columns);
  b.k_block = limits.k_block;
  b.by_panel = limits.by_panel;
  if (b.m_tiles == 0 || b.n_tiles == 0) return b;
  b.m_blocks = ceil_div(shape.m, limits.rows);
  b.n_blocks = ceil_div(b.n_tiles, tiles_in(limits.columns, tile.columns));
  cut_finer(b, tile, shape.b == GemmRight::kPacked, items_wanted);
  b.a_tiles = ceil_div(b.m_tiles_max(), ceil_div(b.m_tiles_max(), limits.a_tiles));
  return b;
}

bool pays_to_share_panels(const GemmShape& shape, const GemmTile& tile, const CacheSizes& caches) {
  constexpr std::int64_t kRows = 1024;  // below, panels from another cache cost more
  const Limits limits = limits_of(shape, tile, caches);
  return shape.m >= kRows && !limits.by_panel && shape.k > 0 && shape.n > limits.columns;
}

std::int64_t columns_of_slab(std::int64_t n, const GemmTile& tile) {
  const std::int64_t slabs = std::max<std::int64_t>(1, ceil_div(n, kItemColumns));
  return ceil_div(ceil_div(n, slabs), tile.columns) * tile.columns;
}

GemmBlocking with_depth(GemmBlocking blocking, std::int64_t k, const GemmTile& tile) {
  blocking.k_block = k_block_of(k, blocking.k_block, tile);
  return blocking;
}

std::array<std::int64_t, 2> rows_of_largest_buffers(const GemmShape& shape, const GemmTile& tile,
                                                    const CacheSizes& caches) {
  GemmShape few = shape, many = shape;
  few.m = tile.rows + 1;
  few.m = limits_of(few, tile, caches).a_tiles * tile.rows;
  many.m = ceil_div(few.m + 1, kRawItemRows) * kRawItemRows;  // whole items
  return {few.m, many.m};
}

int choose_threads(double operations, double bytes, int threads) {
  constexpr double kOperationsPerSecond = 60e9;  // of one thread, roughly
  constexpr double kBytesPerSecond = 10e9;
  constexpr double kSecondsWorthAThread = 5e-6;
  const double seconds = std::max(operations / kOperationsPerSecond, bytes / kBytesPerSecond);
  return std::clamp(static_cast<int>(std::min(seconds / kSecondsWorthAThread, 1e6)), 1, threads);
}

}  // namespace sluice::kernels
