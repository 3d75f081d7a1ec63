// Probing the micro checkpoint: shared by the tests that compare with the oracle and with each
// other.
#pragma once

#include <map>
#include <string>

#include "runtime/engine/probe.hpp"

namespace sluice::engine {

/// The oracle's folder, its batch and its training steps, with the hyperparameters of
/// expected.json.
struct Oracle {
  store::CheckpointReader checkpoint;
  store::SafetensorsFile expected;
  ProbeOptions options;
};
[[nodiscard]] Result<Oracle> open_oracle(const std::string& folder);

/// Digest of every tensor of a result, by name.
[[nodiscard]] std::map<std::string, std::uint64_t> digests(const ProbeResult& result);

}  // namespace sluice::engine
