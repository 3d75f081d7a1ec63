// Training steps on random tokens, timed: what `sluice bench train` prints.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/config/config.hpp"
#include "runtime/engine/cluster.hpp"
#include "runtime/trace/recording.hpp"

namespace sluice::bench {

struct TrainBenchOptions {
  std::int64_t steps = 10;  ///< timed, after two to warm up
  bool profile = false;     ///< time by kernel and by waiting
  /// Records every second timed step to this folder and measures what that costs; empty: no.
  std::string record;
  trace::Payloads payloads = trace::Payloads::kNone;
};

struct TrainBenchReport {
  double step_s = 0;        ///< median over the timed steps
  double tokens_per_s = 0;  ///< of the median step
  std::vector<double> steps_s;
  std::int64_t parameters = 0;
  std::string recipe, isa;  ///< isa names BF16 products too, where the recipe uses them
  std::string cpu;
  int threads = 0;         ///< of all compute lanes
  double operations = 0;   ///< of one step's matrix products and attention, forward and backward
  double peak_gflops = 0;  ///< multiply-adds in registers on the same threads, measured in this run
  double share_of_peak = 0;
  double first_loss = 0;
  std::int64_t predicted_bytes = 0, used_bytes_peak = 0;
  std::int64_t new_blocks = 0;  ///< tensor memory taken from the system after the second step
  struct Kernel {
    std::string name;
    double seconds = 0;  ///< a step and lane
    double calls = 0;    ///< likewise
    double gflops = 0;
  };
  std::vector<Kernel> kernels;   ///< slowest first
  double waiting_s = 0;          ///< of a compute lane, a step: no task to run
  double outside_kernels_s = 0;  ///< of tasks, a step: not inside a measured kernel
  struct Recording {
    double step_s = 0;        ///< median over the steps that were recorded
    double plain_step_s = 0;  ///< and over the others
    double recorder_s = 0;    ///< spent in the recorder, a step, on all threads together
    double records = 0;       ///< a step
    double bytes = 0;         ///< a step
  };
  std::optional<Recording> recording;
};

[[nodiscard]] Result<TrainBenchReport> run_train_bench(const config::Config& config,
                                                       const TrainBenchOptions& options);
[[nodiscard]] nlohmann::ordered_json to_json(const TrainBenchReport& report);
[[nodiscard]] std::string to_table(const TrainBenchReport& report);

}  // namespace sluice::bench
