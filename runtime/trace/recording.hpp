// What a recording is of: enough to build the same actors again, and to name them without.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "graph/plan.hpp"
#include "kernels/base/result.hpp"
#include "runtime/trace/log_reader.hpp"

namespace sluice::trace {

/// Which tensors' elements a log holds, besides the tokens that were read.
enum class Payloads : std::uint8_t {
  kNone,
  kBoundary,  ///< what goes from one pipeline stage to another
  kAll,       ///< all but snapshots
};
[[nodiscard]] std::string_view name_of(Payloads payloads);
[[nodiscard]] Result<Payloads> payloads_from_name(std::string_view name);

/// The first record of a log, as JSON.
struct Recording {
  std::string program;  ///< version that made it
  std::string started;  ///< UTC, "2026-01-31T23:59:59Z"
  bool virtual_time = false;
  bool has_values = true;         ///< tasks computed; false: a simulation that only timed them
  bool ranks_share_lanes = true;  ///< all ranks' tasks ran on the lanes of one device
  Payloads payloads = Payloads::kNone;

  // What was computed, and with what.
  std::string config;        ///< TOML, every key
  std::string model_config;  ///< config.json after overrides
  std::string recipe, kernel_set, cpu;
  std::int64_t seed = 0;
  /// Weights came from: empty: `seed`. Else a checkpoint, of which the recording holds a copy in
  /// kCheckpointFolder.
  std::string checkpoint;
  std::int64_t first_step = 0;
  // What the supervisor was told.
  std::int64_t evaluate_every = 0, checkpoint_every = 0;
  std::int32_t evaluate_micro_batches = 0;
  bool checkpoint_at_end = false;

  // The plan.
  std::uint64_t plan_digest = 0;
  std::vector<graph::ActorPlan> actors;
  std::vector<graph::ChannelPlan> channels;

  [[nodiscard]] const std::string& name(graph::ActorIndex actor) const;
  /// By name; absent: an Error that lists those of the same kind.
  [[nodiscard]] Result<graph::ActorIndex> find(std::string_view name) const;
};
inline constexpr std::string_view kCheckpointFolder = "checkpoint";

/// Actors, channels and digest of a plan.
void set_plan(Recording& recording, const graph::Plan& plan);

[[nodiscard]] std::string to_json(const Recording& recording);
/// Reads the header and leaves `log` behind it.
[[nodiscard]] Result<Recording> read_recording(LogReader& log);

}  // namespace sluice::trace
