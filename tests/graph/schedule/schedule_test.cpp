// Programs: DeepSeek's order, what every size of every schedule keeps, and refusals.
#include "graph/schedule/schedule.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "graph/schedule/timing.hpp"

namespace sluice::graph {
namespace {

Schedule make(std::string_view name, ScheduleSize size) {
  auto made = make_schedule(name, size);
  EXPECT_TRUE(made) << (made ? "" : made.error().message);
  return std::move(*made);
}

std::string text(const Schedule& schedule, std::int32_t rank) {
  return to_string(schedule.programs[static_cast<std::size_t>(rank)], schedule.placement, rank);
}

TEST(Schedule, Gpipe) { EXPECT_EQ(text(make("gpipe", {2, 3}), 1), "1F0 1F1 1F2 1B0 1B1 1B2"); }

TEST(Schedule, OneForwardOneBackward) {
  const Schedule schedule = make("1f1b", {3, 4});
  EXPECT_EQ(text(schedule, 0), "0F0 0F1 0F2 0B0 0F3 0B1 0B2 0B3");
  EXPECT_EQ(text(schedule, 1), "1F0 1F1 1B0 1F2 1B1 1F3 1B2 1B3");
  EXPECT_EQ(text(schedule, 2), "2F0 2B0 2F1 2B1 2F2 2B2 2F3 2B3");
}

TEST(Schedule, ZeroBubbleLeavesAsManyWeightGradientsAsRanksBefore) {
  const Schedule schedule = make("zb1p", {3, 4});
  EXPECT_EQ(text(schedule, 0), "0F0 0F1 0F2 0I0 0W0 0F3 0I1 0W1 0I2 0W2 0I3 0W3");
  EXPECT_EQ(text(schedule, 2), "2F0 2I0 2F1 2I1 2F2 2I2 2W0 2F3 2I3 2W1 2W2 2W3");
}

// "F0>", "Bi0<", "[F7>&B3<]" as the recording of DeepSeek's code writes them.
std::string arrow(const Schedule& schedule, std::int32_t rank, const Pass& pass) {
  const auto direction = schedule.placement.chunk(rank, pass.chunk).direction;
  const std::string_view kind = pass.kind == PassKind::kForward         ? "F"
                                : pass.kind == PassKind::kBackward      ? "B"
                                : pass.kind == PassKind::kBackwardInput ? "Bi"
                                                                        : "W";
  return fmt::format("{}{}{}", kind, pass.micro_batch, direction == 0 ? '>' : '<');
}

std::string recorded_form(const Schedule& schedule, std::int32_t rank) {
  std::string out;
  for (const Action& action : schedule.programs[static_cast<std::size_t>(rank)]) {
    const auto passes = action.passes();
    if (!out.empty()) out += ' ';
    out += action.is_pair() ? fmt::format("[{}&{}]", arrow(schedule, rank, passes[0]),
                                          arrow(schedule, rank, passes[1]))
                            : arrow(schedule, rank, passes[0]);
  }
  return out;
}

TEST(Schedule, DualPipeEqualsDeepSeeksOrderTimesAndPeaks) {
  std::ifstream file(SLUICE_TEST_DATA "/schedule/dualpipe.json");
  const auto cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 5u);
  for (const auto& expected : cases) {
    const ScheduleSize size{expected["ranks"], expected["micro_batches"]};
    const Schedule schedule = make(expected["schedule"].get<std::string>(), size);
    const auto timing = time_schedule(schedule, {});
    ASSERT_TRUE(timing);
    EXPECT_EQ(timing->makespan, expected["makespan"]);
    EXPECT_EQ(published(schedule.name, size, {})->bubble, expected["bubble"].get<Ticks>());
    for (std::int32_t rank = 0; rank < size.ranks; ++rank) {
      const auto r = static_cast<std::size_t>(rank);
      EXPECT_EQ(recorded_form(schedule, rank), expected["programs"][r].get<std::string>());
      EXPECT_EQ(timing->ranks[r].idle, expected["idle"][r]);
      EXPECT_EQ(timing->ranks[r].peak_live_activations, expected["peak_live_activations"][r]);
    }
  }
}

TEST(Schedule, DualPipeVIsTheFirstHalfOfDualPipe) {
  for (std::int32_t ranks = 1; ranks <= 8; ++ranks) {
    for (std::int32_t m = 2 * ranks; m <= 2 * ranks + 5; ++m) {
      const Schedule half = make("dualpipev", {ranks, m});
      const Schedule whole = make("dualpipe", {2 * ranks, 2 * m});
      for (std::size_t r = 0; r < half.programs.size(); ++r) {
        EXPECT_EQ(half.programs[r], whole.programs[r]) << ranks << " " << m << " rank " << r;
      }
    }
  }
}

// Calls `visit` with every size that every schedule takes, in a small box.
template <class Visit>
void for_each_schedule(Visit&& visit) {
  int visited = 0;
  for (const std::string_view name : schedule_names()) {
    for (std::int32_t ranks = 1; ranks <= 8; ++ranks) {
      for (std::int32_t m = 1; m <= 24; ++m) {
        for (const std::int32_t stages : {0, 1, 2, 3}) {
          const ScheduleSize size{ranks, m, stages};
          const auto schedule = make_schedule(name, size);
          if (!schedule) continue;
          SCOPED_TRACE(
              fmt::format("{} ranks {} micro-batches {} stages a rank {}", name, ranks, m, stages));
          visit(*schedule, size);
          ++visited;
        }
      }
    }
  }
  EXPECT_GT(visited, 1500);
}

TEST(Schedule, EverySizeIsCompleteInOrderAndNeverStuck) {
  for_each_schedule([](const Schedule& schedule, ScheduleSize) {
    const Status status = check_schedule(schedule);
    EXPECT_TRUE(status) << status.error().message;
    const auto timing = time_schedule(schedule, {});
    EXPECT_TRUE(timing) << timing.error().message;
  });
}

// Passes of a kind through a chunk come in micro-batch order: what sums of gradients rely on.
TEST(Schedule, EveryChunkTakesMicroBatchesInOrder) {
  for_each_schedule([](const Schedule& schedule, ScheduleSize) {
    for (std::size_t r = 0; r < schedule.programs.size(); ++r) {
      std::map<std::pair<PassKind, std::int32_t>, std::int32_t> next;  // B counts as I and as W
      const auto expect_next = [&](PassKind kind, const Pass& pass) {
        const std::int32_t expected = next[std::pair(kind, pass.chunk)]++;
        EXPECT_EQ(pass.micro_batch, expected);
      };
      for (const Action& action : schedule.programs[r]) {
        for (const Pass& pass : action.passes()) {
          if (pass.kind != PassKind::kBackward) {
            expect_next(pass.kind, pass);
          } else {
            expect_next(PassKind::kBackwardInput, pass);
            expect_next(PassKind::kBackwardWeight, pass);
          }
        }
      }
    }
  });
}

TEST(Schedule, UnknownNameListsTheKnownOnes) {
  const auto made = make_schedule("zigzag", {1, 1});
  ASSERT_FALSE(made);
  EXPECT_NE(
      made.error().message.find("gpipe, 1f1b, interleaved_1f1b, zb1p, zbv, dualpipe, dualpipev"),
      std::string::npos);
}

TEST(Schedule, SizesThatCannotBeSayWhatCan) {
  const auto message = [](std::string_view name, ScheduleSize size) {
    const auto made = make_schedule(name, size);
    return made ? std::string("made") : made.error().message;
  };
  EXPECT_EQ(message("dualpipe", {3, 8}),
            "dualpipe needs an even number of ranks and has 3; use 4, or dualpipev, which takes "
            "any number");
  EXPECT_EQ(message("dualpipe", {4, 6}),
            "dualpipe needs an even number of micro-batches, at least two for each rank, and has 6 "
            "for 4 ranks; use 8 or more");
  EXPECT_NE(message("dualpipe", {4, 9}).find("has 9 for 4 ranks; use 10"), std::string::npos);
  EXPECT_NE(message("dualpipev", {4, 7}).find("use 8 or more"), std::string::npos);
  EXPECT_NE(message("interleaved_1f1b", {4, 9}).find("8 or 12 would be"), std::string::npos);
  EXPECT_EQ(message("zbv", {2, 4, 1}), "zbv with 1 stages a rank: it holds 2");
  EXPECT_EQ(message("1f1b", {0, 4}), "1f1b on 0 ranks: use 1 to 4096");
  EXPECT_EQ(message("1f1b", {4, 0}), "1f1b of 0 micro-batches: use 1 to 1048576");
  EXPECT_NE(message("1f1b", {4096, 1 << 20}).find("use fewer"), std::string::npos);
}

TEST(Schedule, CheckNamesWhatIsMissingTwiceOrTooEarly) {
  const auto message = [](auto change) {
    Schedule schedule = make("zb1p", {2, 3});
    change(schedule.programs[1]);  // 1F0 1I0 1F1 1I1 1W0 1F2 1I2 1W1 1W2
    const Status status = check_schedule(schedule);
    return status ? std::string("sound") : status.error().message;
  };
  EXPECT_EQ(message([](Program&) {}), "sound");
  EXPECT_EQ(message([](Program& p) { p.pop_back(); }), "rank 1: 1W2 is missing");
  EXPECT_EQ(message([](Program& p) { p.erase(p.end() - 4, p.end() - 2); }),
            "rank 1: 1W2 comes before 1I2; a pass follows what it needs");
  EXPECT_EQ(message([](Program& p) { p.push_back(p[0]); }),
            "rank 1: 1F0 does again what was done; leave one out");
  EXPECT_EQ(message([](Program& p) {
              p.push_back(Pass{PassKind::kBackward, 0, 0});
            }),
            "rank 1: 1B0 does again what was done; leave one out");
  EXPECT_EQ(message([](Program& p) { std::swap(p[0], p[1]); }),
            "rank 1: 1I0 comes before 1F0; a pass follows what it needs");
  EXPECT_EQ(message([](Program& p) {
              p[0] = Pass{PassKind::kForward, 1, 0};
            }),
            "rank 1 has no chunk 1");
}

}  // namespace
}  // namespace sluice::graph
