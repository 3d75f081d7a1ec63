// One run of a fault plan: a training run of a micro model in virtual time, with the faults that a
// seed draws, to its end, through as many new starts as it takes.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <string>

#include "kernels/base/result.hpp"
#include "runtime/config/fault_plan.hpp"

namespace sluice::simulation {

/// What a run comes to: where it must be like the undisturbed one.
struct Weights {
  std::map<std::string, std::uint64_t> parameters;  ///< digests of weight, moments, updates
  std::map<std::int64_t, std::uint64_t> steps;      ///< digests of what each step reported
  friend bool operator==(const Weights&, const Weights&) = default;
};

struct Run {
  Weights weights;
  std::uint64_t trace = 0;  ///< of every event of every start, and the next random number
  std::int64_t virtual_ns = 0;
  std::int64_t starts = 0;
};

/// Undisturbed runs, each made once: one stage, no faults. Thread-safe.
class Undisturbed {
 public:
  [[nodiscard]] Result<Weights> weights(const config::FaultPlan& plan,
                                        const std::vector<std::string>& sets);

 private:
  std::mutex mutex_;
  std::map<std::string, Weights> known_;  // by what decides the numbers
};

/// `folder` is the run's own, for checkpoints. Errors: anything that a fault must not do, a message
/// that says too little, a checkpoint that is not whole; what differs is left to compare().
[[nodiscard]] Result<Run> simulate(const config::FaultPlan& plan, std::uint64_t seed,
                                   const std::filesystem::path& folder);

/// The seed's run against the undisturbed one.
[[nodiscard]] Status compare(const Weights& got, const Weights& expected);

/// Of the first start.
[[nodiscard]] std::vector<std::string> settings_of_seed(const config::FaultPlan& plan,
                                                        std::uint64_t seed);

}  // namespace sluice::simulation
