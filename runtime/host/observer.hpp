// Who watches a host at work: every message that is sent and delivered, every task. A host has one
// observer or none; without one nothing is paid.
//
// Two rules make what is seen a record that can be run again. A send is told before the receiver
// can get the message, a task before its TaskDone; so whoever writes down what it is told, in the
// order in which it is told, has every cause before its effect. And one actor's calls never
// overlap: its delivery is told before the actor acts on it, then what the actor sends and submits.
#pragma once

#include <cstdint>

#include "actors/context.hpp"

namespace sluice::host {

/// On the host's clock: nanoseconds since it started, real or virtual.
struct TaskTimes {
  std::int64_t submitted_ns = 0;
  std::int64_t started_ns = 0;
  std::int64_t ended_ns = 0;
};

/// Called on the threads that run actors and tasks, several at once. Never blocks on an actor.
class Observer {
 public:
  virtual ~Observer() = default;
  /// `from` hands a message over to `to`; either may be kOutside.
  virtual void on_send(actors::ActorIndex from, actors::ActorIndex to,
                       const actors::Message& message, std::int64_t now_ns) = 0;
  /// `to` is about to act on a message; TaskDone and TimerFired included.
  virtual void on_delivery(actors::ActorIndex to, const actors::Message& message,
                           std::int64_t now_ns) = 0;
  /// A task of `actor` begins to run.
  virtual void on_start(actors::ActorIndex /*actor*/, const actors::Task& /*task*/,
                        std::int64_t /*now_ns*/) {}
  /// A task of `actor` has run; its body is gone.
  virtual void on_task(actors::ActorIndex actor, const actors::Task& task, TaskTimes times) = 0;
};

/// Who handed a delivered message over: the channel it came through, or its sender. kNoActor: the
/// host itself (TaskDone, TimerFired). Messages of one pair of actors arrive in order, so a
/// delivery is one of its sender's sends without further marks.
[[nodiscard]] inline actors::ActorIndex handed_over_by(const actors::Message& message) {
  return message.via != actors::kNoActor ? message.via : message.from;
}

}  // namespace sluice::host
