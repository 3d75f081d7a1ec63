// Timing: idle and peaks against the published formulas, and schedules that get stuck.
#include "graph/schedule/timing.hpp"

#include <gtest/gtest.h>

namespace sluice::graph {
namespace {

Timing timed(std::string_view name, ScheduleSize size, const PassTimes& times) {
  auto schedule = make_schedule(name, size);
  EXPECT_TRUE(schedule) << (schedule ? "" : schedule.error().message);
  auto timing = time_schedule(*schedule, times);
  EXPECT_TRUE(timing) << (timing ? "" : timing.error().message);
  return std::move(*timing);
}

Ticks idle_max(const Timing& timing) {
  Ticks most = 0;
  for (const RankTiming& rank : timing.ranks) most = std::max(most, rank.idle);
  return most;
}

std::int32_t peak_max(const Timing& timing) {
  std::int32_t most = 0;
  for (const RankTiming& rank : timing.ranks) most = std::max(most, rank.peak_live_activations);
  return most;
}

// Sets of times with F = B - W, for which the formulas are exact.
constexpr PassTimes kTimes[] = {
    {1, 2, 1, 1, 3, 0}, {3, 5, 3, 2, 8, 0}, {2, 3, 2, 1, 4, 0}, {10, 20, 10, 10, 25, 0}};

TEST(Timing, IdleEqualsThePublishedFormula) {
  int compared = 0;
  for (const PassTimes& times : kTimes) {
    for (const std::string_view name : schedule_names()) {
      for (std::int32_t ranks = 1; ranks <= 10; ++ranks) {
        for (std::int32_t rounds = 2; rounds <= 4; ++rounds) {
          const ScheduleSize size{ranks, rounds * ranks};
          const auto formula = published(name, size, times);
          if (!formula || !formula->bubble) continue;
          EXPECT_EQ(idle_max(timed(name, size, times)), *formula->bubble)
              << name << " ranks " << ranks << " rounds " << rounds << " F " << times.forward;
          ++compared;
        }
      }
    }
  }
  EXPECT_GT(compared, 500);
}

TEST(Timing, PeaksEqualThePublishedCounts) {
  for (const std::string_view name : schedule_names()) {
    for (std::int32_t ranks = 1; ranks <= 10; ++ranks) {
      for (std::int32_t rounds = 1; rounds <= 4; ++rounds) {
        const ScheduleSize size{ranks, rounds * ranks};
        const auto formula = published(name, size, {});
        if (!formula) continue;
        EXPECT_EQ(peak_max(timed(name, size, {})), formula->activations)
            << name << " ranks " << ranks << " rounds " << rounds;
      }
    }
  }
}

TEST(Timing, EveryRankOfDualPipeIsIdleAndFullAlike) {
  for (std::int32_t ranks = 2; ranks <= 16; ranks += 2) {
    const Timing timing = timed("dualpipe", {ranks, 2 * ranks + 4}, {});
    for (const RankTiming& rank : timing.ranks) {
      EXPECT_EQ(rank.idle, ranks - 2);
      EXPECT_EQ(rank.peak_live_activations, ranks + 1);
    }
  }
}

TEST(Timing, OneForwardOneBackwardKeepsFewerTowardsTheEnd) {
  const Timing timing = timed("1f1b", {4, 6}, {});
  for (std::size_t r = 0; r < 4; ++r) {
    EXPECT_EQ(timing.ranks[r].peak_live_activations, 4 - static_cast<std::int32_t>(r));
  }
}

// ZB-V has no gap between a rank's first and last pass where F = I = W.
TEST(Timing, ZeroBubbleVHasNone) {
  for (std::int32_t ranks = 1; ranks <= 8; ++ranks) {
    const Timing timing = timed("zbv", {ranks, 3 * ranks}, {2, 4, 2, 2, 6, 0});
    for (std::size_t r = 0; r < timing.ranks.size(); ++r) {
      const auto& spans = timing.ranks[r].actions;
      for (std::size_t i = 0; i + 1 < spans.size(); ++i) {
        EXPECT_EQ(spans[i].end, spans[i + 1].start) << "rank " << r << " action " << i;
      }
    }
  }
}

TEST(Timing, TransfersDelayWhatCrossesRanks) {
  // F there, B back: two ranks, one micro-batch, two transfers.
  EXPECT_EQ(timed("1f1b", {2, 1}, {1, 2, 1, 1, 3, 5}).makespan, 2 * (1 + 2) + 2 * 5);
  // The V turns on the last rank without one.
  EXPECT_EQ(timed("zbv", {1, 1}, {1, 2, 1, 1, 3, 5}).makespan, 6);
}

TEST(Timing, ACircleIsNamed) {
  auto schedule = make_schedule("1f1b", {2, 2});
  ASSERT_TRUE(schedule);
  std::swap(schedule->programs[0][1], schedule->programs[0][2]);  // 0F0 0B0 0F1 0B1
  std::swap(schedule->programs[1][1], schedule->programs[1][2]);  // 1F0 1F1 1B0 1B1
  ASSERT_TRUE(check_schedule(*schedule));
  const auto timing = time_schedule(*schedule, {});
  ASSERT_FALSE(timing);
  EXPECT_EQ(timing.error().message,
            "the ranks wait for each other in a circle: rank 0: 0B0 waits for 1I0 of rank 1; "
            "rank 1: 1F1 waits for 0F1 of rank 0");
}

TEST(Timing, APassThatNeverComesIsNamed) {
  auto schedule = make_schedule("1f1b", {2, 2});
  ASSERT_TRUE(schedule);
  schedule->programs[0].erase(schedule->programs[0].begin() + 1);
  const auto timing = time_schedule(*schedule, {});
  ASSERT_FALSE(timing);
  EXPECT_EQ(timing.error().message,
            "rank 0 cannot go on: 0B1 waits for 0F1, which rank 0 never does");
}

}  // namespace
}  // namespace sluice::graph
