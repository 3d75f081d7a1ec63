// Every schedule trains live and in virtual time, and gives the bits of one stage: gradients of a
// batch, losses and weights of training steps, losses of an evaluation, and greedy text.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "graph/schedule/csv.hpp"
#include "kernels/base/digest.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/run_recording.hpp"
#include "runtime/trace/recorder.hpp"
#include "runtime/trace/timeline.hpp"
#include "tests/runtime/engine/training_support.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/under_sanitizer.hpp"

namespace sluice::engine {
namespace {

constexpr std::int32_t kLayers = 8;
constexpr std::int32_t kMicroBatches = 8;
constexpr std::int64_t kPositions = 24;  // of generated text

ClusterOptions options_of(RandomReader& reader) {
  ClusterOptions options = small_training(reader);
  options.model.num_hidden_layers = kLayers;
  options.plan.micro_batches = kMicroBatches;
  options.plan.micro_batch_size = 1;
  options.plan.sequence_length = 8;
  options.positions_max = kPositions;
  options.device.threads = 1;
  return options;
}

// By name: digests of tensors, and numbers of reports.
using Results = std::map<std::string, std::uint64_t>;

std::uint64_t bits(double value) { return std::bit_cast<std::uint64_t>(value); }

void note(Results& results, const std::string& name, const actors::StepReport& report) {
  results[name + ".main"] = bits(report.main);
  results[name + ".balance"] = bits(report.balance);
  for (const double loss : report.mtp) results[name + ".mtp"] = bits(loss);
  results[name + ".norm"] = bits(report.gradient_norm);
  for (const auto& layer : report.layers)
    results[fmt::format("{}.violation.{}", name, layer.layer)] = bits(layer.max_violation);
}

Status command(Cluster& cluster, actors::Body body, const std::string& name, Results& results) {
  cluster.command(std::move(body));
  for (;;) {
    SLUICE_ASSIGN(const actors::Message message, cluster.receive());
    if (std::holds_alternative<actors::Idle>(message.body)) return {};
    if (const auto* next = std::get_if<actors::NextToken>(&message.body)) {
      results[fmt::format("{}.token.{}", name, next->position)] =
          static_cast<std::uint64_t>(next->token);
    } else if (const auto* report = std::get_if<actors::StepReport>(&message.body)) {
      note(results, fmt::format("{}.{}", name, report->index), *report);
    } else if (const auto* part = std::get_if<actors::SnapshotPart>(&message.body)) {
      for (const actors::ParameterState& p : part->parameters) {
        const auto [at, is_new] = results.emplace(name + ".value." + p.name, digest(p.value));
        SLUICE_CHECK(is_new, "{} of two owners", p.name);
        if (!p.gradient.empty()) results[name + ".gradient." + p.name] = digest(p.gradient);
      }
    }
  }
}

Result<Results> run(const ClusterOptions& options) {
  SLUICE_ASSIGN(auto cluster, start_training(options));
  Results results;
  const actors::SnapshotRequest look{0, actors::SnapshotPurpose::kProbe};
  const actors::RunStep gradient{actors::StepMode::kGradient, 0, options.plan.micro_batches};
  const actors::RunStep evaluate{actors::StepMode::kEvaluate, 7, 5};
  SLUICE_TRY(command(*cluster, gradient, "batch", results));
  SLUICE_TRY(command(*cluster, look, "batch", results));
  SLUICE_TRY(command(*cluster, actors::RunTraining{0, 2}, "step", results));
  SLUICE_TRY(command(*cluster, evaluate, "evaluation", results));
  SLUICE_TRY(command(*cluster, look, "after", results));
  actors::GenerateRequest request;
  request.prompt = {5, 17, 3, 90};
  request.tokens_max = kPositions - 4;
  SLUICE_TRY(command(*cluster, request, "greedy", results));
  SLUICE_TRY(cluster->stop());
  return results;
}

// Of one stage, by gradient_shards.
const Results& one_stage(std::int32_t shards) {
  static std::map<std::int32_t, Results> known;
  const auto found = known.find(shards);
  if (found != known.end()) return found->second;
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = options_of(reader);
  options.plan.gradient_shards = shards;
  auto results = run(options);
  SLUICE_CHECK(results.has_value(), "{}", results.error().message);
  return known.emplace(shards, std::move(*results)).first->second;
}

void expect_same(const ClusterOptions& options, std::int32_t shards, const std::string& what) {
  const auto results = run(options);
  ASSERT_TRUE(results) << what << ": " << results.error().message;
  const Results& expected = one_stage(shards);
  ASSERT_GT(expected.size(), 200u);
  ASSERT_EQ(results->size(), expected.size()) << what;
  for (const auto& [name, digest] : expected)
    ASSERT_EQ(results->at(name), digest) << what << ": " << name << " differs";
}

void in_virtual_time(ClusterOptions& options, std::uint64_t seed) {
  options.host = [seed](device::CpuDevice& device) {
    host::SimHost::Config config;
    config.seed = seed;
    config.compute = device.context();
    return std::make_unique<host::SimHost>(std::move(config));
  };
}

struct Case {
  const char* schedule;
  std::int32_t ranks;
};

class EverySchedule : public testing::TestWithParam<Case> {
 protected:
  ClusterOptions options() {
    ClusterOptions options = options_of(reader_);
    options.plan.schedule = GetParam().schedule;
    options.plan.pipeline_parallel_size = GetParam().ranks;
    return options;
  }
  static std::int32_t shards() { return GetParam().schedule == std::string("dualpipe") ? 2 : 1; }

  RandomReader reader_{small_model().vocab_size};
};

TEST_P(EverySchedule, GivesTheBitsOfOneStageLive) {
  for (const std::int32_t run_ahead : {0, 1, 2}) {
    ClusterOptions options = this->options();
    options.plan.run_ahead = run_ahead;
    options.plan.expert_parallel_size = 1 << run_ahead;
    options.device.threads = 1 + run_ahead % 2;
    expect_same(options, shards(), fmt::format("run_ahead {}", run_ahead));
  }
}

TEST_P(EverySchedule, GivesTheBitsOfOneStageWhereEveryRankHasLanesOfItsOwn) {
  ClusterOptions options = this->options();
  options.plan.expert_parallel_size = 2;
  options.plan.run_ahead = 1;
  options.device.ranks = GetParam().ranks * 2;
  expect_same(options, shards(), "lanes for each rank");
}

TEST_P(EverySchedule, GivesTheBitsOfOneStageInAnyOrderOfEvents) {
  constexpr std::uint64_t kEvery = test::kUnderSanitizer ? 4 : 1;  // each number of groups still
  for (std::uint64_t seed = 0; seed < 12; seed += kEvery) {
    ClusterOptions options = this->options();
    options.plan.run_ahead = static_cast<std::int32_t>(seed % 3);
    options.plan.expert_parallel_size = 1 << (seed / 3 % 3);
    in_virtual_time(options, seed);
    expect_same(options, shards(), fmt::format("seed {}", seed));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, EverySchedule,
    testing::Values(Case{"gpipe", 3}, Case{"1f1b", 4}, Case{"interleaved_1f1b", 1},
                    Case{"interleaved_1f1b", 2}, Case{"interleaved_1f1b", 4}, Case{"zb1p", 1},
                    Case{"zb1p", 3}, Case{"zbv", 1}, Case{"zbv", 2}, Case{"zbv", 4},
                    Case{"dualpipev", 1}, Case{"dualpipev", 3}, Case{"dualpipev", 4},
                    Case{"dualpipe", 2}, Case{"dualpipe", 4}),
    [](const auto& info) {
      return fmt::format("{}On{}", info.param.schedule[0] == '1' ? "f1b" : info.param.schedule,
                         info.param.ranks);
    });

// Weight gradients wait for their turn without a place in the window: backward passes in any order,
// whole and in halves, with a window of one too.
TEST(Schedules, AFileInAnyOrderGivesTheBitsOfOneStage) {
  const std::string rows =
      "0F0,0F1,0F2,0F3,0F4,0F5,0F6,0F7,0I7,0B6,0I5,0W5,0B4,0B0,0W7,0I1,0B2,0B3,0W1\n"
      "1F3,1F2,1F1,1F0,1F7,1F6,1F5,1F4,1I7,1I6,1B5,1W6,1W7,1B4,1I0,1B1,1B2,1B3,1W0\n";
  for (std::uint64_t seed = 0; seed < 9; ++seed) {
    RandomReader reader(small_model().vocab_size);
    ClusterOptions options = options_of(reader);
    auto read = graph::parse_csv(rows, "mine.csv");
    ASSERT_TRUE(read) << read.error().message;
    options.plan.schedule_read = std::move(read->schedule);
    options.plan.pipeline_parallel_size = 2;
    options.plan.expert_parallel_size = 2;
    options.plan.run_ahead = static_cast<std::int32_t>(seed % 3);
    if (seed >= 3) in_virtual_time(options, seed);
    expect_same(options, 1, fmt::format("mine.csv, seed {}", seed));
  }
}

TEST(Schedules, UnevenStagesGiveTheBitsOfOneStage) {
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = options_of(reader);
  options.plan.schedule = "zbv";
  options.plan.pipeline_parallel_size = 2;
  options.plan.layers_per_stage = {3, 1, 1, 3};
  expect_same(options, 1, "3, 1, 1, 3 layers");
}

TEST(Schedules, PartsOfABatchAreSummedAlongTheTreeWhereverTheyAre) {
  for (const std::int32_t shards : {4, 8}) {
    RandomReader reader(small_model().vocab_size);
    ClusterOptions options = options_of(reader);
    options.plan.schedule = "dualpipe";
    options.plan.pipeline_parallel_size = 2;
    options.plan.gradient_shards = shards;
    expect_same(options, shards, fmt::format("{} parts", shards));
    options.plan.schedule = "zb1p";
    expect_same(options, shards, fmt::format("{} parts", shards));
  }
  EXPECT_NE(one_stage(1), one_stage(8)) << "parts that change nothing test nothing";
}

// ---- Overlap

graph::Schedule without_pairs(graph::Schedule schedule) {
  for (graph::Program& program : schedule.programs) {
    graph::Program alone;
    for (const graph::Action& action : program)
      for (const graph::Pass& pass : action.passes()) alone.emplace_back(pass);
    program = std::move(alone);
  }
  return schedule;
}

// One action at a time; only pairs can overlap what travels.
ClusterOptions overlap_options(RandomReader& reader, const graph::Schedule& schedule) {
  ClusterOptions options = options_of(reader);
  options.plan.pipeline_parallel_size = schedule.placement.ranks();
  options.plan.schedule_read = schedule;
  options.plan.run_ahead = 0;
  return options;
}

struct Elapsed {
  std::int64_t step_ns = 0, idle_ns = 0, busy_ns = 0;
};

// A task takes a millisecond, a message through a channel two: there is no noise in virtual time.
Elapsed elapsed(const graph::Schedule& schedule) {
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = overlap_options(reader, schedule);
  options.plan.link.latency_seconds = 2e-3;
  const host::SimHost* sim = nullptr;
  options.host = [&](device::CpuDevice& device) {
    host::SimHost::Config config;
    config.message = {0, 0};
    config.task = {1'000'000, 1'000'000};
    config.compute = device.context();
    auto host = std::make_unique<host::SimHost>(config);
    sim = host.get();
    return host;
  };
  auto cluster = start_training(options);
  SLUICE_CHECK(cluster.has_value(), "{}", cluster.error().message);
  SLUICE_CHECK(run_steps(**cluster, 0, 1).has_value());
  Elapsed out{sim->now_ns(), 0, 0};
  for (std::int32_t rank = 0; rank < schedule.placement.ranks(); ++rank) {
    out.idle_ns += sim->lane(rank).idle_ns;
    out.busy_ns += sim->lane(rank).busy_ns;
  }
  return out;
}

class Pairs : public testing::TestWithParam<const char*> {
 protected:
  static graph::Schedule schedule() {
    auto made = graph::make_schedule(GetParam(), {2, kMicroBatches});
    SLUICE_CHECK(made.has_value(), "{}", made.error().message);
    return std::move(*made);
  }
};

// As in the report (3.2.1): an F and a B of different micro-batches hide each other's all-to-alls.
TEST_P(Pairs, HideInVirtualTimeWhatFThenBExposes) {
  const Elapsed pairs = elapsed(schedule());
  const Elapsed series = elapsed(without_pairs(schedule()));
  ASSERT_EQ(pairs.busy_ns, series.busy_ns) << "the same work";
  EXPECT_LT(pairs.step_ns, series.step_ns * 9 / 10);
  EXPECT_LT(pairs.idle_ns, series.idle_ns * 3 / 4)
      << "idle " << pairs.idle_ns << " ns with pairs, " << series.idle_ns << " one after the other";
  RecordProperty("step_ns_pairs", std::to_string(pairs.step_ns));
  RecordProperty("step_ns_series", std::to_string(series.step_ns));
  RecordProperty("idle_ns_pairs", std::to_string(pairs.idle_ns));
  RecordProperty("idle_ns_series", std::to_string(series.idle_ns));
}

// Messages between stages and experts, and those of them during whose travel a stage of the same
// rank submitted a task of another micro-batch.
struct Travels {
  int all = 0, hidden = 0;
};

// Live, on the CPU, over channels that are as slow as a network. Which task falls into which
// travel hardly depends on how fast the machine is and what else it does, as seconds would.
Travels live_travels(const graph::Schedule& schedule) {
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = overlap_options(reader, schedule);
  options.plan.link.latency_seconds = 2e-3;
  trace::Recorder recorder;
  options.observer = &recorder;
  auto cluster = Cluster::create(options);
  SLUICE_CHECK(cluster.has_value(), "{}", cluster.error().message);
  SLUICE_CHECK(initialize_weights(**cluster, options.model, 1).has_value());
  trace::Recording recording;
  trace::set_plan(recording, (*cluster)->plan());
  const test::TemporaryFolder folder;
  SLUICE_CHECK(recorder.begin(folder.path(), recording).has_value());
  SLUICE_CHECK((*cluster)->start().has_value());
  SLUICE_CHECK(run_steps(**cluster, 0, 2).has_value());
  SLUICE_CHECK((*cluster)->stop().has_value());
  SLUICE_CHECK(recorder.end().has_value());
  const auto timeline = trace::read_timeline(folder.path());
  SLUICE_CHECK(timeline.has_value(), "{}", timeline.error().message);

  const auto& actors = timeline->recording.actors;
  const auto stage = [&](graph::ActorIndex actor) -> const graph::ActorPlan* {
    if (actor == graph::kOutside) return nullptr;
    const graph::ActorPlan& plan = actors[static_cast<std::size_t>(actor)];
    return plan.kind == graph::ActorKind::kStage ? &plan : nullptr;
  };
  constexpr std::array kTravels = {actors::Topic::kDispatch, actors::Topic::kCombine,
                                   actors::Topic::kDispatchGradient,
                                   actors::Topic::kCombineGradient};
  Travels out;
  for (const trace::Flight& flight : timeline->messages) {
    const actors::Key& key = flight.head.key;
    if (std::ranges::find(kTravels, key.topic) == kTravels.end()) continue;
    const graph::ActorPlan* waits = stage(flight.from) ? stage(flight.from) : stage(flight.to);
    out.all += 1;
    out.hidden += std::ranges::any_of(timeline->tasks, [&](const trace::TaskSpan& task) {
      const graph::ActorPlan* computes = stage(task.actor);
      return computes && computes->rank == waits->rank && task.key.micro_batch != key.micro_batch &&
             task.times.submitted_ns > flight.sent_ns &&
             task.times.submitted_ns < flight.arrived_ns;
    });
  }
  return out;
}

TEST_P(Pairs, HideLiveWhatFThenBExposes) {
  const Travels pairs = live_travels(schedule());
  const Travels series = live_travels(without_pairs(schedule()));
  EXPECT_EQ(series.hidden, 0) << "of " << series.all;
  EXPECT_EQ(pairs.all, series.all);
  EXPECT_GT(pairs.hidden, pairs.all / 5);
}

INSTANTIATE_TEST_SUITE_P(Schedules, Pairs, testing::Values("dualpipev", "dualpipe"));

TEST(Schedules, ALinkChangesTimesAndNoBit) {
  RandomReader reader(small_model().vocab_size);
  ClusterOptions options = options_of(reader);
  options.plan.schedule = "zbv";
  options.plan.pipeline_parallel_size = 2;
  options.plan.expert_parallel_size = 2;
  options.plan.link = {1e-4, 1e8};
  expect_same(options, 1, "a link, live");
  in_virtual_time(options, 3);
  expect_same(options, 1, "a link, in virtual time");
}

}  // namespace
}  // namespace sluice::engine
