// Training through the actors on the live host: no new tensor memory after the second step, every
// number of prediction depths, and the recipes' losses close to each other.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/runtime/engine/training_support.hpp"

namespace sluice::engine {
namespace {

struct Layout {
  const char* name;
  model::Recipe recipe;
  std::int32_t pipeline, experts;
  int threads;
  const char* schedule = "1f1b";
  std::int32_t run_ahead = 1;
};

class StepMemory : public testing::TestWithParam<Layout> {};

TEST_P(StepMemory, NoneIsTakenAfterTheSecondStep) {
  const Layout& layout = GetParam();
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = small_training(reader);
  options.recipe = layout.recipe;
  options.plan.pipeline_parallel_size = layout.pipeline;
  options.plan.expert_parallel_size = layout.experts;
  options.device.threads = layout.threads;
  options.plan.schedule = layout.schedule;
  options.plan.micro_batches = std::max(4, 2 * layout.pipeline);
  options.plan.run_ahead = layout.run_ahead;
  const auto cluster = start_training(options);
  ASSERT_TRUE(cluster) << cluster.error().message;
  ASSERT_TRUE(run_steps(**cluster, 0, 2));
  const auto before = (*cluster)->device().allocator().statistics();
  ASSERT_GT(before.blocks, 0);
  ASSERT_TRUE(run_steps(**cluster, 2, 40));
  const auto after = (*cluster)->device().allocator().statistics();
  EXPECT_EQ(after.blocks, before.blocks);
  EXPECT_EQ(after.reserved_bytes, before.reserved_bytes);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, StepMemory,
    testing::Values(Layout{"OneRank", model::Recipe::kFp32, 1, 1, 1},
                    Layout{"ExpertGroups", model::Recipe::kFp32, 1, 4, 1},
                    Layout{"Pipeline", model::Recipe::kFp32, 3, 2, 2},
                    Layout{"Bf16", model::Recipe::kBf16, 1, 2, 2},
                    Layout{"GPipe", model::Recipe::kFp32, 4, 1, 2, "gpipe"},
                    Layout{"Interleaved", model::Recipe::kFp32, 2, 2, 1, "interleaved_1f1b"},
                    Layout{"Zb1p", model::Recipe::kFp32, 4, 1, 1, "zb1p"},
                    Layout{"Zbv", model::Recipe::kFp32, 2, 2, 2, "zbv", 2},
                    Layout{"DualPipeV", model::Recipe::kFp32, 2, 2, 1, "dualpipev"},
                    Layout{"DualPipe", model::Recipe::kFp32, 4, 1, 2, "dualpipe", 0},
                    Layout{"DualPipeBf16", model::Recipe::kBf16, 2, 2, 1, "dualpipe"}),
    [](const auto& info) { return info.param.name; });

class Depths : public testing::TestWithParam<std::int32_t> {};

TEST_P(Depths, Train) {
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = small_training(reader);
  options.model.num_nextn_predict_layers = GetParam();
  options.plan.pipeline_parallel_size = 2;
  options.plan.expert_parallel_size = 2;
  const auto cluster = start_training(options);
  ASSERT_TRUE(cluster) << cluster.error().message;
  const auto reports = run_steps(**cluster, 0, 3);
  ASSERT_TRUE(reports) << reports.error().message;
  ASSERT_EQ(reports->size(), 3u);
  for (const actors::StepReport& report : *reports) {
    EXPECT_EQ(report.mtp.size(), static_cast<std::size_t>(GetParam()));
    EXPECT_EQ(report.layers.size(), static_cast<std::size_t>(3 + GetParam()));  // of MoE
    EXPECT_NEAR(report.main, std::log(96.0), 0.5);
    for (const double loss : report.mtp) EXPECT_NEAR(loss, std::log(96.0), 0.5);
    for (const auto& layer : report.layers) {
      std::int64_t rows = 0;
      for (const std::int64_t load : layer.loads) rows += load;
      EXPECT_EQ(rows, report.tokens * 2) << "layer " << layer.layer;
      EXPECT_GT(layer.max_violation, 0);
    }
    EXPECT_GT(report.gradient_norm, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Mtp, Depths, testing::Values(0, 1, 2, 3));

}  // namespace
}  // namespace sluice::engine
