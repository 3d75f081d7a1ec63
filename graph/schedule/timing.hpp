// When each pass of a schedule runs, if every rank does its program in order and as soon as it can.
#pragma once

#include <functional>

#include "graph/schedule/schedule.hpp"

namespace sluice::graph {

struct Span {
  Ticks start = 0;
  Ticks end = 0;
};

struct RankTiming {
  std::vector<Span> actions;  ///< in the order of the program
  Ticks idle = 0;             ///< of the makespan
  std::int32_t peak_live_activations = 0;
};

struct Timing {
  Ticks makespan = 0;
  std::vector<RankTiming> ranks;
};

/// F of a stage follows F of the stage before on its route; B and I follow the own F, and B or I of
/// the stage after; W follows the own I. A pair starts when both of its passes can, and both end
/// with it. What comes from another rank comes `transfer` later. Takes time linear in the number of
/// passes. Error: a schedule in which ranks wait for each other in a circle, or for a pass that
/// never comes; it names them.
[[nodiscard]] Result<Timing> time_schedule(const Schedule& schedule, const PassTimes& times);

/// Of an action of a rank, not negative.
using ActionTime = std::function<Ticks(std::int32_t rank, const Action& action)>;
/// The same where actions of different ranks take different times.
[[nodiscard]] Result<Timing> time_schedule(const Schedule& schedule, const ActionTime& time,
                                           Ticks transfer);

}  // namespace sluice::graph
