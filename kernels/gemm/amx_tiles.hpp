// AMX tile operations of the real machine, as gemm_amx.hpp asks for them.
//
// Written as assembler: the compiler's intrinsics take the register's number as a macro argument
// only, and these need no -mamx.
#pragma once

#include <array>
#include <cstdint>

namespace sluice::kernels {

// The operand of ldtilecfg, palette 1 (Intel SDM, "LDTILECFG").
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::array<std::uint8_t, 14> reserved{};
  std::array<std::uint16_t, 16> row_bytes{};
  std::array<std::uint8_t, 16> rows{};
};
static_assert(sizeof(TileConfig) == 64);

struct MachineTiles {
  static void configure() {
    TileConfig config;
    for (std::size_t tile = 0; tile < 8; ++tile) {
      config.row_bytes[tile] = 64;
      config.rows[tile] = 16;
    }
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  static void release() { asm volatile("tilerelease"); }

  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void load(const void* from, std::int64_t row_bytes) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0"
                 :
                 : "i"(kTile), "r"(from), "r"(row_bytes)
                 : "memory");
  }
  template <int kTile>
  static void store(void* to, std::int64_t row_bytes) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)"
                 :
                 : "i"(kTile), "r"(to), "r"(row_bytes)
                 : "memory");
  }
  template <int kSum, int kA, int kB>
  static void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace sluice::kernels
