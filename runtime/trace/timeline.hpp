// A recording as what happened when: tasks on lanes, messages from sender to receiver with the
// channel between them left out, and what set off what.
#pragma once

#include <string>
#include <vector>

#include "runtime/trace/recording.hpp"
#include "runtime/trace/step_notes.hpp"

namespace sluice::trace {

inline constexpr std::int32_t kNone = -1;

/// What made an actor act: the message with this number, the end of the task or the return of the
/// credit with this number; none of them: a timer, or the start.
struct Cause {
  std::int32_t message = kNone;
  std::int32_t task = kNone;
  std::int32_t credit = kNone;
};

struct TaskSpan {
  ActorIndex actor = graph::kNoActor;
  std::int32_t lane = 0;  ///< in Timeline::lanes
  std::string_view name;  ///< lives as long as the timeline
  actors::Key key{};
  double operations = 0;
  host::TaskTimes times;
  std::int64_t memory_bytes = 0;  ///< of tensors on its device when it ended; 0: not known
  Cause cause;                    ///< what its actor acted on when it submitted it
};

/// A message between two actors; credits are not among them.
struct Flight {
  ActorIndex from = graph::kNoActor;
  ActorIndex to = graph::kNoActor;
  std::int32_t channel = kNone;  ///< in recording.channels; kNone: sent directly
  MessageHead head;
  std::int64_t bytes = 0;  ///< of its tensors
  std::int64_t sent_ns = 0;
  std::int64_t arrived_ns = kNone;  ///< its receiver had it; kNone: it was still on its way
  Cause cause;                      ///< what its sender acted on
  std::int32_t task = kNone;        ///< the first that its receiver submitted for it
};

/// How many messages of a channel wait at its receiver, from this moment on.
struct CreditsUsed {
  std::int32_t channel = 0;
  std::int64_t time_ns = 0;
  std::int32_t count = 0;
};

/// A receiver has taken a message: its buffer is free again.
struct CreditReturn {
  std::int32_t channel = 0;
  std::int64_t sent_ns = 0;
  Cause cause;  ///< what the receiver acted on
};

struct StepSpan {
  actors::StepStart start;
  std::int64_t began_ns = 0;
  std::int64_t ended_ns = kNone;           ///< kNone: it had not ended
  std::vector<actors::StepReport> report;  ///< one, when it ended
};

struct Timeline {
  struct Lane {
    std::string name;  ///< "rank 0 compute"
    std::int32_t rank = 0;
    actors::Lane kind = actors::Lane::kCompute;
  };
  Recording recording;
  std::vector<Lane> lanes;
  std::vector<TaskSpan> tasks;        ///< by when they ended
  std::vector<Flight> messages;       ///< by when they were sent
  std::vector<CreditsUsed> credits;   ///< by time
  std::vector<CreditReturn> returns;  ///< by time
  std::vector<StepSpan> steps;        ///< in order
  std::int64_t end_ns = 0;            ///< of the last event
  bool closed = false;
  StepNotes notes;
  std::vector<std::unique_ptr<const std::string>> names;  // of tasks
};

/// Reads a recording. Errors: a log that was changed.
[[nodiscard]] Result<Timeline> read_timeline(const std::filesystem::path& directory);

}  // namespace sluice::trace
