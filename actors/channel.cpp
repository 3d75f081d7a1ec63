// Forwarding, and the credit window.
#include "actors/channel.hpp"

#include <algorithm>

#include "kernels/base/check.hpp"
#include "kernels/base/sometimes.hpp"

namespace sluice::actors {

Channel::Channel(Config config) : config_(config), batch_(std::max(1, config.credits / 2)) {
  SLUICE_CHECK_GE(config.credits, 1);
}

void Channel::on_message(Context& context, Message message) {
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
  message.via = config_.self;
  context.send(config_.to, std::move(message));
  give_back(context);
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
