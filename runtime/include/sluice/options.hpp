// How a trained model is loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice {

struct EngineOptions {
  std::string checkpoint;  ///< a checkpoint's folder, or a run's: its newest whole checkpoint
  std::int64_t positions_max = 0;  ///< room for prompt and text together, in tokens; 0: what the
                                   ///< model allows, 4096 at most
  /// As --set on the command line, "key=value": device.threads=1, topology.expert_parallel_size=2,
  /// precision.recipe=bf16. `sluice config explain` lists the keys.
  std::vector<std::string> settings;
};

}  // namespace sluice
