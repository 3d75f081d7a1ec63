// What a file of graph/schedule/ gives to the table in schedule.cpp.
#pragma once

#include "graph/schedule/schedule.hpp"

namespace sluice::graph {

struct ScheduleKind {
  std::string_view name;
  std::string_view about;
  std::int32_t stages_per_rank_min = 1;
  std::int32_t stages_per_rank_max = 1;
  std::int32_t stages_per_rank_default = 1;
  /// Empty, or what must be different: "needs an even number of ranks". Ranks, micro-batches and
  /// stages per rank are at least one and within the limits above.
  std::string (*refusal)(ScheduleSize size);
  Placement (*placement)(ScheduleSize size);
  Program (*program)(ScheduleSize size, std::int32_t rank);
  Published (*published)(ScheduleSize size, const PassTimes& times);
};

/// One per schedule.
using MakeKind = ScheduleKind();
MakeKind gpipe;
MakeKind one_forward_one_backward;
MakeKind interleaved;
MakeKind zero_bubble_one_pass;
MakeKind zero_bubble_v;
MakeKind dualpipe;
MakeKind dualpipe_v;

}  // namespace sluice::graph
