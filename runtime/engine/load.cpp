// Names are matched once for the whole model, then each owner reads its own.
#include "runtime/engine/load.hpp"

namespace sluice::engine {

Result<std::vector<std::string>> load_weights(Cluster& cluster,
                                              const store::CheckpointReader& checkpoint) {
  std::vector<store::NamedShape> needed;
  for (auto& [name, shape] : cluster.parameters()) needed.push_back({std::move(name), shape});
  SLUICE_ASSIGN(std::vector<std::string> notes, checkpoint.check(needed));
  SLUICE_TRY(cluster.for_each_owner([&](model::ParameterSet& set) -> Status {
    for (model::Parameter& p : set.all()) {
      SLUICE_TRY(checkpoint.read(p.name, p.shape, p.master.values<float>()));
    }
    return {};
  }));
  return notes;
}

Status initialize_weights(Cluster& cluster, const model::ModelConfig& config, std::uint64_t seed) {
  return cluster.for_each_owner([&](model::ParameterSet& set) -> Status {
    set.initialize(config, seed);
    return {};
  });
}

}  // namespace sluice::engine
