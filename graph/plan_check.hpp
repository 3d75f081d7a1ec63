// Whether a plan can run to its end: its shape, and freedom from deadlock under its credits.
#pragma once

#include "graph/plan.hpp"

namespace sluice::graph {

/// Plays the programs, and forward passes alone as evaluation does them, on counters instead of
/// tensors. The answer does not depend on the order of the play: if it ends, every run ends, and if
/// it stands still, so does every run (why: plan_check.cpp).
/// Errors: a channel that joins actors which are not there, a program that is not complete or not
/// in order, too few activation buffers, a rank that needs more memory than its device has, with
/// the largest part and what lowers it, or, when nothing can move any more, who waits for whom.
[[nodiscard]] Status check_plan(const Plan& plan);

}  // namespace sluice::graph
