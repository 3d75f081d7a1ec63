// `sluice bench actors`: what a message between actors costs, beside CAF's own.
//
// Unit of the comparison: a raw CAF ping-pong is one integer from one plain CAF actor to another
// and back, one under way at a time. Ours is one message from a flow through a channel actor to a
// flow, its credit's way back included, under CafHost; as many are under way as the channel has
// credits. Both with the same scheduler and number of threads, in one process, in turns; medians.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/result.hpp"
#include "runtime/bench/train_bench.hpp"

namespace sluice::bench {

struct ActorsBenchOptions {
  std::int64_t messages = 100'000;              ///< in one run
  std::int32_t rounds = 7;                      ///< runs of each kind
  std::int32_t threads = 1;                     ///< of CAF's scheduler
  std::vector<std::int32_t> credits{2, 4, 16};  ///< 2 is the smallest window in any plan
};

struct ActorsBenchRow {
  std::int32_t credits = 0;
  double message_ns = 0;
  double ratio = 0;  ///< to a ping-pong: median of the rounds' ratios
};

struct ActorsBenchReport {
  ActorsBenchOptions options;
  double ping_pong_ns = 0;  ///< there and back
  std::vector<ActorsBenchRow> rows;
  std::optional<TrainBenchReport> step;  ///< of a model, with its profile

  /// Share of a step that the lane waits; 0 without a step.
  [[nodiscard]] double waiting_share() const;
};

/// An Error if an actor goes down.
[[nodiscard]] Result<ActorsBenchReport> run_actors_bench(const ActorsBenchOptions& options);

[[nodiscard]] std::string to_table(const ActorsBenchReport& report);
[[nodiscard]] nlohmann::ordered_json to_json(const ActorsBenchReport& report);

}  // namespace sluice::bench
