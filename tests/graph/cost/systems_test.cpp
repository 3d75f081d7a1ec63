// Systems other than V3 on H800: results that make sense, and layouts that cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/base/random.hpp"
#include "tests/graph/cost/jobs.hpp"

namespace sluice::cost {
namespace {

using testing::HasSubstr;

// 24 layers of 64 small experts in BF16; experts within a node, 64 GPUs.
Job small_moe() {
  Job job;
  job.model.hidden_size = 2048;
  job.model.intermediate_size = 8192;
  job.model.moe_intermediate_size = 1024;
  job.model.num_hidden_layers = 24;
  job.model.num_attention_heads = 16;
  job.model.q_lora_rank = 0;
  job.model.n_routed_experts = 64;
  job.model.n_group = 1;
  job.model.topk_group = 1;
  job.model.num_experts_per_tok = 6;
  job.model.vocab_size = 65536;
  job.pipeline_parallel_size = 4;
  job.data_parallel_size = 16;
  job.expert_parallel_size = 8;
  job.schedule = "1f1b";
  job.global_batch_size = 256;
  return job;
}

TEST(Systems, EveryScheduleRuns) {
  const Hardware hardware = test::h800("trace");
  double fastest = 1e9, slowest = 0;
  for (const std::string_view name : graph::schedule_names()) {
    Job job = small_moe();
    job.schedule = name;
    const Step step = test::step_of(job, hardware);
    EXPECT_GT(step.mfu_causal, 0.02) << name;
    EXPECT_LT(step.mfu_causal, 0.6) << name;
    fastest = std::min(fastest, step.seconds);
    slowest = std::max(slowest, step.seconds);
  }
  EXPECT_LT(slowest, 2 * fastest);
}

TEST(Systems, ZeroBubbleIsNoSlowerThanOneForwardOneBackward) {
  const Hardware hardware = test::h800("trace");
  Job job = small_moe();
  const double one = test::step_of(job, hardware).seconds;
  job.schedule = "zb1p";
  EXPECT_LT(test::step_of(job, hardware).seconds, one);
}

TEST(Systems, BalancedLayersAreNoSlowerThanEqualOnes) {
  const Hardware hardware = test::h800("trace");
  Job job = small_moe();
  const Step balanced = test::step_of(job, hardware);
  job.layers_per_stage = {6, 6, 6, 6};
  EXPECT_LE(balanced.seconds, test::step_of(job, hardware).seconds * 1.0001);
  std::int64_t layers = 0;
  for (const std::int64_t count : balanced.layers_per_stage) layers += count;
  EXPECT_EQ(layers, 24);
}

TEST(Systems, ExpertsWithinANodeDoNotUseInfiniBand) {
  Hardware hardware = test::h800("trace");
  const Job job = small_moe();
  const Step before = test::step_of(job, hardware);
  hardware.rates.dispatch_forward_gb_s /= 10;
  hardware.rates.combine_forward_gb_s /= 10;
  EXPECT_EQ(test::step_of(job, hardware).seconds, before.seconds);
  hardware.rates.node_dispatch_gb_s /= 10;
  EXPECT_GT(test::step_of(job, hardware).seconds, before.seconds);
}

// Doubling any rate never makes a step longer, and no rate but a few is without effect.
TEST(Systems, FasterHardwareIsNeverSlower) {
  for (const bool v3 : {false, true}) {
    const Job job = v3 ? test::deepseek_v3() : small_moe();
    const Hardware base = test::h800("trace");
    const double before = test::step_of(job, base).seconds;
    const auto with = [&](auto change) {
      Hardware hardware = base;
      change(hardware);
      return test::step_of(job, hardware).seconds;
    };
    const double slack = 1e-6;  // a pass is a whole number of nanoseconds
    EXPECT_LT(with([](Hardware& h) { h.ib_gb_s *= 2; }), before + slack);
    EXPECT_LT(with([](Hardware& h) { h.nvlink_gb_s *= 2; }), before + slack);
    EXPECT_LT(with([](Hardware& h) { h.memory_tb_s *= 2; }), before);
    EXPECT_LE(with([](Hardware& h) { h.rates.bf16_tflops *= 2; }), before);
    EXPECT_LT(with([](Hardware& h) { h.rates.attention_backward_tflops *= 2; }), before);
    EXPECT_LE(with([](Hardware& h) { h.communication_sms = 0; }), before);
    EXPECT_LT(with([](Hardware& h) { h.rates.launch_gap_us = 0; }), before);
    for (std::size_t kind = 0; kind < kMovementNames.size(); ++kind) {
      EXPECT_LE(with([&](Hardware& h) { h.rates.movement_tb_s[kind] *= 2; }), before + slack)
          << kMovementNames[kind];
    }
  }
}

TEST(Systems, MoreWorkTakesLonger) {
  const Hardware hardware = test::h800("trace");
  const Job base = small_moe();
  const double before = test::step_of(base, hardware).seconds;
  const auto longer = [&](auto change) {
    Job job = base;
    change(job);
    return test::step_of(job, hardware).seconds > before;
  };
  EXPECT_TRUE(longer([](Job& job) { job.global_batch_size *= 2; }));
  EXPECT_TRUE(longer([](Job& job) { job.sequence_length *= 2; }));
  EXPECT_TRUE(longer([](Job& job) { job.model.num_hidden_layers += 4; }));
  EXPECT_TRUE(longer([](Job& job) { job.model.hidden_size *= 2; }));
  EXPECT_TRUE(longer([](Job& job) { job.model.num_experts_per_tok += 2; }));
  EXPECT_TRUE(longer([](Job& job) { job.model.num_nextn_predict_layers = 1; }));
  EXPECT_TRUE(longer([](Job& job) { job.expert_load = 1.2; }));
}

TEST(Systems, MorePipelinesAreFasterAtTheSameBatch) {
  const Hardware hardware = test::h800("trace");
  Job job = small_moe();
  double before = 1e9;
  for (const std::int32_t pipelines : {8, 16, 32, 64}) {
    job.data_parallel_size = pipelines;
    const double seconds = test::step_of(job, hardware).seconds;
    EXPECT_LT(seconds, before);
    before = seconds;
  }
}

TEST(Systems, MemoryFallsWithRanks) {
  const Hardware hardware = test::h800("trace");
  Job job = small_moe();
  const double before = test::step_of(job, hardware).memory[0].total();
  job.expert_parallel_size = 16;
  EXPECT_LT(test::step_of(job, hardware).memory[0].total(), before);
  job.recipe = Recipe::kFp8;
  EXPECT_LT(test::step_of(job, hardware).memory[0].activations,
            test::step_of(small_moe(), hardware).memory[0].activations);
}

TEST(Systems, RandomJobsGiveStepsOrReasons) {
  const Hardware hardware = test::h800("cutlass");
  const Random random(7, RandomPurpose::kTest);
  std::uint64_t draw = 0;
  const auto pick = [&](std::initializer_list<std::int64_t> values) {
    return *(values.begin() + random.bits(draw++) % values.size());
  };
  int possible = 0;
  for (int i = 0; i < 300; ++i) {
    Job job = small_moe();
    const auto names = graph::schedule_names();
    job.schedule = names[random.bits(draw++) % names.size()];
    job.pipeline_parallel_size = static_cast<std::int32_t>(pick({1, 2, 3, 4, 8}));
    job.data_parallel_size = static_cast<std::int32_t>(pick({1, 4, 8, 16}));
    job.expert_parallel_size = static_cast<std::int32_t>(pick({1, 2, 8, 16}));
    job.global_batch_size = pick({16, 64, 100, 256});
    job.recipe = pick({0, 1}) == 0 ? Recipe::kBf16 : Recipe::kFp8;
    job.model.num_hidden_layers = pick({4, 13, 24});
    job.model.n_shared_experts = pick({0, 1, 2});
    const auto step = simulate_step(job, hardware);
    if (!step) {
      EXPECT_FALSE(step.error().message.empty());
      continue;
    }
    ++possible;
    EXPECT_TRUE(std::isfinite(step->seconds) && step->seconds > 0);
    EXPECT_LT(step->mfu_causal, 1);
    for (const RankRows& rows : step->ranks) EXPECT_GE(rows.bubble, 0);
  }
  EXPECT_GT(possible, 30);
}

TEST(Systems, ImpossibleLayoutsSayWhatToChange) {
  const Hardware hardware = test::h800("trace");
  const auto refusal = [&](auto change) {
    Job job = test::deepseek_v3();
    change(job);
    const auto step = simulate_step(job, hardware);
    return step ? std::string("none") : step.error().message;
  };
  EXPECT_THAT(refusal([](Job& job) { job.expert_parallel_size = 48; }),
              HasSubstr("expert_parallel_size 48 does not divide topology.data_parallel_size 128"));
  EXPECT_THAT(refusal([](Job& job) { job.data_parallel_size = job.expert_parallel_size = 12; }),
              HasSubstr("does not divide the model's 256 experts"));
  EXPECT_THAT(refusal([](Job& job) { job.global_batch_size = 15361; }), HasSubstr("use 15488"));
  EXPECT_THAT(refusal([](Job& job) { job.global_batch_size = 1280; }), HasSubstr("dualpipe"));
  EXPECT_THAT(refusal([](Job& job) { job.layers_per_stage.pop_back(); }),
              HasSubstr("60 in 15 stages, the model has 61 layers and the schedule 16 stages"));
  EXPECT_THAT(refusal([](Job& job) { job.schedule = "fifo"; }), HasSubstr("no schedule \"fifo\""));
  EXPECT_THAT(refusal([](Job& job) {
                job.layers_per_stage.clear();
                job.model.num_hidden_layers = 10;
              }),
              HasSubstr("16 stages for 10 layers"));
  EXPECT_THAT(refusal([](Job& job) { job.expert_load = 0.5; }), HasSubstr("from 1 to 1000"));
}

}  // namespace
}  // namespace sluice::cost
