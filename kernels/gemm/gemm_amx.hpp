// The AMX micro-kernel over a policy of tile operations, so that tests can run it on any machine.
//
// A tile register holds 16 rows of 64 bytes. 0..3 are a 2x2 block of fp32 sums, 4 and 5 hold A (16
// rows x 32 of K), 6 and 7 hold B (16 pairs along K x 16 columns x 2). A's panels are [K/32][32
// rows][32 of K], where A is not read in place; B's are [K/2][columns][2], as for AVX512-BF16.
//
// `Tiles` provides static functions: configure(), release(), zero<T>(), load<T>(from, row_bytes),
// store<T>(to, row_bytes), dot<Sum, A, B>(): Sum += A · B as tdpbf16ps does.
#pragma once

#include <array>
#include <cstring>

#include "kernels/gemm/gemm_kernel_set.hpp"

namespace sluice::kernels {

template <class Tiles>
struct AmxGemm {
  static constexpr std::int64_t kSide = 16;  ///< rows, and fp32 columns, of a tile register
  static constexpr std::int64_t kRows = 2 * kSide;
  static constexpr std::int64_t kColumns = 2 * kSide;
  static constexpr std::int64_t kStep = 32;  ///< of K, in one dot
  static constexpr int kLinesAhead = 2;      ///< to fetch a step: more would hold up the loads
  static constexpr std::int64_t kRowBytes = 64;
  static constexpr std::int64_t kFloatBytes = sizeof(float);

  /// What the tile operations need to know of one micro-tile.
  struct Block {
    const std::byte* a;
    std::int64_t a_row_bytes;
    std::int64_t a_step_bytes;
    const std::byte* b;
    std::int64_t b_row_bytes;
    std::int64_t steps;
    float* c;
    std::int64_t c_stride;
    bool load;
    Ahead* ahead;
  };

  template <int kTile>
  static void begin_sum(const Block& block, float* c) {
    if (block.load) {
      Tiles::template load<kTile>(c, block.c_stride * kFloatBytes);
    } else {
      Tiles::template zero<kTile>();
    }
  }

  // kTall, kWide: whether the second row and the second column of tiles are used.
  template <bool kTall, bool kWide>
  static void multiply(const Block& block) {
    float* const below = block.c + kSide * block.c_stride;
    begin_sum<0>(block, block.c);
    if constexpr (kWide) begin_sum<1>(block, block.c + kSide);
    if constexpr (kTall) begin_sum<2>(block, below);
    if constexpr (kTall && kWide) begin_sum<3>(block, below + kSide);
    const std::byte* a = block.a;
    const std::byte* b = block.b;
    Ahead ahead = *block.ahead;
    for (std::int64_t step = 0; step < block.steps; ++step) {
      for (int line = 0; line < kLinesAhead; ++line) ahead.fetch_line();
      Tiles::template load<4>(a, block.a_row_bytes);
      Tiles::template load<6>(b, block.b_row_bytes);
      Tiles::template dot<0, 4, 6>();
      if constexpr (kTall)
        Tiles::template load<5>(a + kSide * block.a_row_bytes, block.a_row_bytes);
      if constexpr (kTall) Tiles::template dot<2, 5, 6>();
      if constexpr (kWide) Tiles::template load<7>(b + kRowBytes, block.b_row_bytes);
      if constexpr (kWide) Tiles::template dot<1, 4, 7>();
      if constexpr (kTall && kWide) Tiles::template dot<3, 5, 7>();
      a += block.a_step_bytes;
      b += kSide * block.b_row_bytes;
    }
    *block.ahead = ahead;
    Tiles::template store<0>(block.c, block.c_stride * kFloatBytes);
    if constexpr (kWide) Tiles::template store<1>(block.c + kSide, block.c_stride * kFloatBytes);
    if constexpr (kTall) Tiles::template store<2>(below, block.c_stride * kFloatBytes);
    if constexpr (kTall && kWide) {
      Tiles::template store<3>(below + kSide, block.c_stride * kFloatBytes);
    }
  }

  static void multiply(const Block& block, bool tall, bool wide) {
    if (tall) {
      wide ? multiply<true, true>(block) : multiply<true, false>(block);
    } else {
      wide ? multiply<false, true>(block) : multiply<false, false>(block);
    }
  }

  static void tile(const TileJob& job) {
    const bool tall = job.rows > kSide;
    const bool wide = job.columns > kSide;
    const bool in_place = job.a_row_bytes > 0;
    Block block{.a = job.a,
                .a_row_bytes = in_place ? job.a_row_bytes : kRowBytes,
                .a_step_bytes = in_place ? kRowBytes : kRows * kRowBytes,
                .b = job.b,
                .b_row_bytes = wide ? 2 * kRowBytes : kRowBytes,
                .steps = job.k / kStep,
                .c = job.c,
                .c_stride = job.c_stride,
                .load = job.load,
                .ahead = job.ahead};
    if (job.rows % kSide == 0 && job.columns % kSide == 0) return multiply(block, tall, wide);
    alignas(64) std::array<float, kRows * kColumns> edge{};  // tiles have no masks
    if (job.load) copy(job.c, job.c_stride, edge.data(), kColumns, job);
    block.c = edge.data();
    block.c_stride = kColumns;
    multiply(block, tall, wide);
    copy(edge.data(), kColumns, job.c, job.c_stride, job);
  }

  static double burst(std::int64_t rounds) {
    for (std::int64_t round = 0; round < rounds; ++round) {
      Tiles::template dot<0, 4, 6>();
      Tiles::template dot<1, 4, 7>();
      Tiles::template dot<2, 5, 6>();
      Tiles::template dot<3, 5, 7>();
    }
    return static_cast<double>(rounds) * 4 * kSide * kSide * kStep * 2;
  }

  static void copy(const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride,
                   const TileJob& job) {
    for (std::int64_t r = 0; r < job.rows; ++r) {
      std::memcpy(to + r * to_stride, from + r * from_stride,
                  static_cast<std::size_t>(job.columns * kFloatBytes));
    }
  }
};

/// The whole set; packing is AVX-512.
template <class Tiles>
[[nodiscard]] constexpr GemmKernelSet make_amx_kernels(const char* name,
                                                       void (*pack_a)(const PackJob&),
                                                       void (*pack_b)(const PackJob&),
                                                       void (*round)(const RoundJob&)) {
  return {.name = name,
          .rows = AmxGemm<Tiles>::kRows,
          .columns = AmxGemm<Tiles>::kColumns,
          .narrow_columns = AmxGemm<Tiles>::kSide,
          .k_unit = AmxGemm<Tiles>::kStep,
          .element_bytes = sizeof(BF16),
          .pack_a = pack_a,
          .pack_b = pack_b,
          .tile = &AmxGemm<Tiles>::tile,
          .round = round,
          .burst = &AmxGemm<Tiles>::burst,
          .begin = &Tiles::configure,
          .end = &Tiles::release,
          .reads_a_in_place = true};
}

}  // namespace sluice::kernels
