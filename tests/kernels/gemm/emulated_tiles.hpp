// AMX tiles in plain code, so that kernels on tiles are tested on any machine with AVX-512.
//
// The emulated dot adds one product after the other with an FMA, in order of K; tdpbf16ps rounds
// otherwise.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "kernels/gemm/gemm_amx.hpp"
#include "kernels/gemm/gemm_pack.hpp"

namespace sluice::kernels {

struct EmulatedTiles {
  static constexpr int kTileRows = 16;
  static constexpr int kRowBytes = 64;
  using Tile = std::array<std::array<std::byte, kRowBytes>, kTileRows>;
  static inline thread_local std::array<Tile, 8> tiles{};
  static inline thread_local bool configured = false;

  static void configure() {
    EXPECT_FALSE(configured);
    configured = true;
  }
  static void release() {
    EXPECT_TRUE(configured);
    configured = false;
  }
  template <int kTile>
  static void zero() {
    tiles[kTile] = {};
  }
  template <int kTile>
  static void load(const void* from, std::int64_t row_bytes) {
    SLUICE_CHECK(configured);
    for (std::int64_t r = 0; r < kTileRows; ++r) {
      std::memcpy(tiles[kTile][static_cast<std::size_t>(r)].data(),
                  static_cast<const std::byte*>(from) + r * row_bytes, kRowBytes);
    }
  }
  template <int kTile>
  static void store(void* to, std::int64_t row_bytes) {
    for (std::int64_t r = 0; r < kTileRows; ++r) {
      std::memcpy(static_cast<std::byte*>(to) + r * row_bytes,
                  tiles[kTile][static_cast<std::size_t>(r)].data(), kRowBytes);
    }
  }
  // Intel SDM, "TDPBF16PS": sum[m][n] += a[m][2k] b[k][2n] + a[m][2k+1] b[k][2n+1].
  template <int kSum, int kA, int kB>
  static void dot() {
    const auto bf16 = [](const Tile& tile, std::size_t row, std::size_t element) {
      BF16 value;
      std::memcpy(&value, tile[row].data() + element * sizeof(BF16), sizeof(BF16));
      return value.to_float();
    };
    for (std::size_t m = 0; m < kTileRows; ++m) {
      for (std::size_t n = 0; n < 16; ++n) {
        float sum = 0;
        std::memcpy(&sum, tiles[kSum][m].data() + n * sizeof(float), sizeof(float));
        for (std::size_t k = 0; k < 32; ++k) {
          sum = std::fma(bf16(tiles[kA], m, k), bf16(tiles[kB], k / 2, 2 * n + k % 2), sum);
        }
        std::memcpy(tiles[kSum][m].data() + n * sizeof(float), &sum, sizeof(float));
      }
    }
  }
};

inline const GemmKernelSet kEmulated = make_amx_kernels<EmulatedTiles>(
    "emulated", &avx512::pack_bf16_rows, &avx512::pack_bf16_pairs, &avx512::round_to_bf16);

}  // namespace sluice::kernels
