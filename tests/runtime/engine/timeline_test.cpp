// What a recording shows: times that fit together, causes before effects, and JSON as Perfetto
// wants it.
#include "runtime/trace/timeline.hpp"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "runtime/trace/chrome_trace.hpp"
#include "runtime/trace/report.hpp"
#include "tests/runtime/engine/recording_support.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::engine {
namespace {

using nlohmann::json;
using trace::kNone;
using trace::Timeline;

class TimelineTest : public testing::TestWithParam<const char*> {
 protected:
  TimelineTest() {
    const Status recorded =
        record(folder_.path(), trace::Payloads::kNone,
               {"train.global_batch_size=4", std::string("schedule.name=") + GetParam()}, 3);
    EXPECT_TRUE(recorded) << recorded.error().message;
    auto timeline = trace::read_timeline(folder_.path());
    EXPECT_TRUE(timeline) << timeline.error().message;
    if (timeline) timeline_ = std::move(*timeline);
  }
  test::TemporaryFolder folder_;
  Timeline timeline_;
};

INSTANTIATE_TEST_SUITE_P(Schedules, TimelineTest,
                         testing::Values("gpipe", "1f1b", "interleaved_1f1b", "zb1p", "zbv",
                                         "dualpipe", "dualpipev"),
                         [](const auto& info) { return "As_" + std::string(info.param); });

TEST_P(TimelineTest, EveryMessageArrivesAndEveryTaskHasACause) {
  EXPECT_TRUE(timeline_.closed);
  EXPECT_EQ(timeline_.steps.size(), 3U);
  EXPECT_GT(timeline_.tasks.size(), 300U);
  int with_task = 0;
  for (const trace::Flight& message : timeline_.messages) {
    if (message.to == graph::kOutside) continue;
    EXPECT_GT(message.arrived_ns, message.sent_ns) << to_string(message.head);
    if (message.task == kNone) continue;
    ++with_task;
    const trace::TaskSpan& task = timeline_.tasks[static_cast<std::size_t>(message.task)];
    EXPECT_EQ(task.actor, message.to);
    EXPECT_EQ(task.times.submitted_ns, message.arrived_ns);
    EXPECT_EQ(task.key.step, message.head.key.topic == actors::Topic::kControl
                                 ? task.key.step
                                 : message.head.key.step);
  }
  EXPECT_GT(with_task, 100);
  for (const trace::TaskSpan& task : timeline_.tasks) {
    const int causes =
        (task.cause.message != kNone) + (task.cause.task != kNone) + (task.cause.credit != kNone);
    EXPECT_EQ(causes, 1) << task.name;
    if (task.cause.task == kNone) continue;
    EXPECT_LE(timeline_.tasks[static_cast<std::size_t>(task.cause.task)].times.ended_ns,
              task.times.submitted_ns);
  }
}

TEST_P(TimelineTest, CreditsStayInTheirWindowAndComeBack) {
  std::map<std::int32_t, std::int32_t> last, most;
  for (const trace::CreditsUsed& used : timeline_.credits) {
    const auto& channel = timeline_.recording.channels[static_cast<std::size_t>(used.channel)];
    EXPECT_GE(used.count, 0);
    EXPECT_LE(used.count, channel.credits);
    last[used.channel] = used.count;
    most[used.channel] = std::max(most[used.channel], used.count);
  }
  EXPECT_EQ(last.size(), timeline_.recording.channels.size());
  for (const auto& [channel, count] : last) EXPECT_LE(count, 1) << "of channel " << channel;
  for (const auto& [channel, count] : most) EXPECT_GE(count, 1);
}

TEST_P(TimelineTest, AReportAddsUp) {
  const auto report = trace::make_report(timeline_);
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_EQ(report->steps.size(), 3U);
  for (const trace::LaneUse& use : report->lanes) {
    EXPECT_EQ(use.busy_ns + use.exposed_ns + use.bubble_ns, report->span_ns);
    EXPECT_GE(use.bubble_ns, 0);
  }
  EXPECT_GT(report->busy(timeline_), 0.05);
  EXPECT_GT(report->hidden(), 0.0);
  EXPECT_LT(report->hidden(), 1.0);
  for (const trace::ChannelUse& use : report->channels) EXPECT_GT(use.messages, 0);
  ASSERT_EQ(report->experts.size(), 4U);               // three layers and a prediction depth
  for (const trace::ExpertUse& use : report->experts)  // 3 steps of 4 sequences, 12 tokens, 2 each
    EXPECT_EQ(std::accumulate(use.loads.begin(), use.loads.end(), std::int64_t{0}), 3 * 4 * 12 * 2);
  const trace::StepSpan& step = timeline_.steps[static_cast<std::size_t>(report->shown)];
  std::int64_t now = step.began_ns;
  for (const trace::ChainLink& link : report->chain) {
    EXPECT_EQ(link.began_ns, now);
    EXPECT_GT(link.ended_ns, link.began_ns);
    now = link.ended_ns;
  }
  EXPECT_EQ(now, step.ended_ns);
  EXPECT_GT(report->chain.size(), 20U);
}

TEST_P(TimelineTest, ChromeJsonIsWellFormed) {
  std::string text;
  ASSERT_TRUE(trace::write_chrome_trace(timeline_, [&text](std::string_view piece) -> Status {
    text += piece;
    return {};
  }));
  const json trace = json::parse(text);
  using Track = std::pair<int, int>;
  std::map<Track, std::vector<std::pair<double, double>>> slices;
  std::map<int, std::pair<json, json>> arrows;
  std::map<std::string, int> open;
  int counters = 0;
  for (const json& event : trace.at("traceEvents")) {
    const std::string phase = event.at("ph");
    if (phase == "X") {
      const double at = event.at("ts");
      slices[{event.at("pid"), event.at("tid")}].emplace_back(at,
                                                              at + event.at("dur").get<double>());
    } else if (phase == "s") {
      arrows[event.at("id")].first = event;
    } else if (phase == "f") {
      arrows[event.at("id")].second = event;
    } else if (phase == "b" || phase == "e") {
      open[event.at("id2").at("local")] += phase == "b" ? 1 : -1;
    } else if (phase == "C") {
      ++counters;
    }
  }
  EXPECT_GT(counters, 500);
  for (const auto& [id, count] : open) EXPECT_EQ(count, 0) << id;
  EXPECT_GT(open.size(), 200U);
  for (auto& [track, spans] : slices) {  // one after the other
    std::sort(spans.begin(), spans.end());
    for (std::size_t i = 1; i < spans.size(); ++i)
      EXPECT_LE(spans[i - 1].second, spans[i].first + 1e-4) << track.first << " " << track.second;
  }
  EXPECT_GT(arrows.size(), 100U);
  for (const auto& [id, ends] : arrows) {
    for (const json* end : {&ends.first, &ends.second}) {
      ASSERT_FALSE(end->is_null()) << "half an arrow, " << id;
      const double at = end->at("ts");
      const auto& spans = slices.at({end->at("pid"), end->at("tid")});
      EXPECT_TRUE(std::any_of(spans.begin(), spans.end(), [at](const auto& span) {
        return span.first <= at + 1e-4 && at < span.second;
      })) << "an arrow from no slice";
    }
    EXPECT_LT(ends.first.at("ts").get<double>(), ends.second.at("ts").get<double>());
  }
}

}  // namespace
}  // namespace sluice::engine
