// Training steps of a plan's actors in virtual time, without task bodies: how long they take by a
// model of tasks and messages. May be recorded as a live run is.
#pragma once

#include <filesystem>
#include <optional>

#include "runtime/engine/cluster.hpp"
#include "runtime/host/sim_host.hpp"
#include "runtime/trace/recording.hpp"

namespace sluice::engine {

struct VirtualRun {
  std::vector<std::int64_t> step_ns;                    ///< of each step
  std::vector<host::SimHost::LaneStatistics> computed;  ///< by rank, over all steps
  std::int64_t events = 0;
  std::int64_t tasks = 0;
  double setup_s = 0;  ///< of real time: the plan and the actors
  double run_s = 0;    ///< likewise: the events
};

/// A folder, and what describe_run() says of the run; the rest is filled in.
struct RecordTo {
  std::filesystem::path folder;
  trace::Recording about;
};

/// `options.use` is kShapes. `model` gives the times; bodies are off whatever it says.
/// Errors: a plan that cannot be, a recording that cannot be written.
[[nodiscard]] Result<VirtualRun> run_virtually(ClusterOptions options, host::SimHost::Config model,
                                               std::int64_t steps,
                                               const std::optional<RecordTo>& record = {});

}  // namespace sluice::engine
