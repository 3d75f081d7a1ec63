// The numbers of `sluice bench simulate`: complete, and as many tasks as the micro-batches ask for.
#include "runtime/bench/sim_bench.hpp"

#include <gtest/gtest.h>

namespace sluice::bench {
namespace {

TEST(SimBench, TasksAndEventsGrowWithTheMicroBatches) {
  config::Config config;
  config.model.config = SLUICE_CONFIGS "/models/quick.json";
  config.topology.pipeline_parallel_size = 2;
  config.topology.expert_parallel_size = 4;
  config.train.global_batch_size = 4;
  config.train.micro_batch_size = 1;
  SimBenchOptions options;
  options.rounds = 1;
  const auto report = run_sim_bench(config, options);
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_EQ(report->rows.size(), 3U);
  const auto& rows = report->rows;
  EXPECT_EQ(rows[0].micro_batches, 4);
  EXPECT_GT(rows[1].tasks, rows[0].tasks);
  EXPECT_EQ(rows[2].tasks - rows[1].tasks, 2 * (rows[1].tasks - rows[0].tasks));
  for (const SimBenchRow& row : rows) {
    EXPECT_GT(row.events, row.tasks);
    EXPECT_GT(row.seconds, 0);
    EXPECT_GT(row.setup_s, 0);
  }
  EXPECT_EQ(to_json(*report)["rows"][2]["micro_batches"], 16);
  EXPECT_NE(to_table(*report).find("events/s"), std::string::npos);
}

}  // namespace
}  // namespace sluice::bench
