// Actors on CAF and on CPU lanes: results, failures, timers and an orderly end.
#include "runtime/host/caf_host.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

#include "runtime/device/cpu_device.hpp"
#include "tests/support/loaded_libraries.hpp"
#include "tests/support/toy_actors.hpp"

namespace sluice::host {
namespace {

using actors::Message;
using std::chrono::milliseconds;
using std::chrono::seconds;

class CafHostTest : public testing::TestWithParam<int> {
 protected:
  CafHost::Config config() {
    return {.threads = GetParam(), .device = [this](std::int32_t) { return &device_; }};
  }

  device::CpuDevice device_{{.threads = 2}};
};

INSTANTIATE_TEST_SUITE_P(Threads, CafHostTest, testing::Values(1, 2));

TEST_P(CafHostTest, ThreeActorsGiveTheSum) {
  const toy::Sizes sizes{.credits = 2, .rows = 100};
  CafHost host(config());
  toy::add_toy(host, sizes);
  ASSERT_TRUE(host.start());
  toy::start_toy(host, 50);
  const Result<Message> report = host.receive();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(std::get<actors::LossPart>(report->body).main, toy::toy_sum(sizes, 50));
  EXPECT_TRUE(host.stop());
  EXPECT_EQ(device_.allocator().statistics().bytes_in_use, 0);
  EXPECT_TRUE(library_is_loaded("libcaf"));  // what without_caf_test must not find
}

TEST_P(CafHostTest, MemoryStaysAtThePlansCredits) {
  const toy::Sizes sizes{.credits = 2, .rows = 1 << 16};
  CafHost host(config());
  toy::add_toy(host, sizes);
  ASSERT_TRUE(host.start());
  toy::start_toy(host, 60);
  ASSERT_TRUE(host.receive());
  ASSERT_TRUE(host.stop());
  const std::int64_t tensors = 2 * sizes.credits + 1 + 2 + 1;
  EXPECT_LE(device_.allocator().statistics().bytes_in_use_peak, tensors * sizes.rows * 4);
}

TEST_P(CafHostTest, StopsInTheMiddle) {
  for (int i = 0; i < 20; ++i) {
    CafHost host(config());
    toy::add_toy(host, {.credits = 2, .rows = 1000});
    ASSERT_TRUE(host.start());
    toy::start_toy(host, 1000);
    ASSERT_TRUE(host.receive_for(milliseconds(i % 4)));
    ASSERT_TRUE(host.stop());
    EXPECT_EQ(device_.allocator().statistics().bytes_in_use, 0);
    EXPECT_FALSE(host.receive_for(seconds(10)));
    host.send(toy::kWorker, Message{});  // dropped
  }
}

// Throws at the third message, as code below an actor might when memory runs out.
class Faulty final : public actors::Actor {
 public:
  void on_message(actors::Context&, Message) override {
    if (++messages_ == 3) throw std::runtime_error("the disk is on fire");
  }
  [[nodiscard]] bool idle() const override { return true; }

 private:
  int messages_ = 0;
};

TEST_P(CafHostTest, AnActorThatGoesDownEndsTheRunWithItsName) {
  CafHost host(config());
  host.add(0, {graph::ActorKind::kStage, "stage 0", 0}, std::make_unique<Faulty>());
  toy::Sizes sizes;
  host.add(1, {graph::ActorKind::kStage, "worker", 0}, std::make_unique<toy::Worker>(sizes));
  ASSERT_TRUE(host.start());
  for (int i = 0; i < 5; ++i) host.send(0, Message{});
  const auto answer = host.receive_for(seconds(60));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().message, "stage 0 went down: the disk is on fire");
  EXPECT_EQ(answer.error().kind, ErrorKind::kFailed);
  const Status end = host.stop();
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().message, answer.error().message);
}

// Sets two timers and passes them to the outside.
class Timers final : public actors::Actor {
 public:
  void on_message(actors::Context& context, Message message) override {
    if (std::holds_alternative<actors::TimerFired>(message.body)) {
      return context.send(actors::kOutside, std::move(message));
    }
    context.set_timer(0.03, 2);
    context.set_timer(0.001, 1);
    context.set_timer(3600, 3);
  }
  [[nodiscard]] bool idle() const override { return true; }
};

TEST_P(CafHostTest, TimersFireInTheirOrderAndDoNotHoldUpTheEnd) {
  CafHost host(config());
  host.add(0, {}, std::make_unique<Timers>());
  ASSERT_TRUE(host.start());
  const auto nothing = host.receive_for(milliseconds(1));
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(nothing->has_value());
  host.send(0, Message{});
  for (const std::uint64_t timer : {1U, 2U}) {
    const Result<Message> fired = host.receive();
    ASSERT_TRUE(fired);
    EXPECT_EQ(std::get<actors::TimerFired>(fired->body).timer, timer);
  }
  ASSERT_TRUE(host.stop());
}

}  // namespace
}  // namespace sluice::host
