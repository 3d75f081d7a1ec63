// `sluice simulate CONFIG --from-trace FOLDER`: a step on the machine of a recording.
#pragma once

#include <string>

#include "runtime/config/config.hpp"
#include "runtime/engine/recorded_times.hpp"

namespace sluice {

struct RecordedPrediction {
  std::string folder;
  trace::Recording recording;
  std::int64_t recorded_steps = 0;
  double recorded_step_s = 0;       ///< median
  double recorded_predicted_s = 0;  ///< the same run, by its own times
  graph::PlanOptions recorded_plan, plan;
  bool ranks_share_lanes = true;  ///< in the prediction
  engine::RecordedTimes::Prediction prediction;

  [[nodiscard]] double tokens_per_s() const;
  /// Of the recording's own step, as a share.
  [[nodiscard]] double own_error() const { return recorded_predicted_s / recorded_step_s - 1; }
};

[[nodiscard]] Result<RecordedPrediction> predict_from_recording(
    const config::Config& config, const model::ModelConfig& model, const std::string& folder,
    const std::optional<engine::RecordTo>& record = {});
[[nodiscard]] std::string prediction_text(const RecordedPrediction& view);
/// docs/simulation.md describes it.
[[nodiscard]] std::string prediction_json(const RecordedPrediction& view);

}  // namespace sluice
