// Block sizes: what every choice must keep, and what the choices are for.
#include "kernels/gemm/gemm_heuristics.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace sluice::kernels {
namespace {

constexpr GemmTile kAvx512Tile{14, 32, 1, 4};
constexpr GemmTile kAmxTile{32, 32, 32, 2, true};

TEST(GemmHeuristics, BlocksCoverAllTilesOnceAndDifferByOne) {
  for (const GemmTile& tile : {kAvx512Tile, kAmxTile}) {
    for (const std::int64_t m : {1, 13, 14, 500, 2048}) {
      for (const std::int64_t n : {1, 32, 33, 700, 32768}) {
        for (const GemmRight b_is : {GemmRight::kPacked, GemmRight::kRowsOfK}) {
          const GemmBlocking b = choose_blocking({m, n, 512, b_is}, tile, {}, 8);
          ASSERT_GE(b.m_blocks, 1);
          ASSERT_GE(b.n_blocks, 1);
          EXPECT_EQ(b.first_m_tile(0), 0);
          EXPECT_EQ(b.first_m_tile(b.m_blocks), (m + tile.rows - 1) / tile.rows);
          EXPECT_EQ(b.first_n_tile(b.n_blocks), (n + tile.columns - 1) / tile.columns);
          for (std::int64_t i = 0; i < b.m_blocks; ++i) {
            const std::int64_t tiles = b.first_m_tile(i + 1) - b.first_m_tile(i);
            EXPECT_GE(tiles, 1);
            EXPECT_LE(tiles, b.m_tiles_max());
            EXPECT_GE(tiles, b.m_tiles_max() - 1);
          }
        }
      }
    }
  }
}

TEST(GemmHeuristics, BlocksFitTheCaches) {
  for (const std::int64_t k : {1, 64, 512, 1100, 4096, 100000}) {
    for (const CacheSizes caches : {CacheSizes{}, CacheSizes{48 << 10, 2 << 20, 64 << 20}}) {
      const GemmBlocking b =
          choose_blocking({4096, 4096, k, GemmRight::kRowsOfK}, kAvx512Tile, caches, 1);
      const std::int64_t line_bytes = b.k_block * kAvx512Tile.element_bytes;
      EXPECT_LE(b.a_tiles * kAvx512Tile.rows * line_bytes, caches.l2_bytes / 2);
      EXPECT_LE(b.n_tiles_max() * kAvx512Tile.columns * line_bytes, caches.l2_bytes * 3 / 4);
    }
  }
}

TEST(GemmHeuristics, FewRowsArePackedOnceAndMeetTheOtherSideByPanel) {
  const GemmBlocking few =
      choose_blocking({250, 512, 512, GemmRight::kRowsOfColumns}, kAvx512Tile, {}, 1);
  EXPECT_TRUE(few.by_panel);
  EXPECT_EQ(few.items(), 1);
  EXPECT_EQ(few.a_tiles, few.m_tiles);
  EXPECT_EQ(few.k_block, 512);
  EXPECT_FALSE(
      choose_blocking({2048, 512, 512, GemmRight::kRowsOfColumns}, kAvx512Tile, {}, 1).by_panel);
  EXPECT_FALSE(choose_blocking({250, 512, 512, GemmRight::kPacked}, kAvx512Tile, {}, 1).by_panel);
}

TEST(GemmHeuristics, LargestBuffersHoldThoseOfAnyNumberOfRows) {
  const auto bytes = [](const GemmBlocking& b) {
    const std::int64_t columns = (b.by_panel ? 1 : b.n_tiles_max()) * kAvx512Tile.columns;
    return std::pair(b.a_tiles * kAvx512Tile.rows * b.k_block, columns * b.k_block);
  };
  for (const GemmRight b_is :
       {GemmRight::kPacked, GemmRight::kRowsOfK, GemmRight::kRowsOfColumns}) {
    for (const std::int64_t k : {64, 512, 1100}) {
      GemmShape shape{0, 700, k, b_is};
      std::int64_t a = 0, b = 0;
      for (const std::int64_t m : rows_of_largest_buffers(shape, kAvx512Tile, {})) {
        shape.m = m;
        const auto [a_bytes, b_bytes] = bytes(choose_blocking(shape, kAvx512Tile, {}, 1));
        a = std::max(a, a_bytes);
        b = std::max(b, b_bytes);
      }
      for (shape.m = 1; shape.m < 3000; shape.m += 13) {
        const auto [a_bytes, b_bytes] = bytes(choose_blocking(shape, kAvx512Tile, {}, 1));
        EXPECT_LE(a_bytes, a) << "rows " << shape.m << ", k " << k;
        EXPECT_LE(b_bytes, b) << "rows " << shape.m << ", k " << k;
      }
    }
  }
}

TEST(GemmHeuristics, KBlocksAreEvenAndWholeUnits) {
  EXPECT_EQ(choose_blocking({64, 64, 0, GemmRight::kPacked}, kAvx512Tile, {}, 1).k_block, 1);
  EXPECT_EQ(choose_blocking({64, 64, 7, GemmRight::kPacked}, kAvx512Tile, {}, 1).k_block, 7);
  EXPECT_EQ(choose_blocking({64, 64, 7, GemmRight::kPacked}, kAmxTile, {}, 1).k_block, 32);
  for (const std::int64_t k : {33, 1000, 4097}) {
    const std::int64_t block =
        choose_blocking({64, 64, k, GemmRight::kPacked}, kAmxTile, {}, 1).k_block;
    EXPECT_EQ(block % kAmxTile.k_unit, 0);
    const std::int64_t blocks = (k + block - 1) / block;
    EXPECT_GT(k - (blocks - 1) * block, block / 2) << "the last block is a stub";
  }
}

TEST(GemmHeuristics, CutsFinerForMoreThreadsButNotIntoCrumbs) {
  const GemmShape layer{2048, 768, 256, GemmRight::kPacked};
  EXPECT_GE(choose_blocking(layer, kAvx512Tile, {}, 8).items(), 8);
  EXPECT_GE(choose_blocking(layer, kAvx512Tile, {}, 64).items(), 64);
  EXPECT_EQ(choose_blocking({14, 32, 4096, GemmRight::kPacked}, kAvx512Tile, {}, 64).items(), 1);
  EXPECT_GE(choose_blocking({1, 32768, 512, GemmRight::kPacked}, kAvx512Tile, {}, 8).n_blocks, 8);
}

TEST(GemmHeuristics, PacksRowsOnceWhereCuttingThemIsEnough) {
  const GemmShape layer{2048, 512, 512, GemmRight::kPacked};
  const GemmBlocking packs = choose_blocking(layer, kAvx512Tile, {}, 8);
  EXPECT_EQ(packs.n_blocks, 1);
  EXPECT_EQ(packs.items() % 8, 0);
  EXPECT_GT(choose_blocking(layer, kAmxTile, {}, 64).n_blocks, 1)
      << "rows that are not packed may be read by several items";
}

TEST(GemmHeuristics, ManyRowsShareThePanelsOfManyColumns) {
  const auto pays = [](std::int64_t m, std::int64_t n, std::int64_t k) {
    return pays_to_share_panels({m, n, k, GemmRight::kRowsOfK}, kAvx512Tile, {});
  };
  EXPECT_TRUE(pays(1024, 2048, 512));
  EXPECT_FALSE(pays(512, 2048, 512));
  EXPECT_FALSE(pays(2048, 256, 512)) << "one item's columns";
  EXPECT_FALSE(pays(2048, 2048, 0));
  EXPECT_FALSE(pays(0, 2048, 512));
  for (const std::int64_t n : {1, 32, 1000, 1024, 1025, 2300, 32768}) {
    const std::int64_t slab = columns_of_slab(n, kAvx512Tile);
    EXPECT_EQ(slab % kAvx512Tile.columns, 0);
    EXPECT_LE(slab, 1024);
    EXPECT_EQ((n + slab - 1) / slab, (n + 1023) / 1024);
  }
}

TEST(GemmHeuristics, SmallWorkStaysOnOneThread) {
  EXPECT_EQ(choose_threads(1e4, 1e3, 16), 1);
  EXPECT_EQ(choose_threads(1e12, 1e3, 16), 16);
  EXPECT_GT(choose_threads(0, 64e6, 16), 1) << "a decoding step reads all weights";
}

TEST(GemmHeuristics, AnItemPacksItsRowsInPartsThatFit) {
  const GemmBlocking b =
      choose_blocking({1000, 256, 4096, GemmRight::kRowsOfK}, kAvx512Tile, {}, 2);
  EXPECT_EQ(b.m_blocks, 1);
  EXPECT_EQ(b.n_blocks, 2) << "each thread packs columns of its own";
  EXPECT_LT(b.a_tiles, b.m_tiles_max());
  const std::int64_t parts = (b.m_tiles_max() + b.a_tiles - 1) / b.a_tiles;
  EXPECT_GT(b.m_tiles_max() - (parts - 1) * b.a_tiles, b.a_tiles / 2) << "the last part is a stub";
}

TEST(GemmHeuristics, FewItemsGoRound) {
  for (const std::int64_t n : {640, 800, 1024, 1200}) {
    const GemmBlocking b =
        choose_blocking({1024, n, 1024, GemmRight::kRowsOfK}, kAvx512Tile, {}, 2);
    EXPECT_TRUE(b.items() % 2 == 0 || b.items() >= 8) << n << ": " << b.items() << " items";
  }
}

TEST(CacheSizes, AreOfAMachine) {
  EXPECT_GE(cache_sizes().l1_bytes, 8 << 10);
  EXPECT_GE(cache_sizes().l2_bytes, cache_sizes().l1_bytes);
}

}  // namespace
}  // namespace sluice::kernels
