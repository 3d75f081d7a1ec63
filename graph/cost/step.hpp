// A training step in virtual time: every rank's program, each pass as long as the cost model says.
//
// The executor is the exact timing of programs (graph/schedule/timing.hpp). Pipelines are alike, so
// one stands for all of them, and one rank of each expert group for the group: with an expert load
// above 1 it is the slowest, for which the others wait in every layer.
#pragma once

#include "graph/cost/chunk_times.hpp"
#include "graph/cost/resources.hpp"
#include "graph/schedule/timing.hpp"

namespace sluice::cost {

struct Row {
  std::int64_t count = 0;
  double seconds = 0;
};

/// Where a rank's time goes. Everything is counted once; with the optimizer the sum is the step.
struct RankRows {
  Row forward;                 ///< F alone
  Row backward;                ///< B and I alone
  Row weight;                  ///< W alone
  Row pair;                    ///< overlapped
  double bubble = 0;           ///< nothing runs
  double pair_waits = 0;       ///< of it, from the first pair's start to the last one's end
  double transfer_hidden = 0;  ///< all-to-alls under computation
  double transfer_exposed = 0;
};

/// A stage's passes; the pair is of a forward and a backward pass of that stage.
struct StageTimes {
  ChunkTimes passes;
  PassTime pair;
};

struct Step {
  double seconds = 0;    ///< programs and optimizer
  double optimizer = 0;  ///< of the slowest rank
  std::vector<RankRows> ranks;
  std::vector<Memory> memory;
  std::vector<StageTimes> stages;
  std::vector<std::int64_t> layers_per_stage;
  graph::Schedule schedule;
  graph::Timing timing;  ///< in nanoseconds
  double stage_hop = 0;  ///< seconds from a stage to the next

  double tokens = 0;  ///< of a step
  double tokens_per_day = 0;
  double operations_causal = 0;  ///< of a step
  double operations_non_causal = 0;
  double mfu_causal = 0;  ///< of the device's BF16 peak
  double mfu_non_causal = 0;
  [[nodiscard]] double gpu_hours(double gpus, double corpus_tokens) const {
    return corpus_tokens / tokens * seconds * gpus / 3600;
  }
};

/// Errors: a layout that cannot be; the message names the keys.
[[nodiscard]] Result<Step> simulate_step(const Job& job, const Hardware& hardware);

/// Seconds of each unit by task, alone and beside communication.
[[nodiscard]] UnitTimes unit_times(Unit unit, const Job& job, const Hardware& hardware);

}  // namespace sluice::cost
