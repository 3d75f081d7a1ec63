// Plans: partition, actors, channels, and freedom from deadlock under their credits.
#include "graph/plan.hpp"

#include <gmock/gmock.h>
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

std::string refusal(const ModelSummary& model, const PlanOptions& options) {
  const auto plan = make_plan(model, options);
  if (!plan) return plan.error().message;
  const Status status = check_plan(*plan);
  return status ? "fits" : status.error().message;
}
MATCHER_P(Says, text, "") { return std::string_view(arg).find(text) != std::string_view::npos; }

TEST(Plan, NamesTheScheduleThatDoesNotFit) {
  const auto message = [](std::string_view schedule, std::int32_t ranks, std::int32_t shards = 0) {
    PlanOptions options;
    options.pipeline_parallel_size = ranks;
    options.micro_batches = 16;
    options.schedule = schedule;
    options.gradient_shards = shards;
    return refusal(summary(8, 0), options);
  };
  EXPECT_THAT(message("dualpipe", 3),
              Says("schedule.name: dualpipe needs an even number of ranks"));
  EXPECT_THAT(message("zbv", 5), Says("cuts the model into 10 stages, but it has 8 layers"));
  EXPECT_THAT(message("dualpipe", 4, 1), Says("train.gradient_shards = 1: schedule dualpipe"));
  EXPECT_THAT(message("dualpipe", 4, 6), Says("use 2 or 4"));
  EXPECT_THAT(message("1f1b", 4, 17), Says("a step has 16 micro-batches only"));
  for (const std::int32_t shards : {0, 2, 4, 16}) EXPECT_EQ(message("dualpipe", 4, shards), "fits");
  for (const std::int32_t shards : {0, 1, 3, 16}) EXPECT_EQ(message("1f1b", 4, shards), "fits");
}

TEST(Plan, CutsLayersAsItIsTold) {
  PlanOptions options;
  options.pipeline_parallel_size = 2;
  options.micro_batches = 4;
  options.schedule = "zbv";
  options.layers_per_stage = {1, 3, 2, 2};
  const auto plan = make_plan(summary(8, 1), options);
  ASSERT_TRUE(plan) << plan.error().message;
  const auto layers = [&](std::size_t rank, std::size_t chunk) {
    const ChunkPlan& c = plan->stages[rank].chunks[chunk];
    return std::pair(c.layer_first, c.layer_last);
  };
  EXPECT_EQ(layers(0, 0), std::pair(0, 1));
  EXPECT_EQ(layers(1, 0), std::pair(1, 4));
  EXPECT_EQ(layers(1, 1), std::pair(4, 6));
  EXPECT_EQ(layers(0, 1), std::pair(6, 8));
  for (const auto& wrong :
       {std::vector{2, 2, 4}, std::vector{0, 4, 2, 2}, std::vector{2, 2, 2, 3}}) {
    options.layers_per_stage = wrong;
    EXPECT_THAT(refusal(summary(8, 1), options), Says("must be 4 numbers, one for each stage"));
  }
}

TEST(Plan, BothEndsOnOneRankShareTheEmbedding) {
  PlanOptions options;
  options.pipeline_parallel_size = 2;
  options.micro_batches = 8;
  const auto roles = [&](std::string_view schedule) {
    options.schedule = schedule;
    const auto plan = make_plan(summary(8, 1), options);
    SLUICE_CHECK(plan.has_value(), "{}", plan.error().message);
    return std::count_if(plan->channels.begin(), plan->channels.end(),
                         [](const auto& c) { return c.role == ChannelRole::kEmbedding; });
  };
  EXPECT_EQ(roles("1f1b"), 1);
  EXPECT_EQ(roles("zbv"), 0);
  EXPECT_EQ(roles("dualpipe"), 0);
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
  const auto turned = make_plan(summary(4, 0), options);
  ASSERT_TRUE(turned) << turned.error().message;
  EXPECT_FALSE(turned->stages[0].chunks[0].weights_in_order);
  EXPECT_TRUE(check_plan(*turned));
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
  int fit = 0;
  for (const std::string_view schedule : schedule_names()) {
    for (const std::int32_t ranks : {1, 2, 3, 4, 8}) {
      for (const std::int32_t micro_batches : {1, 2, 3, 8, 16, 17, 20}) {
        for (const std::int32_t run_ahead : {0, 1, 3}) {
          PlanOptions options;
          options.pipeline_parallel_size = ranks;
          options.micro_batches = micro_batches;
          options.schedule = schedule;
          options.run_ahead = run_ahead;
          const auto plan = make_plan(summary(16, micro_batches % 2 * 2), options);
          if (!plan) continue;  // of a size that the schedule cannot have
          ++fit;
          const Status status = check_plan(*plan);
          EXPECT_TRUE(status) << schedule << " " << ranks << "x" << micro_batches << ": "
                              << status.error().message;
        }
      }
    }
  }
  EXPECT_GT(fit, 400);
}

TEST(PlanCheck, NamesTheStageThatLacksBuffers) {
  PlanOptions options;
  options.pipeline_parallel_size = 4;
  options.micro_batches = 8;
  options.schedule = "gpipe";
  options.activation_buffers = 5;
  EXPECT_THAT(
      refusal(summary(8, 0), options),
      Says("stage 0 needs 8 activation buffers, has 5: raise topology.activation_buffers to "
           "8, or use 1f1b, which needs 4"));
  options.schedule = "1f1b";
  EXPECT_EQ(refusal(summary(8, 0), options), "fits");
  options.activation_buffers = 3;
  EXPECT_THAT(refusal(summary(8, 0), options), Says("stage 0 needs 4 activation buffers, has 3"));
}

// A checkpoint is written from copies of weights and moments, in fp32 whatever the recipe.
TEST(Plan, CountsTheCopiesThatACheckpointIsWrittenFrom) {
  PlanOptions options;
  options.pipeline_parallel_size = 2;
  for (const double weight_bytes : {4.0, 2.0}) {
    ModelSummary model = summary(8, 1);
    model.weight_bytes = weight_bytes;
    const auto snapshots = [&] {
      const auto plan = make_plan(model, options);
      EXPECT_TRUE(plan);
      std::int64_t bytes = 0;
      for (const RankMemory& rank : plan->memory) {
        EXPECT_EQ(rank.snapshots, rank.snapshots > 0 ? rank.optimizer / 8 * 12 : 0);
        bytes += rank.snapshots;
      }
      return bytes;
    };
    options.checkpoints = false;
    EXPECT_EQ(snapshots(), 0);
    options.checkpoints = true;
    EXPECT_GT(snapshots(), 0);
    options.training = false;
    EXPECT_EQ(snapshots(), 0);
    options.training = true;
  }
}

TEST(PlanCheck, NamesTheRankThatLacksMemoryAndItsLargestPart) {
  PlanOptions options;
  options.pipeline_parallel_size = 2;
  options.micro_batches = 8;
  options.sequence_length = 64;
  const auto plan = make_plan(summary(8, 1), options);
  ASSERT_TRUE(plan);
  std::int64_t most = 0;
  for (const RankMemory& rank : plan->memory) most = std::max(most, rank.total());
  options.memory_bytes_max = most;
  EXPECT_EQ(refusal(summary(8, 1), options), "fits");
  options.memory_bytes_max = most - 1;
  EXPECT_THAT(refusal(summary(8, 1), options), Says("MiB of memory, its device has"));
  EXPECT_THAT(refusal(summary(8, 1), options), Says("(device.memory_bytes_max = "));
  // What is largest follows what there is much of.
  options.sequence_length = 1 << 14;
  EXPECT_THAT(refusal(summary(8, 1), options), Says("rank 0 needs"));
  EXPECT_THAT(refusal(summary(8, 1), options), Says("the largest part are activations"));
  EXPECT_THAT(refusal(summary(8, 1), options), Says("lower train.micro_batch_size"));
  options.sequence_length = 1;
  options.memory_bytes_max = 1;
  EXPECT_THAT(refusal(summary(8, 1), options), Says("the largest part are optimizer state"));
  EXPECT_THAT(refusal(summary(8, 1), options), Says("raise topology.pipeline_parallel_size"));
}

TEST(PlanCheck, AnyOrderOfMicroBatchesFitsTheCreditsPlannedForIt) {
  PlanOptions options;
  options.pipeline_parallel_size = 2;
  options.micro_batches = 6;
  options.run_ahead = 0;
  const std::string row = "F5,{0}F4,{0}F3,{0}F2,{0}F1,{0}F0,{0}B0,{0}B1,{0}B2,{0}B3,{0}B4,{0}B5\n";
  std::string rows;
  for (const char* stage : {"0", "1"}) {
    std::string line = stage + row;
    for (std::size_t at; (at = line.find("{0}")) != std::string::npos;) line.replace(at, 3, stage);
    rows += line;
  }
  options.schedule_read = parse_csv(rows, "x.csv")->schedule;
  const auto plan = make_plan(summary(4, 0), options);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->feed_order(0), (std::vector{5, 4, 3, 2, 1, 0}));
  EXPECT_TRUE(check_plan(*plan));
}

TEST(PlanCheck, SaysWhoWaitsForWhom) {
  PlanOptions options;
  options.pipeline_parallel_size = 4;
  options.micro_batches = 8;
  options.schedule = "zbv";
  options.run_ahead = 0;
  auto plan = make_plan(summary(8, 1), options);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_TRUE(check_plan(*plan));
  for (ChannelPlan& channel : plan->channels) channel.credits = 1;
  const Status status = check_plan(*plan);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message,
              Says("the plan would stand still under its credits: rank 0 "));
  EXPECT_THAT(status.error().message, Says(", which waits for "));
  EXPECT_THAT(status.error().message, Says("a credit of rank "));
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
