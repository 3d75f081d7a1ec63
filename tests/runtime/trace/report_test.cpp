// Sets of moments, and a report on a timeline made by hand.
#include "runtime/trace/report.hpp"

#include <gtest/gtest.h>

#include <random>

#include "runtime/trace/intervals.hpp"

namespace sluice::trace {
namespace {

using Interval = Intervals::Interval;

// As sets of whole numbers, counted one by one.
TEST(Intervals, AreSetsOfMoments) {
  std::mt19937 random(3);
  constexpr int kEnd = 40;
  using Set = std::vector<bool>;
  const auto draw = [&random](Set& set) {
    set.assign(kEnd, false);
    std::vector<Interval> parts;
    for (unsigned n = random() % 7; n > 0; --n) {
      const auto begin = static_cast<std::int64_t>(random() % kEnd);
      const auto end = static_cast<std::int64_t>(random() % kEnd);
      parts.push_back({begin, end});
      for (std::int64_t t = begin; t < end; ++t) set[static_cast<std::size_t>(t)] = true;
    }
    return Intervals(std::move(parts));
  };
  const auto expect = [](const Intervals& found, const Set& set) {
    Set seen(kEnd, false);
    std::int64_t last = -1;
    for (const Interval& part : found.all()) {
      ASSERT_LT(part.begin, part.end);
      ASSERT_GT(part.begin, last);
      last = part.end;
      for (std::int64_t t = part.begin; t < part.end; ++t) seen[static_cast<std::size_t>(t)] = true;
    }
    EXPECT_EQ(seen, set);
    EXPECT_EQ(found.length(), std::count(set.begin(), set.end(), true));
  };
  for (int round = 0; round < 2000; ++round) {
    Set a, b, both(kEnd), rest(kEnd);
    const Intervals x = draw(a), y = draw(b);
    for (std::size_t t = 0; t < kEnd; ++t) both[t] = a[t] && b[t], rest[t] = a[t] && !b[t];
    expect(x, a);
    expect(x & y, both);
    expect(x - y, rest);
  }
}

constexpr ActorIndex kLeft = 0, kRight = 1, kSupervisor = 2, kChannel = 3;

// Left works from 0 to 40, sends; the message flies from 40 to 60, while right works from 10 to 50
// on something else; right works for the message from 60 to 90; the step ends at 100.
Timeline by_hand() {
  Timeline out;
  out.recording.ranks_share_lanes = false;
  out.recording.actors = {{graph::ActorKind::kStage, "left", 0},
                          {graph::ActorKind::kStage, "right", 1},
                          {graph::ActorKind::kSupervisor, "supervisor", 0},
                          {graph::ActorKind::kChannel, "channel left -> right: activation", 0}};
  graph::ChannelPlan channel;
  channel.actor = kChannel, channel.from = kLeft, channel.to = kRight, channel.credits = 2;
  out.recording.channels = {channel};
  out.lanes = {{"rank 0 compute", 0, actors::Lane::kCompute},
               {"rank 1 compute", 1, actors::Lane::kCompute}};
  const auto task = [&out](ActorIndex actor, std::string_view name, host::TaskTimes times,
                           Cause cause) {
    TaskSpan span;
    span.actor = span.lane = actor;
    span.name = name, span.times = times, span.cause = cause;
    out.tasks.push_back(span);
  };
  const auto flight = [&out](ActorIndex from, ActorIndex to, std::int64_t sent,
                             std::int64_t arrived, Cause cause) {
    Flight flight;
    flight.from = from, flight.to = to, flight.sent_ns = sent, flight.arrived_ns = arrived;
    flight.cause = cause, flight.bytes = 8;
    if (from == kLeft) flight.channel = 0;
    out.messages.push_back(flight);
  };
  Cause none, start_left, start_right, left_done, activation, right_done, result;
  flight(kSupervisor, kLeft, 0, 0, none);
  flight(kSupervisor, kRight, 0, 10, none);
  start_left.message = 0, start_right.message = 1;
  task(kLeft, "attention", {0, 0, 40}, start_left);
  left_done.task = 0;
  flight(kLeft, kRight, 40, 60, left_done);
  activation.message = 2;
  task(kRight, "weight gradient", {10, 10, 50}, start_right);
  task(kRight, "attention gradient", {60, 60, 90}, activation);
  right_done.task = 2;
  flight(kRight, kSupervisor, 90, 100, right_done);
  result.message = 3;
  flight(kSupervisor, graph::kOutside, 100, kNone, result);
  actors::StepReport report;
  report.layers = {{1, 0.5, {3, 1, 0, 0}}};
  out.steps = {{{}, 0, 100, {report}}};
  out.end_ns = 100;
  return out;
}

TEST(Report, CutsLanesInThree) {
  const Timeline timeline = by_hand();
  const auto report = make_report(timeline);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->span_ns, 100);
  ASSERT_EQ(report->lanes.size(), 2u);
  EXPECT_EQ(report->lanes[0].busy_ns, 40);
  EXPECT_EQ(report->lanes[0].exposed_ns, 10);  // the supervisor, told from 90 to 100, is on rank 0
  EXPECT_EQ(report->lanes[0].bubble_ns, 50);
  EXPECT_EQ(report->lanes[1].busy_ns, 70);
  EXPECT_EQ(report->lanes[1].exposed_ns, 10 + 10);  // waits for the start, and from 50 to 60
  EXPECT_EQ(report->lanes[1].bubble_ns, 10);
  EXPECT_DOUBLE_EQ(report->busy(timeline), 0.55);
  ASSERT_EQ(report->channels.size(), 1u);
  EXPECT_EQ(report->channels[0].messages, 1);
  EXPECT_EQ(report->channels[0].hidden_ns, 10);
  EXPECT_EQ(report->channels[0].exposed_ns, 10);
  EXPECT_DOUBLE_EQ(report->hidden(), 0.5);
  ASSERT_EQ(report->actors.size(), 2u);
  EXPECT_EQ(report->actors[0].actor, kRight);
  EXPECT_EQ(report->actors[0].tasks, 2);
  ASSERT_EQ(report->experts.size(), 1u);
  EXPECT_DOUBLE_EQ(report->experts[0].imbalance(), 3.0);
}

TEST(Report, FollowsTheChainOfWaits) {
  const Timeline timeline = by_hand();
  const auto report = make_report(timeline);
  ASSERT_TRUE(report);
  using Kind = ChainLink::Kind;
  std::vector<std::tuple<Kind, std::int32_t, std::int64_t, std::int64_t>> links;
  for (const ChainLink& link : report->chain)
    links.emplace_back(link.kind, link.index, link.began_ns, link.ended_ns);
  const decltype(links) expected{{Kind::kTask, 0, 0, 40},
                                 {Kind::kFlight, 2, 40, 60},
                                 {Kind::kTask, 2, 60, 90},
                                 {Kind::kFlight, 3, 90, 100}};
  EXPECT_EQ(links, expected);
  const auto sums = sum_chain(timeline, *report);
  ASSERT_EQ(sums.size(), 4u);
  EXPECT_EQ(sums[0].what, "left: attention");
  EXPECT_EQ(sums[0].ns, 40);
}

// A task that its lane kept waiting came after the one before it there.
TEST(Report, FollowsTheLaneOfATaskThatWaited) {
  Timeline timeline = by_hand();
  timeline.tasks[2].times = {60, 70, 90};
  timeline.tasks[1].times.ended_ns = 70;
  const auto report = make_report(timeline);
  ASSERT_TRUE(report);
  ASSERT_EQ(report->chain.size(), 4u);
  EXPECT_EQ(report->chain[0].kind, ChainLink::Kind::kFlight);  // to the right one, from the start
  EXPECT_EQ(report->chain[1].index, 1);
  EXPECT_EQ(report->chain[1].ended_ns, 70);
  EXPECT_EQ(report->chain[2].index, 2);
}

TEST(Report, SaysWhenThereIsNothingToReport) {
  Timeline timeline = by_hand();
  const auto other = make_report(timeline, 7);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message, "step 7 did not end in this recording; it has steps 1 to 1");
  EXPECT_TRUE(make_report(timeline, 1));
  timeline.steps[0].ended_ns = kNone;
  const auto none = make_report(timeline);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kInvalidInput);
}

TEST(Report, KnowsWhatTasksWorkFor) {
  EXPECT_EQ(work_of("experts"), Work::kForward);
  EXPECT_EQ(work_of("mtp output"), Work::kForward);
  EXPECT_EQ(work_of("head"), Work::kBackward);
  EXPECT_EQ(work_of("experts input gradient"), Work::kBackward);
  EXPECT_EQ(work_of("experts weight gradient"), Work::kWeights);
  EXPECT_EQ(work_of("embedding gradient"), Work::kWeights);
  EXPECT_EQ(work_of("gradient norm"), Work::kOther);
}

}  // namespace
}  // namespace sluice::trace
