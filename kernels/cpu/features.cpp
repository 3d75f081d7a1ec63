// cpuid, and the permission for AMX tiles.
#include "kernels/cpu/features.hpp"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <vector>

namespace sluice::kernels {
namespace {

struct IsaRow {
  Isa isa;
  std::string_view name;
};
constexpr std::array<IsaRow, 3> kIsas{
    {{Isa::kReference, "reference"}, {Isa::kAvx2, "avx2"}, {Isa::kAvx512, "avx512"}}};

bool supports(Isa isa) {
  switch (isa) {
    case Isa::kReference: return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c");
    case Isa::kAvx512:
      return supports(Isa::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512dq");
  }
  return false;
}

bool cpuid_7_0_edx_bit(int bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && ((d >> bit) & 1u) != 0;
}

bool cpuid_7_1_eax_bit(int bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && ((a >> bit) & 1u) != 0;
}

// AMX tile registers are off until the process asks Linux for them (arch/x86, ARCH_REQ_XCOMP_PERM).
bool request_amx_tiles() {
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kXfeatureTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureTileData) == 0;
}

}  // namespace

std::span<const Isa> available_isas() {
  static const std::vector<Isa> isas = [] {
    std::vector<Isa> found;
    for (const IsaRow& row : kIsas) {
      if (supports(row.isa)) found.push_back(row.isa);
    }
    return found;
  }();
  return isas;
}

Isa best_isa() { return available_isas().back(); }

std::string_view name_of(Isa isa) { return kIsas[static_cast<std::size_t>(isa)].name; }

std::optional<Isa> isa_from_name(std::string_view name) {
  for (const IsaRow& row : kIsas) {
    if (row.name == name) return row.isa;
  }
  return std::nullopt;
}

Bf16Features bf16_features() {
  static const Bf16Features features = [] {
    constexpr int kAmxBf16 = 22, kAmxTile = 24, kAvx512Bf16 = 5;
    Bf16Features f;
    f.avx512_bf16 = supports(Isa::kAvx512) && cpuid_7_1_eax_bit(kAvx512Bf16);
    f.amx_bf16 = f.avx512_bf16 && cpuid_7_0_edx_bit(kAmxBf16) && cpuid_7_0_edx_bit(kAmxTile) &&
                 request_amx_tiles();
    return f;
  }();
  return features;
}

Bf16Features fast_bf16_features() {
  Bf16Features f = bf16_features();
  if (__builtin_cpu_is("intel") != 0) f.avx512_bf16 = false;
  return f;
}

std::string cpu_description() {
  std::array<unsigned, 12> brand{};
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    unsigned* r = &brand[leaf * 4];
    __get_cpuid(0x80000002u + leaf, &r[0], &r[1], &r[2], &r[3]);
  }
  std::array<char, 49> text{};
  std::memcpy(text.data(), brand.data(), 48);
  std::string out(text.data());
  while (!out.empty() && out.back() == ' ') out.pop_back();
  out += ",";
  for (const Isa isa : available_isas()) {
    if (isa != Isa::kReference) out += " " + std::string(name_of(isa));
  }
  if (bf16_features().avx512_bf16) out += " avx512_bf16";
  if (bf16_features().amx_bf16) out += " amx_bf16";
  return out;
}

}  // namespace sluice::kernels
