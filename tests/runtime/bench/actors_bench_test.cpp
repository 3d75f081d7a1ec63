// The numbers of `sluice bench actors`: complete, positive, and in one relation to each other.
#include "runtime/bench/actors_bench.hpp"

#include <gtest/gtest.h>

namespace sluice::bench {
namespace {

TEST(ActorsBench, MeasuresEveryWindowAndTheBaseline) {
  ActorsBenchOptions options;
  options.messages = 2'000;
  options.rounds = 3;
  options.credits = {1, 8};
  const Result<ActorsBenchReport> report = run_actors_bench(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->ping_pong_ns, 0);
  ASSERT_EQ(report->rows.size(), 2U);
  for (const ActorsBenchRow& row : report->rows) {
    EXPECT_GT(row.message_ns, 0);
    EXPECT_GT(row.ratio, 0);
  }
  const auto json = to_json(*report);
  EXPECT_EQ(json["channel"].size(), 2U);
  EXPECT_EQ(json["channel"][1]["credits"], 8);
  EXPECT_FALSE(json.contains("step"));
  EXPECT_NE(to_table(*report).find("8 credits"), std::string::npos);
}

TEST(ActorsBench, TheWaitingShareIsOfTheWholeTime) {
  ActorsBenchReport report;
  EXPECT_EQ(report.waiting_share(), 0);
  report.step.emplace();
  report.step->steps_s = {1, 3};
  report.step->waiting_s = 0.5;  // a step
  EXPECT_DOUBLE_EQ(report.waiting_share(), 0.25);
  EXPECT_EQ(to_json(report)["step"]["waiting_share"], 0.25);
}

}  // namespace
}  // namespace sluice::bench
