// Blocks come back, sizes are classed, and the counts are right under threads.
#include "runtime/device/pool_allocator.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

namespace sluice::device {
namespace {

TEST(PoolAllocator, ClassesWasteAtMostAnEighth) {
  std::size_t last = 0;
  for (std::size_t bytes = 1; bytes < 100'000'000; bytes += 1 + bytes / 97) {
    const std::size_t block = PoolAllocator::class_bytes(bytes);
    EXPECT_GE(block, bytes);
    EXPECT_GE(block, last);
    EXPECT_EQ(block % 64, 0U);
    EXPECT_EQ(PoolAllocator::class_bytes(block), block);
    EXPECT_LE(block - bytes, std::max(bytes / 8, std::size_t{511}));
    last = block;
  }
  EXPECT_EQ(PoolAllocator::class_bytes(0), PoolAllocator::class_bytes(1));
}

TEST(PoolAllocator, ASecondStepTakesNoNewMemory) {
  PoolAllocator pool;
  const auto step = [&pool] {
    std::vector<std::shared_ptr<std::byte>> held;
    for (const std::size_t bytes : {100UL, 5'000UL, 5'000UL, 300'000UL, 5'000'000UL}) {
      held.push_back(pool.allocate(bytes));
      std::memset(held.back().get(), 1, bytes);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(held.back().get()) % 64, 0U);
    }
  };
  step();
  EXPECT_EQ(pool.statistics().blocks, 5);
  for (int i = 0; i < 10; ++i) step();
  EXPECT_EQ(pool.statistics().blocks, 5);
  EXPECT_EQ(pool.statistics().bytes_in_use, 0);
  EXPECT_EQ(pool.statistics().bytes_in_use_peak, 100 + 2 * 5'000 + 300'000 + 5'000'000);
}

TEST(PoolAllocator, ALargerFreeBlockServesButNotOneOfTwiceTheSize) {
  PoolAllocator pool;
  pool.allocate(10'000).reset();
  const auto near = pool.allocate(7'000);
  EXPECT_EQ(pool.statistics().blocks, 1);
  const auto again = pool.allocate(10'000);
  EXPECT_EQ(pool.statistics().blocks, 2);
  pool.allocate(100'000).reset();
  const auto far = pool.allocate(7'000);
  EXPECT_EQ(pool.statistics().blocks, 4);
}

TEST(PoolAllocator, SparesServeWhatInterleavesInAnotherWay) {
  PoolAllocator pool;
  const auto kept = pool.allocate(700'000);  // never comes back: no spare of it
  pool.allocate(10'000).reset();
  pool.allocate(50'000).reset();
  pool.add_spares();
  const auto before = pool.statistics();
  EXPECT_EQ(before.blocks, 3 + 2 * 2 + 2);  // and one of twice the size
  std::vector<std::shared_ptr<std::byte>> held;
  for (int i = 0; i < 4; ++i) {
    held.push_back(pool.allocate(50'000));
    held.push_back(pool.allocate(9'000));
  }
  EXPECT_EQ(pool.statistics().blocks, before.blocks);
  held.push_back(pool.allocate(9'000));
  EXPECT_EQ(pool.statistics().blocks, before.blocks + 1);
  held.clear();
  pool.release_unused();
  EXPECT_EQ(pool.statistics().reserved_bytes,
            static_cast<std::int64_t>(PoolAllocator::class_bytes(700'000)));
}

TEST(PoolAllocator, PeakAndReleaseCount) {
  PoolAllocator pool;
  auto one = pool.allocate(1'000'000);
  pool.allocate(4'000'000).reset();
  EXPECT_EQ(pool.statistics().bytes_in_use_peak, 5'000'000);
  pool.reset_peak();
  EXPECT_EQ(pool.statistics().bytes_in_use_peak, 1'000'000);
  const std::int64_t reserved = pool.statistics().reserved_bytes;
  pool.release_unused();
  EXPECT_EQ(pool.statistics().reserved_bytes,
            reserved - static_cast<std::int64_t>(PoolAllocator::class_bytes(4'000'000)));
  one.reset();
  pool.release_unused();
  EXPECT_EQ(pool.statistics().reserved_bytes, 0);
}

TEST(PoolAllocator, ABlockOutlivesItsAllocator) {
  auto pool = std::make_unique<PoolAllocator>();
  const std::shared_ptr<std::byte> block = pool->allocate(3'000'000);
  pool.reset();
  std::memset(block.get(), 7, 3'000'000);
}

TEST(PoolAllocator, ThreadsNeverShareABlock) {
  PoolAllocator pool;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&pool, thread] {
      for (std::size_t i = 0; i < 2'000; ++i) {
        const std::size_t bytes = 64 + i % 50 * 100;
        const auto block = pool.allocate(bytes);
        std::memset(block.get(), thread, bytes);
        for (std::size_t at = 0; at < bytes; at += 61) {
          ASSERT_EQ(static_cast<int>(block.get()[at]), thread);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.statistics().bytes_in_use, 0);
}

}  // namespace
}  // namespace sluice::device
