// Whether a plan can run to its end: its shape, and freedom from deadlock under its credits.
#pragma once

#include "graph/plan.hpp"

namespace sluice::graph {

/// Plays the programs, and forward passes alone as evaluation does them, on counters instead of
/// tensors: every rank one action at a time, each pass receives, works, and sends once there is
/// room. If that run ends, so does every run whose actions run ahead: see plan_check.cpp.
/// Errors: a channel that joins actors which are not there, a program that is not complete or not
/// in order, too few activation buffers, or, when nothing can move any more, who waits for whom.
[[nodiscard]] Status check_plan(const Plan& plan);

}  // namespace sluice::graph
