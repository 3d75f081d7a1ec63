// How attention's work is cut into tasks. None of this changes a result: a task owns whole sums.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>

#include "kernels/attention/attention.hpp"

namespace sluice::kernels {

[[nodiscard]] constexpr std::int64_t divide_up(std::int64_t n, std::int64_t by) {
  return (n + by - 1) / by;
}
[[nodiscard]] constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) {
  return divide_up(n, to) * to;
}

/// Parts to cut each of `heads` (over all sequences) into, so that every thread gets some four
/// tasks; 1 where the heads alone keep the threads evenly busy.
[[nodiscard]] constexpr std::int64_t parts_per_head(std::int64_t heads, std::int64_t threads,
                                                    std::int64_t blocks) {
  if (heads % threads == 0 || heads >= 8 * threads) return 1;
  return std::min(blocks, divide_up(4 * threads, heads));
}

/// The first of `blocks` blocks that part p of `parts` covers, where block b costs b + 1 (a block
/// of queries sees the keys before it).
[[nodiscard]] inline std::int64_t part_begin(std::int64_t blocks, std::int64_t parts,
                                             std::int64_t p) {
  const double share = std::sqrt(static_cast<double>(p) / static_cast<double>(parts));
  return p == parts ? blocks : static_cast<std::int64_t>(static_cast<double>(blocks) * share);
}

/// Whether backward goes over the scores twice, queries in parallel for dq and keys in parallel for
/// dk and dv, instead of once per head with no more tasks than heads. At DeepSeek's head sizes that
/// is 576 against 416 operations a pair, and it packs more.
[[nodiscard]] constexpr bool backward_in_two_passes(std::int64_t heads, std::int64_t threads) {
  constexpr std::int64_t kOnePass = 416, kTwoPasses = 600;
  return kOnePass * divide_up(heads, threads) * threads > kTwoPasses * heads;
}

/// Calls body(task, scratch) for every task on the team, in the order of tasks as threads come
/// free, each thread with its own `floats` of scratch.
template <class Body>
void for_each_task(const ComputeContext& context, std::int64_t tasks, std::int64_t floats,
                   const Body& body) {
  if (tasks == 0) return;
  const std::int64_t threads = std::min<std::int64_t>(tasks, context.team->threads());
  const std::int64_t stride = round_up(floats, 16);
  const Tensor scratch = context.make(DType::kF32, {threads, stride});
  float* const first = scratch.matrix<float>().data;
  std::atomic<std::int64_t> next{0};
  const auto work = [&](int thread) {
    if (thread >= threads) return;
    for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      body(task, first + thread * stride);
    }
  };
  threads == 1 ? work(0) : context.team->run(work);
}

}  // namespace sluice::kernels
