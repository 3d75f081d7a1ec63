// A checkpoint folder into a cluster's parameters.
#pragma once

#include <string>
#include <vector>

#include "runtime/engine/cluster.hpp"
#include "runtime/store/checkpoint_reader.hpp"

namespace sluice::engine {

/// Every owner reads its own tensors, straight into its storage. Fails with a list when the folder
/// does not hold exactly what the model needs; returns notes on what it holds besides.
[[nodiscard]] Result<std::vector<std::string>> load_weights(
    Cluster& cluster, const store::CheckpointReader& checkpoint);

/// New weights from a seed.
[[nodiscard]] Status initialize_weights(Cluster& cluster, const model::ModelConfig& config,
                                        std::uint64_t seed);

}  // namespace sluice::engine
