// How attention's work is cut into tasks. None of this changes a result: a task owns whole sums.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>

#include "kernels/attention/attention.hpp"
#include "kernels/cpu/work_shares.hpp"

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

/// Calls body(task, scratch) for every task on the team, each thread with its own `floats` of
/// scratch.
template <class Body>
void for_each_task(const ComputeContext& context, std::int64_t tasks, std::int64_t floats,
                   const Body& body) {
  if (tasks == 0) return;
  const auto threads = static_cast<int>(std::min<std::int64_t>(tasks, context.team->threads()));
  const std::int64_t stride = round_up(floats, 16);
  const Tensor scratch = context.make(DType::kF32, {threads, stride});
  float* const first = scratch.matrix<float>().data;
  WorkShares shares(tasks, threads);
  const auto work = [&](int thread) {
    if (thread >= threads) return;
    for (std::int64_t task; (task = shares.take(thread)) >= 0;) body(task, first + thread * stride);
  };
  if (threads == 1) return work(0);
  context.team->run(std::ref(work));  // a reference: std::function then allocates nothing
}

/// What a task of backward computes: for queries [query_begin, query_end) and keys [key_begin,
/// key_end), dq, or dk and dv, or all three.
struct BackwardRange {
  std::int64_t query_begin, query_end;
  std::int64_t key_begin, key_end;
  bool queries, keys;
};

/// Parts p of `parts` of the blocks of queries (each with the keys before it), or of the blocks of
/// keys (each with the queries after it).
[[nodiscard]] inline BackwardRange query_range(std::int64_t length, std::int64_t query_block,
                                               std::int64_t parts, std::int64_t p) {
  const std::int64_t blocks = divide_up(length, query_block);
  const auto end = [&](std::int64_t q) {
    return std::min(length, query_block * part_begin(blocks, parts, q));
  };
  return {end(p), end(p + 1), 0, end(p + 1), true, false};
}
[[nodiscard]] inline BackwardRange key_range(std::int64_t length, std::int64_t query_block,
                                             std::int64_t key_block, std::int64_t parts,
                                             std::int64_t p) {
  const std::int64_t blocks = divide_up(length, key_block);
  const auto begin = [&](std::int64_t q) {
    return std::min(length, key_block * (blocks - part_begin(blocks, parts, parts - q)));
  };
  return {begin(p) / query_block * query_block, length, begin(p), begin(p + 1), false, true};
}

/// Calls body(head, range, scratch) so that all gradients of all heads (over all sequences) are
/// computed. Ranges begin at whole blocks.
template <class Body>
void for_each_backward_range(const ComputeContext& context, std::int64_t heads, std::int64_t length,
                             std::int64_t query_block, std::int64_t key_block, std::int64_t floats,
                             const Body& body) {
  const std::int64_t threads = context.team->threads();
  if (!backward_in_two_passes(heads, threads)) {
    return for_each_task(context, heads, floats, [&](std::int64_t head, float* scratch) {
      body(head, BackwardRange{0, length, 0, length, true, true}, scratch);
    });
  }
  const std::int64_t parts = std::min(divide_up(length, key_block), divide_up(2 * threads, heads));
  for_each_task(context, 2 * heads * parts, floats, [&](std::int64_t task, float* scratch) {
    const std::int64_t part = task / heads / 2;
    const bool queries = task / heads % 2 == 0;
    const BackwardRange range = queries ? query_range(length, query_block, parts, parts - 1 - part)
                                        : key_range(length, query_block, key_block, parts, part);
    if (range.query_begin < range.query_end && range.key_begin < range.key_end) {
      body(task % heads, range, scratch);
    }
  });
}

}  // namespace sluice::kernels
