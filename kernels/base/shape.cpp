// Arithmetic on dimensions.
#include "kernels/base/shape.hpp"

#include <fmt/format.h>

#include "kernels/base/check.hpp"

namespace sluice {

Shape::Shape(std::initializer_list<std::int64_t> dims) {
  for (const std::int64_t dim : dims) append(dim);
}

void Shape::append(std::int64_t dim) {
  SLUICE_CHECK_LT(rank_, kRankMax);
  SLUICE_CHECK_GE(dim, 0);
  dims_[static_cast<std::size_t>(rank_++)] = dim;
}

std::int64_t Shape::count() const {
  std::int64_t n = 1;
  for (int axis = 0; axis < rank_; ++axis) n *= (*this)[axis];
  return n;
}

std::int64_t Shape::rows() const {
  std::int64_t n = 1;
  for (int axis = 0; axis + 1 < rank_; ++axis) n *= (*this)[axis];
  return n;
}

std::int64_t Shape::columns() const { return rank_ == 0 ? 1 : (*this)[rank_ - 1]; }

std::string Shape::to_string() const {
  std::string out = "[";
  for (int axis = 0; axis < rank_; ++axis)
    out += fmt::format("{}{}", axis == 0 ? "" : ", ", (*this)[axis]);
  return out + "]";
}

}  // namespace sluice
