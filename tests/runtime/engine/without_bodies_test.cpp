// The actors without task bodies: the same messages and tasks, at the same times, of the same
// sizes, as with them.
#include <gtest/gtest.h>

#include "actors/message.hpp"
#include "kernels/base/digest.hpp"
#include "tests/runtime/engine/training_support.hpp"
#include "tests/support/under_sanitizer.hpp"

namespace sluice::engine {
namespace {

// A line for everything that happened, in order.
class Journal final : public host::Observer {
 public:
  void on_send(graph::ActorIndex from, graph::ActorIndex to, const actors::Message& message,
               std::int64_t now_ns) override {
    std::string size;
    if (with_sizes) size = fmt::format(", {} bytes", actors::size_bytes(message));
    lines.push_back(fmt::format("{}: {} -> {}: {}, body {}{}", now_ns, from, to, to_string(message),
                                message.body.index(), size));
  }
  void on_delivery(graph::ActorIndex to, const actors::Message& message,
                   std::int64_t now_ns) override {
    lines.push_back(fmt::format("{}: {} has {}", now_ns, to, to_string(message)));
  }
  void on_task(graph::ActorIndex actor, const actors::Task& task, host::TaskTimes times) override {
    lines.push_back(fmt::format("{} to {}: {} of {}: {}", times.started_ns, times.ended_ns,
                                task.name, actor, to_string(task.key)));
  }
  bool with_sizes = true;
  std::vector<std::string> lines;
};

struct Ran {
  std::vector<std::string> lines;
  std::vector<actors::StepReport> reports;
  std::uint64_t trace = 0;
};

Ran run(ClusterOptions options, host::SimHost::Config config, bool with_bodies, bool with_sizes) {
  RandomReader reader(options.model.vocab_size);
  options.reader = with_bodies ? &reader : nullptr;
  options.use = with_bodies ? model::ParameterUse::kTraining : model::ParameterUse::kShapes;
  Journal journal;
  journal.with_sizes = with_sizes;
  const WatchedHost* watched = nullptr;
  options.host = [&](device::CpuDevice& device) {
    config.run_bodies = with_bodies;
    config.observer = &journal;
    if (with_bodies) config.compute = device.context();
    auto host = std::make_unique<WatchedHost>(config);
    watched = host.get();
    return host;
  };
  auto cluster = Cluster::create(options);
  SLUICE_CHECK(cluster.has_value(), "{}", cluster.error().message);
  if (with_bodies) {
    SLUICE_CHECK((*cluster)
                     ->for_each_owner([&](model::ParameterSet& set) {
                       set.initialize(options.model, 1);
                       return Status{};
                     })
                     .has_value());
  }
  SLUICE_CHECK((*cluster)->start().has_value());
  auto reports = run_steps(**cluster, 0, 2);
  SLUICE_CHECK(reports.has_value(), "{}", reports.error().message);
  Ran out{{}, std::move(*reports), watched->sim().trace_digest()};
  SLUICE_CHECK((*cluster)->stop().has_value());
  out.lines = std::move(journal.lines);
  return out;
}

void expect_same(const Ran& with, const Ran& without, const std::string& what) {
  ASSERT_GT(with.lines.size(), 500u);
  for (std::size_t i = 0; i < std::min(with.lines.size(), without.lines.size()); ++i)
    ASSERT_EQ(with.lines[i], without.lines[i]) << what << ", event " << i;
  ASSERT_EQ(with.lines.size(), without.lines.size()) << what;
  EXPECT_EQ(with.trace, without.trace) << what;
}

// By name and place, hence uneven.
std::int64_t task_ns(const actors::Task& task, std::int32_t rank) {
  return 1000 + static_cast<std::int64_t>(digest(task.name) % 50'000) +
         100 * (task.key.layer + 3 * rank);
}
std::int64_t message_ns(const actors::Message& message, graph::ActorIndex to) {
  return 50 + 400 * static_cast<std::int64_t>(message.key.topic) + to;
}

struct TimedCase {
  const char* schedule;
  std::int32_t ranks;
};

class WithoutBodies : public testing::TestWithParam<TimedCase> {};

TEST_P(WithoutBodies, TheEventsAreThoseOfARunWithThem) {
  for (const std::int32_t groups : {1, 2, 4}) {
    if (test::kUnderSanitizer && groups != 2) continue;
    for (const std::int32_t run_ahead : {0, 2}) {
      RandomReader reader(small_model().vocab_size);
      ClusterOptions options = small_training(reader);
      options.model.num_hidden_layers = 8;
      options.plan.schedule = GetParam().schedule;
      options.plan.pipeline_parallel_size = GetParam().ranks;
      options.plan.expert_parallel_size = groups;
      options.plan.run_ahead = run_ahead;
      options.plan.micro_batches = 8;
      options.plan.micro_batch_size = 1;
      options.plan.sequence_length = 8;
      options.supervisor.evaluate_every = 1;
      options.supervisor.evaluate_micro_batches = 2;
      host::SimHost::Config modelled;
      modelled.task_model = task_ns;
      modelled.message_model = message_ns;
      host::SimHost::Config drawn;
      drawn.seed = static_cast<std::uint64_t>(groups + run_ahead);
      drawn.message = {100, 50'000};
      for (const host::SimHost::Config& config : {modelled, drawn}) {
        const bool one_group = groups == 1;  // then sums have a row for every token
        expect_same(run(options, config, true, one_group), run(options, config, false, one_group),
                    fmt::format("{} groups, run_ahead {}", groups, run_ahead));
        if (HasFatalFailure()) return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Schedules, WithoutBodies,
    testing::Values(TimedCase{"gpipe", 3}, TimedCase{"1f1b", 1}, TimedCase{"1f1b", 4},
                    TimedCase{"interleaved_1f1b", 2}, TimedCase{"zb1p", 3}, TimedCase{"zbv", 2},
                    TimedCase{"dualpipev", 2}, TimedCase{"dualpipe", 2}, TimedCase{"dualpipe", 4}),
    [](const auto& info) {
      return fmt::format("{}On{}", info.param.schedule[0] == '1' ? "f1b" : info.param.schedule,
                         info.param.ranks);
    });

// What the stand-ins announce: nothing lost or learned, every expert with the same load.
TEST(WithoutBodies, LoadsAreEven) {
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = small_training(reader);
  options.plan.pipeline_parallel_size = 2;
  const Ran ran = run(options, {}, false, true);
  ASSERT_EQ(ran.reports.size(), 2u);
  for (const actors::StepReport& report : ran.reports) {
    EXPECT_EQ(report.main, 0);
    EXPECT_EQ(report.gradient_norm, 0);
    ASSERT_EQ(report.layers.size(), 4u);  // three main layers and the depth's
    for (const actors::StepReport::Layer& layer : report.layers) {
      EXPECT_EQ(layer.max_violation, 0);
      // 4 micro-batches of 2 sequences of 24 tokens, 2 of 8 experts each.
      for (const std::int64_t load : layer.loads) EXPECT_EQ(load, 4 * 2 * 24 * 2 / 8);
    }
  }
}

}  // namespace
}  // namespace sluice::engine
