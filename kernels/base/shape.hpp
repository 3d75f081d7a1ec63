// Up to four dimensions, outermost first; the last one is contiguous.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace sluice {

class Shape {
 public:
  static constexpr int kRankMax = 4;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] std::int64_t operator[](int axis) const {
    return dims_[static_cast<std::size_t>(axis)];
  }
  /// Number of elements; 1 for rank 0.
  [[nodiscard]] std::int64_t count() const;
  /// All dimensions but the last, multiplied: the rows when the tensor is seen as a matrix.
  [[nodiscard]] std::int64_t rows() const;
  /// The last dimension; 1 for rank 0.
  [[nodiscard]] std::int64_t columns() const;
  /// "[2, 3]"
  [[nodiscard]] std::string to_string() const;

  void append(std::int64_t dim);
  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<std::int64_t, kRankMax> dims_{};
  int rank_ = 0;
};

}  // namespace sluice
