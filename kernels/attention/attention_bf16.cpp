// Attention on BF16 dot products: one head at a time, blocks of queries by blocks of keys, each
// product by the tiles of a gemm kernel set.
//
// Masked scores become zeros here: rows of a tile share one instruction along K.
#include "kernels/attention/attention_bf16.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "kernels/attention/attention_kernels.hpp"
#include "kernels/attention/attention_parallel.hpp"
#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/lanes_includes.hpp"

#define SLUICE_ISA avx512
#define SLUICE_ISA_IS_AVX512 1
#pragma GCC push_options
#pragma GCC target( \
    "avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
// clang-format off
#include "kernels/cpu/lanes.hpp"  // what the next is written in
#include "kernels/attention/attention_blocks.hpp"
// clang-format on

namespace sluice::kernels::avx512 {
namespace {

constexpr std::int64_t kQueriesWanted = 112;  // a block: so many, to whole panels of rows
constexpr std::int64_t kKeys = 96;            // a block; whole panels of columns and steps of K
constexpr std::int64_t kBytesAFloat = sizeof(float);

// BF16 rows in memory as a factor: K along the rows, or one row an index of K.
Operand operand(const BF16* rows, std::int64_t stride, bool k_along_row) {
  return {.data = reinterpret_cast<const std::byte*>(rows),
          .dtype = DType::kBF16,
          .row_stride = stride,
          .row_index = nullptr,
          .k_along_row = k_along_row};
}

// Products of small matrices by a gemm kernel set, both factors packed.
class Dots {
 public:
  static constexpr std::int64_t kRowsMax = 32;

  explicit Dots(const GemmKernelSet& set) : set_(set) {
    SLUICE_CHECK_LE(set.rows, kRowsMax);
    SLUICE_CHECK(kKeys % set.columns == 0 && kKeys % set.k_unit == 0);
  }

  [[nodiscard]] std::int64_t rows() const { return set_.rows; }
  [[nodiscard]] std::int64_t k_unit() const { return set_.k_unit; }
  [[nodiscard]] std::int64_t query_block() const { return round_up(kQueriesWanted, set_.rows); }

  // A panel of rows() lines; panels of a block follow each other.
  [[nodiscard]] std::int64_t left_floats(std::int64_t k) const {
    const std::int64_t bytes = set_.rows * set_.padded_k(k) * set_.element_bytes;
    return round_up(bytes + GemmKernelSet::kSlackBytes, 64) / kBytesAFloat;
  }
  [[nodiscard]] std::int64_t right_floats(std::int64_t lines, std::int64_t k) const {
    const std::int64_t bytes =
        round_up(lines, set_.columns) * set_.padded_k(k) * set_.element_bytes;
    return (bytes + GemmKernelSet::kSlackBytes) / kBytesAFloat;
  }

  // Lines [first, first + lines), at most rows(), of an operand with `all_lines`.
  void pack_left(const Operand& from, std::int64_t first, std::int64_t lines,
                 std::int64_t all_lines, std::int64_t first_k, std::int64_t k, float* to) const {
    set_.pack_a({.operand = &from,
                 .first_line = first,
                 .lines = lines,
                 .all_lines = all_lines,
                 .first_k = first_k,
                 .k = k,
                 .padded_k = set_.padded_k(k),
                 .width = set_.rows,
                 .last_width = lines,
                 .out = reinterpret_cast<std::byte*>(to),
                 .panel_stride = left_floats(k) * kBytesAFloat});
  }
  void pack_right(const Operand& from, std::int64_t lines, std::int64_t k, float* to) const {
    const std::int64_t padded = set_.padded_k(k);
    set_.pack_b({.operand = &from,
                 .first_line = 0,
                 .lines = lines,
                 .all_lines = lines,
                 .first_k = 0,
                 .k = k,
                 .padded_k = padded,
                 .width = set_.columns,
                 .last_width = set_.panel_width((lines - 1) % set_.columns + 1),
                 .out = reinterpret_cast<std::byte*>(to),
                 .panel_stride = set_.columns * padded * set_.element_bytes});
  }

  // A right factor of `lines` columns and all of K, of which columns and K are taken from a start.
  struct Right {
    const float* panels;
    std::int64_t lines;
    std::int64_t all_k;
    std::int64_t first_line = 0;  // a multiple of the panels' columns
    std::int64_t first_k = 0;     // a multiple of k_unit()
  };
  // c [rows, columns] (+)= one panel of left lines times the right factor, over k. Writes whole
  // panels of columns.
  void multiply(const float* left, std::int64_t rows, const Right& right, std::int64_t columns,
                std::int64_t k, float* c, std::int64_t c_stride, bool add) const {
    const std::int64_t all_k = set_.padded_k(right.all_k);
    Ahead nothing;
    TileJob job{.a = reinterpret_cast<const std::byte*>(left),
                .k = set_.padded_k(k),
                .c_stride = c_stride,
                .rows = rows,
                .load = add,
                .ahead = &nothing};
    for (std::int64_t column = 0; column < columns; column += set_.columns) {
      const std::int64_t line = right.first_line + column;
      const std::int64_t width = set_.panel_width(right.lines - line);
      job.b = reinterpret_cast<const std::byte*>(right.panels) +
              (line * all_k + right.first_k * width) * set_.element_bytes;
      job.c = c + column;
      job.columns = width;  // c has room for whole panels
      set_.tile(job);
    }
  }

  // The set's begin and end round the tiles of a task.
  template <class Body>
  void run(const Body& body) const {
    if (set_.begin != nullptr) set_.begin();
    body();
    if (set_.end != nullptr) set_.end();
  }

 private:
  const GemmKernelSet& set_;
};

struct Shape {
  std::int64_t length, key, value;
  std::int64_t queries;  // of a block
  std::int64_t key_row;  // floats of a row of gradients
  std::int64_t value_row;

  Shape(const AttentionDesc& d, const Dots& dots)
      : length(d.length),
        key(d.nope + d.rope),
        value(d.value),
        queries(dots.query_block()),
        key_row(round_up(key, 2 * kLanes)),
        value_row(round_up(value, 2 * kLanes)) {}
};

struct Block {
  std::int64_t first, rows;
  Block(std::int64_t query, const Shape& s)
      : first(query), rows(std::min(s.queries, s.length - query)) {}
};

BF16* take_bf16(Pieces& pieces, std::int64_t n) {
  return reinterpret_cast<BF16*>(pieces.take(divide_up(n, 2)));
}

// Calls body(first row, rows) for each panel of rows of a block.
template <class Body>
void for_each_panel_of_rows(const Dots& dots, std::int64_t rows, const Body& body) {
  for (std::int64_t r = 0; r < rows; r += dots.rows()) body(r, std::min(dots.rows(), rows - r));
}

// Keys [0, n) of a head in one piece, nope then rope.
void join_keys(const Head& head, const Inputs<BF16>& in, std::int64_t n, BF16* to) {
  const std::int64_t nope = head.desc.nope, rope = head.desc.rope;
  for (std::int64_t t = 0; t < n; ++t, to += nope + rope) {
    std::copy_n(head.k(in.kv, t), nope, to);
    std::copy_n(in.k_rope.row(head.row(t)), rope, to + nope);
  }
}

// Forward.

struct Forward {
  const Dots& dots;
  const Head& head;
  const Inputs<BF16>& in;
  Shape s;
  std::int64_t score_row;
  BF16* keys;
  float *key_panels, *value_panels, *left, *scores, *sums;
  BF16* exponentials;
  std::int64_t floats;

  Forward(const Dots& d, const Head& h, const Inputs<BF16>& inputs, float* memory)
      : dots(d), head(h), in(inputs), s(h.desc, d), score_row(round_up(s.length, kKeys) + kLanes) {
    Pieces pieces{memory};
    keys = take_bf16(pieces, s.length * s.key);
    key_panels = pieces.take(dots.right_floats(s.length, s.key));
    value_panels = pieces.take(dots.right_floats(s.value, s.length));
    left = pieces.take(dots.left_floats(std::max(s.key, s.length)));
    scores = pieces.take(dots.rows() * score_row);
    exponentials = take_bf16(pieces, dots.rows() * score_row);
    sums = pieces.take(dots.rows() * s.value_row);
    floats = pieces.floats;
  }

  void pack(std::int64_t visible) const {
    join_keys(head, in, visible, keys);
    dots.pack_right(operand(keys, s.key, true), visible, s.key, key_panels);
    dots.pack_right(operand(head.v(in.kv, 0), in.kv.row_stride, false), s.value, visible,
                    value_panels);
  }

  // e_ij of one row in BF16, zeros behind the keys it sees.
  void exponentials_of(const float* row, std::int64_t seen, std::int64_t columns, BF16* to,
                       float& maximum, float& sum) const {
    const Lanes scale = set1(head.desc.scale);
    const Lanes nothing = set1(-std::numeric_limits<float>::infinity());
    const auto score = [&](std::int64_t j) {
      if (j + kLanes <= seen) return mul(load(row + j), scale);
      const __mmask16 mask = first_lanes(std::max<std::int64_t>(seen - j, 0));
      return Lanes{
          _mm512_mask_mul_ps(nothing.v, mask, _mm512_maskz_loadu_ps(mask, row + j), scale.v)};
    };
    Lanes highest = nothing;
    for (std::int64_t j = 0; j < seen; j += kLanes) highest = max(score(j), highest);
    maximum = fold_max(highest);
    const Lanes shift = set1(maximum);
    Lanes total = zero();
    for (std::int64_t j = 0; j < columns; j += kLanes) {
      const Lanes e = exp(sub(score(j), shift));
      total = add(total, e);
      store(to + j, e);
    }
    sum = fold_sum(total);
  }

  // The panel of queries [i, i + rows), which sees the keys up to its last.
  void panel(std::int64_t i, std::int64_t rows, std::int64_t visible, MatrixView<BF16> out,
             std::span<float> log_sum_exp) const {
    const std::int64_t seen = i + rows;
    dots.pack_left(operand(head.q(in.q, i), in.q.row_stride, true), 0, rows, rows, 0, s.key, left);
    dots.multiply(left, rows, {key_panels, visible, s.key}, seen, s.key, scores, score_row, false);
    std::array<float, Dots::kRowsMax> inverse{};
    for (std::int64_t r = 0; r < rows; ++r) {
      float maximum = 0, sum = 0;
      exponentials_of(scores + r * score_row, i + r + 1, round_up(seen, kLanes),
                      exponentials + r * score_row, maximum, sum);
      inverse[static_cast<std::size_t>(r)] = 1.0f / sum;
      log_sum_exp[head.log_sum_exp(i + r)] = log_sum_exp_of(maximum, sum);
    }
    dots.pack_left(operand(exponentials, score_row, true), 0, rows, rows, 0, seen, left);
    dots.multiply(left, rows, {value_panels, s.value, visible}, s.value, seen, sums, s.value_row,
                  false);
    for (std::int64_t r = 0; r < rows; ++r) {
      narrow_row(sums + r * s.value_row, inverse[static_cast<std::size_t>(r)], s.value,
                 head.out(out, i + r));
    }
  }
};

// Backward.

struct Backward {
  const Dots& dots;
  const Head& head;
  const BackwardInputs<BF16>& in;
  Shape s;
  std::int64_t left_key, left_value;  // floats of a packed panel of rows
  BF16* keys;                         // joined
  float *key_panels, *value_panels, *key_columns, *dkeys, *dvalues;  // by key
  float *queries, *douts, *query_columns, *dout_columns, *dqueries;  // by query of a block
  float *scores, *dscores, *left;
  float *deltas, *shifts;           // by query of a block
  BF16 *probabilities, *gradients;  // [queries of a block, kKeys]
  std::int64_t floats;

  Backward(const Dots& d, const Head& h, const BackwardInputs<BF16>& inputs, float* memory)
      : dots(d),
        head(h),
        in(inputs),
        s(h.desc, d),
        left_key(d.left_floats(s.key)),
        left_value(d.left_floats(s.value)) {
    Pieces pieces{memory};
    keys = take_bf16(pieces, s.length * s.key);
    key_panels = pieces.take(dots.right_floats(s.length, s.key));
    value_panels = pieces.take(dots.right_floats(s.length, s.value));
    key_columns = pieces.take(dots.right_floats(s.key, s.length));
    dkeys = pieces.take(s.length * s.key_row);
    dvalues = pieces.take(s.length * s.value_row);
    queries = pieces.take(s.queries / dots.rows() * left_key);
    douts = pieces.take(s.queries / dots.rows() * left_value);
    query_columns = pieces.take(dots.right_floats(s.key, s.queries));
    dout_columns = pieces.take(dots.right_floats(s.value, s.queries));
    dqueries = pieces.take(s.queries * s.key_row);
    deltas = pieces.take(s.queries);
    shifts = pieces.take(s.queries);
    scores = pieces.take(dots.rows() * kKeys);
    dscores = pieces.take(dots.rows() * kKeys);
    left = pieces.take(dots.left_floats(std::max(s.queries, kKeys)));
    probabilities = take_bf16(pieces, s.queries * kKeys);
    gradients = take_bf16(pieces, s.queries * kKeys);
    floats = pieces.floats;
  }

  void pack_head(const BackwardRange& range) const {
    const std::int64_t n = range.key_end;
    join_keys(head, in, n, keys);
    dots.pack_right(operand(keys, s.key, true), n, s.key, key_panels);
    dots.pack_right(operand(head.v(in.kv, 0), in.kv.row_stride, true), n, s.value, value_panels);
    if (range.queries) dots.pack_right(operand(keys, s.key, false), s.key, n, key_columns);
    if (!range.keys) return;
    std::fill_n(dkeys + range.key_begin * s.key_row, (n - range.key_begin) * s.key_row, 0.0f);
    std::fill_n(dvalues + range.key_begin * s.value_row, (n - range.key_begin) * s.value_row, 0.0f);
  }

  void pack_block(const Block& block, const BackwardRange& range) const {
    const BF16* q = head.q(in.q, block.first);
    const BF16* dout = head.out(in.dout, block.first);
    for_each_panel_of_rows(dots, block.rows, [&](std::int64_t r, std::int64_t rows) {
      const std::int64_t panel = r / dots.rows();
      dots.pack_left(operand(q, in.q.row_stride, true), r, rows, block.rows, 0, s.key,
                     queries + panel * left_key);
      dots.pack_left(operand(dout, in.dout.row_stride, true), r, rows, block.rows, 0, s.value,
                     douts + panel * left_value);
    });
    if (range.keys) {
      dots.pack_right(operand(q, in.q.row_stride, false), s.key, block.rows, query_columns);
      dots.pack_right(operand(dout, in.dout.row_stride, false), s.value, block.rows, dout_columns);
    }
    if (range.queries) std::fill_n(dqueries, block.rows * s.key_row, 0.0f);
    for (std::int64_t r = 0; r < block.rows; ++r) {
      const std::int64_t i = block.first + r;
      deltas[r] = dot_in_lanes(head.out(in.dout, i), head.out(in.out, i), s.value);
      shifts[r] = in.log_sum_exp[head.log_sum_exp(i)];
    }
  }

  // P and dS of row r of a block and a block of keys, of which it sees `seen`; zeros behind them.
  void row_gradients(std::int64_t r, std::int64_t seen, const float* score,
                     const float* dscore) const {
    const Lanes scale = set1(head.desc.scale), shift = set1(shifts[r]), delta = set1(deltas[r]);
    BF16* const p_to = probabilities + r * kKeys;
    BF16* const ds_to = gradients + r * kKeys;
    for (std::int64_t j = 0; j < kKeys; j += kLanes) {
      const __mmask16 mask = first_lanes(std::clamp<std::int64_t>(seen - j, 0, kLanes));
      Lanes p = zero(), ds = zero();
      if (mask != 0) {
        p = exp(sub(mul(load(score + j), scale), shift));
        ds = mul(mul(p, sub(load(dscore + j), delta)), scale);
        p.v = _mm512_maskz_mov_ps(mask, p.v);
        ds.v = _mm512_maskz_mov_ps(mask, ds.v);
      }
      store(p_to + j, p);
      store(ds_to + j, ds);
    }
  }

  void block_gradients(const Block& block, std::int64_t first, const BackwardRange& range) const {
    const std::int64_t keys_here = std::min(kKeys, range.key_end - first);
    for_each_panel_of_rows(dots, block.rows, [&](std::int64_t r, std::int64_t rows) {
      const std::int64_t panel = r / dots.rows();
      const std::int64_t columns =
          std::clamp<std::int64_t>(block.first + r + rows - first, 0, keys_here);
      if (columns > 0) {
        dots.multiply(queries + panel * left_key, rows, {key_panels, range.key_end, s.key, first},
                      columns, s.key, scores, kKeys, false);
        dots.multiply(douts + panel * left_value, rows,
                      {value_panels, range.key_end, s.value, first}, columns, s.value, dscores,
                      kKeys, false);
      }
      for (std::int64_t row = r; row < r + rows; ++row) {
        const std::int64_t seen = block.first + row + 1 - first;
        row_gradients(row, std::clamp<std::int64_t>(seen, 0, keys_here), scores + (row - r) * kKeys,
                      dscores + (row - r) * kKeys);
      }
    });
    if (block.first == 0 && first == 0)
      gradients[0] = BF16{};  // the softmax of one key is constant
  }

  // dv and dk of a block of keys from a block of queries; those before the keys add nothing.
  void block_keys(const Block& block, std::int64_t first, const BackwardRange& range) const {
    const std::int64_t last =
        std::min({first + kKeys, range.key_end, block.first + block.rows}) - first;
    for (std::int64_t j = 0; j < last; j += dots.rows()) {
      const std::int64_t rows = std::min(dots.rows(), last - j);
      const std::int64_t before = std::max<std::int64_t>(0, first + j - block.first);
      const std::int64_t skipped = before / dots.k_unit() * dots.k_unit();
      const std::int64_t k = block.rows - skipped;
      dots.pack_left(operand(probabilities, kKeys, false), j, rows, kKeys, skipped, k, left);
      dots.multiply(left, rows, {dout_columns, s.value, block.rows, 0, skipped}, s.value, k,
                    dvalues + (first + j) * s.value_row, s.value_row, true);
      dots.pack_left(operand(gradients, kKeys, false), j, rows, kKeys, skipped, k, left);
      dots.multiply(left, rows, {query_columns, s.key, block.rows, 0, skipped}, s.key, k,
                    dkeys + (first + j) * s.key_row, s.key_row, true);
    }
  }

  void block_queries(const Block& block, std::int64_t first, const BackwardRange& range) const {
    for_each_panel_of_rows(dots, block.rows, [&](std::int64_t r, std::int64_t rows) {
      const std::int64_t k =
          std::min({block.first + r + rows, first + kKeys, range.key_end}) - first;
      if (k <= 0) return;
      dots.pack_left(operand(gradients, kKeys, true), r, rows, block.rows, 0, k, left);
      dots.multiply(left, rows, {key_columns, s.key, range.key_end, 0, first}, s.key, k,
                    dqueries + r * s.key_row, s.key_row, true);
    });
  }

  void run(const BackwardRange& range, const Gradients<BF16>& to) const {
    pack_head(range);
    for (std::int64_t i = range.query_begin; i < range.query_end; i += s.queries) {
      const Block block(i, s);
      pack_block(block, range);
      const std::int64_t last = std::min(range.key_end, block.first + block.rows);
      for (std::int64_t first = range.key_begin; first < last; first += kKeys) {
        block_gradients(block, first, range);
        if (range.keys) block_keys(block, first, range);
        if (range.queries) block_queries(block, first, range);
      }
      for (std::int64_t r = 0; range.queries && r < block.rows; ++r) {
        narrow_row(dqueries + r * s.key_row, 1.0f, s.key, head.q(to.dq, block.first + r));
      }
    }
    for (std::int64_t t = range.key_begin; range.keys && t < range.key_end; ++t) {
      const float* dkey = dkeys + t * s.key_row;
      narrow_row(dkey, 1.0f, head.desc.nope, head.k(to.dkv, t));
      narrow_row(dvalues + t * s.value_row, 1.0f, s.value, head.v(to.dkv, t));
      narrow_row(dkey + head.desc.nope, 1.0f, head.desc.rope,
                 to.dk_rope.row(head.index() * s.length + t));
    }
  }
};

}  // namespace

void attention_bf16(const ComputeContext& context, const GemmKernelSet& set,
                    const AttentionDesc& desc, TensorView q, TensorView kv, TensorView k_rope,
                    TensorView out, std::span<float> log_sum_exp) {
  const std::int64_t heads = desc.sequences * desc.heads;
  if (heads * desc.length == 0) return;
  const Dots dots(set);
  const Inputs<BF16> in{q.as<const BF16>(), kv.as<const BF16>(), k_rope.as<const BF16>()};
  const std::int64_t blocks = divide_up(desc.length, dots.rows());
  const std::int64_t parts = parts_per_head(heads, context.team->threads(), blocks);
  const auto body = [&](std::int64_t task, float* memory) {
    const Head head(desc, task % heads);
    const std::int64_t part = parts - 1 - task / heads;
    const std::int64_t begin = part_begin(blocks, parts, part) * dots.rows();
    const std::int64_t end =
        std::min(desc.length, part_begin(blocks, parts, part + 1) * dots.rows());
    if (begin >= end) return;
    const Forward forward(dots, head, in, memory);
    forward.pack(end);
    dots.run([&] {
      for (std::int64_t i = begin; i < end; i += dots.rows()) {
        forward.panel(i, std::min(dots.rows(), end - i), end, out.as<BF16>(), log_sum_exp);
      }
    });
  };
  for_each_task(context, heads * parts, Forward(dots, Head(desc, 0), in, nullptr).floats, body);
}

void attention_backward_bf16(const ComputeContext& context, const GemmKernelSet& set,
                             const AttentionDesc& desc, TensorView q, TensorView kv,
                             TensorView k_rope, TensorView out, std::span<const float> log_sum_exp,
                             TensorView dout, TensorView dq, TensorView dkv, TensorView dk_rope) {
  const std::int64_t heads = desc.sequences * desc.heads;
  if (heads * desc.length == 0) return;
  const Dots dots(set);
  const BackwardInputs<BF16> in{{q.as<const BF16>(), kv.as<const BF16>(), k_rope.as<const BF16>()},
                                out.as<const BF16>(),
                                dout.as<const BF16>(),
                                log_sum_exp};
  const Tensor by_head = context.make(DType::kF32, {heads * desc.length, desc.rope});
  const Gradients<BF16> to{dq.as<BF16>(), dkv.as<BF16>(), by_head.matrix<float>()};
  for_each_backward_range(context, heads, desc.length, dots.query_block(), kKeys,
                          Backward(dots, Head(desc, 0), in, nullptr).floats,
                          [&](std::int64_t index, const BackwardRange& range, float* memory) {
                            const Head head(desc, index);
                            const Backward backward(dots, head, in, memory);
                            dots.run([&] { backward.run(range, to); });
                          });
  sum_over_heads<BF16>(context, desc, by_head.matrix<float>(), dk_rope.as<BF16>());
}

}  // namespace sluice::kernels::avx512
#pragma GCC pop_options
