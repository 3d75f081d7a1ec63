// How well a run overlaps, while it runs: the share of time that its device's compute lane stood
// idle, and of the time with something on its way through a channel, the share behind work.
//
// For hosts whose ranks share one compute lane: constant work and memory per message and task.
#pragma once

#include <mutex>
#include <vector>

#include "runtime/host/observer.hpp"

namespace sluice::graph {
struct Plan;
}

namespace sluice::host {

class OverlapMeter final : public Observer {
 public:
  /// Before the host starts.
  void set_plan(const graph::Plan& plan);

  struct Shares {
    double bubble = 0;
    double hidden = 1;  ///< 1 where nothing was on its way
  };
  /// Since the last call, up to the last event. From any thread.
  [[nodiscard]] Shares take();

  void on_send(actors::ActorIndex from, actors::ActorIndex to, const actors::Message& message,
               std::int64_t now_ns) override;
  void on_delivery(actors::ActorIndex to, const actors::Message& message,
                   std::int64_t now_ns) override;
  void on_start(actors::ActorIndex actor, const actors::Task& task, std::int64_t now_ns) override;
  void on_task(actors::ActorIndex actor, const actors::Task& task, TaskTimes times) override;

 private:
  void advance(std::int64_t now_ns);  // with the mutex held

  std::vector<bool> is_channel_;  // by actor
  std::mutex mutex_;
  std::int64_t now_ns_ = 0;
  std::int64_t running_ = 0;  // tasks on compute lanes
  std::int64_t on_way_ = 0;   // messages through channels
  std::int64_t all_ns_ = 0, busy_ns_ = 0, hidden_ns_ = 0, exposed_ns_ = 0;  // since take()
};

/// Two observers as one; either may be null.
class BothObservers final : public Observer {
 public:
  void set(Observer* first, Observer* second) { first_ = first, second_ = second; }
  void on_send(actors::ActorIndex from, actors::ActorIndex to, const actors::Message& message,
               std::int64_t now_ns) override;
  void on_delivery(actors::ActorIndex to, const actors::Message& message,
                   std::int64_t now_ns) override;
  void on_start(actors::ActorIndex actor, const actors::Task& task, std::int64_t now_ns) override;
  void on_task(actors::ActorIndex actor, const actors::Task& task, TaskTimes times) override;

 private:
  Observer* first_ = nullptr;
  Observer* second_ = nullptr;
};

}  // namespace sluice::host
