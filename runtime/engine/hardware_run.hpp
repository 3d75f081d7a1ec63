// The actors of a job on described hardware: tasks take what the cost model says of their kernels,
// messages the links they cross.
//
// Where cost::simulate_step() times the programs, this runs them: flows interleave by themselves,
// and wait for credits, neighbours and all-to-alls as they would. Pipelines are alike and folded
// into one; so are the ranks of an expert group, whose transfers hold the InfiniBand or NVLink port
// of the rank that stands for them for as long as the cost model's all-to-all takes.
#pragma once

#include "graph/cost/step.hpp"
#include "runtime/engine/virtual_run.hpp"

namespace sluice::engine {

struct HardwareRun {
  double step_s = 0;  ///< the optimizer's time is added, as simulate_step() does
  double busy_s = 0;  ///< of it, passes' kernels of the busiest rank
  VirtualRun run;
};

/// `options` as virtual_options() gives them; `timed` is the same job's step by its programs, from
/// which layers of stages and the time of the optimizer are taken. Errors: a plan that cannot be.
[[nodiscard]] Result<HardwareRun> run_on_hardware(ClusterOptions options, const cost::Job& job,
                                                  const cost::Hardware& hardware,
                                                  const cost::Step& timed,
                                                  const std::optional<RecordTo>& record = {});

}  // namespace sluice::engine
