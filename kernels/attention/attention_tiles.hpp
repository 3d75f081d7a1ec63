// The register tiles of attention: 6 rows by up to 4 vectors of 16 columns, held in registers along
// a chain of FMAs.
//
// Included by the *_simd.cpp files once per kernel set (no include guard on purpose, like
// kernels/cpu/lanes.hpp). Every product of attention is one of three tile operations; where the
// causal triangle cuts a tile, rows have chains of different lengths, and nothing is multiplied by
// a zero that stands for a masked score (0 · infinity would not be 0).

namespace sluice::kernels::SLUICE_ISA {
namespace {

constexpr std::int64_t kTileRows = 6;
/// 24 accumulators of 32 registers, or 12 of 16: a Lanes is two AVX2 registers.
constexpr std::int64_t kTileVectors = SLUICE_ISA_IS_AVX512 ? 4 : 1;

/// c[row, :] (+)= sum over steps k of a[row, k] · b[k, :].
struct Tile {
  const float* a;  ///< element (row, k) at a[row · a_row + k · a_step]
  std::int64_t a_row;
  std::int64_t a_step;
  const float* b;  ///< vector v of step k at b + k · b_step + v · b_vector
  std::int64_t b_step;
  std::int64_t b_vector;
  float* c;  ///< vector v of a row at c + row · c_row + v · 16
  std::int64_t c_row;
};

template <int kVectors>
using Accumulators = Lanes[kTileRows][kVectors];

template <int kVectors>
SLUICE_INLINE void load_tile(const Tile& t, Accumulators<kVectors>& sums) {
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = load(t.c + r * t.c_row + v * kLanes);
  }
}

template <int kVectors>
SLUICE_INLINE void store_tile(const Tile& t, const Accumulators<kVectors>& sums) {
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(t.c + r * t.c_row + v * kLanes, sums[r][v]);
  }
}

/// One link of the chains of those rows for which `takes(row)` holds.
template <int kVectors, class Takes>
SLUICE_INLINE void link(const Tile& t, std::int64_t k, Accumulators<kVectors>& sums, Takes takes) {
  const float* a = t.a + k * t.a_step;
  const float* b = t.b + k * t.b_step;
  Lanes right[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) right[v] = load(b + v * t.b_vector);
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
    if (!takes(r)) continue;
    const Lanes left = set1(a[r * t.a_row]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = fma(left, right[v], sums[r][v]);
  }
}

constexpr auto kEveryRow = [](int) { return true; };

template <int kVectors>
void multiply_tile(const Tile& t, std::int64_t steps, float scale) {
  Accumulators<kVectors> sums;
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = zero();
  }
  for (std::int64_t k = 0; k < steps; ++k) link<kVectors>(t, k, sums, kEveryRow);
  const Lanes factor = set1(scale);
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = mul(sums[r][v], factor);
  }
  store_tile<kVectors>(t, sums);
}

template <int kVectors>
void chain_tile(const Tile& t, const std::int64_t* row_steps) {
  Accumulators<kVectors> sums;
  load_tile<kVectors>(t, sums);
  const std::int64_t common = *std::min_element(row_steps, row_steps + kTileRows);
  const std::int64_t longest = *std::max_element(row_steps, row_steps + kTileRows);
  for (std::int64_t k = 0; k < common; ++k) link<kVectors>(t, k, sums, kEveryRow);
  for (std::int64_t k = common; k < longest; ++k) {
    link<kVectors>(t, k, sums, [&](int r) { return k < row_steps[r]; });
  }
  store_tile<kVectors>(t, sums);
}

template <int kVectors>
void chain_tile_from_diagonal(const Tile& t, std::int64_t steps) {
  Accumulators<kVectors> sums;
  load_tile<kVectors>(t, sums);
  const std::int64_t ragged = std::min(steps, kTileRows - 1);
  for (std::int64_t k = 0; k < ragged; ++k) {
    link<kVectors>(t, k, sums, [&](int r) { return r <= k; });
  }
  for (std::int64_t k = ragged; k < steps; ++k) link<kVectors>(t, k, sums, kEveryRow);
  store_tile<kVectors>(t, sums);
}

/// Cuts `vectors` into nearly equal parts of at most kTileVectors: f<part>(tile of the part).
template <class F>
SLUICE_INLINE void for_each_part(Tile t, std::int64_t vectors, const F& f) {
  while (vectors > 0) {
    const std::int64_t parts = (vectors + kTileVectors - 1) / kTileVectors;
    const std::int64_t part = (vectors + parts - 1) / parts;
    if constexpr (kTileVectors == 4) {
      switch (part) {
        case 4: f.template operator()<4>(t); break;
        case 3: f.template operator()<3>(t); break;
        case 2: f.template operator()<2>(t); break;
        default: f.template operator()<1>(t);
      }
    } else {
      f.template operator()<1>(t);
    }
    t.b += part * t.b_vector;
    t.c += part * kLanes;
    vectors -= part;
  }
}

/// c = (a · b) · scale, for kTileRows rows and `vectors` vectors of columns.
inline void multiply(const Tile& tile, std::int64_t vectors, std::int64_t steps, float scale) {
  for_each_part(tile, vectors,
                [&]<int kVectors>(const Tile& t) { multiply_tile<kVectors>(t, steps, scale); });
}

/// Continues the chains in c: row r by its first row_steps[r] steps.
inline void chain(const Tile& tile, std::int64_t vectors,
                  const std::int64_t (&row_steps)[kTileRows]) {
  for_each_part(tile, vectors,
                [&]<int kVectors>(const Tile& t) { chain_tile<kVectors>(t, row_steps); });
}

/// Continues the chains in c: row r by steps r, r + 1, ..., steps - 1.
inline void chain_from_diagonal(const Tile& tile, std::int64_t vectors, std::int64_t steps) {
  for_each_part(tile, vectors,
                [&]<int kVectors>(const Tile& t) { chain_tile_from_diagonal<kVectors>(t, steps); });
}

// Moving rows between tensors and fp32 scratch.

template <class T>
void widen_row(const T* from, std::int64_t n, float* to) {
  std::int64_t d = 0;
  for (; d + kLanes <= n; d += kLanes) store(to + d, load(from + d));
  if (d < n) store_first(to + d, load_first(from + d, n - d), n - d);
}

/// to = from · factor, rounded to T.
template <class T>
void narrow_row(const float* from, float factor, std::int64_t n, T* to) {
  const Lanes by = set1(factor);
  std::int64_t d = 0;
  for (; d + kLanes <= n; d += kLanes) store(to + d, mul(load(from + d), by));
  if (d < n) store_first(to + d, mul(load_first(from + d, n - d), by), n - d);
}

SLUICE_INLINE __m256 load_eight(const float* p) { return _mm256_loadu_ps(p); }
SLUICE_INLINE __m256 load_eight(const BF16* p) {
  const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/// to[d · 16 + r] = from[r · stride + d] for r, d < 8.
template <class T>
SLUICE_INLINE void transpose_eight(const T* from, std::int64_t stride, float* to) {
  __m256 x[8], y[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) x[r] = load_eight(from + r * stride);
#pragma GCC unroll 4
  for (int r = 0; r < 8; r += 2) {
    y[r] = _mm256_unpacklo_ps(x[r], x[r + 1]);
    y[r + 1] = _mm256_unpackhi_ps(x[r], x[r + 1]);
  }
#pragma GCC unroll 2
  for (int r = 0; r < 8; r += 4) {
    x[r] = _mm256_shuffle_ps(y[r], y[r + 2], 0x44);
    x[r + 1] = _mm256_shuffle_ps(y[r], y[r + 2], 0xee);
    x[r + 2] = _mm256_shuffle_ps(y[r + 1], y[r + 3], 0x44);
    x[r + 3] = _mm256_shuffle_ps(y[r + 1], y[r + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int d = 0; d < 4; ++d) {
    _mm256_storeu_ps(to + d * kLanes, _mm256_permute2f128_ps(x[d], x[d + 4], 0x20));
    _mm256_storeu_ps(to + (d + 4) * kLanes, _mm256_permute2f128_ps(x[d], x[d + 4], 0x31));
  }
}

/// Asks for the first `columns` elements of `rows` rows: a head's columns lie a long stride apart,
/// where the hardware does not see the next row coming.
template <class T>
void prefetch_rows(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kLineElements = 64 / sizeof(T);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t d = 0; d < columns; d += kLineElements) {
      __builtin_prefetch(from + r * stride + d);
    }
  }
}

/// A panel of 16 rows by columns: panel[d · 16 + r] = from[r · stride + d]; zeros from `rows` on.
template <class T>
void pack_panel(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                float* panel) {
  std::int64_t done = 0;
  if (rows >= kLanes) {
    for (; done + 8 <= columns; done += 8) {
      transpose_eight(from + done, stride, panel + done * kLanes);
      transpose_eight(from + 8 * stride + done, stride, panel + done * kLanes + 8);
    }
  }
  for (std::int64_t d = done; d < columns; ++d) {
    for (std::int64_t r = 0; r < kLanes; ++r) {
      panel[d * kLanes + r] = r < rows ? to_float(from[r * stride + d]) : 0.0f;
    }
  }
}

}  // namespace
}  // namespace sluice::kernels::SLUICE_ISA
