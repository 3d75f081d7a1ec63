// Back-pressure and overlap with the real plan and the real actors in virtual time: a slow consumer
// never makes more wait than the channel's credits, and a second flow fills the lane while the
// first one waits for its experts.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/runtime/engine/training_support.hpp"

namespace sluice::engine {
namespace {

using graph::ActorKind;

// A cluster on a WatchedHost, which lives inside it.
struct Watched {
  std::unique_ptr<Cluster> cluster;
  WatchedHost* host = nullptr;
};

Watched watch(ClusterOptions options, host::SimHost::Config config, bool expert_lanes = false) {
  Watched out;
  options.host = [&](device::CpuDevice& device) {
    config.compute = device.context();
    auto host = std::make_unique<WatchedHost>(config);
    if (expert_lanes) host->set_expert_lanes();
    out.host = host.get();
    return host;
  };
  auto cluster = start_training(options);
  SLUICE_CHECK(cluster.has_value(), "{}", cluster.error().message);
  out.cluster = std::move(*cluster);
  return out;
}

// Who is slow, and which channels' windows must then be full at some time.
struct SlowCase {
  const char* name;
  std::function<bool(const actors::Task&, std::int32_t rank)> is_slow;
  std::set<graph::ChannelRole> full;
};

class SlowConsumer : public testing::TestWithParam<SlowCase> {};

TEST_P(SlowConsumer, NeverHasMoreWaitingThanThePlanSays) {
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = small_training(reader);
  options.plan.micro_batches = 12;
  options.plan.micro_batch_size = 1;
  options.plan.pipeline_parallel_size = 3;
  options.plan.expert_parallel_size = 2;
  options.plan.schedule = "gpipe";  // sends as much as the credits let it
  options.plan.run_ahead = 3;
  host::SimHost::Config config;
  config.message = {10, 1000};
  config.task_model = [&](const actors::Task& task, std::int32_t rank) -> std::int64_t {
    return GetParam().is_slow(task, rank) ? 5'000'000 : 10'000;
  };
  const Watched watched = watch(options, config);
  const auto reports = run_steps(*watched.cluster, 0, 3);
  ASSERT_TRUE(reports) << reports.error().message;

  const graph::Plan& plan = watched.cluster->plan();
  ASSERT_EQ(watched.host->channels().size(), plan.channels.size());
  std::set<graph::ChannelRole> full;
  for (const graph::ChannelPlan& channel : plan.channels) {
    const std::int32_t most = watched.host->channels().at(channel.actor)->in_flight_max();
    EXPECT_LE(most, channel.credits) << plan.actors[static_cast<std::size_t>(channel.actor)].name;
    EXPECT_GE(most, 1) << plan.actors[static_cast<std::size_t>(channel.actor)].name;
    if (most == channel.credits) full.insert(channel.role);
    // Nor does the receiver's mailbox hold more than these messages.
    EXPECT_LE(watched.host->sim().actor(channel.actor).waiting_max, 2 * channel.credits + 2);
  }
  for (const graph::ChannelRole role : GetParam().full) {
    EXPECT_TRUE(full.contains(role)) << name_of(role) << " was never at its limit";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Actors, SlowConsumer,
    testing::Values(SlowCase{"LastStage",
                             [](const actors::Task&, std::int32_t rank) { return rank == 4; },
                             {graph::ChannelRole::kActivation, graph::ChannelRole::kTokens}},
                    SlowCase{"FirstStage",
                             [](const actors::Task&, std::int32_t rank) { return rank == 0; },
                             {graph::ChannelRole::kTokens}},
                    SlowCase{"ExpertGroups",
                             [](const actors::Task&, std::int32_t rank) { return rank % 2 == 1; },
                             {graph::ChannelRole::kTokens}}),
    [](const auto& info) { return info.param.name; });

// One pipeline stage, its experts elsewhere; every task takes 1 ms, every message 0.2 ms. Alone, a
// micro-batch leaves the stage's lane idle whenever it is at the experts.
host::SimHost::LaneStatistics stage_lane(std::int32_t run_ahead) {
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = small_training(reader);
  options.plan.micro_batches = 2;
  options.plan.run_ahead = run_ahead;
  host::SimHost::Config config;
  config.message = {200'000, 200'000};
  config.task = {1'000'000, 1'000'000};
  const Watched watched = watch(options, config, true);
  const auto reports = run_steps(*watched.cluster, 0, 2);
  SLUICE_CHECK(reports.has_value(), "{}", reports.error().message);
  return watched.host->sim().lane(0);
}

TEST(Overlap, ASecondFlowFillsTheStagesLane) {
  const auto alone = stage_lane(0);
  const auto together = stage_lane(1);
  ASSERT_EQ(alone.busy_ns, together.busy_ns) << "the same work";
  EXPECT_GT(alone.idle_ns, 0);
  EXPECT_LT(together.idle_ns, alone.idle_ns * 3 / 4)
      << "idle " << alone.idle_ns << " ns with one flow, " << together.idle_ns << " with two";
  RecordProperty("idle_ns_one_flow", std::to_string(alone.idle_ns));
  RecordProperty("idle_ns_two_flows", std::to_string(together.idle_ns));
}

// A channel hands on the tensors it was given: the same storage on both sides.
TEST(Messages, CarryTensorsByReference) {
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = small_training(reader);
  options.plan.pipeline_parallel_size = 2;
  options.plan.expert_parallel_size = 4;
  const auto storage_of = [](const actors::Body& body) -> const std::byte* {
    if (const auto* tokens = std::get_if<actors::Tokens>(&body)) return tokens->tokens.bytes();
    if (const auto* hidden = std::get_if<actors::Hidden>(&body)) return hidden->rows.bytes();
    if (const auto* part = std::get_if<actors::Dispatch>(&body)) return part->normed.bytes();
    if (const auto* sums = std::get_if<actors::Combine>(&body)) return sums->sums.rows.bytes();
    if (const auto* back = std::get_if<actors::DispatchGradient>(&body)) return back->dy.bytes();
    return nullptr;
  };
  std::map<std::pair<graph::ActorIndex, std::size_t>, std::vector<const std::byte*>> sent;
  std::int64_t handed_on = 0;
  std::map<graph::ActorIndex, bool> is_channel;
  host::SimHost::Config config;
  config.message_model = [&](const actors::Message& message, graph::ActorIndex to) -> std::int64_t {
    const std::byte* storage = storage_of(message.body);
    if (storage == nullptr) return 1000;
    if (is_channel[to]) {
      sent[{to, message.body.index()}].push_back(storage);
    } else if (message.via >= 0) {
      auto& waiting = sent[{message.via, message.body.index()}];
      const auto found = std::find(waiting.begin(), waiting.end(), storage);
      EXPECT_NE(found, waiting.end()) << "another tensor came out of channel " << message.via;
      if (found != waiting.end()) waiting.erase(found);
      ++handed_on;
    }
    return 1000;
  };
  const auto plan = plan_of(options);
  ASSERT_TRUE(plan);
  for (const graph::ChannelPlan& channel : plan->channels) is_channel[channel.actor] = true;
  const Watched watched = watch(options, config);
  ASSERT_TRUE(run_steps(*watched.cluster, 0, 2));
  EXPECT_GT(handed_on, 200);
  for (const auto& [key, waiting] : sent) EXPECT_TRUE(waiting.empty());
}

}  // namespace
}  // namespace sluice::engine
