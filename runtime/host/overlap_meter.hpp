// How well a run overlaps, while it runs: the share of time that its compute lanes stood idle, and
// of the time with something on its way through a channel, the share during which the receiver's
// lane was at work, channel by channel, as `sluice trace report` counts it. Constant work and
// memory per message and task.
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
  void set_plan(const graph::Plan& plan, bool ranks_share_lanes);

  struct Shares {
    double bubble = 0;  ///< idle, whatever for; over all lanes
    double hidden = 1;  ///< over all channels; 1 where nothing was on its way
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
  struct Lane {
    bool is_running = false;
    std::int64_t since_ns = 0;  // runs the task
    std::int64_t busy_ns = 0;   // with the tasks before it
    [[nodiscard]] std::int64_t busy_until(std::int64_t now_ns) const {
      return is_running ? busy_ns + now_ns - since_ns : busy_ns;
    }
  };
  struct Channel {
    std::size_t lane = 0;             // of the receiver
    std::int64_t on_way = 0;          // messages
    std::int64_t since_ns = 0;        // there is one
    std::int64_t lane_busy_then = 0;  // busy_until of that moment
  };
  // With the mutex held.
  void advance(std::int64_t now_ns);
  void begin(Channel& channel) const;
  void book(const Channel& channel);
  [[nodiscard]] bool is_channel(actors::ActorIndex actor) const;

  std::vector<std::size_t> lane_of_;      // by actor
  std::vector<std::int32_t> channel_of_;  // by actor; -1: is none
  std::mutex mutex_;
  std::int64_t now_ns_ = 0;
  std::vector<Lane> lanes_;
  std::vector<Channel> channels_;
  std::int64_t hidden_ns_ = 0, on_way_ns_ = 0;     // since take()
  std::int64_t taken_ns_ = 0, taken_busy_ns_ = 0;  // at take()
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
