// What a recording says about time: how busy lanes and actors were, which communication was hidden
// behind work, how experts were loaded, and the chain of waits that made a step as long as it was.
//
// Over training steps, from a step's start to its report; over steps of other kinds where there is
// none of training.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/trace/timeline.hpp"

namespace sluice::trace {

/// One lane's time, cut in three: busy + exposed + bubble = the steps' time.
struct LaneUse {
  std::int32_t lane = 0;  ///< in Timeline::lanes
  std::int64_t busy_ns = 0;
  std::int64_t exposed_ns = 0;  ///< idle while a message was on its way to an actor of the lane
  std::int64_t bubble_ns = 0;   ///< idle otherwise: whoever it waits for was at work or waited too
};

struct ActorUse {
  ActorIndex actor = graph::kNoActor;
  std::int32_t lane = kNone;  ///< kNone: it ran no task
  std::int64_t tasks = 0;
  std::int64_t busy_ns = 0;
};

/// Time during which at least one message was on its way: hidden + exposed.
struct ChannelUse {
  std::int32_t channel = 0;  ///< in Recording::channels
  std::int64_t messages = 0;
  std::int64_t bytes = 0;
  std::int64_t hidden_ns = 0;    ///< the receiver's lane was at work
  std::int64_t exposed_ns = 0;   ///< it was idle
  std::int32_t credits_max = 0;  ///< most that were in use at once
};

/// Of one MoE layer: tokens that its experts got.
struct ExpertUse {
  std::int32_t layer = 0;
  std::vector<std::int64_t> loads;
  /// The largest load over the mean; 1: all alike.
  [[nodiscard]] double imbalance() const;
};

struct StepUse {
  std::int32_t step = 0;  ///< in Timeline::steps
  std::int64_t ns = 0;
  double bubble = 0;  ///< share of the compute lanes' time
};

/// A piece of the chain. Each began when the one before it ended.
struct ChainLink {
  enum class Kind : std::uint8_t {
    kTask,    ///< ran
    kFlight,  ///< a message was on its way
    kCredit,  ///< a credit was on its way back to a sender that waited for it
    kActing,  ///< an actor came to act, and acted
  };
  Kind kind = Kind::kActing;
  std::int32_t index = kNone;          ///< of the task, message or credit return
  ActorIndex actor = graph::kNoActor;  ///< that ran, received or acted
  std::int64_t began_ns = 0;
  std::int64_t ended_ns = 0;
};

struct Report {
  std::int64_t span_ns = 0;  ///< of all the steps
  std::vector<StepUse> steps;
  std::vector<LaneUse> lanes;         ///< all of Timeline::lanes
  std::vector<ActorUse> actors;       ///< those that ran tasks, busiest first
  std::vector<ChannelUse> channels;   ///< all of Recording::channels
  std::vector<ExpertUse> experts;     ///< by layer
  std::int64_t memory_bytes_max = 0;  ///< of tensors
  std::int32_t shown = kNone;         ///< step of `chain`, in Timeline::steps
  std::vector<ChainLink> chain;       ///< of waits, from that step's start to its end

  /// Shares of the compute lanes' time.
  [[nodiscard]] double busy(const Timeline& timeline) const;
  [[nodiscard]] double exposed(const Timeline& timeline) const;
  [[nodiscard]] double bubble(const Timeline& timeline) const;
  /// Of the time in which something was on its way, channel by channel.
  [[nodiscard]] double hidden() const;
};

/// The chain is of the training step with this number (from 1), or else of the slowest; the first
/// two take memory from the system and count only where there are no others. Errors: a recording in
/// which no step ended, a step that is not there.
[[nodiscard]] Result<Report> make_report(const Timeline& timeline,
                                         std::optional<std::int64_t> step = std::nullopt);

/// What a task works for, by its name.
enum class Work : std::uint8_t { kForward, kBackward, kWeights, kOther };
[[nodiscard]] Work work_of(std::string_view task);

/// Stretches of a chain with one actor at work, or on one channel: what they are called, how often
/// they come, how long they take together. Longest first.
struct ChainSum {
  std::string what;
  std::int64_t count = 0;
  std::int64_t ns = 0;
};
[[nodiscard]] std::vector<ChainSum> sum_chain(const Timeline& timeline, const Report& report);

[[nodiscard]] std::string_view name_of(ChainLink::Kind kind);

}  // namespace sluice::trace
