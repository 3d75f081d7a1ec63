// How much memory a plan takes.
#pragma once

#include "graph/plan.hpp"

namespace sluice::graph {

/// By rank, of a plan that is complete but for it.
[[nodiscard]] std::vector<RankMemory> measure_memory(const Plan& plan, const ModelSummary& model);

}  // namespace sluice::graph
