// Actors run again from a recording, on one thread, in the order in which everything happened.
//
// One pass over the log: at a recorded delivery its actor gets that message, at a recorded task its
// body runs, and at a recorded send what the actor has just sent must say the same, to the last
// bit. The actors that were added run; what the others said is taken from the log, elements
// included, so a sender of tensors whose elements the log does not hold has to be among those that
// run.
//
// A log orders causes before effects (host/observer.hpp), so nothing is ever waited for.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "runtime/host/host.hpp"
#include "runtime/trace/difference.hpp"
#include "runtime/trace/elements.hpp"
#include "runtime/trace/message_pattern.hpp"
#include "runtime/trace/recording.hpp"

namespace sluice::host {

class ReplayHost final : public Host {
 public:
  struct Config {
    const trace::Recording* recording = nullptr;  ///< outlives the host
    kernels::ComputeContext compute;              ///< given to task bodies
    /// Told of what an actor that runs sends, credits too; may be empty.
    std::function<void(ActorIndex from, ActorIndex to, const actors::Message& message)> on_sent{};
  };
  explicit ReplayHost(Config config);
  ~ReplayHost() override;

  void add(ActorIndex index, const graph::ActorPlan& place,
           std::unique_ptr<actors::Actor> actor) override;
  [[nodiscard]] Status start() override;
  /// Nothing: what came from the outside is in the log.
  void send(ActorIndex to, actors::Message message) override;
  /// An Error: nobody is outside.
  [[nodiscard]] Result<std::optional<actors::Message>> receive_for(
      std::chrono::nanoseconds wait_max) override;
  [[nodiscard]] Activity activity() const override;
  [[nodiscard]] std::vector<std::optional<actors::Waiting>> waiting(
      std::chrono::nanoseconds wait_max) override;
  Status stop() override;

  /// Called before each delivery to an actor that runs; false ends run() before it.
  using Watch = std::function<bool(ActorIndex to, const trace::Delivered& delivered,
                                   const actors::Message& message)>;
  enum class End {
    kLogEnded,
    kStopped,     ///< `watch` said so; run() again goes on with that delivery
    kDifference,  ///< difference()
  };
  /// From where `log` stands, which is behind its header at first. Errors: a log that was changed,
  /// or lacks elements.
  [[nodiscard]] Result<End> run(trace::LogReader& log, trace::Elements& elements,
                                const Watch& watch);
  [[nodiscard]] const std::optional<trace::Difference>& difference() const;

  /// Of what run again and was compared.
  struct Progress {
    std::int64_t messages = 0;
    std::int64_t tensors = 0;
    std::int64_t tasks = 0;
    std::int64_t deliveries = 0;
    std::int64_t steps = 0;  ///< that began
  };
  [[nodiscard]] const Progress& progress() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::host
