// Forwarding, and the credit window.
#include "actors/channel.hpp"

#include <algorithm>

#include "kernels/base/check.hpp"
#include "kernels/base/sometimes.hpp"

namespace sluice::actors {

Channel::Channel(Config config) : config_(config), batch_(std::max(1, config.credits / 2)) {
  SLUICE_CHECK_GE(config.credits, 1);
}

namespace {

// Timers of a link.
constexpr std::uint64_t kTransmitted = 0, kArrived = 1;

}  // namespace

void Channel::on_message(Context& context, Message message) {
  if (const auto* fired = std::get_if<TimerFired>(&message.body)) {
    on_timer(context, fired->timer);
    return;
  }
  if (const auto* credit = std::get_if<Credit>(&message.body)) {
    SLUICE_CHECK_EQ(message.from, config_.to);
    in_flight_ -= credit->count;
    returned_ += credit->count;
    SLUICE_CHECK_GE(in_flight_, 0);
    give_back(context);
    return;
  }
  SLUICE_CHECK_EQ(message.from, config_.from);
  ++passed_;
  ++in_flight_;
  in_flight_max_ = std::max(in_flight_max_, in_flight_);
  SLUICE_CHECK(in_flight_ + returned_ <= config_.credits, "channel {}: sent without a credit",
               config_.self);
  if (!config_.link.is_there()) {
    forward(context, std::move(message));
  } else {
    to_transmit_.push_back(std::move(message));
    if (to_transmit_.size() == 1) transmit_next(context);
  }
  give_back(context);
}

void Channel::forward(Context& context, Message message) {
  message.via = config_.self;
  context.send(config_.to, std::move(message));
}

void Channel::transmit_next(Context& context) {
  const double rate = config_.link.bytes_per_second;
  if (rate == 0) return let_fly(context);
  const auto bytes = static_cast<double>(size_bytes(to_transmit_.front()));
  context.set_timer(bytes / rate, kTransmitted);
}

void Channel::let_fly(Context& context) {
  flying_.push_back(std::move(to_transmit_.front()));
  to_transmit_.pop_front();
  context.set_timer(config_.link.latency_seconds, kArrived);
  if (!to_transmit_.empty()) transmit_next(context);
}

// Timers of a kind fire in the order in which they were set: all latencies are the same.
void Channel::on_timer(Context& context, std::uint64_t timer) {
  if (timer == kTransmitted) return let_fly(context);
  Message message = std::move(flying_.front());
  flying_.pop_front();
  forward(context, std::move(message));
}

void Channel::give_back(Context& context) {
  const bool sender_has_none = in_flight_ + returned_ == config_.credits;
  SLUICE_SOMETIMES(sender_has_none && returned_ > 0 && returned_ < batch_,
                   "credits go back at once to a sender that has none");
  if (returned_ == 0 || (returned_ < batch_ && !sender_has_none)) return;
  context.send(config_.from, {{}, config_.self, kNoActor, Credit{returned_}});
  returned_ = 0;
}

}  // namespace sluice::actors
