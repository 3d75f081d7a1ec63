// Shares from events told by hand.
#include "runtime/host/overlap_meter.hpp"

#include <gtest/gtest.h>

#include "graph/plan.hpp"

namespace sluice::host {
namespace {

using actors::Message;

constexpr actors::ActorIndex kLeft = 0, kRight = 1, kChannel = 2;

class OverlapMeterTest : public testing::Test {
 protected:
  OverlapMeterTest() { start(true); }
  void start(bool ranks_share_lanes) {
    graph::Plan plan;
    plan.options.pipeline_parallel_size = 2;
    plan.actors.resize(3);
    plan.actors[kRight].rank = 1;
    plan.channels.resize(1);
    plan.channels[0].actor = kChannel;
    plan.channels[0].from = kLeft;
    plan.channels[0].to = kRight;
    meter_.set_plan(plan, ranks_share_lanes);
  }
  // Handed to the channel at `sent`, passed on and delivered at `arrived`.
  void send(std::int64_t now_ns) {
    Message message;
    message.body = actors::StepStart{};
    meter_.on_send(kLeft, kChannel, message, now_ns);
  }
  void deliver(std::int64_t now_ns) {
    Message message;
    message.body = actors::StepStart{};
    meter_.on_delivery(kChannel, message, now_ns - 1);
    message.via = kChannel;
    meter_.on_send(kChannel, kRight, message, now_ns - 1);
    meter_.on_delivery(kRight, message, now_ns);
    Message credit;
    credit.body = actors::Credit{1};
    meter_.on_send(kRight, kChannel, credit, now_ns);
    meter_.on_delivery(kChannel, credit, now_ns + 1);
  }
  void begin(actors::ActorIndex actor, std::int64_t now_ns) {
    meter_.on_start(actor, actors::Task{}, now_ns);
  }
  void end(actors::ActorIndex actor, std::int64_t now_ns) {
    meter_.on_task(actor, actors::Task{}, {now_ns, now_ns, now_ns});
  }
  void run(std::int64_t from_ns, std::int64_t to_ns, actors::Lane lane = actors::Lane::kCompute) {
    actors::Task task;
    task.lane = lane;
    meter_.on_start(kRight, task, from_ns);
    meter_.on_task(kRight, task, {from_ns, from_ns, to_ns});
  }
  OverlapMeter meter_;
};

TEST_F(OverlapMeterTest, BooksIdleAndHiddenTime) {
  send(0);
  run(10, 50);  // 40 of the flight are hidden
  deliver(60);  // and 20 are not
  run(70, 90);
  run(90, 95, actors::Lane::kStorage);  // no compute lane: does not count
  send(100);                            // the last event so far
  const OverlapMeter::Shares shares = meter_.take();
  EXPECT_DOUBLE_EQ(shares.bubble, 0.4);
  EXPECT_DOUBLE_EQ(shares.hidden, 40.0 / 60.0);
  run(100, 110);  // goes on from where it was read, with the message that is on its way
  deliver(110);
  const OverlapMeter::Shares then = meter_.take();
  EXPECT_DOUBLE_EQ(then.bubble, 0);
  EXPECT_DOUBLE_EQ(then.hidden, 1);
}

// With a lane for each rank only the receiver's hides what comes to it.
TEST_F(OverlapMeterTest, TheReceiversLaneHides) {
  start(false);
  begin(kLeft, 0);
  send(10);
  begin(kRight, 20);
  end(kRight, 50);
  deliver(60);  // on its way for 50, of which the right lane worked for 30
  end(kLeft, 80);
  const OverlapMeter::Shares shares = meter_.take();
  EXPECT_DOUBLE_EQ(shares.hidden, 30.0 / 50.0);
  EXPECT_DOUBLE_EQ(shares.bubble, 50.0 / 160.0);  // 0 and 50 of 80 each
}

TEST_F(OverlapMeterTest, NothingOnItsWayIsNothingExposed) {
  EXPECT_DOUBLE_EQ(meter_.take().hidden, 1);
  EXPECT_DOUBLE_EQ(meter_.take().bubble, 0);
}

// Clocks of two threads may be told the wrong way round.
TEST_F(OverlapMeterTest, TimeDoesNotGoBack) {
  run(10, 50);
  run(49, 60);
  EXPECT_DOUBLE_EQ(meter_.take().bubble, 10.0 / 60.0);
}

}  // namespace
}  // namespace sluice::host
