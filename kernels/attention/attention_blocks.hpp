// What attention's forward and backward share: where a head lies, packing it into fp32 scratch, and
// products of a block of queries with a block of keys.
//
// Included by the *_simd.cpp files once per kernel set (no include guard on purpose, like
// kernels/cpu/lanes.hpp). A task owns one head of one sequence, or a part of its queries or keys.
// It packs the head's keys and values, whatever their type, and walks over blocks of queries and
// keys; their sizes are multiples of the tiles' 6 rows, so that the diagonal crosses tiles corner
// to corner. Everything the tiles read beyond the length is zero, and what they compute there is
// dropped.

#include "kernels/attention/attention_tiles.hpp"

namespace sluice::kernels::SLUICE_ISA {
namespace {

constexpr std::int64_t kKeyBlock = 96;
static_assert(kKeyBlock % kTileRows == 0 && kKeyBlock % kLanes == 0);

struct Sizes {
  std::int64_t length;   // of a sequence
  std::int64_t padded;   // length, to whole key blocks
  std::int64_t key;      // columns of q and k: nope + rope
  std::int64_t key_row;  // key, to whole vectors: the stride of rows in scratch
  std::int64_t value;    // columns of v
  std::int64_t value_row;
  std::int64_t score_row;  // of a block of queries; no power of two: few cache sets would hold it

  Sizes(const AttentionDesc& d, std::int64_t score_columns)
      : length(d.length),
        padded(round_up(d.length, kKeyBlock)),
        key(d.nope + d.rope),
        key_row(round_up(key, kLanes)),
        value(d.value),
        value_row(round_up(value, kLanes)),
        score_row(score_columns + kLanes) {}
};

// Where one head of one sequence lies in the tensors.
struct Head {
  const AttentionDesc& desc;
  std::int64_t sequence;
  std::int64_t head;

  Head(const AttentionDesc& d, std::int64_t index)
      : desc(d), sequence(index / d.heads), head(index % d.heads) {}
  [[nodiscard]] std::int64_t index() const { return sequence * desc.heads + head; }
  [[nodiscard]] std::int64_t row(std::int64_t t) const { return sequence * desc.length + t; }
  template <class T>
  [[nodiscard]] T* q(MatrixView<T> m, std::int64_t t) const {
    return m.row(row(t)) + head * (desc.nope + desc.rope);
  }
  template <class T>
  [[nodiscard]] T* k(MatrixView<T> m, std::int64_t t) const {
    return m.row(row(t)) + head * (desc.nope + desc.value);
  }
  template <class T>
  [[nodiscard]] T* v(MatrixView<T> m, std::int64_t t) const {
    return k(m, t) + desc.nope;
  }
  template <class T>
  [[nodiscard]] T* out(MatrixView<T> m, std::int64_t t) const {
    return m.row(row(t)) + head * desc.value;
  }
  [[nodiscard]] std::size_t log_sum_exp(std::int64_t t) const {
    return static_cast<std::size_t>(row(t) * desc.heads + head);
  }
};

template <class T>
struct Inputs {
  MatrixView<const T> q, kv, k_rope;
};

// Takes pieces of a task's scratch, each on a cache line of its own; without memory it only counts.
struct Pieces {
  float* memory = nullptr;
  std::int64_t floats = 0;

  float* take(std::int64_t n) {
    float* piece = memory == nullptr ? nullptr : memory + floats;
    floats += round_up(n, kLanes);
    return piece;
  }
};

// Calls pack(j, from, rows) for every 16 keys of [first, last): of them `rows` are below the
// length, and `from` is the first, or some valid row where there is none. The rows of the next 16
// are on their way meanwhile.
template <class T, class Pack>
void for_each_panel(const Head& head, const Inputs<T>& in, std::int64_t first, std::int64_t last,
                    const Pack& pack) {
  const std::int64_t length = head.desc.length;
  for (std::int64_t j = first; j < last; j += kLanes) {
    const std::int64_t next = std::min(j + kLanes, length);
    prefetch_rows(head.k(in.kv, std::min(next, length - 1)), in.kv.row_stride,
                  std::min<std::int64_t>(kLanes, length - next), head.desc.nope + head.desc.value);
    pack(j, std::min(j, length - 1), std::clamp<std::int64_t>(length - j, 0, kLanes));
  }
}

// Keys as panels of 16: the nope part, then the rope part.
template <class T>
void pack_key_panel(const Head& head, const Inputs<T>& in, std::int64_t from, std::int64_t rows,
                    float* panel) {
  pack_panel(head.k(in.kv, from), in.kv.row_stride, rows, head.desc.nope, panel);
  pack_panel(in.k_rope.row(head.row(from)), in.k_rope.row_stride, rows, head.desc.rope,
             panel + head.desc.nope * kLanes);
}

// Rows [first, last) made by widen_to(t, row), zeros behind `width` columns and from `length` on.
template <class Widen>
void pack_rows(std::int64_t first, std::int64_t last, std::int64_t length, std::int64_t width,
               std::int64_t stride, float* rows, const Widen& widen_to) {
  for (std::int64_t t = first; t < last; ++t) {
    float* row = rows + (t - first) * stride;
    std::fill_n(row + (t < length ? width : 0), stride - (t < length ? width : 0), 0.0f);
    if (t < length) widen_to(t, row);
  }
}

// One block of queries: its place and how many rows the tiles compute.
struct QueryBlock {
  std::int64_t first;  // query
  std::int64_t rows;   // real ones
  std::int64_t tiled;  // rows, to whole tiles

  QueryBlock(std::int64_t query, std::int64_t size, std::int64_t length)
      : first(query), rows(std::min(size, length - first)), tiled(round_up(rows, kTileRows)) {}
};

// Asks for the rows of the next block, given those of this one.
template <class T>
void prefetch_next(const QueryBlock& block, std::int64_t length, const T* rows, std::int64_t stride,
                   std::int64_t columns) {
  const std::int64_t left = length - block.first - block.rows;
  if (left > 0) {
    prefetch_rows(rows + block.rows * stride, stride, std::min(left, block.rows), columns);
  }
}

// Keys of block [first, first + kKeyBlock) that the tile whose first row is query i may see.
inline std::int64_t keys_seen(std::int64_t i, std::int64_t first) {
  return std::clamp<std::int64_t>(i + kTileRows - first, 0, kKeyBlock);
}

// rows[r, :] of the tile at query i times a key block's panels -> products, for the keys it sees.
inline void multiply_panels(const float* rows, std::int64_t row_stride, const float* panels,
                            std::int64_t width, std::int64_t keys, float scale, float* products,
                            std::int64_t product_row) {
  const Tile tile{.a = rows,
                  .a_row = row_stride,
                  .a_step = 1,
                  .b = panels,
                  .b_step = kLanes,
                  .b_vector = width * kLanes,
                  .c = products,
                  .c_row = product_row};
  multiply(tile, divide_up(keys, kLanes), width, scale);
}

// sums[r, :] += weights of query i + r times rows of keys first.., up to the query's own.
inline void chain_keys(std::int64_t i, std::int64_t first, const float* weights,
                       std::int64_t weight_row, const float* rows, std::int64_t row_stride,
                       float* sums) {
  std::int64_t steps[kTileRows];
  for (std::int64_t r = 0; r < kTileRows; ++r) {
    steps[r] = std::min(i + r + 1 - first, kKeyBlock);
  }
  const Tile tile{.a = weights,
                  .a_row = weight_row,
                  .a_step = 1,
                  .b = rows,
                  .b_step = row_stride,
                  .b_vector = kLanes,
                  .c = sums,
                  .c_row = row_stride};
  chain(tile, row_stride / kLanes, steps);
}

// Gradients.

template <class T>
struct BackwardInputs : Inputs<T> {
  MatrixView<const T> out, dout;
  std::span<const float> log_sum_exp;
};

template <class T>
struct Gradients {
  MatrixView<T> dq, dkv;
  MatrixView<float> dk_rope;  // by head: row (sequence · heads + head) · length + t
};

template <class T>
float dot_in_lanes(const T* a, const T* b, std::int64_t n) {
  Lanes sum = zero();
  std::int64_t d = 0;
  for (; d + kLanes <= n; d += kLanes) sum = fma(load(a + d), load(b + d), sum);
  if (d < n) sum = fma(load_first(a + d, n - d), load_first(b + d, n - d), sum);
  return fold_sum(sum);
}

// dk_rope from the heads' own, in head order.
template <class T>
void sum_over_heads(const ComputeContext& context, const AttentionDesc& desc,
                    MatrixView<const float> by_head, MatrixView<T> dk_rope) {
  constexpr std::int64_t kGrainRows = 64;
  const std::int64_t rows = desc.sequences * desc.length;
  const auto body = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t t = first; t < last; ++t) {
      const Head head(desc, t / desc.length * desc.heads);
      const std::int64_t from = head.index() * desc.length + t % desc.length;
      for (std::int64_t d = 0; d < desc.rope; d += kLanes) {
        const std::int64_t n = std::min<std::int64_t>(kLanes, desc.rope - d);
        const auto part = [&](std::int64_t h) {
          const float* row = by_head.row(from + h * desc.length) + d;
          return n == kLanes ? load(row) : load_first(row, n);
        };
        Lanes sum = part(0);
        for (std::int64_t h = 1; h < desc.heads; ++h) sum = add(sum, part(h));
        n == kLanes ? store(dk_rope.row(t) + d, sum) : store_first(dk_rope.row(t) + d, sum, n);
      }
    }
  };
  context.team->parallel_for(rows, kGrainRows, body);
}

}  // namespace
}  // namespace sluice::kernels::SLUICE_ISA
