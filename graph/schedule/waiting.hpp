// How many messages wait at their receivers when a schedule runs: what channels need room for.
#pragma once

#include "graph/schedule/schedule.hpp"

namespace sluice::graph {

/// Most messages that wait at once on each way between the stages of a route, if every rank does
/// its program in order and as soon as it can. With room for that many nobody ever waits for room:
/// that run is then possible, and with bounded channels all runs of in-order programs end alike.
struct Waiting {
  std::vector<std::int32_t> activations;     ///< by receiving stage; [0] is not used
  std::vector<std::int32_t> gradients;       ///< by receiving stage; the last is not used
  std::int32_t first_to_last = 0;            ///< what the first stage's F says to the last one's
  std::int32_t last_to_first_gradients = 0;  ///< what the last stage's B says to the first one's
};

/// By route. Error: as time_schedule().
[[nodiscard]] Result<std::vector<Waiting>> count_waiting(const Schedule& schedule);

}  // namespace sluice::graph
