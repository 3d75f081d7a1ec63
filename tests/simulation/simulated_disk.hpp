// A disk that runs full, between the stores and the system: the calls that take space are wrapped
// by the linker (tests/simulation/CMakeLists.txt) and fail as the real ones do.
#pragma once

#include <cstdint>

namespace sluice::simulation {

/// Calls of this thread that would take space count down while one of these stands; from then on
/// each fails with ENOSPC.
class SimulatedDisk {
 public:
  explicit SimulatedDisk(std::int64_t calls) : calls_left_(calls) {}
  /// Takes the place of the disk until the end of the scope.
  class Scope {
   public:
    explicit Scope(SimulatedDisk& disk);
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope();
  };
  /// False where the disk is full.
  [[nodiscard]] bool take();
  [[nodiscard]] bool was_full() const { return calls_left_ < 0; }

 private:
  std::int64_t calls_left_;
};

}  // namespace sluice::simulation
