// A training run as its recording describes it, and back.
#pragma once

#include "runtime/config/config.hpp"
#include "runtime/engine/cluster.hpp"
#include "runtime/trace/recording.hpp"

namespace sluice::engine {

/// All but the plan, the payloads and where the weights came from.
[[nodiscard]] trace::Recording describe_run(const config::Config& config,
                                            const model::ModelConfig& model,
                                            const actors::Supervisor::Config& supervisor);

/// What a cluster needs to run the recording's actors, with `sets` ("device.isa=avx2") changed.
/// Errors: a config that no longer reads, and a set that would make other actors or numbers.
[[nodiscard]] Result<ClusterOptions> cluster_options(const trace::Recording& recording,
                                                     std::span<const std::string> sets);

}  // namespace sluice::engine
