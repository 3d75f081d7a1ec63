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

  /// Refuses new messages and tasks, waits for the tasks that run, then destroys the actors. Gives
  /// the Error that receive would. Every host's destructor stops it.
  virtual Status stop() = 0;
};

}  // namespace sluice::host
