// Reads the oracle into probe options.
#include "tests/runtime/engine/probe_support.hpp"

#include "kernels/base/digest.hpp"

namespace sluice::engine {

Result<Oracle> open_oracle(const std::string& folder) {
  SLUICE_ASSIGN(auto checkpoint, store::CheckpointReader::open(folder));
  SLUICE_ASSIGN(auto expected, store::SafetensorsFile::open(folder + "/expected.safetensors"));
  Oracle oracle{std::move(checkpoint), std::move(expected), {}};
  ProbeOptions& options = oracle.options;
  SLUICE_ASSIGN(options.tokens, oracle.expected.read("tokens"));
  for (int s = 0; oracle.expected.contains(fmt::format("train.{}.tokens", s)); ++s) {
    SLUICE_ASSIGN(Tensor step, oracle.expected.read(fmt::format("train.{}.tokens", s)));
    options.steps.push_back(std::move(step));
  }
  const model::ModelConfig& model = oracle.checkpoint.config().model;
  options.backward = true;
  options.greedy_tokens = 24;
  options.cluster.model = model;
  options.cluster.plan.micro_batches = static_cast<std::int32_t>(options.tokens.shape()[0]);
  options.cluster.plan.micro_batch_size = 1;
  options.cluster.plan.sequence_length =
      static_cast<std::int32_t>(options.tokens.shape()[1] - 1 - model.num_nextn_predict_layers);
  options.cluster.loss = {0.01, 0.3, 0.001};
  options.cluster.device.isa = kernels::best_isa();
  options.cluster.device.threads = 1;
  return oracle;
}

std::map<std::string, std::uint64_t> digests(const ProbeResult& result) {
  std::map<std::string, std::uint64_t> out;
  for (const auto& [name, tensor] : result.tensors) out.emplace(name, digest(tensor));
  return out;
}

}  // namespace sluice::engine
