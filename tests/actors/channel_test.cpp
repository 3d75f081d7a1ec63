// A channel forwards, and lets no more through than it has credits.
#include "actors/channel.hpp"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace sluice::actors {
namespace {

constexpr ActorIndex kRelay = 5;
constexpr ActorIndex kFrom = 1;
constexpr ActorIndex kTo = 2;

class Outbox final : public Context {
 public:
  void send(ActorIndex to, Message message) override { sent.emplace_back(to, std::move(message)); }
  void submit(Task) override { ADD_FAILURE() << "a channel submits no task"; }
  void set_timer(double seconds, std::uint64_t timer) override {
    timers.emplace_back(seconds, timer);
  }

  std::int32_t credits_returned() const {
    std::int32_t count = 0;
    for (const auto& [to, message] : sent) {
      if (const auto* credit = std::get_if<Credit>(&message.body)) {
        EXPECT_EQ(to, kFrom);
        EXPECT_EQ(message.from, kRelay);
        count += credit->count;
      }
    }
    return count;
  }

  std::vector<std::pair<ActorIndex, Message>> sent;
  std::vector<std::pair<double, std::uint64_t>> timers;
};

Channel make(std::int32_t credits) { return Channel({kRelay, kFrom, kTo, credits}); }
Message data_of(std::int32_t micro_batch) {
  return Message{.key = {.micro_batch = micro_batch, .topic = Topic::kActivation},
                 .from = kFrom,
                 .body = NextToken{.token = micro_batch}};
}
Message one_credit() { return Message{.from = kTo, .body = Credit{1}}; }

TEST(Channel, ForwardsAndSaysWhichWay) {
  Outbox context;
  Channel channel = make(2);
  channel.on_message(context, data_of(3));
  ASSERT_EQ(context.sent.size(), 1U);
  const auto& [to, message] = context.sent[0];
  EXPECT_EQ(to, kTo);
  EXPECT_EQ(message.from, kFrom);
  EXPECT_EQ(message.via, kRelay);
  EXPECT_EQ(message.key.micro_batch, 3);
  EXPECT_EQ(std::get<NextToken>(message.body).token, 3);
  EXPECT_FALSE(channel.idle());
  channel.on_message(context, one_credit());
  EXPECT_TRUE(channel.idle());
  EXPECT_TRUE(context.timers.empty()) << "without a link";
}

// One after the other through the bandwidth, and many at once in flight.
TEST(Channel, ALinkHoldsMessagesUp) {
  Outbox context;
  Channel channel({kRelay, kFrom, kTo, 4, {.latency_seconds = 0.5, .bytes_per_second = 100}});
  const auto fire = [&] {
    const std::uint64_t timer = context.timers.front().second;
    context.timers.erase(context.timers.begin());
    channel.on_message(context, Message{.body = TimerFired{timer}});
  };
  const auto with_bytes = [](std::int32_t micro_batch, std::int64_t bytes) {
    Message message = data_of(micro_batch);
    message.body = Hidden{Tensor::zeros(DType::kU8, Shape{bytes}), 0};
    return message;
  };
  channel.on_message(context, with_bytes(0, 20));
  channel.on_message(context, with_bytes(1, 30));
  EXPECT_TRUE(context.sent.empty());
  ASSERT_EQ(context.timers.size(), 1u) << "the second waits for the first to be transmitted";
  EXPECT_DOUBLE_EQ(context.timers[0].first, 0.2);
  fire();
  ASSERT_EQ(context.timers.size(), 2u);
  EXPECT_DOUBLE_EQ(context.timers[0].first, 0.5);
  EXPECT_DOUBLE_EQ(context.timers[1].first, 0.3);
  std::swap(context.timers[0], context.timers[1]);  // 0.3 comes first
  fire();
  EXPECT_TRUE(context.sent.empty());
  fire();
  fire();
  ASSERT_EQ(context.sent.size(), 2u);
  EXPECT_EQ(context.sent[0].second.key.micro_batch, 0);
  EXPECT_EQ(context.sent[1].second.key.micro_batch, 1);
  EXPECT_EQ(context.sent[1].second.via, kRelay);
  for (int i = 0; i < 2; ++i) channel.on_message(context, one_credit());
  EXPECT_TRUE(channel.idle());
  EXPECT_TRUE(context.timers.empty());
}

// Messages on a link are in flight: they hold credits.
TEST(Channel, ALinkWithLatencyAloneLetsAllFlyAtOnce) {
  Outbox context;
  Channel channel({kRelay, kFrom, kTo, 3, {.latency_seconds = 0.5}});
  for (std::int32_t m = 0; m < 3; ++m) channel.on_message(context, data_of(m));
  EXPECT_EQ(context.timers.size(), 3u);
  EXPECT_EQ(channel.in_flight_max(), 3);
  for (const auto& [seconds, timer] : std::exchange(context.timers, {})) {
    EXPECT_DOUBLE_EQ(seconds, 0.5);
    channel.on_message(context, Message{.body = TimerFired{timer}});
  }
  ASSERT_EQ(context.sent.size(), 3u);
  EXPECT_EQ(context.sent[2].second.key.micro_batch, 2);
}

// A sender that uses every credit it has never stands still, whatever the window.
TEST(Channel, EveryCreditComesBack) {
  for (std::int32_t credits = 1; credits <= 9; ++credits) {
    Outbox context;
    Channel channel = make(credits);
    std::int32_t sent = 0;
    std::int32_t taken = 0;
    for (int round = 0; round < 50; ++round) {
      while (sent < credits + context.credits_returned())
        channel.on_message(context, data_of(sent++));
      ASSERT_GT(sent, taken) << credits << " credits: everybody waits";
      channel.on_message(context, one_credit());
      ++taken;
    }
    EXPECT_EQ(channel.in_flight_max(), credits);
    for (; taken < sent; ++taken) channel.on_message(context, one_credit());
    EXPECT_TRUE(channel.idle());
  }
}

TEST(Channel, CreditsComeInBatchesOfHalfTheWindow) {
  Outbox context;
  Channel channel = make(8);
  for (std::int32_t m = 0; m < 7; ++m) channel.on_message(context, data_of(m));
  for (int i = 0; i < 3; ++i) channel.on_message(context, one_credit());
  EXPECT_EQ(context.credits_returned(), 0);
  channel.on_message(context, one_credit());
  EXPECT_EQ(context.credits_returned(), 4);
  EXPECT_EQ(context.sent.size(), 8U);  // in one message
}

// Nothing may be held back from a sender whose other messages wait for what it sends next.
TEST(Channel, ASenderWithoutCreditsGetsThemAtOnce) {
  Outbox context;
  Channel channel = make(8);
  for (std::int32_t m = 0; m < 8; ++m) channel.on_message(context, data_of(m));
  channel.on_message(context, one_credit());
  EXPECT_EQ(context.credits_returned(), 1);
  channel.on_message(context, one_credit());  // it has one on its way
  EXPECT_EQ(context.credits_returned(), 1);
  channel.on_message(context, data_of(8));
  EXPECT_EQ(context.credits_returned(), 2);
}

TEST(ChannelDeathTest, SendingWithoutACreditIsABug) {
  Outbox context;
  Channel channel = make(2);
  channel.on_message(context, data_of(0));
  channel.on_message(context, data_of(1));
  EXPECT_DEATH(channel.on_message(context, data_of(2)), "sent without a credit");
  channel.on_message(context, one_credit());
  channel.on_message(context, one_credit());
  EXPECT_DEATH(channel.on_message(context, one_credit()), "in_flight_");
  EXPECT_DEATH(make(0), "credits");
}

}  // namespace
}  // namespace sluice::actors
