// The plan: which actors exist, which channels join them with how many credits, where each lives
// and what it runs.
//
// Plain data made by a pure function from sizes and options; printed by `sluice plan`, checked by
// plan_check.hpp, and run by a host without another decision being taken.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/schedule/schedule.hpp"
#include "graph/summary.hpp"
#include "kernels/base/result.hpp"

namespace sluice::graph {

/// An actor's place in Plan::actors. kNoActor: nobody; kOutside: who runs the host (engine, test,
/// service).
using ActorIndex = std::int32_t;
inline constexpr ActorIndex kNoActor = -1;
inline constexpr ActorIndex kOutside = -2;

enum class ActorKind : std::uint8_t {
  kSupervisor,
  kSource,
  kStage,
  kExpertGroup,
  kChannel,
  kReducer,
  kSink,
  kCheckpointer
};
[[nodiscard]] std::string_view name_of(ActorKind kind);

struct ActorPlan {
  ActorKind kind = ActorKind::kStage;
  std::string name;       ///< "stage 1", "experts 1.0", "channel stage 0 -> stage 1: activation"
  std::int32_t rank = 0;  ///< logical device: pipeline rank · expert_parallel_size + expert rank
};

/// What a channel carries.
enum class ChannelRole : std::uint8_t {
  kTokens,             ///< source -> first stage of a route: inputs
  kTargets,            ///< source -> last stage of a route: targets
  kActivation,         ///< stage -> next stage of a route
  kGradient,           ///< stage -> previous stage of a route
  kEmbedding,          ///< first stage -> last stage: rows that multi-token prediction reads
  kEmbeddingGradient,  ///< last stage -> first stage
  kDispatch,           ///< stage -> expert group: tokens, or their gradients
  kCombine,            ///< expert group -> stage: sums, or gradients
  kGradientShare,      ///< owner -> another holder of the same weights: its micro-batches' sums
};
[[nodiscard]] std::string_view name_of(ChannelRole role);

struct ChannelPlan {
  ActorIndex actor = kNoActor;
  ActorIndex from = kNoActor;
  ActorIndex to = kNoActor;  ///< may be `from`, where a route goes on on the same rank
  ChannelRole role = ChannelRole::kActivation;
  std::int32_t credits = 1;        ///< messages that may wait at the receiver
  std::int64_t message_bytes = 0;  ///< of tensors one message makes wait there, at most
  std::int32_t route = 0;          ///< between chunks: whose micro-batches it carries
  std::int32_t stage = 0;          ///< between chunks: which receives them
};

/// A stage of the model for the micro-batches of one route: what a rank holds for one visit.
struct ChunkPlan {
  std::int32_t route = 0;
  std::int32_t stage = 0;
  std::int32_t micro_batch_first = 0;  ///< of a training step, those of all routes counted through
  std::int32_t micro_batches = 0;
  std::int32_t layer_first = 0;  ///< main layers [layer_first, layer_last)
  std::int32_t layer_last = 0;
  bool is_first = false;  ///< holds the embedding
  bool is_last = false;   ///< holds final norm, head and all MTP depths
  /// B and W come in the order of their micro-batches: nobody waits for a turn that is far.
  bool weights_in_order = true;
  /// Pipeline ranks that hold the stage for other routes, in order of routes.
  std::vector<std::int32_t> other_holders;
  // Channels that it sends through; kNoActor where there is nobody.
  ActorIndex to_next = kNoActor;        ///< activations
  ActorIndex to_previous = kNoActor;    ///< gradients
  ActorIndex rows_to_last = kNoActor;   ///< of the first stage, where the last one has no embedding
  ActorIndex rows_gradient = kNoActor;  ///< of the last stage, to the first one
  /// Another route's holder counts and saves these weights; here they are equal copies.
  [[nodiscard]] bool is_replica() const { return route > 0; }
};

/// What one pipeline rank runs.
struct StagePlan {
  ActorIndex actor = kNoActor;
  std::int32_t pipeline_rank = 0;
  std::vector<ChunkPlan> chunks;               ///< as Pass::chunk counts them
  std::int32_t activation_buffers_needed = 1;  ///< by its program, done in order
  std::int32_t activation_credits = 1;         ///< micro-batches between F and the end of B or W
  std::vector<ActorIndex> expert_groups;       ///< in order of their first expert
  Program program;                             ///< of a training step
};

struct ExpertGroupPlan {
  ActorIndex actor = kNoActor;
  std::int32_t pipeline_rank = 0;
  std::int32_t expert_rank = 0;
  std::int32_t expert_first = 0;
  std::int32_t expert_count = 0;
};

/// Bytes on one rank, by use.
struct RankMemory {
  std::int64_t weights = 0;  ///< compute copies and packed panels
  std::int64_t master = 0;   ///< fp32 weights that are not the compute copy
  std::int64_t gradients = 0;
  std::int64_t optimizer = 0;
  std::int64_t activations = 0;  ///< kept from forward to weight gradients at the program's peak
  std::int64_t buffers = 0;      ///< channels at full credit, and kernels' scratch
  std::int64_t snapshots = 0;    ///< copies that are written while training goes on
  [[nodiscard]] std::int64_t total() const {
    return weights + master + gradients + optimizer + activations + buffers + snapshots;
  }
};

/// A network's link, for channels in one process that are to take as long as it would.
struct LinkOptions {
  double latency_seconds = 0;
  double bytes_per_second = 0;  ///< 0: no limit
  [[nodiscard]] bool is_there() const { return latency_seconds > 0 || bytes_per_second > 0; }
};

struct PlanOptions {
  std::int32_t pipeline_parallel_size = 1;
  std::int32_t expert_parallel_size = 1;
  std::string schedule = "1f1b";
  std::optional<Schedule> schedule_read;  ///< of a file; takes the place of the name
  std::int32_t stages_per_rank = 0;       ///< of a named schedule; 0: as many as it has by itself
  std::int32_t run_ahead = 1;             ///< actions that may start before the oldest one ends
  std::vector<std::int32_t> layers_per_stage;  ///< main layers; empty: balanced by cost
  std::int32_t activation_buffers = 0;  ///< of a rank; 0: what its program needs, and run_ahead
  /// Parts of a step whose gradients are summed on their own and then along the tree; 0: one for
  /// each route.
  std::int32_t gradient_shards = 0;
  std::int32_t micro_batches = 1;     ///< of a training step
  std::int32_t micro_batch_size = 1;  ///< sequences
  std::int32_t sequence_length = 1;
  bool training = true;
  bool checkpoints = false;           ///< are written in training
  std::int64_t memory_bytes_max = 0;  ///< of a rank's device; 0: no limit
  [[nodiscard]] std::int32_t ranks() const { return pipeline_parallel_size * expert_parallel_size; }
  LinkOptions link;  ///< of every channel but the source's
};

struct Plan {
  PlanOptions options;
  Placement placement;  ///< of the stages' programs
  std::vector<ActorPlan> actors;
  ActorIndex supervisor = kNoActor, source = kNoActor, reducer = kNoActor, sink = kNoActor,
             checkpointer = kNoActor;
  std::vector<StagePlan> stages;               ///< by pipeline rank: one actor for all its chunks
  std::vector<ExpertGroupPlan> expert_groups;  ///< by pipeline rank, then expert rank
  std::vector<ChannelPlan> channels;
  std::vector<RankMemory> memory;  ///< by rank

  [[nodiscard]] std::int32_t ranks() const { return options.ranks(); }
  /// The channel from one actor to another with a role, or null; between chunks the first of them.
  [[nodiscard]] const ChannelPlan* channel(ActorIndex from, ActorIndex to, ChannelRole role) const;
  /// What the source sends through to an end of a route: tokens, or targets.
  [[nodiscard]] const ChannelPlan* source_channel(std::int32_t route, ChannelRole role) const;
  [[nodiscard]] const ChunkPlan& chunk(std::int32_t route, std::int32_t stage) const;
  /// Micro-batches of a route in the order in which its first stage's program takes them.
  [[nodiscard]] std::vector<std::int32_t> feed_order(std::int32_t route) const;
};

/// Number of main layers of a model.
[[nodiscard]] std::int32_t layer_count(const ModelSummary& model);
/// Main layers split into contiguous runs of nearly equal work (forward operations per token, head
/// and MTP counted to the last stage, embedding to the first). Every stage gets at least one layer.
/// Returns the first layer of each stage, then the number of layers.
[[nodiscard]] std::vector<std::int32_t> partition_layers(const ModelSummary& model,
                                                         std::int32_t stages);

/// Errors: more stages than layers, layers_per_stage or expert_parallel_size that do not fit, a
/// schedule that is unknown, not of this size or not complete, gradient_shards that do not split
/// it.
[[nodiscard]] Result<Plan> make_plan(const ModelSummary& model, const PlanOptions& options);

/// For people: actors, channels, programs, memory per rank.
[[nodiscard]] std::string to_string(const Plan& plan);

}  // namespace sluice::graph
