// What `sluice schedule` shows: table, colours, JSON and picture of schedules and their timing.
#include "runtime/cli/schedule_view.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice {
namespace {

using testing::HasSubstr;
using testing::Not;

ScheduleView view_of(std::string_view name, graph::ScheduleSize size) {
  ScheduleView view;
  constexpr auto kUnit = kTicksPerUnit;
  view.times = {kUnit, 2 * kUnit, kUnit, kUnit, 3 * kUnit, 0};
  view.schedule = *graph::make_schedule(name, size);
  view.timing = *graph::time_schedule(view.schedule, view.times);
  view.published = graph::published(name, size, view.times);
  return view;
}

TEST(ScheduleView, UnitsKeepTheirDecimals) {
  EXPECT_EQ(units_text(0), "0");
  EXPECT_EQ(units_text(66 * kTicksPerUnit), "66");
  EXPECT_EQ(units_text(kTicksPerUnit / 2), "0.5");
  EXPECT_EQ(units_text(1), "0.000001");
  EXPECT_EQ(units_text(-kTicksPerUnit / 2), "-0.5");
  EXPECT_EQ(units_text(-2 * kTicksPerUnit), "-2");
}

TEST(ScheduleView, TableIsPlainWithoutColours) {
  EXPECT_EQ(schedule_table(view_of("zb1p", {2, 2}), {}),
            "zb1p: 2 ranks, 2 stages, 2 micro-batches\n"
            "times: F 1, I 1, W 1\n"
            "\n"
            "       0           4\n"
            "rank 0 F0 F1 .  I0 W0 I1 W1\n"
            "rank 1 .  F0 I0 F1 I1 W0 W1\n"
            "\n"
            "F forward   I backward, gradient of the input   W backward, gradients of the weights\n"
            "\n"
            "rank  stages        idle  live activations\n"
            "   0  0                1                 2\n"
            "   1  1                1                 2\n"
            "\n"
            "makespan           7\n"
            "idle on a rank     1 (14.3 %), published (PP-1)(F+B-2W) = 1\n"
            "live activations   2, published PP = 2\n");
}

TEST(ScheduleView, PairsShareTheirTimeAndSecondStagesAreMarked) {
  EXPECT_THAT(schedule_table(view_of("dualpipev", {1, 2}), {}),
              HasSubstr("rank 0 F0  F0' F1  B0'     F1'  B0     B1'     I1  W1\n"));
}

TEST(ScheduleView, LongRowsGoOnBelow) {
  const std::string table = schedule_table(view_of("1f1b", {2, 8}), {false, 40});
  EXPECT_THAT(table, HasSubstr("rank 0 F0 F1 .  .  B0    F2 B1    F3 B2\n"));
  for (std::size_t first = 0; first < table.size();) {
    const std::size_t last = table.find('\n', first);
    if (table.compare(first, 6, "rank 0") == 0) {
      EXPECT_LE(last - first, 40u);
    }
    first = last + 1;
  }
}

TEST(ScheduleView, ColoursEndWhereTheyBegin) {
  const std::string table = schedule_table(view_of("dualpipe", {4, 8}), {true, 80});
  EXPECT_THAT(table, HasSubstr("\x1b[38;5;16;48;5;215m"));
  std::string_view rest = table;
  for (std::size_t end = 0; (end = rest.find('\n')) != std::string_view::npos;) {
    const std::string_view line = rest.substr(0, end);
    const std::size_t on = line.rfind("\x1b[38"), off = line.rfind("\x1b[0m");
    if (on != std::string_view::npos) {
      EXPECT_LT(on, off) << line;
    }
    rest.remove_prefix(end + 1);
  }
  EXPECT_THAT(schedule_table(view_of("dualpipe", {4, 8}), {false, 80}), Not(HasSubstr("\x1b")));
}

TEST(ScheduleView, WhatIsTooWideIsNotDrawnAsText) {
  EXPECT_THAT(schedule_table(view_of("1f1b", {2, 4000}), {}),
              HasSubstr("(no picture: it would be"));
}

TEST(ScheduleView, JsonHasItsShape) {
  const auto json = nlohmann::ordered_json::parse(schedule_json(view_of("dualpipe", {2, 4})));
  const auto expected = nlohmann::ordered_json::parse(R"({
    "makespan": 12, "bubble": 0,
    "ranks": [
      {"rank": 0, "idle": 0, "peak_live_activations": 3, "program": [
        {"kind": "F", "micro_batch": 0, "direction": 0},
        {"kind": "F", "micro_batch": 0, "direction": 1},
        {"kind": "F", "micro_batch": 1, "direction": 0},
        {"kind": "B", "micro_batch": 0, "direction": 1},
        {"kind": "FB", "forward": {"micro_batch": 1, "direction": 1},
                       "backward": {"micro_batch": 0, "direction": 0}},
        {"kind": "B", "micro_batch": 1, "direction": 1},
        {"kind": "I", "micro_batch": 1, "direction": 0},
        {"kind": "W", "micro_batch": 1, "direction": 0}]},
      {"rank": 1, "idle": 0, "peak_live_activations": 3, "program": [
        {"kind": "F", "micro_batch": 0, "direction": 1},
        {"kind": "F", "micro_batch": 0, "direction": 0},
        {"kind": "F", "micro_batch": 1, "direction": 1},
        {"kind": "B", "micro_batch": 0, "direction": 0},
        {"kind": "FB", "forward": {"micro_batch": 1, "direction": 0},
                       "backward": {"micro_batch": 0, "direction": 1}},
        {"kind": "B", "micro_batch": 1, "direction": 0},
        {"kind": "I", "micro_batch": 1, "direction": 1},
        {"kind": "W", "micro_batch": 1, "direction": 1}]}]})");
  EXPECT_EQ(json.dump(), expected.dump());
}

TEST(ScheduleView, JsonNamesTheStageWhereDirectionDoesNot) {
  const auto loop = nlohmann::json::parse(schedule_json(view_of("interleaved_1f1b", {2, 2, 2})));
  EXPECT_EQ(loop["ranks"][1]["program"][0]["stage"], 1);
  EXPECT_EQ(loop["ranks"][1]["program"][2]["stage"], 3);
  const auto v = nlohmann::json::parse(schedule_json(view_of("zbv", {2, 4})));
  EXPECT_FALSE(v["ranks"][0]["program"][0].contains("stage"));
  EXPECT_TRUE(v["bubble"].is_null());
}

// Every box lies on its rank's lane, between its times.
TEST(ScheduleView, SvgIsWholeAndHasABoxAPass) {
  const ScheduleView view = view_of("dualpipev", {2, 5});
  const std::string svg = schedule_svg(view);
  EXPECT_TRUE(svg.starts_with("<svg xmlns="));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  std::size_t passes = 0;
  for (const graph::Program& program : view.schedule.programs) {
    for (const graph::Action& action : program) passes += action.passes().size();
  }
  std::size_t boxes = 0;
  for (std::size_t at = 0; (at = svg.find("stroke=\"#fff\"", at)) != std::string::npos; ++at)
    ++boxes;
  EXPECT_EQ(boxes, passes);
  EXPECT_THAT(svg, HasSubstr("F&amp;B+B-3W) = 2"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("F&B")));
}

}  // namespace
}  // namespace sluice
