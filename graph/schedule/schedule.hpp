// Schedules are data: for each pipeline rank a program, for the whole a placement. Pure functions
// of sizes; one table names them all. docs/how-to-schedules.md shows each and says where it comes
// from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/schedule/pass.hpp"
#include "graph/schedule/placement.hpp"
#include "kernels/base/result.hpp"

namespace sluice::graph {

struct Schedule {
  std::string name;  ///< of the table, or of the file it was read from
  Placement placement;
  std::vector<Program> programs;  ///< by rank
};

struct ScheduleSize {
  std::int32_t ranks = 1;
  std::int32_t micro_batches = 1;    ///< of a step, on all routes
  std::int32_t stages_per_rank = 0;  ///< 0: as many as the schedule holds where nobody asks
};

/// Time in units of the caller's choice, whole so that sums are exact.
using Ticks = std::int64_t;

struct PassTimes {
  Ticks forward = 1;
  Ticks backward = 2;
  Ticks backward_input = 1;
  Ticks backward_weight = 1;
  Ticks pair = 3;      ///< a forward and a full backward pass, overlapped
  Ticks transfer = 0;  ///< between ranks
  [[nodiscard]] Ticks of(PassKind kind) const;
  [[nodiscard]] Ticks of(const Action& action) const;
};

/// What the literature promises. PP: stages, P: ranks, M: micro-batches, S: stages per rank.
struct Published {
  std::string bubble_formula;   ///< "(PP-1)(F+B)"; empty where there is none
  std::optional<Ticks> bubble;  ///< idle time of a rank
  std::string activations_formula;
  std::int32_t activations = 0;  ///< most that are live on a rank; at most all there are
};

/// All names, in the order of the table.
[[nodiscard]] std::vector<std::string_view> schedule_names();
/// A sentence for help texts, "" for a name that is not in the table.
[[nodiscard]] std::string_view schedule_about(std::string_view name);

/// The programs of a schedule of the table. Errors: an unknown name, with the list; a size that the
/// schedule cannot have, with one that it can.
[[nodiscard]] Result<Schedule> make_schedule(std::string_view name, ScheduleSize size);
/// Nothing for a name that is not in the table.
[[nodiscard]] std::optional<Published> published(std::string_view name, ScheduleSize size,
                                                 const PassTimes& times);

/// Every micro-batch of a route passes each of its chunks: F once, then B once, or I and then W.
/// Says what is missing, twice there or too early; whether ranks wait for each other in a circle,
/// time_schedule() tells.
[[nodiscard]] Status check_schedule(const Schedule& schedule);

/// Forward passes only (evaluation): as a wave, stage s takes micro-batch m at time s + m.
[[nodiscard]] Program forward_program(const Placement& placement, std::int32_t rank);
[[nodiscard]] Schedule forward_schedule(const Placement& placement);

/// Most activations that are live at once: of each chunk and micro-batch, from its F to the end of
/// its B or W.
[[nodiscard]] std::int32_t live_activations_max(const Program& program);
/// The same where an activation of chunk c weighs weight[c], and lives until the weight gradients
/// of all micro-batches before it are in too, since they are added in order.
[[nodiscard]] std::int64_t kept_activations_max(const Program& program,
                                                std::span<const std::int64_t> weight);
/// Whether B and W of a chunk come in the order of their micro-batches.
[[nodiscard]] bool weights_in_order(const Program& program, std::int32_t chunk);

/// "2F0", as torch.distributed.pipelining writes it: stage, pass, micro-batch of the step.
[[nodiscard]] std::string to_string(const Pass& pass, const Placement& placement,
                                    std::int32_t rank);
/// Likewise, pairs as "(0F3;7B1)OVERLAP_F_B".
[[nodiscard]] std::string to_string(const Action& action, const Placement& placement,
                                    std::int32_t rank);
/// Actions joined by spaces.
[[nodiscard]] std::string to_string(const Program& program, const Placement& placement,
                                    std::int32_t rank);

}  // namespace sluice::graph
