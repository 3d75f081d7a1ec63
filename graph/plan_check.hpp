// Whether a plan can run to its end: its shape, and freedom from deadlock under its credits.
#pragma once

#include "graph/plan.hpp"

namespace sluice::graph {

/// Plays the programs on counters instead of tensors: a pass starts when the window and its
/// activation credit allow, takes what it needs from its neighbours, and ends once its sends have
/// credits. Errors: a channel that joins actors which are not there, a program that does a backward
/// pass before its forward, and, when nothing can move any more, which stage waits for what.
[[nodiscard]] Status check_plan(const Plan& plan);

}  // namespace sluice::graph
