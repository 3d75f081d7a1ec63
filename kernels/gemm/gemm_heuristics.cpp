// Constants measured with `sluice bench gemm`.
#include "kernels/gemm/gemm_heuristics.hpp"

#include <algorithm>

namespace sluice::kernels {
namespace {

// A block of A stays in L2 while B's panels stream past it; the rest is for those and for C.
constexpr std::int64_t kL2ShareOfBlock = 3;
// Longer K blocks load and store C less often; shorter ones keep a panel of B near L1.
constexpr std::int64_t kKBlockBytes = 2048;
// Where B is read only once, along rows that go across K, long stretches of each row count more.
constexpr std::int64_t kThinKBlockBytes = 256;
// Columns that one item covers at most: beyond, packing A again costs nothing.
constexpr std::int64_t kItemColumns = 1024;
// Items stay this large, else packing A and leaving the caches' reach costs more than idling.
constexpr std::int64_t kItemRowsMin = 48;
constexpr std::int64_t kItemColumnsMin = 128;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Lines of A or columns of B whose K block fills its share of L2.
std::int64_t lines_in_l2(std::int64_t k_block, const GemmTile& tile, const CacheSizes& caches) {
  const std::int64_t line_bytes = k_block * tile.element_bytes;
  return std::max<std::int64_t>(1, caches.l2_bytes / kL2ShareOfBlock / line_bytes);
}

}  // namespace

std::int64_t choose_k_block(const GemmShape& shape, const GemmTile& tile) {
  const bool thin = shape.b == GemmRight::kRowsOfK && shape.m <= tile.rows;
  const std::int64_t bytes = thin ? kThinKBlockBytes : kKBlockBytes;
  const std::int64_t longest = std::max(bytes / tile.element_bytes, tile.k_unit);
  const std::int64_t k = shape.k;
  const std::int64_t blocks = std::max<std::int64_t>(1, ceil_div(k, longest));
  return std::max<std::int64_t>(1, ceil_div(ceil_div(k, blocks), tile.k_unit)) * tile.k_unit;
}

std::int64_t block_m_tiles_max(std::int64_t k_block, const GemmTile& tile,
                               const CacheSizes& caches) {
  return std::max<std::int64_t>(1, lines_in_l2(k_block, tile, caches) / tile.rows);
}

GemmBlocking choose_blocking(const GemmShape& shape, const GemmTile& tile, const CacheSizes& caches,
                             std::int64_t items_wanted) {
  GemmBlocking b;
  b.m_tiles = ceil_div(shape.m, tile.rows);
  b.n_tiles = ceil_div(shape.n, tile.columns);
  b.k_block = choose_k_block(shape, tile);
  if (b.m_tiles == 0 || b.n_tiles == 0) return b;
  const std::int64_t lines = lines_in_l2(b.k_block, tile, caches);
  const std::int64_t columns =
      shape.b == GemmRight::kPacked ? kItemColumns : std::min(kItemColumns, lines);
  b.m_blocks = ceil_div(b.m_tiles, block_m_tiles_max(b.k_block, tile, caches));
  b.n_blocks = ceil_div(b.n_tiles, std::max<std::int64_t>(1, columns / tile.columns));
  const std::int64_t m_blocks_max =
      std::max(b.m_blocks, b.m_tiles / std::max<std::int64_t>(1, kItemRowsMin / tile.rows));
  const std::int64_t n_blocks_max =
      std::max(b.n_blocks, b.n_tiles / std::max<std::int64_t>(1, kItemColumnsMin / tile.columns));
  while (b.items() < items_wanted && (b.m_blocks < m_blocks_max || b.n_blocks < n_blocks_max)) {
    const bool cut_rows = b.n_blocks >= n_blocks_max ||
                          (b.m_blocks < m_blocks_max &&
                           b.m_tiles_max() * tile.rows * 2 >= b.n_tiles_max() * tile.columns);
    ++(cut_rows ? b.m_blocks : b.n_blocks);
  }
  return b;
}

int choose_threads(double operations, double bytes, int threads) {
  constexpr double kOperationsPerSecond = 60e9;  // of one thread, roughly
  constexpr double kBytesPerSecond = 10e9;
  constexpr double kSecondsWorthAThread = 5e-6;
  const double seconds = std::max(operations / kOperationsPerSecond, bytes / kBytesPerSecond);
  return std::clamp(static_cast<int>(std::min(seconds / kSecondsWorthAThread, 1e6)), 1, threads);
}

std::int64_t choose_shared_columns(std::int64_t k, const GemmTile& tile, const CacheSizes& caches) {
  const std::int64_t panel_bytes = std::max<std::int64_t>(1, k) * tile.columns * tile.element_bytes;
  return std::max<std::int64_t>(1, caches.l3_bytes / 2 / panel_bytes) * tile.columns;
}

}  // namespace sluice::kernels
