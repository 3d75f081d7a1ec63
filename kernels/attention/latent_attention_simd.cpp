// Absorbed attention: all queries and heads are the rows of two products with the cache, so that a
// cache row is read once for the scores and once for the values, whatever the number of heads.
//
// Scores are kept transposed, [key, query · heads + head]: then the cache, as it lies in memory, is
// the left operand and only the few queries are packed. A vector holds one key of 16 rows; the 16
// lanes of a row's sum (key mod 16) are 16 vectors.
#include <algorithm>
#include <array>
#include <limits>

#include "kernels/attention/attention_kernels.hpp"
#include "kernels/attention/attention_parallel.hpp"
#include "kernels/cpu/elements.hpp"

#define SLUICE_ISA_SOURCE "kernels/attention/latent_attention_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA

#include "kernels/attention/attention_tiles.hpp"

namespace sluice::kernels::SLUICE_ISA {
namespace {

constexpr std::int64_t kKeyBlock = 48;
static_assert(kKeyBlock % kTileRows == 0 && kKeyBlock % kLanes == 0);
constexpr float kMasked = -std::numeric_limits<float>::infinity();

template <class T>
struct Problem {
  std::int64_t heads, rank, rope;
  float scale;
  MatrixView<const T> q, cache;  // cache: the visible rows
  MatrixView<T> out;

  [[nodiscard]] std::int64_t width() const { return rank + rope; }
  [[nodiscard]] std::int64_t rows() const { return q.rows * heads; }
  /// Vectors of 16 rows.
  [[nodiscard]] std::int64_t vectors() const { return divide_up(rows(), kLanes); }
  [[nodiscard]] std::int64_t score_row() const { return vectors() * kLanes; }
  [[nodiscard]] std::int64_t blocks() const { return divide_up(cache.rows, kKeyBlock); }
  /// Cache rows that row r may see.
  [[nodiscard]] std::int64_t visible(std::int64_t r) const {
    return cache.rows - q.rows + r / heads + 1;
  }
};

// What all tasks of a call share.
struct Shared {
  Tensor queries, scores, maxima, inverse_sums;

  template <class T>
  Shared(const ComputeContext& context, const Problem<T>& p)
      : queries(context.make(DType::kF32, {p.vectors(), p.width() * kLanes})),
        // A tile of 6 rows may read past the last row: one vector more.
        scores(context.make(DType::kF32, {p.blocks() * kKeyBlock * p.score_row() + kLanes})),
        maxima(context.make(DType::kF32, {p.blocks(), p.score_row()})),
        inverse_sums(context.make(DType::kF32, {p.score_row() + kLanes})) {}
  [[nodiscard]] float* score(std::int64_t at) const { return scores.values<float>().data() + at; }
};

template <class T>
void pack_queries(const Problem<T>& p, const Tensor& queries) {
  const MatrixView<float> panels = queries.matrix<float>();
  std::fill_n(panels.data, panels.rows * panels.columns, 0.0f);
  for (std::int64_t r = 0; r < p.rows(); ++r) {
    const T* from = p.q.row(r / p.heads) + r % p.heads * p.width();
    float* to = panels.row(r / kLanes) + r % kLanes;
    for (std::int64_t d = 0; d < p.width(); ++d) to[d * kLanes] = to_float(from[d]);
  }
}

// Rows [first, first + kTileRows) of the cache in fp32: as they lie, or widened, zeros behind the
// last.
template <class T>
const float* cache_tile(const Problem<T>& p, std::int64_t first, float* scratch,
                        std::int64_t& stride) {
  if constexpr (std::is_same_v<T, float>) {
    stride = p.cache.row_stride;
    if (first + kTileRows <= p.cache.rows) return p.cache.row(first);
  }
  stride = p.width();
  for (std::int64_t r = 0; r < kTileRows; ++r) {
    float* to = scratch + r * stride;
    if (first + r < p.cache.rows) {
      widen_row(p.cache.row(first + r), stride, to);
    } else {
      std::fill_n(to, stride, 0.0f);
    }
  }
  return scratch;
}

// Scores of one block of keys, -infinity where a query may not see, and their maxima.
template <class T>
void block_scores(const Problem<T>& p, const Shared& shared, std::int64_t block, float* scratch) {
  const std::int64_t first = block * kKeyBlock;
  const std::int64_t last = std::min(first + kKeyBlock, p.cache.rows);
  for (std::int64_t j = first; j < last; j += kTileRows) {
    std::int64_t stride = 0;
    const float* rows = cache_tile(p, j, scratch, stride);
    const Tile tile{.a = rows,
                    .a_row = stride,
                    .a_step = 1,
                    .b = shared.queries.values<float>().data(),
                    .b_step = kLanes,
                    .b_vector = p.width() * kLanes,
                    .c = shared.score(j * p.score_row()),
                    .c_row = p.score_row()};
    multiply(tile, p.vectors(), p.width(), p.scale);
  }
  for (std::int64_t j = std::max(first, p.visible(0)); j < last; ++j) {
    const std::int64_t hidden = (j - p.visible(0) + 1) * p.heads;  // the rows of the first queries
    std::fill_n(shared.score(j * p.score_row()), hidden, kMasked);
  }
  for (std::int64_t v = 0; v < p.score_row(); v += kLanes) {
    Lanes highest = set1(kMasked);
    for (std::int64_t j = first; j < last; ++j) {
      highest = max(load(shared.score(j * p.score_row() + v)), highest);
    }
    store(shared.maxima.matrix<float>().row(block) + v, highest);
  }
}

// Blocks [first, last): scores become exponentials relative to their row's maximum.
template <class T>
void exponentials(const Problem<T>& p, const Shared& shared, std::int64_t first,
                  std::int64_t last) {
  const std::int64_t key_last = std::min(last * kKeyBlock, p.cache.rows);
  for (std::int64_t v = 0; v < p.score_row(); v += kLanes) {
    Lanes maximum = set1(kMasked);
    for (std::int64_t b = 0; b < p.blocks(); ++b) {
      maximum = max(load(shared.maxima.matrix<float>().row(b) + v), maximum);
    }
    for (std::int64_t j = first * kKeyBlock; j < key_last; ++j) {
      float* at = shared.score(j * p.score_row() + v);
      store(at, exp(sub(load(at), maximum)));
    }
  }
}

// 1 / the sum of a row, for the 16 rows of vector v. Masked keys add +0.
template <class T>
void inverse_sums(const Problem<T>& p, const Shared& shared, std::int64_t vector) {
  std::array<Lanes, kLanes> sums;
  sums.fill(zero());
  for (std::int64_t j = 0; j < p.cache.rows; ++j) {
    Lanes& sum = sums[static_cast<std::size_t>(j % kLanes)];
    sum = add(sum, load(shared.score(j * p.score_row() + vector * kLanes)));
  }
  for (std::size_t half = kLanes / 2; half >= 1; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) sums[lane] = add(sums[lane], sums[lane + half]);
  }
  store(shared.inverse_sums.values<float>().data() + vector * kLanes, div(set1(1.0f), sums[0]));
}

// Columns [first, first + columns) of the output of all rows. `scratch`: a block of the cache's
// columns in fp32, then the rows' sums.
template <class T>
void values(const Problem<T>& p, const Shared& shared, std::int64_t first, std::int64_t columns,
            float* scratch) {
  const std::int64_t stride = round_up(columns, kLanes);
  float* block = scratch;
  float* sums = block + kKeyBlock * stride;
  std::fill_n(scratch, (kKeyBlock + round_up(p.rows(), kTileRows)) * stride, 0.0f);
  for (std::int64_t j = 0; j < p.cache.rows; j += kKeyBlock) {
    const std::int64_t keys = std::min(kKeyBlock, p.cache.rows - j);
    for (std::int64_t k = 0; k < keys; ++k) {
      widen_row(p.cache.row(j + k) + first, columns, block + k * stride);
    }
    for (std::int64_t r = 0; r < p.rows(); r += kTileRows) {
      std::int64_t steps[kTileRows];
      for (std::int64_t n = 0; n < kTileRows; ++n) {
        steps[n] = std::clamp<std::int64_t>(p.visible(std::min(r + n, p.rows() - 1)) - j, 0, keys);
      }
      const Tile tile{.a = shared.score(j * p.score_row() + r),
                      .a_row = 1,
                      .a_step = p.score_row(),
                      .b = block,
                      .b_step = stride,
                      .b_vector = kLanes,
                      .c = sums + r * stride,
                      .c_row = stride};
      chain(tile, stride / kLanes, steps);
    }
  }
  const std::span<const float> inverse = shared.inverse_sums.values<float>();
  for (std::int64_t r = 0; r < p.rows(); ++r) {
    narrow_row(sums + r * stride, inverse[static_cast<std::size_t>(r)], columns,
               p.out.row(r / p.heads) + r % p.heads * p.rank + first);
  }
}

template <class T>
void latent(const ComputeContext& context, const Problem<T>& p) {
  if (p.rows() == 0) return;
  const Shared shared(context, p);
  pack_queries(p, shared.queries);
  std::fill_n(shared.score(p.blocks() * kKeyBlock * p.score_row()), kLanes, 0.0f);
  for_each_task(context, p.blocks(), kTileRows * p.width(),
                [&](std::int64_t task, float* scratch) { block_scores(p, shared, task, scratch); });
  context.team->parallel_for(p.blocks(), 1, [&](std::int64_t first, std::int64_t last) {
    exponentials(p, shared, first, last);
  });
  context.team->parallel_for(p.vectors(), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t v = first; v < last; ++v) inverse_sums(p, shared, v);
  });
  // Four vectors of columns a task keep the tiles full; fewer where threads would go without work.
  const std::int64_t vectors = divide_up(p.rank, kLanes);
  const std::int64_t share =
      std::clamp<std::int64_t>(vectors / context.team->threads(), 1, 4) * kLanes;
  for_each_task(context, divide_up(p.rank, share),
                (kKeyBlock + round_up(p.rows(), kTileRows)) * share,
                [&](std::int64_t task, float* scratch) {
                  const std::int64_t first = task * share;
                  values(p, shared, first, std::min(share, p.rank - first), scratch);
                });
}

void entry(const ComputeContext& context, std::int64_t heads, std::int64_t rank, std::int64_t rope,
           float scale, TensorView q_absorbed, LatentCacheView cache, TensorView out) {
  visit_element(q_absorbed.dtype, [&]<class T>(T) {
    const MatrixView<const T> rows = cache.rows.as<const T>();
    latent(context, Problem<T>{heads, rank, rope, scale, q_absorbed.as<const T>(),
                               rows.rows_from(0, cache.length), out.as<T>()});
  });
}

}  // namespace

const LatentAttention kLatentAttention = entry;

}  // namespace sluice::kernels::SLUICE_ISA

#endif
