// Micro-kernels on panels of 32-bit words: a tile of C stays in registers while K runs.
//
// Included once per kernel set, like lanes.hpp (no include guard on purpose). `Words` says what a
// word is: kElements along K, multiply_add(left, right, sum), kBroadcasts, whether that is one
// instruction with a left factor that comes from memory, and store_rounded(to, sums, n), which
// stores up to n sums as BF16.

namespace sluice::kernels::SLUICE_ISA {
namespace {

// All lanes are there, and K > 0. Sums stay in registers throughout: a branch around the loop, or a
// second loop, would make the compiler park them on the stack. One line is fetched in four words of
// K, for one on its way from memory holds a buffer that lines of A and B, on theirs from L2, need
// too: first those of C, this tile's to be stored or the next one's (the rows below) to be loaded,
// then what the driver wants.
//
// Where multiply-adds broadcast, half of the rows read their element of A once for every register
// of B instead of once into a register: fewer instructions for a core that shares its decoder with
// another thread (a tenth more speed there), and still loads to spare.
template <class Words, int kRows, int kL, bool kLoad>
void multiply_tile(const TileJob& job) {
  Lanes sums[kRows][kL];
  for (int r = 0; r < kRows; ++r) {
    for (int l = 0; l < kL; ++l)
      sums[r][l] = kLoad ? load(job.c + r * job.c_stride + l * kLanes) : zero();
  }
  const float* c_ahead = job.c + (kLoad ? kRows * job.c_stride : 0);
  int c_rows_ahead = kRows;
  Ahead ahead = *job.ahead;  // a copy stays in registers
  const auto* a = reinterpret_cast<const float*>(job.a);
  const float* a_again = a;  // the compiler must not know that it is the same
  asm("" : "+r"(a_again));
  const auto* b = reinterpret_cast<const float*>(job.b);
  std::int64_t words = job.k / Words::kElements;
  const auto multiply_word = [&]() __attribute__((always_inline)) {
    Lanes right[kL];
    for (int l = 0; l < kL; ++l) right[l] = load(b + l * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Lanes left = set1(a[r]);
      for (int l = 0; l < kL; ++l) {
        const bool again = Words::kBroadcasts && l > 0 && r < kRows / 2;
        sums[r][l] = Words::multiply_add(again ? set1(a_again[r]) : left, right[l], sums[r][l]);
      }
    }
    a += kRows;
    a_again += kRows;
    b += kL * kLanes;
  };
  while (true) {
    if (c_rows_ahead > 0) {
      for (int l = 0; l < kL; ++l) __builtin_prefetch(c_ahead + l * kLanes, 0, Ahead::kLocality);
      c_ahead += job.c_stride;
      --c_rows_ahead;
    } else {
      ahead.fetch_line();
    }
    multiply_word();
    if (--words == 0) break;
    multiply_word();
    if (--words == 0) break;
    multiply_word();
    if (--words == 0) break;
    multiply_word();
    if (--words == 0) break;
  }
  *job.ahead = ahead;
  for (int r = 0; r < kRows; ++r) {
    for (int l = 0; l < kL; ++l) store(job.c + r * job.c_stride + l * kLanes, sums[r][l]);
  }
}

using TileFunction = void (*)(const TileJob&);

template <class Words, int kL, bool kLoad, int... kRow>
constexpr std::array<TileFunction, sizeof...(kRow)> tiles_of(
    std::integer_sequence<int, kRow...> /*rows*/) {
  return {&multiply_tile<Words, kRow + 1, kL, kLoad>...};
}

template <class Words, int kRows, int kL>
void whole_tile(const TileJob& job) {
  using Rows = std::make_integer_sequence<int, kRows>;
  static constexpr std::array<std::array<TileFunction, kRows>, 2> kTiles{
      tiles_of<Words, kL, false>(Rows()), tiles_of<Words, kL, true>(Rows())};
  kTiles[job.load ? 1 : 0][static_cast<std::size_t>(job.rows - 1)](job);
}

inline void copy_rows(const float* from, std::int64_t from_stride, float* to,
                      std::int64_t to_stride, const TileJob& job) {
  for (std::int64_t r = 0; r < job.rows; ++r)
    std::copy_n(from + r * from_stride, job.columns, to + r * to_stride);
}

// With fewer columns than the lanes have: on a copy.
template <class Words, int kRows, int kL>
void edge_tile(const TileJob& job) {
  constexpr std::int64_t kStride = kL * kLanes;
  alignas(64) float edge[kRows * kStride] = {};
  TileJob copy = job;
  copy.c = edge;
  copy.c_stride = kStride;
  if (job.load) copy_rows(job.c, job.c_stride, edge, kStride, job);
  whole_tile<Words, kRows, kL>(copy);
  copy_rows(edge, kStride, job.c, job.c_stride, job);
}

/// GemmKernelSet::tile for panels of Words, with tiles up to kRows x kL lanes.
template <class Words, int kRows, int kL>
void tile(const TileJob& job) {
  if (kL > 1 && job.columns <= kLanes) return tile<Words, kRows, 1>(job);
  if (job.columns < kL * kLanes) return edge_tile<Words, kRows, kL>(job);
  whole_tile<Words, kRows, kL>(job);
}

/// GemmKernelSet::round.
template <class Words>
void round_tile(const RoundJob& job) {
  const RoundJob j = job;  // a copy, which stores to BF16 cannot change
  for (std::int64_t row = 0; row < j.rows; ++row) {
    const float* from = j.from + row * j.from_stride;
    BF16* to = j.to + row * j.to_stride;
    for (std::int64_t i = 0; i < j.columns; i += kLanes) {
      const std::int64_t left = j.columns - i;
      Words::store_rounded(to + i, load_up_to(from + i, left), left);
    }
  }
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

}  // namespace
}  // namespace sluice::kernels::SLUICE_ISA
