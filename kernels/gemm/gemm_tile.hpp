// Micro-kernels on panels of 32-bit words: a tile of C stays in registers while K runs.
//
// Included once per kernel set, like lanes.hpp (no include guard on purpose). `Words` says what a
// word is: kElements along K, and multiply_add(left, right, sum).

namespace sluice::kernels::SLUICE_ISA {
namespace {

template <int kRows, int kL>
SLUICE_INLINE void load_sums(const TileJob& job, Lanes (&sums)[kRows][kL]) {
  const std::int64_t last = job.columns - kLanes * (kL - 1);  // columns of the last lanes
  for (int r = 0; r < kRows; ++r) {
    const float* c = job.c + r * job.c_stride;
    for (int l = 0; l < kL; ++l) {
      if (!job.load) {
        sums[r][l] = zero();
      } else if (l + 1 < kL || last == kLanes) {
        sums[r][l] = load(c + l * kLanes);
      } else {
        sums[r][l] = load_first(c + l * kLanes, last);
      }
    }
  }
}

template <int kRows, int kL>
SLUICE_INLINE void store_sums(const TileJob& job, const Lanes (&sums)[kRows][kL]) {
  const std::int64_t last = job.columns - kLanes * (kL - 1);
  for (int r = 0; r < kRows; ++r) {
    float* c = job.c + r * job.c_stride;
    for (int l = 0; l < kL; ++l) {
      if (l + 1 < kL || last == kLanes) {
        store(c + l * kLanes, sums[r][l]);
      } else {
        store_first(c + l * kLanes, sums[r][l], last);
      }
    }
  }
}

// What comes next in memory order of tiles: the rows below.
template <int kRows, int kL>
SLUICE_INLINE void prefetch_below(const TileJob& job) {
  for (int r = 0; r < kRows; ++r) {
    const float* c = job.c + (kRows + r) * job.c_stride;
    for (int l = 0; l < kL; ++l) _mm_prefetch(c + l * kLanes, _MM_HINT_T0);
  }
}

template <class Words, int kRows, int kL>
void multiply_tile(const TileJob& job) {
  Lanes sums[kRows][kL];
  load_sums(job, sums);
  prefetch_below<kRows, kL>(job);
  const auto* a = reinterpret_cast<const float*>(job.a);
  const auto* b = reinterpret_cast<const float*>(job.b);
  for (std::int64_t k = 0; k < job.k; k += Words::kElements) {
    Lanes right[kL];
    for (int l = 0; l < kL; ++l) right[l] = load(b + l * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Lanes left = set1(a[r]);
      for (int l = 0; l < kL; ++l) sums[r][l] = Words::multiply_add(left, right[l], sums[r][l]);
    }
    a += kRows;
    b += kL * kLanes;
  }
  store_sums(job, sums);
}

using TileFunction = void (*)(const TileJob&);

template <class Words, int kL, int... kRow>
constexpr std::array<TileFunction, sizeof...(kRow)> tiles_of(
    std::integer_sequence<int, kRow...> /*rows*/) {
  return {&multiply_tile<Words, kRow + 1, kL>...};
}

/// GemmKernelSet::tile for panels of Words, with tiles up to kRows x kL lanes.
template <class Words, int kRows, int kL>
void tile(const TileJob& job) {
  using Rows = std::make_integer_sequence<int, kRows>;
  static constexpr auto kNarrow = tiles_of<Words, 1>(Rows());
  static constexpr auto kWide = tiles_of<Words, kL>(Rows());
  const auto& tiles = job.columns <= kLanes ? kNarrow : kWide;
  tiles[static_cast<std::size_t>(job.rows - 1)](job);
}

/// GemmKernelSet::burst: enough chains to hide the latency of a multiply-add. They start from
/// different numbers and are all used in the end, else the compiler would merge or drop them.
template <class Words, int kChains>
double burst(std::int64_t rounds) {
  Lanes sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = set1(static_cast<float>(i));
  const Lanes factor = set1(0.5f);
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (int i = 0; i < kChains; ++i) sums[i] = Words::multiply_add(factor, factor, sums[i]);
  }
  Lanes total = zero();
  for (int i = 0; i < kChains; ++i) total = add(total, sums[i]);
  const float used = fold_sum(total);
  asm volatile("" : : "x"(used));
  return static_cast<double>(rounds) * kChains * kLanes * 2 * Words::kElements;
}

/// GemmKernelSet::round.
void round(const float* from, BF16* to, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(from + i));
  if (i < n) store_first(to + i, load_first(from + i, n - i), n - i);
}

}  // namespace
}  // namespace sluice::kernels::SLUICE_ISA
