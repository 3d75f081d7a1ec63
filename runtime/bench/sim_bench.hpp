// `sluice bench simulate`: events a second of the actors in virtual time without task bodies, and
// how time and memory grow with the number of tasks.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/config/config.hpp"

namespace sluice::bench {

struct SimBenchOptions {
  std::vector<std::int64_t> factors{1, 2, 4};  ///< of the config's micro-batches a step
  std::int32_t rounds = 3;                     ///< of each; the fastest counts
};

struct SimBenchRow {
  std::int64_t micro_batches = 0;
  std::int64_t tasks = 0;
  std::int64_t events = 0;
  double setup_s = 0;             ///< the plan and the actors
  double seconds = 0;             ///< of one step's events
  std::int64_t memory_bytes = 0;  ///< resident at most so far, less what was before the first run
};

struct SimBenchReport {
  std::int64_t actors = 0;
  std::vector<SimBenchRow> rows;
};

/// Every task takes 1 ms and every message 10 us. Expert groups of a stage are folded into one,
/// pipelines too.
[[nodiscard]] Result<SimBenchReport> run_sim_bench(const config::Config& config,
                                                   const SimBenchOptions& options);

[[nodiscard]] std::string to_table(const SimBenchReport& report);
[[nodiscard]] nlohmann::ordered_json to_json(const SimBenchReport& report);

}  // namespace sluice::bench
