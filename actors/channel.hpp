// One direction between two actors. Its credits are the receiver's free buffers: no credit, no
// send.
#pragma once

#include <deque>

#include "actors/context.hpp"

namespace sluice::actors {

/// Forwards messages to the receiver and credits back to the sender. Credits return in batches of
/// half the window, so that a busy channel costs little more than its messages; at once to a sender
/// that has none left.
///
/// A channel with a link holds messages up as that link would, one after the other through its
/// bandwidth, then for its latency, by timers alone: in one process, live or simulated, the actors
/// then see the times of a network that is not there.
class Channel final : public Actor {
 public:
  struct Config {
    ActorIndex self = kNoActor;
    ActorIndex from = kNoActor;
    ActorIndex to = kNoActor;
    std::int32_t credits = 1;
    graph::LinkOptions link{};  ///< none: messages go on at once
  };
  explicit Channel(Config config);

  void on_message(Context& context, Message message) override;
  [[nodiscard]] bool idle() const override { return in_flight_ == 0; }
  [[nodiscard]] Waiting waiting() const override {
    Waiting out;
    out.window = {in_flight_, returned_};
    out.received[config_.from] = out.sent[config_.to] = passed_;
    return out;
  }

  /// Most messages, and bytes of tensors in them, that ever waited for the receiver at once.
  [[nodiscard]] std::int32_t in_flight_max() const { return in_flight_max_; }

 private:
  void forward(Context& context, Message message);
  void give_back(Context& context);
  // On a link.
  void transmit_next(Context& context);
  void let_fly(Context& context);
  void on_timer(Context& context, std::uint64_t timer);

  Config config_;
  std::int32_t batch_;          // credits that are returned together
  std::int32_t in_flight_ = 0;  // sent, credit not back from the receiver
  std::int32_t returned_ = 0;   // credits back from the receiver, not yet given to the sender
  std::int32_t in_flight_max_ = 0;
  std::int64_t passed_ = 0;
  std::deque<Message> to_transmit_;  // the first is under way
  std::deque<Message> flying_;       // transmitted, not there yet
};

}  // namespace sluice::actors
