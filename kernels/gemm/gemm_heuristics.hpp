// Block sizes and thread counts of matrix products: pure functions of shape, micro-tile and
// machine.
//
// A product is cut into m_blocks x n_blocks work items of whole micro-tiles; an item runs along K
// in steps of k_block. Blocks differ by one micro-tile at most. Any choice gives the same bits.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/cpu/caches.hpp"

namespace sluice::kernels {

/// How the right operand comes: packed before, or to be packed by each item for itself, from memory
/// rows of one index of K each or of one column each.
enum class GemmRight { kPacked, kRowsOfK, kRowsOfColumns };

struct GemmShape {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  GemmRight b = GemmRight::kPacked;
};

struct GemmTile {
  std::int64_t rows = 1;
  std::int64_t columns = 1;
  std::int64_t k_unit = 1;  ///< K blocks are multiples of it
  std::int64_t element_bytes = 4;
  bool reads_a_in_place = false;
};

struct GemmBlocking {
  std::int64_t m_tiles = 0;  ///< micro-tiles along M, the last one perhaps short
  std::int64_t n_tiles = 0;
  std::int64_t m_blocks = 0;
  std::int64_t n_blocks = 0;
  std::int64_t a_tiles = 0;  ///< along M, of an item that are packed at a time
  std::int64_t k_block = 0;  ///< > 0 even for K = 0
  /// A raw right operand is packed panel by panel, each one just before all of the item's rows meet
  /// it; else a block of it at once.
  bool by_panel = false;

  [[nodiscard]] std::int64_t items() const { return m_blocks * n_blocks; }
  /// The first micro-tile of a block; that of block `m_blocks` is m_tiles.
  [[nodiscard]] std::int64_t first_m_tile(std::int64_t block) const {
    return block * m_tiles / m_blocks;
  }
  [[nodiscard]] std::int64_t first_n_tile(std::int64_t block) const {
    return block * n_tiles / n_blocks;
  }
  [[nodiscard]] std::int64_t m_tiles_max() const { return (m_tiles + m_blocks - 1) / m_blocks; }
  [[nodiscard]] std::int64_t n_tiles_max() const { return (n_tiles + n_blocks - 1) / n_blocks; }

  friend bool operator==(const GemmBlocking&, const GemmBlocking&) = default;
};

/// `items_wanted`: cut finer than the caches ask for, where it pays, until there are so many, or a
/// multiple of it where they are few.
[[nodiscard]] GemmBlocking choose_blocking(const GemmShape& shape, const GemmTile& tile,
                                           const CacheSizes& caches, std::int64_t items_wanted);

/// Whether a raw right operand is packed by all threads together, a slab of columns at a time,
/// before its product, given that packing rows of A transposes them.
[[nodiscard]] bool pays_to_share_panels(const GemmShape& shape, const GemmTile& tile,
                                        const CacheSizes& caches);

/// Even slabs of whole micro-tiles, as wide as one item covers at most.
[[nodiscard]] std::int64_t columns_of_slab(std::int64_t n, const GemmTile& tile);

/// The same blocking for another K: blocks of even length, none longer than before.
[[nodiscard]] GemmBlocking with_depth(GemmBlocking blocking, std::int64_t k, const GemmTile& tile);

/// Values of M that lead to the largest buffers, for callers whose M varies.
[[nodiscard]] std::array<std::int64_t, 2> rows_of_largest_buffers(const GemmShape& shape,
                                                                  const GemmTile& tile,
                                                                  const CacheSizes& caches);

/// Threads worth waking for work of so many operations on so many bytes, at most `threads`.
[[nodiscard]] int choose_threads(double operations, double bytes, int threads);

}  // namespace sluice::kernels
