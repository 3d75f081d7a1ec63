// A training run from a config: data, weights or a checkpoint to go on from, steps, checkpoints,
// metrics.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "runtime/config/config.hpp"
#include "runtime/engine/cluster.hpp"
#include "runtime/trace/recording.hpp"

namespace sluice::engine {

/// One training step as people and machines see it.
struct StepProgress {
  actors::StepReport report;
  double seconds = 0;             ///< of this step
  double tokens_per_s = 0;        ///< of this step
  double bubble = 0;              ///< share of the step in which no task computed
  double hidden = 1;              ///< of the time with a message on its way, the share behind work
  double eta_s = 0;               ///< until the last step, by the median of recent steps
  std::int64_t steps = 0;         ///< of the whole run
  std::int64_t memory_bytes = 0;  ///< resident, now
};

/// What there is to know before the first step.
struct RunFacts {
  std::int64_t parameters = 0;
  std::int64_t first_step = 0, steps = 0;
  std::uint64_t train_tokens = 0, validation_tokens = 0, documents = 0;
  double validation_unigram_loss = 0;  ///< nats a token; 0 without validation data
  std::int64_t predicted_bytes = 0;    ///< the plan's memory, over all ranks of this process
  std::string kernel_set;
  std::string resumed_from;  ///< empty: from new weights
  std::string set_aside;     ///< where an earlier run's checkpoints went; empty: there were none
};

/// Called on the thread that runs the trainer.
struct TrainEvents {
  std::function<void(std::uint64_t done_bytes, std::uint64_t all_bytes)> on_tokenize;
  std::function<void(const RunFacts&)> on_start;
  std::function<void(const StepProgress&)> on_step;
  std::function<void(std::int64_t step, const actors::StepReport&)> on_validation;
  std::function<void(std::int64_t step, const std::string& path)> on_checkpoint;
  /// Nothing has moved for a while: who waits for whom. The run goes on.
  std::function<void(const std::string&)> on_stall;
  /// The recording ended early, and why; the run goes on.
  std::function<void(const std::string&)> on_recording_lost;
};

struct TrainOptions {
  bool resume = false;   ///< from the newest checkpoint of the run
  std::string record{};  ///< folder of a recording of this run; empty: none
  trace::Payloads payloads = trace::Payloads::kNone;
};

struct TrainOutcome {
  std::int64_t next_step = 0;  ///< the first that has not run
  bool complete = false;
  std::optional<double> validation_loss;  ///< of the main head, the last one measured
  double validation_unigram_loss = 0;
  std::string checkpoint;  ///< the last one written
  std::uint64_t recorded_bytes = 0;
  std::int64_t predicted_bytes = 0;
  std::int64_t used_bytes_peak =
      0;  ///< resident at most, less what the process took before weights were made
};

/// Runs to the last step, or to the end of the step during which `stop` becomes true; then saves.
[[nodiscard]] Result<TrainOutcome> train(const config::Config& config, const TrainOptions& options,
                                         const TrainEvents& events, const std::atomic<bool>& stop);

}  // namespace sluice::engine
