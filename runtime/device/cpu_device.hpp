// The CPU as a device: a compute lane with a team of threads, and a storage lane for files; or such
// a pair of lanes for each rank, in one memory.
#pragma once

#include <memory>

#include "kernels/cpu/compute_context.hpp"
#include "kernels/cpu/profile.hpp"
#include "runtime/device/device.hpp"
#include "runtime/device/pool_allocator.hpp"

namespace sluice::device {

class CpuDevice final : public Device {
 public:
  struct Config {
    int ranks = 1;    ///< that have lanes of their own
    int threads = 1;  ///< of a compute lane, its driver included
    kernels::Isa isa = kernels::Isa::kReference;
    kernels::Bf16Features bf16{};
    bool profile = false;  ///< measure kernels by name
  };
  explicit CpuDevice(const Config& config);
  /// Waits for every task that was submitted.
  ~CpuDevice() override;

  /// On rank 0's lanes.
  void submit(actors::Task task, std::function<void()> done) override;
  /// The lanes of a rank; those of rank 0 for all ranks where there is one pair.
  [[nodiscard]] Device& of_rank(std::int32_t rank);
  [[nodiscard]] int ranks() const;

  [[nodiscard]] PoolAllocator& allocator();
  /// What bodies on rank 0's compute lane are given. For work before the first task and after the
  /// last.
  [[nodiscard]] const kernels::ComputeContext& context() const;

  /// Since the start or the last reset, of all ranks together.
  struct LaneStatistics {
    std::int64_t tasks = 0;
    double busy_seconds = 0;
    double idle_seconds = 0;  ///< nothing to run: waiting for messages
  };
  [[nodiscard]] LaneStatistics statistics(actors::Lane lane) const;
  /// Forgets statistics and the profile. Call it and `profile` only while no task runs.
  void reset_statistics();
  /// Of all ranks together; empty unless Config::profile.
  [[nodiscard]] kernels::Profile profile() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::device
