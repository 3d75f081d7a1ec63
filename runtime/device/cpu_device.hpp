// The CPU as a device: a compute lane with a team of threads, and a storage lane for files.
#pragma once

#include <memory>

#include "kernels/cpu/compute_context.hpp"
#include "runtime/device/device.hpp"
#include "runtime/device/pool_allocator.hpp"

namespace sluice::device {

class CpuDevice final : public Device {
 public:
  struct Config {
    int threads = 1;  ///< of the compute lane, its driver included
    kernels::Isa isa = kernels::Isa::kReference;
    kernels::Bf16Features bf16{};
    bool profile = false;  ///< measure kernels by name
  };
  explicit CpuDevice(const Config& config);
  /// Waits for every task that was submitted.
  ~CpuDevice() override;

  void submit(actors::Task task, std::function<void()> done) override;

  [[nodiscard]] PoolAllocator& allocator();
  /// What bodies on the compute lane are given. For work before the first task and after the last.
  [[nodiscard]] const kernels::ComputeContext& context() const;

  /// Since the start or the last reset.
  struct LaneStatistics {
    std::int64_t tasks = 0;
    double busy_seconds = 0;
    double idle_seconds = 0;  ///< nothing to run: waiting for messages
  };
  [[nodiscard]] LaneStatistics statistics(actors::Lane lane) const;
  /// Forgets statistics and the profile. Call it and `profile` only while no task runs.
  void reset_statistics();
  /// Null unless Config::profile.
  [[nodiscard]] const kernels::Profile* profile() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::device
