// Attention's gradients, blocked for caches and registers, with the sums of
// attention_reference.cpp.
#include <algorithm>
#include <array>
#include <limits>

#include "kernels/attention/attention_kernels.hpp"
#include "kernels/attention/attention_parallel.hpp"
#include "kernels/cpu/elements.hpp"

#define SLUICE_ISA_SOURCE "kernels/attention/attention_backward_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA

#include "kernels/attention/attention_blocks.hpp"

namespace sluice::kernels::SLUICE_ISA {
namespace {

constexpr std::int64_t kQueryBlock = 96;
static_assert(kQueryBlock % kTileRows == 0 && kKeyBlock % kQueryBlock == 0);

struct BackwardScratch {
  float *key_panels, *value_panels, *keys, *dkeys, *dvalues;      // by key
  float *queries, *douts, *dqueries, *probabilities, *gradients;  // by query of a block
  std::array<float, kQueryBlock> delta, log_sum_exp;

  std::int64_t floats;

  BackwardScratch(float* scratch, const Sizes& s) {
    Pieces pieces{scratch};
    key_panels = pieces.take(s.padded * s.key);
    value_panels = pieces.take(s.padded * s.value);
    keys = pieces.take(s.padded * s.key_row);
    dkeys = pieces.take(s.padded * s.key_row);
    dvalues = pieces.take(s.padded * s.value_row);
    queries = pieces.take(kQueryBlock * s.key_row);
    douts = pieces.take(kQueryBlock * s.value_row);
    dqueries = pieces.take(kQueryBlock * s.key_row);
    probabilities = pieces.take(kQueryBlock * s.score_row);
    gradients = pieces.take(kQueryBlock * s.score_row);
    floats = pieces.floats;
  }
};

template <class T>
void pack_block(const Head& head, const BackwardInputs<T>& in, const Sizes& s,
                const QueryBlock& block, BackwardScratch& scratch) {
  const std::int64_t last = block.first + block.tiled;
  pack_rows(block.first, last, s.length, s.key, s.key_row, scratch.queries,
            [&](std::int64_t t, float* row) { widen_row(head.q(in.q, t), s.key, row); });
  pack_rows(block.first, last, s.length, s.value, s.value_row, scratch.douts,
            [&](std::int64_t t, float* row) { widen_row(head.out(in.dout, t), s.value, row); });
  for (std::int64_t r = 0; r < block.tiled; ++r) {
    const auto at = static_cast<std::size_t>(r);
    const std::int64_t t = block.first + r;
    const bool real = r < block.rows;
    scratch.delta[at] =
        real ? dot_in_lanes(head.out(in.dout, t), head.out(in.out, t), s.value) : 0.0f;
    scratch.log_sum_exp[at] = real ? in.log_sum_exp[head.log_sum_exp(t)] : 0.0f;
  }
  std::fill_n(scratch.dqueries, block.tiled * s.key_row, 0.0f);
  const std::int64_t t = block.first;
  prefetch_next(block, s.length, head.q(in.q, t), in.q.row_stride, s.key);
  prefetch_next(block, s.length, head.out(in.dout, t), in.dout.row_stride, s.value);
  prefetch_next(block, s.length, head.out(in.out, t), in.out.row_stride, s.value);
}

// Scores become probabilities, dP becomes dS.
void score_gradients(std::int64_t vectors, float log_sum_exp, float delta, float scale,
                     float* scores, float* gradients) {
  const Lanes shift = set1(log_sum_exp), base = set1(delta), factor = set1(scale);
  for (std::int64_t j = 0; j < vectors * kLanes; j += kLanes) {
    const Lanes p = exp(sub(load(scores + j), shift));
    store(scores + j, p);
    store(gradients + j, mul(mul(p, sub(load(gradients + j), base)), factor));
  }
}

// P and dS of a block of queries and the block of keys from `first` on.
void block_gradients(const QueryBlock& block, const Sizes& s, std::int64_t first, float scale,
                     BackwardScratch& scratch) {
  for (std::int64_t r = 0; r < block.tiled; r += kTileRows) {
    const std::int64_t keys = keys_seen(block.first + r, first);
    if (keys == 0) continue;
    multiply_panels(scratch.queries + r * s.key_row, s.key_row, scratch.key_panels + first * s.key,
                    s.key, keys, scale, scratch.probabilities + r * s.score_row, s.score_row);
    multiply_panels(scratch.douts + r * s.value_row, s.value_row,
                    scratch.value_panels + first * s.value, s.value, keys, 1.0f,
                    scratch.gradients + r * s.score_row, s.score_row);
    for (std::int64_t row = r; row < r + kTileRows; ++row) {
      const auto at = static_cast<std::size_t>(row);
      score_gradients(divide_up(keys, kLanes), scratch.log_sum_exp[at], scratch.delta[at], scale,
                      scratch.probabilities + row * s.score_row,
                      scratch.gradients + row * s.score_row);
      if (block.first + row == 0) scratch.gradients[row * s.score_row] = 0.0f;
    }
  }
}

// sums of the 6 keys from j on += weightsᵀ · rows over the block's queries that see them.
void chain_queries(const QueryBlock& block, std::int64_t j, const float* weights,
                   std::int64_t weight_row, const float* rows, std::int64_t row_stride,
                   float* sums) {
  const std::int64_t skipped = std::max<std::int64_t>(0, j - block.first);
  const std::int64_t steps = block.rows - skipped;
  const Tile tile{.a = weights + skipped * weight_row,
                  .a_row = 1,
                  .a_step = weight_row,
                  .b = rows + skipped * row_stride,
                  .b_step = row_stride,
                  .b_vector = kLanes,
                  .c = sums,
                  .c_row = row_stride};
  if (j >= block.first) return chain_from_diagonal(tile, row_stride / kLanes, steps);
  chain(tile, row_stride / kLanes, {steps, steps, steps, steps, steps, steps});
}

void block_keys(const QueryBlock& block, const Sizes& s, std::int64_t first,
                BackwardScratch& scratch) {
  const std::int64_t last = std::min(first + kKeyBlock, block.first + block.rows);
  for (std::int64_t j = first; j < last; j += kTileRows) {
    chain_queries(block, j, scratch.probabilities + (j - first), s.score_row, scratch.douts,
                  s.value_row, scratch.dvalues + j * s.value_row);
    chain_queries(block, j, scratch.gradients + (j - first), s.score_row, scratch.queries,
                  s.key_row, scratch.dkeys + j * s.key_row);
  }
}

void block_queries(const QueryBlock& block, const Sizes& s, std::int64_t first,
                   BackwardScratch& scratch) {
  for (std::int64_t r = 0; r < block.tiled; r += kTileRows) {
    if (keys_seen(block.first + r, first) == 0) continue;
    chain_keys(block.first + r, first, scratch.gradients + r * s.score_row, s.score_row,
               scratch.keys + first * s.key_row, s.key_row, scratch.dqueries + r * s.key_row);
  }
}

template <class T>
void backward_block(const Head& head, const BackwardInputs<T>& in, const Sizes& s,
                    const BackwardRange& range, std::int64_t query, BackwardScratch& scratch,
                    const Gradients<T>& to) {
  const QueryBlock block(query, kQueryBlock, s.length);
  pack_block(head, in, s, block, scratch);
  const std::int64_t last = std::min(range.key_end, block.first + block.tiled);
  for (std::int64_t first = range.key_begin; first < last; first += kKeyBlock) {
    block_gradients(block, s, first, head.desc.scale, scratch);
    if (range.keys) block_keys(block, s, first, scratch);
    if (range.queries) block_queries(block, s, first, scratch);
  }
  if (!range.queries) return;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    narrow_row(scratch.dqueries + r * s.key_row, 1.0f, s.key, head.q(to.dq, block.first + r));
  }
}

template <class T>
void pack_head(const Head& head, const Inputs<T>& in, const Sizes& s, const BackwardRange& range,
               BackwardScratch& scratch) {
  const std::int64_t first = range.key_begin, last = round_up(range.key_end, kKeyBlock);
  const auto widen_key = [&](std::int64_t t, float* row) {
    widen_row(head.k(in.kv, t), head.desc.nope, row);
    widen_row(in.k_rope.row(head.row(t)), head.desc.rope, row + head.desc.nope);
  };
  for_each_panel(head, in, first, last, [&](std::int64_t j, std::int64_t from, std::int64_t rows) {
    pack_key_panel(head, in, from, rows, scratch.key_panels + j * s.key);
    pack_panel(head.v(in.kv, from), in.kv.row_stride, rows, s.value,
               scratch.value_panels + j * s.value);
    if (!range.queries) return;
    pack_rows(j, j + kLanes, s.length, s.key, s.key_row, scratch.keys + j * s.key_row, widen_key);
  });
  if (range.keys) {
    std::fill_n(scratch.dkeys + first * s.key_row, (last - first) * s.key_row, 0.0f);
    std::fill_n(scratch.dvalues + first * s.value_row, (last - first) * s.value_row, 0.0f);
  }
}

template <class T>
void backward_range(const Head& head, const BackwardInputs<T>& in, const Sizes& s,
                    const BackwardRange& range, float* memory, const Gradients<T>& to) {
  BackwardScratch scratch(memory, s);
  pack_head(head, in, s, range, scratch);
  for (std::int64_t i = range.query_begin; i < range.query_end; i += kQueryBlock) {
    backward_block(head, in, s, range, i, scratch, to);
  }
  if (!range.keys) return;
  for (std::int64_t t = range.key_begin; t < std::min(range.key_end, s.length); ++t) {
    const float* dkey = scratch.dkeys + t * s.key_row;
    narrow_row(dkey, 1.0f, head.desc.nope, head.k(to.dkv, t));
    narrow_row(scratch.dvalues + t * s.value_row, 1.0f, s.value, head.v(to.dkv, t));
    narrow_row(dkey + head.desc.nope, 1.0f, head.desc.rope,
               to.dk_rope.row(head.index() * s.length + t));
  }
}

template <class T>
void backward(const ComputeContext& context, const AttentionDesc& desc, const BackwardInputs<T>& in,
              MatrixView<T> dq, MatrixView<T> dkv, MatrixView<T> dk_rope) {
  if (desc.length == 0) return;
  const Sizes s(desc, kKeyBlock);
  const std::int64_t heads = desc.sequences * desc.heads;
  const Tensor by_head = context.make(DType::kF32, {heads * desc.length, desc.rope});
  const Gradients<T> to{dq, dkv, by_head.matrix<float>()};
  for_each_backward_range(context, heads, s.length, kQueryBlock, kKeyBlock,
                          BackwardScratch(nullptr, s).floats,
                          [&](std::int64_t head, const BackwardRange& range, float* memory) {
                            backward_range(Head(desc, head), in, s, range, memory, to);
                          });
  sum_over_heads<T>(context, desc, by_head.matrix<float>(), dk_rope);
}

void entry(const ComputeContext& context, const AttentionDesc& desc, TensorView q, TensorView kv,
           TensorView k_rope, TensorView out, std::span<const float> log_sum_exp, TensorView dout,
           TensorView dq, TensorView dkv, TensorView dk_rope) {
  visit_element(q.dtype, [&]<class T>(T) {
    const BackwardInputs<T> in{{q.as<const T>(), kv.as<const T>(), k_rope.as<const T>()},
                               out.as<const T>(),
                               dout.as<const T>(),
                               log_sum_exp};
    backward<T>(context, desc, in, dq.as<T>(), dkv.as<T>(), dk_rope.as<T>());
  });
}

}  // namespace

const AttentionBackward kAttentionBackward = entry;

}  // namespace sluice::kernels::SLUICE_ISA

#endif
