// Attention forward, blocked for caches and registers, with the sums of attention_reference.cpp.
#include <algorithm>
#include <array>
#include <limits>

#include "kernels/attention/attention_kernels.hpp"
#include "kernels/attention/attention_parallel.hpp"
#include "kernels/cpu/elements.hpp"

#define SLUICE_ISA_SOURCE "kernels/attention/attention_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA

#include "kernels/attention/attention_blocks.hpp"

namespace sluice::kernels::SLUICE_ISA {
namespace {

constexpr std::int64_t kQueryBlock = 48;
static_assert(kQueryBlock % kTileRows == 0);

struct ForwardScratch {
  float *key_panels, *values, *queries, *scores, *sums;
  std::array<float, kQueryBlock> maximum, sum;

  std::int64_t floats;

  ForwardScratch(float* scratch, const Sizes& s) {
    Pieces pieces{scratch};
    key_panels = pieces.take(s.padded * s.key);
    values = pieces.take(s.padded * s.value_row);
    queries = pieces.take(kQueryBlock * s.key_row);
    scores = pieces.take(kQueryBlock * s.score_row);
    sums = pieces.take(kQueryBlock * s.value_row);
    floats = pieces.floats;
  }
};

// A row of n scores becomes exponentials relative to its maximum.
void exponentials(float* row, std::int64_t n, float& maximum, float& sum) {
  const std::int64_t padded = round_up(n, kLanes);
  std::fill(row + n, row + padded, -std::numeric_limits<float>::infinity());  // e^-inf = 0
  Lanes highest = set1(-std::numeric_limits<float>::infinity());
  for (std::int64_t j = 0; j < padded; j += kLanes) highest = max(load(row + j), highest);
  maximum = fold_max(highest);
  const Lanes shift = set1(maximum);
  Lanes total = zero();
  for (std::int64_t j = 0; j < padded; j += kLanes) {
    const Lanes e = exp(sub(load(row + j), shift));
    store(row + j, e);
    total = add(total, e);
  }
  sum = fold_sum(total);
}

void forward_scores(const QueryBlock& block, const Sizes& s, ForwardScratch& scratch, float scale) {
  for (std::int64_t first = 0; first < block.first + block.tiled; first += kKeyBlock) {
    for (std::int64_t r = 0; r < block.tiled; r += kTileRows) {
      multiply_panels(scratch.queries + r * s.key_row, s.key_row,
                      scratch.key_panels + first * s.key, s.key, keys_seen(block.first + r, first),
                      scale, scratch.scores + r * s.score_row + first, s.score_row);
    }
  }
  for (std::int64_t r = 0; r < block.tiled; ++r) {
    const auto at = static_cast<std::size_t>(r);
    exponentials(scratch.scores + r * s.score_row, block.first + r + 1, scratch.maximum[at],
                 scratch.sum[at]);
  }
}

void forward_values(const QueryBlock& block, const Sizes& s, ForwardScratch& scratch) {
  std::fill_n(scratch.sums, block.tiled * s.value_row, 0.0f);
  for (std::int64_t first = 0; first < block.first + block.tiled; first += kKeyBlock) {
    for (std::int64_t r = 0; r < block.tiled; r += kTileRows) {
      if (keys_seen(block.first + r, first) == 0) continue;
      chain_keys(block.first + r, first, scratch.scores + r * s.score_row + first, s.score_row,
                 scratch.values + first * s.value_row, s.value_row, scratch.sums + r * s.value_row);
    }
  }
}

template <class T>
void forward_block(const Head& head, const Inputs<T>& in, const Sizes& s, std::int64_t index,
                   ForwardScratch& scratch, MatrixView<T> out, std::span<float> log_sum_exp) {
  const QueryBlock block(index * kQueryBlock, kQueryBlock, s.length);
  pack_rows(block.first, block.first + block.tiled, s.length, s.key, s.key_row, scratch.queries,
            [&](std::int64_t t, float* row) { widen_row(head.q(in.q, t), s.key, row); });
  prefetch_next(block, s.length, head.q(in.q, block.first), in.q.row_stride, s.key);
  forward_scores(block, s, scratch, head.desc.scale);
  forward_values(block, s, scratch);
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const auto at = static_cast<std::size_t>(r);
    const std::int64_t t = block.first + r;
    narrow_row(scratch.sums + r * s.value_row, 1.0f / scratch.sum[at], s.value, head.out(out, t));
    log_sum_exp[head.log_sum_exp(t)] = log_sum_exp_of(scratch.maximum[at], scratch.sum[at]);
  }
}

template <class T>
void forward(const ComputeContext& context, const AttentionDesc& desc, const Inputs<T>& in,
             MatrixView<T> out, std::span<float> log_sum_exp) {
  const Sizes s(desc, round_up(desc.length, kKeyBlock));
  const std::int64_t heads = desc.sequences * desc.heads;
  const std::int64_t blocks = divide_up(desc.length, kQueryBlock);
  const std::int64_t parts = parts_per_head(heads, context.team->threads(), blocks);
  const auto body = [&](std::int64_t task, float* memory) {
    const Head head(desc, task % heads);
    const std::int64_t part = parts - 1 - task / heads;
    const std::int64_t begin = part_begin(blocks, parts, part);
    const std::int64_t end = part_begin(blocks, parts, part + 1);
    if (begin == end) return;
    ForwardScratch scratch(memory, s);
    const std::int64_t keys = std::min(s.padded, round_up(end * kQueryBlock, kLanes));
    for_each_panel(head, in, 0, keys, [&](std::int64_t j, std::int64_t from, std::int64_t rows) {
      pack_key_panel(head, in, from, rows, scratch.key_panels + j * s.key);
      pack_rows(j, j + kLanes, s.length, s.value, s.value_row, scratch.values + j * s.value_row,
                [&](std::int64_t t, float* row) { widen_row(head.v(in.kv, t), s.value, row); });
    });
    for (std::int64_t b = begin; b < end; ++b) {
      forward_block(head, in, s, b, scratch, out, log_sum_exp);
    }
  };
  if (desc.length == 0) return;
  for_each_task(context, heads * parts, ForwardScratch(nullptr, s).floats, body);
}

void entry(const ComputeContext& context, const AttentionDesc& desc, TensorView q, TensorView kv,
           TensorView k_rope, TensorView out, std::span<float> log_sum_exp) {
  visit_element(q.dtype, [&]<class T>(T) {
    forward<T>(context, desc, {q.as<const T>(), kv.as<const T>(), k_rope.as<const T>()},
               out.as<T>(), log_sum_exp);
  });
}

}  // namespace

const AttentionForward kAttention = entry;

}  // namespace sluice::kernels::SLUICE_ISA

#endif
