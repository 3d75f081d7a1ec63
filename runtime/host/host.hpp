// What runs actors. The same actors, unchanged, run live (CafHost) and in virtual time (SimHost).
//
//   host.add(index, plan.actors[index], std::move(actor));   // once for every actor of the plan
//   SLUICE_TRY(host.start());
//   host.send(plan.supervisor, {.body = actors::RunTraining{0, 100}});
//   for (;;) { SLUICE_ASSIGN(actors::Message message, host.receive()); ... }
//   SLUICE_TRY(host.stop());
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "actors/context.hpp"
#include "graph/plan.hpp"
#include "kernels/base/result.hpp"

namespace sluice::host {

using graph::ActorIndex;

class Host {
 public:
  virtual ~Host() = default;

  /// Before start. `place` says the actor's name, for messages, and its rank, hence its device.
  virtual void add(ActorIndex index, const graph::ActorPlan& place,
                   std::unique_ptr<actors::Actor> actor) = 0;
  [[nodiscard]] virtual Status start() = 0;

  /// From the outside to an actor; from any thread. Dropped once the host is stopping.
  virtual void send(ActorIndex to, actors::Message message) = 0;

  /// The next message that an actor sent to kOutside; nothing when `wait_max` of the host's time
  /// has passed. An Error when an actor went down, naming it, or when no message can come any more.
  [[nodiscard]] virtual Result<std::optional<actors::Message>> receive_for(
      std::chrono::nanoseconds wait_max) = 0;
  /// Waits as long as it takes.
  [[nodiscard]] Result<actors::Message> receive();

  /// Signs of life, from any thread: messages handled so far, and tasks and timers under way.
  struct Activity {
    std::uint64_t messages = 0;
    std::int64_t tasks = 0;
    friend bool operator==(const Activity&, const Activity&) = default;
  };
  [[nodiscard]] virtual Activity activity() const = 0;
  /// Nothing will ever happen again unless it comes from the outside; only a host of virtual time
  /// knows.
  [[nodiscard]] virtual bool is_quiet() const { return false; }
  /// What every actor waits for, by index; absent where one does not answer within `wait_max`, and
  /// empty where it cannot because one that does not answer has its thread. Not counted as
  /// activity.
  [[nodiscard]] virtual std::vector<std::optional<actors::Waiting>> waiting(
      std::chrono::nanoseconds wait_max) = 0;

  /// Refuses new messages and tasks, waits for the tasks that run, then destroys the actors. Gives
  /// the Error that receive would. Every host's destructor stops it.
  virtual Status stop() = 0;
};

}  // namespace sluice::host
