// Plans: partition, actors, channels, and freedom from deadlock under their credits.
#include "graph/plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "graph/plan_check.hpp"
#include "graph/schedule/csv.hpp"

namespace sluice::graph {
namespace {

ModelSummary summary(std::int64_t layers, std::int64_t mtp_depth, double head = 0) {
  ModelSummary model;
  const auto unit = [&](std::string name, double operations, bool is_moe) {
    UnitSummary u;
    u.name = std::move(name);
    u.is_moe = is_moe;
    u.parameters = 1000;
    u.expert_parameters = is_moe ? 100 : 0;
    u.saved_bytes_per_token = 64;
    u.expert_saved_bytes_per_row = is_moe ? 32 : 0;
    u.forward_operations_per_token = operations;
    model.units.push_back(u);
  };
  unit("embedding", 0, false);
  for (std::int64_t l = 0; l < layers; ++l) unit("layer", 10, l > 0);
  unit("head", head, false);
  for (std::int64_t k = 0; k < mtp_depth; ++k) unit("mtp", 10, true);
  model.hidden_bytes_per_token = 128;
  model.vocab_size = 100;
  model.n_routed_experts = 8;
  model.num_experts_per_tok = 2;
  model.mtp_depth = mtp_depth;
  return model;
}

TEST(Partition, EvenWorkGivesEvenStages) {
  EXPECT_EQ(partition_layers(summary(8, 0), 4), (std::vector<std::int32_t>{0, 2, 4, 6, 8}));
  EXPECT_EQ(partition_layers(summary(3, 0), 3), (std::vector<std::int32_t>{0, 1, 2, 3}));
}

TEST(Partition, HeadAndMtpCountToTheLastStage) {
  const auto bounds = partition_layers(summary(8, 1, 20), 2);  // 8 x 10 + 20 + 10 = 110
  EXPECT_EQ(bounds, (std::vector<std::int32_t>{0, 5, 8}));
}

TEST(Plan, NamesWhatCannotBe) {
  PlanOptions options;
  options.pipeline_parallel_size = 9;
  EXPECT_NE(
      make_plan(summary(8, 0), options).error().message.find("topology.pipeline_parallel_size = 9"),
      std::string::npos);
  options.pipeline_parallel_size = 1;
  options.expert_parallel_size = 3;
  EXPECT_NE(make_plan(summary(8, 0), options)
                .error()
                .message.find("must divide the model's 8 routed experts"),
            std::string::npos);
}

TEST(Plan, NamesTheScheduleThatStagesCannotRun) {
  const auto message = [](std::string_view schedule, std::int32_t ranks) {
    PlanOptions options;
    options.pipeline_parallel_size = ranks;
    options.micro_batches = 8;
    options.schedule = schedule;
    const auto plan = make_plan(summary(8, 0), options);
    return plan ? std::string("made") : plan.error().message;
  };
  EXPECT_NE(message("zb1p", 2).find("schedule zb1p: weight gradients apart"), std::string::npos);
  EXPECT_NE(message("dualpipe", 2).find("several stages on a rank"), std::string::npos);
  EXPECT_NE(message("dualpipe", 3).find("schedule.name: dualpipe needs an even number of ranks"),
            std::string::npos);
}

TEST(Plan, TakesAScheduleFromAFile) {
  PlanOptions options;
  options.pipeline_parallel_size = 2;
  options.micro_batches = 2;
  options.schedule_read = parse_csv("0F0,0F1,0B0,0B1\n1F0,1F1,1B0,1B1\n", "x.csv")->schedule;
  const auto plan = make_plan(summary(4, 0), options);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_TRUE(check_plan(*plan));
  EXPECT_NE(to_string(*plan).find("1F0 1F1 1B0 1B1"), std::string::npos);

  options.micro_batches = 3;
  EXPECT_NE(make_plan(summary(4, 0), options)
                .error()
                .message.find("x.csv: a schedule of 2 micro-batches, where a step has 3"),
            std::string::npos);
  options.pipeline_parallel_size = 4;
  EXPECT_NE(make_plan(summary(4, 0), options).error().message.find("x.csv: a schedule of 2 ranks"),
            std::string::npos);
  options.training = false;  // has no use for it
  EXPECT_TRUE(make_plan(summary(4, 0), options));

  options.training = true;
  options.pipeline_parallel_size = 1;
  options.micro_batches = 2;
  options.schedule_read = parse_csv("0F0,0F1,0B1,0B0", "x.csv")->schedule;
  EXPECT_NE(make_plan(summary(4, 0), options).error().message.find("in another order"),
            std::string::npos);
}

TEST(Plan, HoldsEveryActorOnce) {
  PlanOptions options;
  options.pipeline_parallel_size = 2;
  options.expert_parallel_size = 4;
  options.micro_batches = 4;
  const auto plan = make_plan(summary(4, 1), options);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->stages.size(), 2u);
  EXPECT_EQ(plan->expert_groups.size(), 8u);
  EXPECT_EQ(plan->ranks(), 8);
  const auto count = [&](ActorKind kind) {
    return std::count_if(plan->actors.begin(), plan->actors.end(),
                         [&](const ActorPlan& a) { return a.kind == kind; });
  };
  EXPECT_EQ(count(ActorKind::kChannel), static_cast<std::ptrdiff_t>(plan->channels.size()));
  // tokens, targets, activation, gradient, embedding and its gradient, dispatch and combine for
  // each group.
  EXPECT_EQ(plan->channels.size(), 6u + 16u);
  EXPECT_NE(to_string(*plan).find("experts 1.3"), std::string::npos);
}

TEST(PlanCheck, EverySizeRunsToItsEnd) {
  for (const std::int32_t stages : {1, 2, 3, 5, 8}) {
    for (const std::int32_t micro_batches : {1, 2, 3, 8, 17}) {
      for (const char* schedule : {"gpipe", "1f1b"}) {
        for (const std::int32_t run_ahead : {0, 1, 3}) {
          for (const std::int64_t depth : {0, 2}) {
            PlanOptions options;
            options.pipeline_parallel_size = stages;
            options.micro_batches = micro_batches;
            options.schedule = schedule;
            options.run_ahead = run_ahead;
            const auto plan = make_plan(summary(8, depth), options);
            ASSERT_TRUE(plan);
            const Status status = check_plan(*plan);
            EXPECT_TRUE(status) << schedule << " " << stages << "x" << micro_batches << ": "
                                << status.error().message;
          }
        }
      }
    }
  }
}

TEST(PlanCheck, FindsADeadlockAndSaysWhoWaits) {
  PlanOptions options;
  options.pipeline_parallel_size = 2;
  options.micro_batches = 4;
  options.run_ahead = 0;
  auto plan = make_plan(summary(4, 0), options);
  ASSERT_TRUE(plan);
  plan->stages[0].activation_credits = 1;  // 1F1B needs two on the first rank
  const Status status = check_plan(*plan);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("stage 0 has no activation credit"), std::string::npos);
}

TEST(PlanCheck, FindsABackwardBeforeItsForward) {
  PlanOptions options;
  options.micro_batches = 1;
  auto plan = make_plan(summary(2, 0), options);
  ASSERT_TRUE(plan);
  std::reverse(plan->stages[0].program.begin(), plan->stages[0].program.end());
  EXPECT_FALSE(check_plan(*plan));
}

}  // namespace
}  // namespace sluice::graph
