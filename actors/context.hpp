// An actor and its only way out. A host gives every actor one Context; its effects are send, submit
// and set_timer.
#pragma once

#include <cstdint>
#include <functional>

#include "actors/message.hpp"
#include "actors/waiting.hpp"
#include "kernels/cpu/compute_context.hpp"

namespace sluice::actors {

/// Where a task runs: the arithmetic of the actor's device, or the thread that reads and writes
/// files.
enum class Lane : std::uint8_t { kCompute, kStorage };

/// Work for a device: what it is and costs, and a body that does it. A host may time it without
/// running the body, and then calls `stand_in` in its place: results have their shapes but no
/// elements, and what later messages depend on is even (graph/model/stand_ins.hpp).
struct Task {
  std::uint64_t id = 0;   ///< chosen by the actor; comes back in TaskDone
  const char* name = "";  ///< static string, for profiles and traces
  Lane lane = Lane::kCompute;
  std::int32_t priority = 0;  ///< lower runs first; equal ones in order of submission
  double operations = 0;      ///< floating-point operations
  Key key{};                  ///< step, micro-batch and layer it works on, for traces
  std::function<void(const kernels::ComputeContext&)> body;
  std::function<void()> stand_in{};
};

class Context {
 public:
  virtual ~Context() = default;
  /// Never blocks and never runs the receiver inside the call. Messages from one actor to another
  /// arrive in order.
  virtual void send(ActorIndex to, Message message) = 0;
  /// The task's completion comes back to this actor as TaskDone.
  virtual void submit(Task task) = 0;
  /// TimerFired comes back after `seconds` of the host's time.
  virtual void set_timer(double seconds, std::uint64_t timer) = 0;
};

/// Pure logic: (its state, one message) -> effects. A host calls on_message for one message at a
/// time.
class Actor {
 public:
  virtual ~Actor() = default;
  virtual void on_message(Context& context, Message message) = 0;
  /// For tests and for the destructor's check: nothing is waiting and nothing is kept.
  [[nodiscard]] virtual bool idle() const = 0;
  /// For people, when nothing moves. Called where on_message is.
  [[nodiscard]] virtual Waiting waiting() const { return {}; }
};

}  // namespace sluice::actors
