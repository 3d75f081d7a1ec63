// Programs: their order, their peak of live activations, and their text.
#include "graph/schedule.hpp"

#include <gtest/gtest.h>

#include <map>

namespace sluice::graph {
namespace {

TEST(Schedule, Gpipe) {
  const auto programs = schedule_gpipe({2, 3});
  ASSERT_EQ(programs.size(), 2u);
  EXPECT_EQ(to_string(programs[1], 1), "1F0 1F1 1F2 1B0 1B1 1B2");
  EXPECT_EQ(live_activations_max(programs[0]), 3);
}

TEST(Schedule, OneForwardOneBackward) {
  const auto programs = schedule_1f1b({3, 4});
  EXPECT_EQ(to_string(programs[0], 0), "0F0 0F1 0F2 0B0 0F3 0B1 0B2 0B3");
  EXPECT_EQ(to_string(programs[1], 1), "1F0 1F1 1B0 1F2 1B1 1F3 1B2 1B3");
  EXPECT_EQ(to_string(programs[2], 2), "2F0 2B0 2F1 2B1 2F2 2B2 2F3 2B3");
}

TEST(Schedule, UnknownNameListsTheKnownOnes) {
  const auto made = make_schedule("zigzag", {1, 1});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("gpipe or 1f1b"), std::string::npos);
}

// Every pass exactly once, backward after forward, both in micro-batch order; 1F1B keeps min(P - r,
// M) alive.
TEST(Schedule, InvariantsHoldForManySizes) {
  for (std::int32_t stages = 1; stages <= 8; ++stages) {
    for (std::int32_t micro_batches = 1; micro_batches <= 12; ++micro_batches) {
      for (const char* name : {"gpipe", "1f1b"}) {
        const auto programs = make_schedule(name, {stages, micro_batches});
        ASSERT_TRUE(programs);
        for (std::int32_t rank = 0; rank < stages; ++rank) {
          const Program& program = (*programs)[static_cast<std::size_t>(rank)];
          std::int32_t forward = 0, backward = 0;
          for (const Pass& pass : program) {
            std::int32_t& next = pass.kind == PassKind::kForward ? forward : backward;
            EXPECT_EQ(pass.micro_batch, next++);
            EXPECT_LE(backward, forward);
          }
          EXPECT_EQ(forward, micro_batches);
          EXPECT_EQ(backward, micro_batches);
          if (std::string_view(name) == "1f1b") {
            EXPECT_EQ(live_activations_max(program), std::min(stages - rank, micro_batches));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice::graph
