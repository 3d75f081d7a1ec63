// What `sluice schedule` shows: a schedule with its timing, as text, JSON and SVG.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "graph/schedule/timing.hpp"

namespace sluice {

/// Times are counted in millionths of the unit of --times, so that decimals stay exact.
inline constexpr graph::Ticks kTicksPerUnit = 1'000'000;

struct ScheduleView {
  graph::Schedule schedule;
  graph::PassTimes times;
  graph::Timing timing;
  std::optional<graph::Published> published;  ///< where the order is a schedule's of the table
  std::string same_as;  ///< that schedule's name, where another one stands in schedule.name
};

/// "66", "2.5": units.
[[nodiscard]] std::string units_text(graph::Ticks ticks);
/// "0 and 7", "0, 4 and 8": the stages of a rank.
[[nodiscard]] std::string stages_text(const ScheduleView& view, std::int32_t rank);
/// "dualpipe: 8 ranks, 8 stages, 20 micro-batches", "F 1, B 2, ..." with the times that it uses.
[[nodiscard]] std::string title_text(const ScheduleView& view);
[[nodiscard]] std::string times_text(const ScheduleView& view);
/// "makespan 66", and idle and live activations beside what is published, a line each.
[[nodiscard]] std::string summary_text(const ScheduleView& view);

struct TableStyle {
  bool colours = false;
  std::size_t columns_max = 0;  ///< longer rows go on below; 0: any length
};
/// As standard output wants it: colours in a terminal, unless NO_COLOR is set.
[[nodiscard]] TableStyle terminal_style();
/// Ranks as rows, time from left to right; then each rank's numbers and the summary.
[[nodiscard]] std::string schedule_table(const ScheduleView& view, TableStyle style);

/// {"makespan", "bubble", "ranks": [{"rank", "idle", "peak_live_activations", "program"}]}; docs/
/// how-to-schedules.md has the whole shape.
[[nodiscard]] std::string schedule_json(const ScheduleView& view);

/// A picture for documents and browsers.
[[nodiscard]] std::string schedule_svg(const ScheduleView& view);

}  // namespace sluice
