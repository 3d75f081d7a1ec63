// One table of element types; names, sizes and parsing all read it.
#include "kernels/base/dtype.hpp"

#include <array>

namespace sluice {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t bytes;
};

constexpr std::array<DTypeRow, 8> kTable{{{DType::kF32, "F32", 4},
                                          {DType::kBF16, "BF16", 2},
                                          {DType::kF16, "F16", 2},
                                          {DType::kE4M3, "F8_E4M3", 1},
                                          {DType::kI32, "I32", 4},
                                          {DType::kI64, "I64", 8},
                                          {DType::kU8, "U8", 1},
                                          {DType::kF64, "F64", 8}}};

}  // namespace

std::size_t size_of(DType dtype) { return kTable[static_cast<std::size_t>(dtype)].bytes; }
std::string_view name_of(DType dtype) { return kTable[static_cast<std::size_t>(dtype)].name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeRow& row : kTable) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

}  // namespace sluice
