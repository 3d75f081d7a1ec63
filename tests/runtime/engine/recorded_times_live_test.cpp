// Steps of other layouts, predicted by a recording and then run live on this machine: within 10 %.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "runtime/engine/load.hpp"
#include "runtime/engine/recorded_times.hpp"
#include "runtime/engine/run_recording.hpp"
#include "runtime/engine/settings.hpp"
#include "runtime/trace/recorder.hpp"
#include "tests/runtime/engine/training_support.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::engine {
namespace {

using Sets = std::vector<std::string>;

model::ModelConfig model_for_timing() {
  model::ModelConfig model = small_model();
  model.hidden_size = 256;
  model.vocab_size = 512;
  model.intermediate_size = 768;
  model.moe_intermediate_size = 128;
  model.num_attention_heads = 4;
  model.qk_nope_head_dim = model.v_head_dim = 64;
  model.qk_rope_head_dim = 32;
  model.q_lora_rank = 128;
  model.kv_lora_rank = 64;
  return model;
}

// A run, recorded.
Result<RecordedTimes> run_live(const Sets& sets) {
  const test::TemporaryFolder folder;
  Sets all{"train.sequence_length=128", "train.micro_batch_size=1", "train.steps=6",
           "device.threads=1"};
  all.insert(all.end(), sets.begin(), sets.end());
  SLUICE_ASSIGN(const config::Config config, config::parse_config("", "test", all));
  const model::ModelConfig model = model_for_timing();
  SLUICE_ASSIGN(ClusterOptions options, cluster_options(config, model));
  RandomReader reader(model.vocab_size);
  options.reader = &reader;
  trace::Recorder recorder;
  options.observer = &recorder;
  SLUICE_ASSIGN(const auto cluster, Cluster::create(options));
  SLUICE_TRY(initialize_weights(*cluster, model, 1));
  trace::Recording recording = describe_run(config, model, {});
  trace::set_plan(recording, cluster->plan());
  SLUICE_TRY(recorder.begin(folder.path(), recording));
  SLUICE_TRY(cluster->start());
  SLUICE_TRY(run_steps(*cluster, 0, config.train.steps));
  SLUICE_TRY(cluster->stop());
  SLUICE_TRY(recorder.end());
  return RecordedTimes::read(folder.path());
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// In turns: a recording of the base before each run and after it, so that what else the machine
// does falls on all; medians of ratios over rounds. Where two recordings of the base differ by more
// than what is asked, or its busiest lane stands still for longer than its program lets it, the
// machine is too busy to tell.
void expect_predicted(const Sets& base, const std::vector<Sets>& layouts, double base_busy_min) {
  constexpr int kRounds = 5;
  std::vector<std::vector<double>> ratios(layouts.size());
  std::vector<double> noise, busy;
  auto before = run_live(base);
  ASSERT_TRUE(before) << before.error().message;
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < layouts.size(); ++i) {
      const auto live = run_live(layouts[i]);
      ASSERT_TRUE(live) << live.error().message;
      auto after = run_live(base);
      ASSERT_TRUE(after) << after.error().message;
      const auto early = before->predict(live->options());
      const auto late = after->predict(live->options());
      ASSERT_TRUE(early && late);
      ratios[i].push_back((early->step_s + late->step_s) / 2 / live->step_s());
      const auto own = after->predict(after->options());
      ASSERT_TRUE(own) << own.error().message;
      busy.push_back(own->busy_s / after->step_s());
      noise.push_back(std::abs(before->step_s() / after->step_s() - 1));
      before = std::move(after);
    }
  }
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    const auto [least, most] = std::ranges::minmax(ratios[i]);
    fmt::print("{}: predicted over live {:.3f} ({:.3f} to {:.3f})\n", fmt::join(layouts[i], " "),
               median(ratios[i]), least, most);
  }
  fmt::print("recordings of the base differ by {:.3f}, their lane is busy {:.3f} (medians)\n",
             median(noise), median(busy));
  if (median(noise) > 0.10 || median(busy) < base_busy_min) {
    GTEST_SKIP() << "the machine is too busy to tell";
  }
  for (std::size_t i = 0; i < layouts.size(); ++i) EXPECT_NEAR(median(ratios[i]), 1, 0.10) << i;
}

TEST(RecordedTimesLive, PredictOtherLayouts) {
  expect_predicted(
      {"train.global_batch_size=8"},
      {{"schedule.name=zb1p", "topology.pipeline_parallel_size=4", "train.global_batch_size=8"},
       {"schedule.name=gpipe", "topology.pipeline_parallel_size=2", "train.global_batch_size=16",
        "topology.expert_parallel_size=2"},
       {"schedule.name=zbv", "topology.pipeline_parallel_size=2", "train.global_batch_size=4"},
       {"schedule.name=dualpipe", "topology.pipeline_parallel_size=2",
        "train.global_batch_size=8"}},
      0.95);
}

// Ranks that compute at the same time: bubbles are predicted too.
TEST(RecordedTimesLive, PredictOtherLayoutsWhereEveryRankHasALane) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "needs a core for each rank";
  const Sets both{"device.ranks_share_lanes=false", "topology.pipeline_parallel_size=2"};
  const auto with = [&both](const Sets& sets) {
    Sets out = both;
    out.insert(out.end(), sets.begin(), sets.end());
    return out;
  };
  expect_predicted(with({"schedule.name=1f1b", "train.global_batch_size=8"}),
                   {with({"schedule.name=gpipe", "train.global_batch_size=8"}),
                    with({"schedule.name=1f1b", "train.global_batch_size=16"}),
                    with({"schedule.name=zb1p", "train.global_batch_size=4"}),
                    with({"schedule.name=zbv", "train.global_batch_size=8"})},
                   0.80);
}

}  // namespace
}  // namespace sluice::engine
