// Shares of a loop: every item once, own items first and in order, none left behind.
#include "kernels/cpu/work_shares.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "kernels/cpu/thread_team.hpp"

namespace sluice::kernels {
namespace {

TEST(WorkShares, OwnItemsFirstThenThoseOfOthers) {
  WorkShares shares(7, 2);  // [0, 3) and [3, 7)
  std::vector<std::int64_t> taken;
  for (std::int64_t i = shares.take(1); i >= 0; i = shares.take(1)) taken.push_back(i);
  EXPECT_EQ(taken, (std::vector<std::int64_t>{3, 4, 5, 6, 0, 1, 2}));
  EXPECT_EQ(shares.take(0), -1);
}

TEST(WorkShares, EmptyAndFewerItemsThanThreads) {
  WorkShares none(0, 3);
  EXPECT_EQ(none.take(2), -1);
  WorkShares one(1, 100);
  EXPECT_EQ(one.take(99), 0);
  EXPECT_EQ(one.take(0), -1);
}

TEST(WorkShares, ThreadsTogetherTakeEveryItemOnce) {
  constexpr std::int64_t kItems = 10007;
  WorkShares shares(kItems, 4);
  std::vector<std::vector<std::int64_t>> taken(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      auto& mine = taken[static_cast<std::size_t>(t)];
      for (std::int64_t i = shares.take(t); i >= 0; i = shares.take(t)) mine.push_back(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<int> times(kItems, 0);
  for (const auto& mine : taken) {
    for (const std::int64_t i : mine) ++times[static_cast<std::size_t>(i)];
  }
  EXPECT_EQ(times, std::vector<int>(kItems, 1));
}

TEST(ThreadTeam, ParallelForCoversTheRangeOnceInPiecesOfTheGrain) {
  for (const std::int64_t count : {0, 1, 5, 64, 1000}) {
    for (const std::int64_t grain : {1, 7, 100}) {
      ThreadTeam team(3);
      std::vector<std::atomic<int>> times(static_cast<std::size_t>(count));
      std::atomic<int> short_pieces{0};
      team.parallel_for(count, grain, [&](std::int64_t first, std::int64_t last) {
        if (last - first < grain) short_pieces.fetch_add(1);
        for (std::int64_t i = first; i < last; ++i) times[static_cast<std::size_t>(i)].fetch_add(1);
      });
      EXPECT_LE(short_pieces.load(), 1) << "only the last piece may be short";
      for (const std::atomic<int>& t : times) EXPECT_EQ(t.load(), 1);
    }
  }
}

// Loops that are over before a helper wakes: it comes in time or not at all.
TEST(ThreadTeam, NobodyComesInOnceALoopIsOver) {
  ThreadTeam team(3);
  std::atomic<std::int64_t> sum{0}, late{0};
  constexpr int kLoops = 20000;
  for (int loop = 0; loop < kLoops; ++loop) {
    std::atomic<bool> is_over{false};
    WorkShares shares(3, 3);
    team.run([&](int thread) {
      if (is_over.load()) late.fetch_add(1);
      while (shares.take(thread) >= 0) sum.fetch_add(1);
    });
    is_over.store(true);
  }
  EXPECT_EQ(sum.load(), 3 * kLoops);
  EXPECT_EQ(late.load(), 0);
}

TEST(ThreadTeam, OthersHelpWhereThereIsWorkForLonger) {
  ThreadTeam team(2);
  std::atomic<int> helped{0};
  team.run([&](int thread) {
    if (thread == 1) helped.fetch_add(1);
    while (helped.load() == 0) std::this_thread::yield();
  });
  EXPECT_EQ(helped.load(), 1);
}

}  // namespace
}  // namespace sluice::kernels
