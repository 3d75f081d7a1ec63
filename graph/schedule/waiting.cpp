// Counts messages over the timed run of a schedule.
#include "graph/schedule/waiting.hpp"

#include <algorithm>

#include "graph/schedule/timing.hpp"

namespace sluice::graph {
namespace {

// When the passes of one stage of a route run, by micro-batch: F, and B or I.
struct StageTimes {
  std::vector<Span> forward, backward;
};

using Starts = Ticks Span::*;

// Sent at `send` of one span, received at `receive` of another. At one time sends come first.
std::int32_t most_waiting(const std::vector<Span>& from, Starts send, const std::vector<Span>& to,
                          Starts receive) {
  std::vector<std::pair<Ticks, std::int32_t>> events;  // -1: sent, 1: received
  for (const Span& span : from) events.emplace_back(span.*send, -1);
  for (const Span& span : to) events.emplace_back(span.*receive, 1);
  std::sort(events.begin(), events.end());
  std::int32_t waiting = 0;
  std::int32_t most = 0;
  for (const auto& [time, change] : events) most = std::max(most, waiting -= change);
  return most;
}

Waiting count(const std::vector<StageTimes>& stages) {
  Waiting out;
  out.activations.assign(stages.size(), 0);
  out.gradients.assign(stages.size(), 0);
  for (std::size_t s = 0; s + 1 < stages.size(); ++s) {
    const StageTimes& here = stages[s];
    const StageTimes& next = stages[s + 1];
    out.activations[s + 1] = most_waiting(here.forward, &Span::end, next.forward, &Span::start);
    out.gradients[s] = most_waiting(next.backward, &Span::end, here.backward, &Span::start);
  }
  out.first_to_last =
      most_waiting(stages.front().forward, &Span::start, stages.back().forward, &Span::end);
  out.last_to_first_gradients =
      most_waiting(stages.back().backward, &Span::start, stages.front().backward, &Span::end);
  return out;
}

}  // namespace

Result<std::vector<Waiting>> count_waiting(const Schedule& schedule) {
  const Placement& placement = schedule.placement;
  SLUICE_ASSIGN(const Timing timing, time_schedule(schedule, PassTimes{}));
  std::vector<std::vector<StageTimes>> routes(placement.routes().size());
  for (std::vector<StageTimes>& stages : routes)
    stages.resize(static_cast<std::size_t>(placement.stages()));
  for (std::int32_t rank = 0; rank < placement.ranks(); ++rank) {
    const Program& program = schedule.programs[static_cast<std::size_t>(rank)];
    const std::vector<Span>& spans = timing.ranks[static_cast<std::size_t>(rank)].actions;
    for (std::size_t i = 0; i < program.size(); ++i) {
      for (const Pass& pass : program[i].passes()) {
        if (pass.kind == PassKind::kBackwardWeight) continue;
        const Placement::Chunk at = placement.chunk(rank, pass.chunk);
        StageTimes& stage =
            routes[static_cast<std::size_t>(at.route)][static_cast<std::size_t>(at.stage)];
        (pass.kind == PassKind::kForward ? stage.forward : stage.backward).push_back(spans[i]);
      }
    }
  }
  std::vector<Waiting> out;
  for (const std::vector<StageTimes>& stages : routes) out.push_back(count(stages));
  return out;
}

}  // namespace sluice::graph
