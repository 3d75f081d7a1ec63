// Steps of other layouts, predicted by a recording and then run live on this machine: within 10 %.
#include <gtest/gtest.h>

#include <algorithm>

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

// In turns, so that what else the machine does falls on all; medians of ratios. The first layout is
// the recorded one again: where even that differs, the machine is too busy to tell.
TEST(RecordedTimesLive, PredictOtherLayouts) {
  const Sets base{"train.global_batch_size=8"};
  const std::vector<Sets> layouts{
      base,
      {"train.global_batch_size=8", "schedule.name=zb1p", "topology.pipeline_parallel_size=4"},
      {"train.global_batch_size=16", "schedule.name=gpipe", "topology.pipeline_parallel_size=2",
       "topology.expert_parallel_size=2"},
      {"train.global_batch_size=4", "schedule.name=zbv", "topology.pipeline_parallel_size=2"}};
  constexpr int kRounds = 7;
  std::vector<std::vector<double>> ratios(layouts.size());
  std::vector<double> same;
  for (int round = 0; round < kRounds; ++round) {
    const auto times = run_live(base);
    ASSERT_TRUE(times) << times.error().message;
    for (std::size_t i = 0; i < layouts.size(); ++i) {
      const auto live = run_live(layouts[i]);
      ASSERT_TRUE(live) << live.error().message;
      const auto predicted = times->predict(live->options());
      ASSERT_TRUE(predicted) << predicted.error().message;
      ratios[i].push_back(predicted->step_s / live->step_s());
      if (i == 0) same.push_back(times->step_s() / live->step_s());
    }
  }
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    const auto [least, most] = std::ranges::minmax(ratios[i]);
    fmt::print("{}: predicted over live {:.3f} ({:.3f} to {:.3f})\n", layouts[i].at(i > 0 ? 1 : 0),
               median(ratios[i]), least, most);
  }
  const auto [least, most] = std::ranges::minmax(same);
  if (std::abs(median(same) - 1) > 0.04 || most / least > 1.3) {
    GTEST_SKIP() << "one run's steps differ from the same run's by " << least << " to " << most;
  }
  for (std::size_t i = 0; i < layouts.size(); ++i) EXPECT_NEAR(median(ratios[i]), 1, 0.10) << i;
}

}  // namespace
}  // namespace sluice::engine
