// Schedules are data: for each pipeline rank an ordered list of passes over micro-batches. Pure
// functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/result.hpp"

namespace sluice::graph {

enum class PassKind : std::uint8_t {
  kForward,   ///< F
  kBackward,  ///< B: input and weight gradients
};

struct Pass {
  PassKind kind = PassKind::kForward;
  std::int32_t micro_batch = 0;
  friend bool operator==(const Pass&, const Pass&) = default;
};

/// What one rank does, in order of priority.
using Program = std::vector<Pass>;

struct ScheduleOptions {
  std::int32_t stages = 1;
  std::int32_t micro_batches = 1;
};

/// All forward passes, then all backward passes, both in micro-batch order.
[[nodiscard]] std::vector<Program> schedule_gpipe(ScheduleOptions options);
/// One forward, one backward: rank r warms up with min(stages - 1 - r, micro_batches) forward
/// passes.
[[nodiscard]] std::vector<Program> schedule_1f1b(ScheduleOptions options);
/// Forward passes only (validation, probing, generation).
[[nodiscard]] std::vector<Program> schedule_forward(ScheduleOptions options);

/// "gpipe" or "1f1b"; anything else is an error that lists them.
[[nodiscard]] Result<std::vector<Program>> make_schedule(std::string_view name,
                                                         ScheduleOptions options);

/// Most micro-batches whose forward is done and whose backward is not.
[[nodiscard]] std::int32_t live_activations_max(const Program& program);

/// "0F0 0F1 0B0" as torch.distributed.pipelining writes it: stage, pass, micro-batch.
[[nodiscard]] std::string to_string(const Program& program, std::int32_t stage);

}  // namespace sluice::graph
