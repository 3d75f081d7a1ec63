// Totals over a model's units.
#include "graph/summary.hpp"

namespace sluice::graph {

std::int64_t ModelSummary::parameters() const {
  std::int64_t total = 0;
  for (const UnitSummary& unit : units)
    total += unit.parameters + unit.expert_parameters * n_routed_experts;
  return total;
}

}  // namespace sluice::graph
