// A channel forwards, and lets no more through than it has credits.
#include "actors/channel.hpp"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace sluice::actors {
namespace {

constexpr ActorIndex kSelf = 5;
constexpr ActorIndex kFrom = 1;
constexpr ActorIndex kTo = 2;

class Recorder final : public Context {
 public:
  void send(ActorIndex to, Message message) override { sent.emplace_back(to, std::move(message)); }
  void submit(Task) override { ADD_FAILURE() << "a channel submits no task"; }
  void set_timer(double, std::uint64_t) override { ADD_FAILURE() << "a channel sets no timer"; }

  std::int32_t credits_returned() const {
    std::int32_t count = 0;
    for (const auto& [to, message] : sent) {
      if (const auto* credit = std::get_if<Credit>(&message.body)) {
        EXPECT_EQ(to, kFrom);
        EXPECT_EQ(message.from, kSelf);
        count += credit->count;
      }
    }
    return count;
  }

  std::vector<std::pair<ActorIndex, Message>> sent;
};

Channel make(std::int32_t credits) { return Channel({kSelf, kFrom, kTo, credits}); }
Message data(std::int32_t micro_batch) {
  return Message{.key = {.micro_batch = micro_batch, .topic = Topic::kActivation},
                 .from = kFrom,
                 .body = NextToken{.token = micro_batch}};
}
Message credit() { return Message{.from = kTo, .body = Credit{1}}; }

TEST(Channel, ForwardsAndSaysWhichWay) {
  Recorder context;
  Channel channel = make(2);
  channel.on_message(context, data(3));
  ASSERT_EQ(context.sent.size(), 1U);
  const auto& [to, message] = context.sent[0];
  EXPECT_EQ(to, kTo);
  EXPECT_EQ(message.from, kFrom);
  EXPECT_EQ(message.via, kSelf);
  EXPECT_EQ(message.key.micro_batch, 3);
  EXPECT_EQ(std::get<NextToken>(message.body).token, 3);
  EXPECT_FALSE(channel.idle());
  channel.on_message(context, credit());
  EXPECT_TRUE(channel.idle());
}

// A sender that uses every credit it has never stands still, whatever the window.
TEST(Channel, EveryCreditComesBack) {
  for (std::int32_t credits = 1; credits <= 9; ++credits) {
    Recorder context;
    Channel channel = make(credits);
    std::int32_t sent = 0;
    std::int32_t taken = 0;
    for (int round = 0; round < 50; ++round) {
      while (sent < credits + context.credits_returned()) channel.on_message(context, data(sent++));
      ASSERT_GT(sent, taken) << credits << " credits: everybody waits";
      channel.on_message(context, credit());
      ++taken;
    }
    EXPECT_EQ(channel.in_flight_max(), credits);
    for (; taken < sent; ++taken) channel.on_message(context, credit());
    EXPECT_TRUE(channel.idle());
  }
}

TEST(Channel, CreditsComeInBatchesOfHalfTheWindow) {
  Recorder context;
  Channel channel = make(8);
  for (std::int32_t m = 0; m < 7; ++m) channel.on_message(context, data(m));
  for (int i = 0; i < 3; ++i) channel.on_message(context, credit());
  EXPECT_EQ(context.credits_returned(), 0);
  channel.on_message(context, credit());
  EXPECT_EQ(context.credits_returned(), 4);
  EXPECT_EQ(context.sent.size(), 8U);  // in one message
}

// Nothing may be held back from a sender whose other messages wait for what it sends next.
TEST(Channel, ASenderWithoutCreditsGetsThemAtOnce) {
  Recorder context;
  Channel channel = make(8);
  for (std::int32_t m = 0; m < 8; ++m) channel.on_message(context, data(m));
  channel.on_message(context, credit());
  EXPECT_EQ(context.credits_returned(), 1);
  channel.on_message(context, credit());  // it has one on its way
  EXPECT_EQ(context.credits_returned(), 1);
  channel.on_message(context, data(8));
  EXPECT_EQ(context.credits_returned(), 2);
}

TEST(ChannelDeathTest, SendingWithoutACreditIsABug) {
  Recorder context;
  Channel channel = make(2);
  channel.on_message(context, data(0));
  channel.on_message(context, data(1));
  EXPECT_DEATH(channel.on_message(context, data(2)), "sent without a credit");
  channel.on_message(context, credit());
  channel.on_message(context, credit());
  EXPECT_DEATH(channel.on_message(context, credit()), "in_flight_");
  EXPECT_DEATH(make(0), "credits");
}

}  // namespace
}  // namespace sluice::actors
