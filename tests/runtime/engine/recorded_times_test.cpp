// Times taken from a recording: exact where the machine is a function of the tasks, near where it
// is this machine.
#include "runtime/engine/recorded_times.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "kernels/base/digest.hpp"
#include "runtime/engine/settings.hpp"
#include "tests/runtime/engine/recording_support.hpp"
#include "tests/runtime/engine/training_support.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::engine {
namespace {

using testing::HasSubstr;
using testing::IsSupersetOf;

constexpr std::int64_t kHopNs = 7'000;

// A machine: a task takes a time that its name and the kind of its layer decide, for each token of
// the micro-batch or expert share, three times that where it is the first of a step; or the number
// of parameters alone does.
class Machine {
 public:
  explicit Machine(const graph::PlanOptions& plan) : plan_(plan) {}
  std::int64_t operator()(const actors::Task& task, std::int32_t rank) {
    const std::string_view name = task.name;
    const model::ModelConfig model = small_model();
    const int kind = task.key.layer >= model.num_hidden_layers ? 2 : model.is_moe(task.key.layer);
    double size = static_cast<double>(plan_.micro_batch_size) * plan_.sequence_length;
    if (name.starts_with("experts")) size /= plan_.expert_parallel_size;
    if (task.operations > 0) return std::llround(task.operations * 0.1);
    const auto unit = static_cast<double>(200 + digest(name) % 900 + 50 * kind);
    const bool first =
        seen_.insert(fmt::format("{} {} {} {}", task.key.step, name, rank, task.key.layer)).second;
    return static_cast<std::int64_t>(unit * size) * (first ? 3 : 1);
  }

 private:
  graph::PlanOptions plan_;
  std::set<std::string> seen_;
};

host::SimHost::Config machine(const graph::PlanOptions& plan) {
  host::SimHost::Config out;
  const auto state = std::make_shared<Machine>(plan);
  out.task_model = [state](const actors::Task& task, std::int32_t rank) {
    return (*state)(task, rank);
  };
  out.message_model = [](const actors::Message& message, graph::ActorIndex) -> std::int64_t {
    return std::holds_alternative<actors::TaskDone>(message.body) ? 0 : kHopNs;
  };
  return out;
}

const std::vector<std::string> kRecorded{"topology.pipeline_parallel_size=2",
                                         "topology.expert_parallel_size=2", "train.steps=3",
                                         "schedule.name=zb1p", "train.global_batch_size=6"};

// As recording_support does, with other keys.
ClusterOptions target(const std::vector<std::string>& sets) {
  std::vector<std::string> all{"train.sequence_length=12", "train.micro_batch_size=1"};
  all.insert(all.end(), sets.begin(), sets.end());
  const auto config = config::parse_config("", "test", all);
  SLUICE_CHECK(config.has_value(), "{}", config.error().message);
  auto options = virtual_options(*config, small_model());
  SLUICE_CHECK(options.has_value(), "{}", options.error().message);
  options->device.ranks = options->plan.ranks();
  return *options;
}

TEST(RecordedTimes, AreThoseOfTheMachineForAnyLayout) {
  const test::TemporaryFolder folder;
  graph::PlanOptions plan = target(kRecorded).plan;
  const Status recorded =
      record(folder.path(), trace::Payloads::kNone, kRecorded, 1, {}, machine(plan));
  ASSERT_TRUE(recorded) << recorded.error().message;
  const auto times = RecordedTimes::read(folder.path());
  ASSERT_TRUE(times) << times.error().message;
  EXPECT_EQ(times->steps(), 1);  // two to warm up
  const auto own = times->predict(times->options());
  ASSERT_TRUE(own) << own.error().message;
  EXPECT_NEAR(own->step_s / times->step_s(), 1, 1e-3);

  const std::vector<std::vector<std::string>> layouts{
      {"schedule.name=zb1p", "topology.pipeline_parallel_size=4", "train.global_batch_size=8"},
      {"schedule.name=zbv", "topology.pipeline_parallel_size=2", "train.global_batch_size=5"},
      {"schedule.name=zb1p", "topology.pipeline_parallel_size=1", "train.global_batch_size=4",
       "topology.expert_parallel_size=4"},
      {"schedule.name=zb1p", "topology.pipeline_parallel_size=3", "train.global_batch_size=8",
       "train.micro_batch_size=2", "schedule.run_ahead=3"}};
  int differing = 0;
  for (const auto& layout : layouts) {
    const ClusterOptions wanted = target(layout);
    const auto predicted = times->predict(wanted);
    ASSERT_TRUE(predicted) << predicted.error().message;
    EXPECT_TRUE(predicted->estimated.empty());
    const auto truth = run_virtually(wanted, machine(wanted.plan), 3);
    ASSERT_TRUE(truth) << truth.error().message;
    EXPECT_NEAR(predicted->step_s / (static_cast<double>(truth->step_ns.back()) * 1e-9), 1, 1e-3)
        << layout.front() << " " << layout.back();
    EXPECT_GT(predicted->step_s / times->step_s(), 0.2);
    if (std::abs(predicted->step_s / times->step_s() - 1) > 0.02) ++differing;
  }
  EXPECT_GE(differing, 3) << "equal steps test nothing";
}

TEST(RecordedTimes, WhatWasNotRecordedIsEstimatedAndSaid) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(record(folder.path(), trace::Payloads::kNone, {"schedule.name=1f1b"}));
  const auto times = RecordedTimes::read(folder.path(), 0);
  ASSERT_TRUE(times) << times.error().message;
  EXPECT_EQ(times->steps(), 3);
  const auto split = times->predict(target(
      {"schedule.name=zb1p", "topology.pipeline_parallel_size=2", "train.global_batch_size=4"}));
  ASSERT_TRUE(split) << split.error().message;
  EXPECT_THAT(split->estimated, IsSupersetOf({"head input gradient", "head weight gradient"}));
  const auto shared =
      times->predict(target({"schedule.name=dualpipe", "topology.pipeline_parallel_size=2",
                             "train.global_batch_size=4"}));
  ASSERT_TRUE(shared) << shared.error().message;
  EXPECT_THAT(shared->estimated, IsSupersetOf({"share gradients", "sum gradients"}));
}

TEST(RecordedTimes, OtherTasksAreRefused) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(record(folder.path(), trace::Payloads::kNone));
  const auto times = RecordedTimes::read(folder.path());
  ASSERT_TRUE(times) << times.error().message;
  ClusterOptions wider = target({});
  wider.model.hidden_size *= 2;
  const auto refused = times->predict(wider);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidInput);
  EXPECT_THAT(refused.error().message, HasSubstr("hidden_size is 64, recorded was 32"));
  const auto longer = times->predict(target({"train.sequence_length=24"}));
  ASSERT_FALSE(longer);
  EXPECT_THAT(longer.error().message, HasSubstr("train.sequence_length is 24, recorded was 12"));
  EXPECT_FALSE(RecordedTimes::read(folder.path() / "nothing"));
}

// A channel that kept a credit and gives it back because of a message.
TEST(RecordedTimes, CreditsThatChannelsKeepAreRead) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    const test::TemporaryFolder folder;
    ASSERT_TRUE(record(folder.path(), trace::Payloads::kNone,
                       {"topology.pipeline_parallel_size=4", "schedule.name=zb1p",
                        "train.global_batch_size=8", "topology.expert_parallel_size=1"},
                       seed));
    EXPECT_TRUE(RecordedTimes::read(folder.path()));
  }
}

}  // namespace
}  // namespace sluice::engine
