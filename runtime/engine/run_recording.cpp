// The config travels as TOML, the model as config.json, the plan as its digest.
#include "runtime/engine/run_recording.hpp"

#include <fmt/chrono.h>

#include <chrono>

#include "kernels/base/digest.hpp"
#include "runtime/engine/settings.hpp"
#include "runtime/store/hf_config.hpp"

namespace sluice::engine {

trace::Recording describe_run(const config::Config& config, const model::ModelConfig& model,
                              const actors::Supervisor::Config& supervisor) {
  trace::Recording out;
  out.program = SLUICE_VERSION;
  out.started = fmt::format(
      "{:%FT%TZ}",
      fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
  out.config = config::dump_toml(config);
  out.model_config = store::write_hf_config(model, DType::kF32);
  out.recipe = config.precision.recipe;
  if (const auto device = device_config(config)) {
    out.kernel_set =
        kernel_set(*device, out.recipe == "bf16" ? model::Recipe::kBf16 : model::Recipe::kFp32);
  }
  out.cpu = kernels::cpu_description();
  out.ranks_share_lanes = config.device.ranks_share_lanes;
  out.seed = config.train.seed;
  out.evaluate_every = supervisor.evaluate_every;
  out.evaluate_micro_batches = supervisor.evaluate_micro_batches;
  out.checkpoint_every = supervisor.checkpoint_every;
  out.checkpoint_at_end = supervisor.checkpoint_at_end;
  return out;
}

Result<ClusterOptions> cluster_options(const trace::Recording& recording,
                                       std::span<const std::string> sets) {
  SLUICE_ASSIGN(const config::Config recorded,
                config::parse_config(recording.config, "config of the recording", {}));
  SLUICE_ASSIGN(const config::Config config,
                config::parse_config(recording.config, "config of the recording", sets));
  if (config::numerics_digest(config) != config::numerics_digest(recorded)) {
    return invalid_input(
        "--set changes {}, so it would be another computation; a replay may change [device]",
        fmt::join(config::numerics_differences(config, recorded), ", "));
  }
  SLUICE_ASSIGN(const store::HfConfig hf,
                store::parse_hf_config(recording.model_config, "model of the recording"));
  SLUICE_ASSIGN(ClusterOptions options, cluster_options(config, hf.model));
  options.supervisor.evaluate_every = recording.evaluate_every;
  options.supervisor.evaluate_micro_batches = recording.evaluate_micro_batches;
  options.supervisor.checkpoint_every = recording.checkpoint_every;
  options.supervisor.checkpoint_at_end = recording.checkpoint_at_end;
  SLUICE_ASSIGN(const graph::Plan plan, plan_of(options));
  if (digest(graph::to_string(plan)) != recording.plan_digest) {
    return invalid_input(
        "the plan is another one than that of the recording{}",
        sets.empty()
            ? fmt::format(": it was made by sluice {}, use that version", recording.program)
            : std::string("; a --set changes it, but a replay may change [device] alone"));
  }
  return options;
}

}  // namespace sluice::engine
