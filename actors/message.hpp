// What actors say to each other. A message has a key, who sent it, and a typed body; tensors travel
// by reference.
//
// Flows wait by key, so the order of arrival between senders never changes a result.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "graph/model/decoder_layer.hpp"
#include "graph/plan.hpp"

namespace sluice::actors {

using graph::ActorIndex;
using graph::kNoActor;
using graph::kOutside;

/// What a message is about; with the other fields of Key it names one message of a step.
enum class Topic : std::uint8_t {
  kControl,  ///< not matched by key
  // Through channels.
  kTokens,
  kTargets,
  kActivation,
  kGradient,
  kEmbedding,
  kEmbeddingGradient,
  kDispatch,
  kCombine,
  kDispatchGradient,
  kCombineGradient,
  kDispatchWeights,  ///< an expert group may add its weight gradients now
  kGradientShare,
  // Direct: small, or bounded by the protocol of a step.
  kLoss,
  kBalance,
  kSquares,
  kUpdate,
  kOwnerDone,
  kReport,
  kSnapshot,
  kWritten,
  kLogits,
  kNextToken,
};
/// "dispatch gradient"
[[nodiscard]] std::string_view name_of(Topic topic);

struct Key {
  std::int64_t step = 0;
  std::int32_t micro_batch = 0;
  std::int32_t layer = 0;  ///< between stages: the layer of the receiver that it enters
  Topic topic = Topic::kControl;
  std::int32_t part = 0;  ///< who of several: expert rank, or the sender's index
  friend auto operator<=>(const Key&, const Key&) = default;
};
/// "dispatch of step 3, micro-batch 1, layer 2": what a topic has no use for is left out.
[[nodiscard]] std::string to_string(const Key& key);

// ---- From the host
// -------------------------------------------------------------------------------------------------

/// A task that this actor submitted has run.
struct TaskDone {
  std::uint64_t task = 0;
};
/// A timer that this actor set has fired.
struct TimerFired {
  std::uint64_t timer = 0;
};

// ---- Channels
// ------------------------------------------------------------------------------------------------------

/// Receive buffers that are free again: from a receiver to its channel, and from the channel to the
/// sender.
struct Credit {
  std::int32_t count = 1;
};

// ---- Micro-batches
// -------------------------------------------------------------------------------------------------

/// Tokens i32 [sequences, length + 1 + mtp_depth] of a micro-batch; for generation one sequence's
/// [1, n] and its start.
struct Tokens {
  Tensor tokens;
  std::int32_t first_position = 0;
};
/// Hidden states [T, H], or their gradient.
struct Hidden {
  Tensor rows;
  std::int32_t first_position = 0;
};
/// Embedding rows, or their gradients, of tokens i + k for depths k = 1 .. D: D tensors [T, H].
struct EmbeddingRows {
  std::vector<Tensor> depths;
};
/// Normed tokens [T, H] with their routing: what an expert group gathers its rows from.
struct Dispatch {
  Tensor normed;
  model::Routing routing;
  bool keep = false;          ///< a backward pass follows
  std::int32_t priority = 0;  ///< of the pass, for the group's tasks
};
/// An expert group's sums along the aligned subtrees it owns.
struct Combine {
  kernels::TreePartial sums;
};
struct DispatchGradient {
  Tensor dy;                          ///< [T, H]
  std::int32_t priority = 0;          ///< of the pass, for the group's tasks
  std::int32_t weights_priority = 0;  ///< of its weight gradients
  bool weights_later = false;         ///< they wait for DispatchWeights
};
struct CombineGradient {
  model::ExpertGradients gradients;
};
/// A weight pass has come to this layer.
struct DispatchWeights {
  std::int32_t priority = 0;
};
/// What an owner summed over its micro-batches, to another holder of the same weights.
struct GradientShare {
  std::vector<Tensor> gradients;     ///< in order of the parameters
  std::vector<std::int64_t> counts;  ///< expert loads; of experts, whether a token reached each
};

// ---- Steps
// ---------------------------------------------------------------------------------------------------------

enum class StepMode : std::uint8_t {
  kTrain,     ///< the plan's program, then the optimizer
  kGradient,  ///< the plan's program; gradients stay, no optimizer (probe --backward)
  kEvaluate,  ///< forward passes and losses
  kGenerate,  ///< forward passes over latent caches, one token out
};

/// supervisor -> source, stages, expert groups, sink: a step begins.
struct StepStart {
  std::int64_t step = 0;   ///< unique over the run; key of everything in it
  std::int64_t index = 0;  ///< 0-based step of training, or of evaluation
  StepMode mode = StepMode::kTrain;
  std::int32_t micro_batches = 0;
};

/// Losses of one micro-batch, from the last stage to the sink: sums over its rows.
struct LossPart {
  double main = 0;
  std::vector<double> mtp;  ///< by depth
};
/// Balance loss (sum over the micro-batch's sequences) and expert loads of one layer, from a stage
/// to the sink.
struct BalancePart {
  double balance = 0;
  std::vector<std::int64_t> loads;
};
/// A tensor that was asked to be seen (probe), from a stage through the supervisor to the outside:
/// "hidden.2", "logits", "gate.1.scores".
struct Observed {
  std::string name;
  Tensor tensor;
};

/// An owner of parameters -> reducer: sums of squares of its gradients by parameter name.
struct GradientSquares {
  struct Entry {
    std::string name;
    double sum = 0;
  };
  std::vector<Entry> entries;
};
/// reducer -> owners, sink: the step's gradient norm and what to multiply gradients with.
struct ApplyUpdate {
  double norm = 0;
  float scale = 1;
  double learning_rate = 0;
  std::int64_t update = 0;  ///< 1-based count of optimizer updates
};
/// An owner -> supervisor: this step's work is done here.
struct OwnerDone {};

/// What a step gave: sink -> supervisor -> outside.
struct StepReport {
  std::int64_t step = 0;
  std::int64_t index = 0;
  StepMode mode = StepMode::kTrain;
  double main = 0;           ///< mean over tokens
  std::vector<double> mtp;   ///< mean over tokens, by depth
  double balance = 0;        ///< mean over sequences, summed over layers
  double total = 0;          ///< main + balance_alpha · balance + mtp_lambda / D · sum of mtp
  double gradient_norm = 0;  ///< before clipping; training only
  double learning_rate = 0;
  struct Layer {
    std::int32_t layer = 0;
    double max_violation = 0;
    std::vector<std::int64_t> loads;
  };
  std::vector<Layer> layers;  ///< MoE layers in order
  std::int64_t tokens = 0;
};

// ---- Snapshots and checkpoints
// -------------------------------------------------------------------------------------

enum class SnapshotPurpose : std::uint8_t { kCheckpoint, kProbe };
/// supervisor -> owners: copy your state; it goes to the checkpointer, or (kProbe: values and
/// gradients) to the outside. outside -> supervisor: kProbe only.
struct SnapshotRequest {
  std::int64_t index = 0;  ///< optimizer updates so far
  SnapshotPurpose purpose = SnapshotPurpose::kCheckpoint;
};
struct ParameterState {
  std::string name;
  model::ParameterKind kind = model::ParameterKind::kMatrix;
  Tensor value, gradient, m, v;  ///< fp32; those that were not asked for are empty
  std::int64_t updates = 0;      ///< optimizer state, as m and v are
};
struct SnapshotPart {
  std::int64_t index = 0;
  SnapshotPurpose purpose = SnapshotPurpose::kCheckpoint;
  std::vector<ParameterState> parameters;
};
/// supervisor -> outside: all that was reported before this belongs to the checkpoint `index`.
struct CheckpointBegun {
  std::int64_t index = 0;
};
/// checkpointer -> supervisor -> outside. An empty error means that the checkpoint is whole and
/// safe.
struct CheckpointWritten {
  std::int64_t index = 0;
  std::string path;
  std::string error;
};

// ---- Commands from the outside, and answers
// ------------------------------------------------------------------------

/// Run training steps [first, last); evaluate and checkpoint as the supervisor's config says.
struct RunTraining {
  std::int64_t first = 0;
  std::int64_t last = 0;
};
/// Run one step in the given mode and report it.
struct RunStep {
  StepMode mode = StepMode::kEvaluate;
  std::int64_t index = 0;
  std::int32_t micro_batches = 0;
};
/// Finish the step that runs, then answer Idle.
struct Stop {};
/// Everything asked for is done; `next` is the first training step that has not run.
struct Idle {
  std::int64_t next = 0;
};
/// The run cannot go on: an unreadable sample, a loss that is not finite. Any actor -> outside.
struct Failure {
  std::string message;
};
/// Generate: the whole prompt goes through, then one token at a time.
struct GenerateRequest {
  std::vector<std::int32_t> prompt;
  std::int32_t tokens_max = 0;
  std::int32_t end_token = -1;  ///< stop after it; -1: never
  float temperature = 0;
  float top_p = 1;
  std::uint64_t seed = 0;
};
/// A generated token: sink -> source (goes on with it), and through the supervisor to the outside.
struct NextToken {
  std::int32_t token = 0;
  std::int32_t position = 0;
  bool last = false;
};
/// Logits [1, V] of the newest position: last stage -> sink.
struct Logits {
  Tensor row;
  std::int32_t position = 0;
};

using Body =
    std::variant<std::monostate, TaskDone, TimerFired, Credit, Tokens, Hidden, EmbeddingRows,
                 Dispatch, Combine, DispatchGradient, CombineGradient, DispatchWeights,
                 GradientShare, StepStart, LossPart, BalancePart, Observed, GradientSquares,
                 ApplyUpdate, OwnerDone, StepReport, SnapshotRequest, SnapshotPart, CheckpointBegun,
                 CheckpointWritten, RunTraining, RunStep, Stop, Idle, Failure, GenerateRequest,
                 NextToken, Logits>;

struct Message {
  Key key{};
  ActorIndex from = kNoActor;
  ActorIndex via = kNoActor;  ///< the channel it came through, which gets the credit back
  Body body{};
};

/// Bytes of tensors that the message keeps alive.
[[nodiscard]] std::int64_t size_bytes(const Message& message);
/// "StepStart", by Body::index().
[[nodiscard]] std::string_view body_name(std::size_t index);
/// Of a message that is not matched by key, what it says ("StepStart"); else its key in words.
[[nodiscard]] std::string to_string(const Message& message);

}  // namespace sluice::actors
