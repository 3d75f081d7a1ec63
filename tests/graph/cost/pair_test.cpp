// The two lanes of a pair, worked by hand.
#include <gtest/gtest.h>

#include "graph/cost/chunk_times.hpp"

namespace sluice::cost {
namespace {

UnitTimes unit(double compute, double transfer) {
  UnitTimes out;
  for (TaskSeconds* seconds : {&out.alone, &out.beside}) {
    for (const Task task :
         {Task::kAttentionForward, Task::kFeedForwardForward, Task::kFeedForwardInput,
          Task::kFeedForwardWeight, Task::kAttentionInput, Task::kAttentionWeight}) {
      (*seconds)[static_cast<std::size_t>(task)] = compute;
    }
    for (const Task task : {Task::kDispatchForward, Task::kCombineForward, Task::kCombineBackward,
                            Task::kDispatchBackward}) {
      (*seconds)[static_cast<std::size_t>(task)] = transfer;
    }
  }
  return out;
}

TEST(PairTime, WithoutTransfersItIsTheSumOfTasks) {
  const PassTime pair = pair_time({unit(1, 0)}, {unit(1, 0), unit(1, 0)});
  EXPECT_EQ(pair.seconds, 2 + 2 * 4);
  EXPECT_EQ(pair.transfer, 0);
  EXPECT_EQ(pair.exposed, 0);
}

// compute:  AF 0-1 | FI 1-2 | FW 2-3 | FF 3-4 | AI 4-5 | AW 5-6
// transfer: CB 0-1 | DF 1-2 | DB 2-3 |          CF 4-5
TEST(PairTime, EverythingHidesInTheTracesOrder) {
  const PassTime pair = pair_time({unit(1, 1)}, {unit(1, 1)});
  EXPECT_EQ(pair.seconds, 6);
  EXPECT_EQ(pair.transfer, 4);
  EXPECT_EQ(pair.exposed, 0);
}

// transfer: CB 0-3 | DF 3-6 | DB 6-9 | CF 9-12; compute: AF 0-1 | FI 3-4 | FW 4-5 | FF 6-7 |
// AI 9-10 | AW 10-11
TEST(PairTime, SlowTransfersSetThePace) {
  const PassTime pair = pair_time({unit(1, 3)}, {unit(1, 3)});
  EXPECT_EQ(pair.seconds, 12);
  EXPECT_EQ(pair.exposed, 6);
}

TEST(PairTime, AloneTheyFollowEachOther) {
  const ChunkTimes times = chunk_times({unit(1, 3), unit(2, 0)});
  EXPECT_EQ(times.forward.seconds, 2 + 6 + 4);
  EXPECT_EQ(times.forward.exposed, 6);
  EXPECT_EQ(times.backward_input.seconds, 2 + 6 + 4);
  EXPECT_EQ(times.backward_weight.seconds, 2 + 4);
}

TEST(PairTime, NeverLongerThanBothAlone) {
  for (const double transfer : {0.0, 0.5, 1.0, 2.0, 5.0}) {
    const std::vector<UnitTimes> units{unit(1, transfer), unit(1, 0), unit(0.5, transfer)};
    const ChunkTimes alone = chunk_times(units);
    const PassTime pair = pair_time(units, units);
    EXPECT_LE(pair.seconds,
              alone.forward.seconds + alone.backward_input.seconds + alone.backward_weight.seconds);
    EXPECT_GE(pair.exposed, 0);
    EXPECT_LE(pair.exposed, pair.transfer);
  }
}

}  // namespace
}  // namespace sluice::cost
