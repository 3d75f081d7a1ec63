// What `sluice simulate` shows: a step's parts beside what was published of it.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "graph/cost/step.hpp"
#include "graph/cost/what_if.hpp"
#include "runtime/engine/hardware_run.hpp"

namespace sluice {

/// A step's parts as arXiv 2505.09343 lists them, and what follows from them. Seconds, unless said.
struct StepNumbers {
  double forward = 0, bubble = 0, backward = 0, weight = 0, pair = 0, optimizer = 0, step = 0;
  double tokens_per_day = 0;
  double mfu_causal = 0, mfu_non_causal = 0;  ///< shares of the BF16 peak
  double gpu_hours = 0;                       ///< for 14.8T tokens
};

struct WhatIfResult {
  std::string name, about;
  double step = 0;
};

struct SimulationView {
  cost::Job job;
  cost::Hardware hardware;
  cost::Step step;
  std::int32_t rank = 0;        ///< whose rows are shown
  bool load_was_given = false;  ///< else balanced routing is assumed
  std::vector<WhatIfResult> what_ifs;
  std::optional<engine::HardwareRun> actors;  ///< the same step by its actors
};

/// Of one rank.
[[nodiscard]] StepNumbers numbers_of(const SimulationView& view);
/// What was published of this very job on this hardware: DeepSeek-V3 on 2048 H800, nothing else.
[[nodiscard]] std::optional<StepNumbers> published_numbers(const cost::Job& job,
                                                           const cost::Hardware& hardware);
/// What was assumed or folded, a sentence each.
[[nodiscard]] std::vector<std::string> assumptions_of(const SimulationView& view);

[[nodiscard]] std::string simulation_text(const SimulationView& view);
/// docs/simulation.md describes it.
[[nodiscard]] std::string simulation_json(const SimulationView& view);

}  // namespace sluice
