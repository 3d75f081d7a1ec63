// One place where config keys become options.
#include "runtime/engine/settings.hpp"

#include <thread>

#include "runtime/config/learning_rate.hpp"
#include "runtime/config/schedule_file.hpp"

namespace sluice::engine {

Result<device::CpuDevice::Config> device_config(const config::Config& config) {
  device::CpuDevice::Config out;
  const auto all = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (!config.device.ranks_share_lanes) {
    out.ranks = static_cast<int>(config.topology.pipeline_parallel_size *
                                 config.topology.expert_parallel_size);
  }
  out.threads = config.device.threads == 0 ? std::max(1, all / out.ranks)
                                           : static_cast<int>(config.device.threads);
  out.isa = config.device.isa == "auto" ? kernels::best_isa()
                                        : kernels::isa_from_name(config.device.isa).value();
  const auto available = kernels::available_isas();
  if (std::find(available.begin(), available.end(), out.isa) == available.end()) {
    return invalid_input("{}: this CPU ({}) has no {}; use auto", config.where("device.isa"),
                         kernels::cpu_description(), name_of(out.isa));
  }
  if (out.isa == kernels::Isa::kAvx512) {
    if (config.device.bf16_dot == "auto") out.bf16 = kernels::fast_bf16_features();
    if (config.device.bf16_dot == "on") out.bf16 = kernels::bf16_features();
  }
  return out;
}

std::string kernel_set(const device::CpuDevice::Config& device, model::Recipe recipe) {
  std::string out(name_of(device.isa));
  if (recipe == model::Recipe::kFp32) return out;
  if (device.bf16.amx_bf16) return out + "+amx_bf16";
  if (device.bf16.avx512_bf16) return out + "+avx512_bf16";
  return out;
}

namespace {

// Keys that `sluice simulate` knows and a live run does not yet.
Status check_live(const config::Config& config) {
  if (config.precision.recipe == "fp8") {
    return invalid_input("{} is fp8, which is simulated only; use fp32 or bf16",
                         config.where("precision.recipe"));
  }
  if (config.topology.data_parallel_size > 1) {
    return invalid_input("{} is {}; above 1 it is simulated only",
                         config.where("topology.data_parallel_size"),
                         config.topology.data_parallel_size);
  }
  return {};
}

Result<ClusterOptions> options_of(const config::Config& config, const model::ModelConfig& model) {
  ClusterOptions out;
  out.model = model;
  out.recipe = config.precision.recipe == "fp32" ? model::Recipe::kFp32 : model::Recipe::kBf16;
  out.plan.pipeline_parallel_size =
      static_cast<std::int32_t>(config.topology.pipeline_parallel_size);
  out.plan.expert_parallel_size = static_cast<std::int32_t>(config.topology.expert_parallel_size);
  out.plan.schedule = config.schedule.name;
  if (!config.schedule.file.empty()) {
    auto read = config::read_schedule(config::schedule_path(config));
    if (!read) return in_context(config.where("schedule.file"), std::move(read).error());
    out.plan.schedule_read = std::move(read->schedule);
  }
  for (const std::int64_t layers : config.topology.layers_per_stage)
    out.plan.layers_per_stage.push_back(static_cast<std::int32_t>(layers));
  out.plan.activation_buffers = static_cast<std::int32_t>(config.topology.activation_buffers);
  out.plan.stages_per_rank = static_cast<std::int32_t>(config.schedule.stages_per_rank);
  out.plan.gradient_shards = static_cast<std::int32_t>(config.train.gradient_shards);
  out.plan.link = {config.link.latency_us * 1e-6, config.link.megabytes_per_s * 1e6};
  out.plan.memory_bytes_max = config.device.memory_bytes_max;
  out.plan.run_ahead = static_cast<std::int32_t>(config.schedule.run_ahead);
  out.plan.micro_batches = static_cast<std::int32_t>(config.micro_batches());
  out.plan.micro_batch_size = static_cast<std::int32_t>(config.train.micro_batch_size);
  out.plan.sequence_length = static_cast<std::int32_t>(config.train.sequence_length);
  out.loss = {config.train.balance_alpha, config.train.mtp_lambda, config.train.bias_gamma};
  out.optimizer.adam_beta1 = config.train.adam_beta1;
  out.optimizer.adam_beta2 = config.train.adam_beta2;
  out.optimizer.adam_epsilon = config.train.adam_epsilon;
  out.optimizer.weight_decay = config.train.weight_decay;
  out.optimizer.clip_norm = config.train.clip_norm;
  out.optimizer.learning_rate = [train = config.train](std::int64_t index) {
    return config::learning_rate_at(train, index);
  };
  return out;
}

}  // namespace

Result<ClusterOptions> cluster_options(const config::Config& config,
                                       const model::ModelConfig& model) {
  SLUICE_TRY(check_live(config));
  SLUICE_ASSIGN(ClusterOptions out, options_of(config, model));
  SLUICE_ASSIGN(out.device, device_config(config));
  return out;
}

Result<ClusterOptions> virtual_options(const config::Config& config,
                                       const model::ModelConfig& model) {
  SLUICE_ASSIGN(ClusterOptions out, options_of(config, model));
  const std::int64_t pipelines = config.topology.data_parallel_size;
  if (config.micro_batches() % pipelines != 0) {
    return invalid_input(
        "{} micro-batches of a step do not divide among {} pipelines; change "
        "train.global_batch_size or topology.data_parallel_size",
        config.micro_batches(), pipelines);
  }
  out.use = model::ParameterUse::kShapes;
  out.plan.micro_batches = static_cast<std::int32_t>(config.micro_batches() / pipelines);
  return out;
}

}  // namespace sluice::engine
