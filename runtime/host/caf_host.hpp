// Actors live: every actor is one CAF actor, every task runs on a device.
//
// Messages are handed over in memory, never serialised. CAF sees to scheduling, mailboxes, timers
// and monitoring; what an actor does is all in actors/.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/device/device.hpp"
#include "runtime/host/host.hpp"
#include "runtime/host/observer.hpp"

namespace sluice::host {

class CafHost final : public Host {
 public:
  struct Config {
    int threads = 1;  ///< that run actors; they sleep while no message waits
    /// The device of a rank. Devices outlive the host. May be empty if no actor submits tasks.
    std::function<device::Device*(std::int32_t rank)> device;
    Observer* observer = nullptr;  ///< outlives the host
  };

  explicit CafHost(Config config);
  ~CafHost() override;

  void add(ActorIndex index, const graph::ActorPlan& place,
           std::unique_ptr<actors::Actor> actor) override;
  [[nodiscard]] Status start() override;
  void send(ActorIndex to, actors::Message message) override;
  [[nodiscard]] Result<std::optional<actors::Message>> receive_for(
      std::chrono::nanoseconds wait_max) override;
  [[nodiscard]] Activity activity() const override;
  [[nodiscard]] std::vector<std::optional<actors::Waiting>> waiting(
      std::chrono::nanoseconds wait_max) override;
  Status stop() override;

 private:
  struct State;
  class CafActor;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::host
