// Frames arrive once and in order whatever the link does to them, and a dead peer is found out.
#include "runtime/transport/reliable_stream.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernels/base/random.hpp"

namespace sluice::transport {
namespace {

using Arrival = StreamReceiver::Arrival;

TEST(StreamReceiver, HandsOnInOrderAndOnce) {
  StreamReceiver receiver(3);
  EXPECT_EQ(receiver.arrive(0), Arrival::kNext);
  EXPECT_EQ(receiver.next(), 1u);
  EXPECT_EQ(receiver.arrive(2), Arrival::kEarly);
  EXPECT_EQ(receiver.arrive(2), Arrival::kAgain);
  EXPECT_EQ(receiver.arrive(4), Arrival::kEarly);
  EXPECT_EQ(receiver.arrive(5), Arrival::kTooEarly);
  EXPECT_EQ(receiver.next(), 1u);
  EXPECT_EQ(receiver.arrive(1), Arrival::kNext);
  EXPECT_EQ(receiver.next(), 3u) << "1, and 2 that waited for it";
  EXPECT_EQ(receiver.arrive(1), Arrival::kAgain);
  EXPECT_EQ(receiver.arrive(3), Arrival::kNext);
  EXPECT_EQ(receiver.next(), 5u);
  EXPECT_EQ(receiver.arrive(5), Arrival::kNext) << "what was too early may come again";
}

TEST(StreamSender, SendsAgainWhatIsNotAcknowledgedInTime) {
  StreamSender sender({.timeout_ns = 10, .timeout_ns_max = 40, .attempts_max = 9});
  EXPECT_FALSE(sender.deadline());
  EXPECT_EQ(sender.send(0), 0u);
  EXPECT_EQ(sender.send(5), 1u);
  EXPECT_EQ(sender.deadline(), 10);
  EXPECT_TRUE(sender.overdue(9).empty());
  EXPECT_EQ(sender.overdue(10), std::vector<FrameNumber>{0});
  EXPECT_EQ(sender.overdue(30), (std::vector<FrameNumber>{0, 1})) << "after 20, twice the time";
  EXPECT_EQ(sender.deadline(), 50) << "of 1";
  sender.acknowledge(1);
  EXPECT_EQ(sender.acknowledged(), 1u);
  sender.acknowledge(0);  // late
  EXPECT_EQ(sender.acknowledged(), 1u);
  EXPECT_EQ(sender.overdue(50), std::vector<FrameNumber>{1});
  EXPECT_EQ(sender.deadline(), 90) << "at most timeout_ns_max";
  EXPECT_EQ(sender.overdue(90), std::vector<FrameNumber>{1});
  EXPECT_EQ(sender.deadline(), 130);
  sender.acknowledge(2);
  EXPECT_FALSE(sender.deadline());
}

TEST(StreamSender, GivesUpOnAPeerThatNeverAnswers) {
  StreamSender sender({.timeout_ns = 10, .timeout_ns_max = 10, .attempts_max = 3});
  static_cast<void>(sender.send(0));
  EXPECT_EQ(sender.overdue(10).size(), 1u);
  EXPECT_EQ(sender.overdue(20).size(), 1u);
  EXPECT_FALSE(sender.peer_is_lost());
  EXPECT_TRUE(sender.overdue(30).empty());
  EXPECT_TRUE(sender.peer_is_lost());
  EXPECT_FALSE(sender.deadline());
}

// A link that loses, repeats and delays frames and acknowledgements as the seed says.
class Link {
 public:
  explicit Link(std::uint64_t seed) : random_(seed, RandomPurpose::kTest) {}

  std::vector<FrameNumber> carry(FrameNumber count) {
    while (received_.size() < count) {
      ++now_;
      if (sent_ < count && draw(3) == 0) {
        put(frames_, sender_.send(now_));
        ++sent_;
      }
      for (const FrameNumber again : sender_.overdue(now_)) put(frames_, again);
      take(frames_, [this](FrameNumber number) {
        const FrameNumber before = receiver_.next();
        static_cast<void>(receiver_.arrive(number));
        for (FrameNumber n = before; n < receiver_.next(); ++n) received_.push_back(n);
        put(answers_, receiver_.next());
      });
      take(answers_, [this](FrameNumber next) { sender_.acknowledge(next); });
      if (now_ > 1'000'000 || sender_.peer_is_lost()) break;
    }
    return received_;
  }

 private:
  using Wire = std::vector<std::pair<std::int64_t, FrameNumber>>;  // arrival, what
  std::uint64_t draw(std::uint64_t n) { return random_.below(n, draws_++); }
  void put(Wire& wire, FrameNumber what) {
    if (draw(4) == 0) return;
    const std::uint64_t copies = 1 + draw(2);
    for (std::uint64_t i = 0; i < copies; ++i)
      wire.emplace_back(now_ + 1 + static_cast<std::int64_t>(draw(30)), what);
  }
  template <class F>
  void take(Wire& wire, F&& arrive) {
    Wire due;
    std::erase_if(wire, [&](const auto& entry) {
      if (entry.first > now_) return false;
      due.push_back(entry);
      return true;
    });
    for (const auto& entry : due) arrive(entry.second);
  }

  Random random_;
  std::uint64_t draws_ = 0;
  std::int64_t now_ = 0;
  FrameNumber sent_ = 0;
  StreamSender sender_{{.timeout_ns = 40, .timeout_ns_max = 200, .attempts_max = 40}};
  StreamReceiver receiver_{8};
  Wire frames_, answers_;
  std::vector<FrameNumber> received_;
};

TEST(ReliableStream, CarriesEveryFrameOnceAndInOrderOverABadLink) {
  std::vector<FrameNumber> expected(200);
  std::iota(expected.begin(), expected.end(), 0);
  for (std::uint64_t seed = 0; seed < 200; ++seed)
    ASSERT_EQ(Link(seed).carry(expected.size()), expected) << "seed " << seed;
}

}  // namespace
}  // namespace sluice::transport
