// A prediction from recorded times as text and JSON.
#include "runtime/cli/simulate_recorded.hpp"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "runtime/engine/settings.hpp"

namespace sluice {
namespace {

std::string layout_text(const graph::PlanOptions& plan) {
  return fmt::format("{} on {} rank{}, {} expert group{}, {} micro-batches of {} x {} tokens",
                     plan.schedule_read ? "a schedule file" : plan.schedule,
                     plan.pipeline_parallel_size, plan.pipeline_parallel_size == 1 ? "" : "s",
                     plan.expert_parallel_size, plan.expert_parallel_size == 1 ? "" : "s",
                     plan.micro_batches, plan.micro_batch_size, plan.sequence_length);
}

std::vector<std::string> assumptions_of(const RecordedPrediction& view) {
  std::vector<std::string> out{
      fmt::format("{}, {}",
                  view.ranks_share_lanes ? "all ranks of the process on the lanes of one device"
                                         : "a lane for each rank",
                  view.ranks_share_lanes == view.recording.ranks_share_lanes
                      ? "as recorded"
                      : "unlike the recording: tasks are taken to be as fast there"),
      "a task takes what it took in the recording, by name, kind of layer and first of a step; in "
      "proportion to tokens, experts and parameters"};
  if (!view.prediction.estimated.empty()) {
    out.push_back(fmt::format("not recorded, estimated by others: {}",
                              fmt::join(view.prediction.estimated, ", ")));
  }
  return out;
}

}  // namespace

double RecordedPrediction::tokens_per_s() const {
  return static_cast<double>(plan.micro_batches) * plan.micro_batch_size * plan.sequence_length /
         prediction.step_s;
}

Result<RecordedPrediction> predict_from_recording(const config::Config& config,
                                                  const model::ModelConfig& model,
                                                  const std::string& folder,
                                                  const std::optional<engine::RecordTo>& record) {
  SLUICE_ASSIGN(const engine::RecordedTimes times, engine::RecordedTimes::read(folder));
  SLUICE_ASSIGN(engine::ClusterOptions target, engine::cluster_options(config, model));
  target.use = model::ParameterUse::kShapes;
  RecordedPrediction out;
  out.folder = folder;
  out.recording = times.recording();
  out.recorded_steps = times.steps();
  out.recorded_step_s = times.step_s();
  out.recorded_plan = times.options().plan;
  out.plan = target.plan;
  out.ranks_share_lanes = config.device.ranks_share_lanes;
  SLUICE_ASSIGN(const auto own, times.predict(times.options()));
  out.recorded_predicted_s = own.step_s;
  SLUICE_ASSIGN(out.prediction, times.predict(target, record));
  return out;
}

std::string prediction_text(const RecordedPrediction& view) {
  std::string text = fmt::format(
      "{}: {:.4f} s a step, {:.0f} tokens/s\n"
      "the busiest lane computes {:.1f} % of it\n\n"
      "recorded: {}: {:.4f} s a step, median of {}; by its own times {:.4f} s ({:+.1f} %)\n"
      "on {}, {}\n\n",
      layout_text(view.plan), view.prediction.step_s, view.tokens_per_s(),
      100 * view.prediction.busy_s / view.prediction.step_s, layout_text(view.recorded_plan),
      view.recorded_step_s, view.recorded_steps, view.recorded_predicted_s, 100 * view.own_error(),
      view.recording.cpu, view.recording.kernel_set);
  for (const std::string& assumption : assumptions_of(view)) text += "- " + assumption + "\n";
  return text;
}

std::string prediction_json(const RecordedPrediction& view) {
  const nlohmann::ordered_json out = {
      {"step_s", view.prediction.step_s},
      {"tokens_per_s", view.tokens_per_s()},
      {"busy_share", view.prediction.busy_s / view.prediction.step_s},
      {"recording",
       {{"steps", view.recorded_steps},
        {"step_s", view.recorded_step_s},
        {"predicted_s", view.recorded_predicted_s},
        {"error", view.own_error()},
        {"cpu", view.recording.cpu},
        {"kernel_set", view.recording.kernel_set}}},
      {"estimated", view.prediction.estimated},
      {"simulated",
       {{"events", view.prediction.run.events},
        {"tasks", view.prediction.run.tasks},
        {"seconds", view.prediction.run.run_s}}},
      {"assumptions", assumptions_of(view)}};
  return out.dump(1) + "\n";
}

}  // namespace sluice
