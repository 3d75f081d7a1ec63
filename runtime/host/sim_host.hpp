// Actors in virtual time, on one thread: a discrete-event scheduler.
//
// Delays of messages and durations of tasks are drawn from the seed or come from a model; task
// bodies run for real, or not at all: then tensors are shapes, and the events are those of a run
// with bodies as far as the model of times does not look into tensors. A run is a function of
// (actors, Config): the same seed gives the same events, and another seed another legal order.
// Tests use it to show that no order changes a result, and to see who waits for whom. With faults,
// links between ranks lose, double and delay frames, devices are slow, and a worker may die:
// receive_for() then fails and names its rank.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "kernels/cpu/compute_context.hpp"
#include "runtime/host/host.hpp"
#include "runtime/host/observer.hpp"
#include "runtime/host/sim_faults.hpp"
#include "runtime/host/sim_links.hpp"

namespace sluice::host {

class SimHost final : public Host {
 public:
  /// Drawn evenly from [min, max].
  struct Range {
    std::int64_t min_ns = 0;
    std::int64_t max_ns = 0;
  };
  struct Config {
    std::uint64_t seed = 0;
    Range message{100, 50'000};
    Range task{1'000, 1'000'000};
    /// Models, in nanoseconds; where one is given, its range is not used.
    std::function<std::int64_t(const actors::Message&, ActorIndex to)> message_model{};
    std::function<std::int64_t(const actors::Task&, std::int32_t rank)> task_model{};
    std::int64_t lane_wake_ns = 0;  ///< until a lane that had no task begins one
    /// How ranks are joined; messages between them then take their transfer and the latency, and
    /// message_model is asked for the others alone. Not with faults.
    std::optional<ClusterLinks> links{};
    /// Of a message on a link; absent: those of its tensors.
    std::function<std::int64_t(const actors::Message&)> message_bytes{};
    /// With links: the way of a message between ranks, or within one; absent: that of its bytes.
    std::function<std::optional<ClusterLinks::Route>(const actors::Message&, std::int32_t from,
                                                     std::int32_t to)>
        route_model{};
    bool ranks_share_lanes = false;           ///< as in one process with one CPU device
    bool run_bodies = true;                   ///< else their stand-ins are called
    kernels::ComputeContext compute;          ///< given to task bodies
    std::int64_t events_max = 1'000'000'000;  ///< more is taken for a livelock: an Error
    Observer* observer = nullptr;             ///< outlives the host
    std::optional<Faults> faults{};           ///< absent: messages between ranks simply arrive
  };

  explicit SimHost(Config config);
  ~SimHost() override;

  void add(ActorIndex index, const graph::ActorPlan& place,
           std::unique_ptr<actors::Actor> actor) override;
  [[nodiscard]] Status start() override;
  void send(ActorIndex to, actors::Message message) override;
  /// Runs virtual time until a message comes out.
  [[nodiscard]] Result<std::optional<actors::Message>> receive_for(
      std::chrono::nanoseconds wait_max) override;
  [[nodiscard]] Activity activity() const override;
  [[nodiscard]] bool is_quiet() const override;
  [[nodiscard]] std::vector<std::optional<actors::Waiting>> waiting(
      std::chrono::nanoseconds wait_max) override;
  Status stop() override;

  /// From now on this actor gets no message and answers nothing.
  void kill(ActorIndex index);

  /// Runs until nothing is left to happen. Messages to the outside wait for receive.
  [[nodiscard]] Status run_until_quiet();
  /// Runs until `done` holds, asked after every event. An Error when everything is quiet before.
  [[nodiscard]] Status run_until(const std::function<bool()>& done);

  [[nodiscard]] std::int64_t now_ns() const;
  /// Deliveries, ends of tasks and what happens on links so far.
  [[nodiscard]] std::int64_t events() const;
  /// Of all events so far: time, sender, receiver, key and kind; of frames their number.
  [[nodiscard]] std::uint64_t trace_digest() const;
  /// Of the seed's stream: two runs that agree here have drawn alike.
  [[nodiscard]] std::uint64_t next_random() const;

  struct LaneStatistics {
    std::int64_t tasks = 0;
    std::int64_t busy_ns = 0;
    std::int64_t idle_ns = 0;  ///< of the time from 0 to the end of the lane's last task
  };
  [[nodiscard]] LaneStatistics lane(std::int32_t rank,
                                    actors::Lane lane = actors::Lane::kCompute) const;

  struct ActorStatistics {
    std::int64_t messages = 0;           ///< handled
    std::int64_t waiting_max = 0;        ///< most that were sent to it and not handled, at once
    std::int64_t waiting_bytes_max = 0;  ///< of tensors in them
  };
  [[nodiscard]] const ActorStatistics& actor(ActorIndex index) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::host
