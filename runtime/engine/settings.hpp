// From a run's config to what a cluster needs.
#pragma once

#include "runtime/config/config.hpp"
#include "runtime/engine/cluster.hpp"

namespace sluice::engine {

/// Sizes, losses, optimizer and device as the config says; reader, store and host are left to the
/// caller.
[[nodiscard]] Result<ClusterOptions> cluster_options(const config::Config& config,
                                                     const model::ModelConfig& model);

/// The same for a host that runs no task bodies, so whatever can only be simulated is allowed:
/// recipe fp8 (its tensors have BF16's shapes here) and pipelines with micro-batches of their own
/// (one of them, which all others equal). Parameters are shapes.
[[nodiscard]] Result<ClusterOptions> virtual_options(const config::Config& config,
                                                     const model::ModelConfig& model);

/// Threads, kernel set and BF16 products. Errors: a kernel set that this machine does not have.
[[nodiscard]] Result<device::CpuDevice::Config> device_config(const config::Config& config);

/// "avx512", "avx512+avx512_bf16": which kernels computed a result. Recipe fp32 never uses BF16
/// products.
[[nodiscard]] std::string kernel_set(const device::CpuDevice::Config& device, model::Recipe recipe);

}  // namespace sluice::engine
