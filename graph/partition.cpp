// Layers cut into stages by their cost.
#include <algorithm>
#include <limits>

#include "graph/plan.hpp"
#include "kernels/base/check.hpp"

namespace sluice::graph {
namespace {

double operations_of(const ModelSummary& model, const UnitSummary& unit) {
  const double rows = unit.is_moe ? static_cast<double>(model.num_experts_per_tok) : 0;
  return unit.forward_operations_per_token + rows * unit.expert_operations_per_row;
}

}  // namespace

// Units of a summary in order: embedding, main layers, head, MTP depths.
std::int32_t layer_count(const ModelSummary& model) {
  return static_cast<std::int32_t>(model.units.size()) - 2 -
         static_cast<std::int32_t>(model.mtp_depth);
}

std::vector<std::int32_t> partition_layers(const ModelSummary& model, std::int32_t stages) {
  const std::int32_t layers = layer_count(model);
  SLUICE_CHECK(stages >= 1 && stages <= layers, "{} stages for {} layers", stages, layers);
  // cost[l]: work of layers [0, l), the ends counted to the outermost layers.
  std::vector<double> cost(static_cast<std::size_t>(layers) + 1, 0);
  for (std::int32_t l = 0; l < layers; ++l) {
    double own = operations_of(model, model.units[static_cast<std::size_t>(l) + 1]);
    if (l + 1 == layers) {
      for (std::size_t u = static_cast<std::size_t>(layers) + 1; u < model.units.size(); ++u) {
        own += operations_of(model, model.units[u]);
      }
    }
    cost[static_cast<std::size_t>(l) + 1] = cost[static_cast<std::size_t>(l)] + own;
  }
  // best[s][l]: smallest possible largest stage when layers [0, l) form s stages; ties keep earlier
  // stages small.
  const auto width = static_cast<std::size_t>(layers) + 1;
  const auto count = static_cast<std::size_t>(stages);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> best(count + 1, std::vector<double>(width, kInfinity));
  std::vector<std::vector<std::size_t>> from(count + 1, std::vector<std::size_t>(width, 0));
  best[0][0] = 0;
  for (std::size_t s = 1; s <= count; ++s) {
    for (std::size_t l = s; l < width; ++l) {
      for (std::size_t k = s - 1; k < l; ++k) {
        const double largest = std::max(best[s - 1][k], cost[l] - cost[k]);
        if (largest < best[s][l]) {
          best[s][l] = largest;
          from[s][l] = k;
        }
      }
    }
  }
  std::vector<std::int32_t> bounds(count + 1);
  std::size_t end = width - 1;
  for (std::size_t s = count; s > 0; --s) {
    bounds[s] = static_cast<std::int32_t>(end);
    end = from[s][end];
  }
  bounds[0] = 0;
  return bounds;
}

}  // namespace sluice::graph
