// What can go wrong in a simulated cluster, and the links where it does.
//
// Messages between ranks travel as frames of reliable streams
// (runtime/transport/reliable_stream.hpp), one stream for each ordered pair of actors: frames are
// lost, doubled and late, and actors get each message once, in the order in which it was sent. So
// order holds per channel and not across channels. Inside a rank nothing gets lost. A dead worker
// neither acts nor answers; it is found out by a sender that waits in vain, or by its silence.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "actors/message.hpp"
#include "kernels/base/random.hpp"
#include "runtime/transport/reliable_stream.hpp"

namespace sluice::host {

using graph::ActorIndex;

struct Faults {
  // Shares of the frames between ranks, acknowledgements included; 0 to 1.
  double lost = 0;
  double duplicated = 0;
  double late = 0;               ///< held back, while other channels' frames overtake
  std::int64_t late_ns_max = 0;  ///< by how much, drawn evenly
  transport::StreamSender::Config stream{};

  struct SlowDevice {
    std::int32_t rank = 0;
    double factor = 1;  ///< of a task's time, while slow
    std::int64_t from_ns = 0;
    std::int64_t until_ns = INT64_MAX;
  };
  std::vector<SlowDevice> slow_devices;

  struct DeadWorker {
    std::int32_t rank = 0;
    std::int64_t at_ns = 0;
    std::int64_t silence_ns_max = 100'000'000;  ///< without a heartbeat until it counts as lost
  };
  std::optional<DeadWorker> dead_worker;

  [[nodiscard]] bool is_dead(std::int32_t rank, std::int64_t now_ns) const {
    return dead_worker && dead_worker->rank == rank && now_ns >= dead_worker->at_ns;
  }
  /// Of a task that starts now.
  [[nodiscard]] std::int64_t slowed(std::int64_t duration_ns, std::int32_t rank,
                                    std::int64_t now_ns) const;
};

/// Something that happens to a link.
struct LinkEvent {
  enum class Kind : std::uint8_t { kFrame, kAnswer, kTimer, kSilence };
  Kind kind = Kind::kFrame;
  std::size_t link = 0;
  transport::FrameNumber number = 0;  ///< of the frame, or the first that is missing
};

/// All links of a cluster. The host owns time and the queue of events.
class FaultyLinks {
 public:
  /// What the links need of their host.
  class Port {
   public:
    virtual ~Port() = default;
    virtual void schedule(std::int64_t time_ns, LinkEvent event) = 0;
    /// How long a frame with this message takes; an acknowledgement's is empty.
    virtual std::int64_t delay_ns(const actors::Message& message, ActorIndex to) = 0;
    virtual void hand_over(ActorIndex from, ActorIndex to, actors::Message message) = 0;
    [[nodiscard]] virtual std::int32_t rank_of(ActorIndex actor) const = 0;
  };

  FaultyLinks(const Faults& faults, std::uint64_t seed, Port& port);

  void send(ActorIndex from, ActorIndex to, actors::Message message, std::int64_t now_ns);
  void happen(const LinkEvent& event, std::int64_t now_ns);

  /// The rank that was given up, once there is one.
  [[nodiscard]] std::optional<std::int32_t> lost_rank() const { return lost_rank_; }

 private:
  struct Link {
    ActorIndex from = graph::kNoActor;
    ActorIndex to = graph::kNoActor;
    transport::StreamSender sender;
    transport::StreamReceiver receiver;
    std::map<transport::FrameNumber, actors::Message> frames;  // not handed over yet
    std::optional<std::int64_t> timer_ns;                      // that is in the queue
  };

  [[nodiscard]] std::size_t link_of(ActorIndex from, ActorIndex to);
  void transmit(LinkEvent event, const actors::Message& message, ActorIndex to,
                std::int64_t now_ns);
  void set_timer(std::size_t index);
  void take_frame(const LinkEvent& event, std::int64_t now_ns);
  void take_timer(const LinkEvent& event, std::int64_t now_ns);
  [[nodiscard]] bool draw(double share);

  const Faults& faults_;
  Random random_;
  std::uint64_t draws_ = 0;
  Port& port_;
  std::vector<Link> links_;
  std::map<std::pair<ActorIndex, ActorIndex>, std::size_t> by_ends_;
  std::optional<std::int32_t> lost_rank_;
};

}  // namespace sluice::host
