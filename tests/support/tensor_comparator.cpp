// Comparing tensors.
#include "tests/support/tensor_comparator.hpp"

#include <cmath>
#include <cstring>

namespace sluice::test {
namespace {

double element(const TensorView& view, std::int64_t r, std::int64_t c) {
  switch (view.dtype) {
    case DType::kF64: return view.as<double>().row(r)[c];
    case DType::kBF16: return static_cast<double>(view.as<BF16>().row(r)[c].to_float());
    default: return static_cast<double>(view.as<float>().row(r)[c]);
  }
}

bool close(double want, double got, Tolerance t) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got);
  if (std::isinf(want) || std::isinf(got)) return want == got;
  return std::abs(want - got) <= t.absolute + t.relative * std::abs(want);
}

testing::AssertionResult row_close(std::span<const double> want, std::span<const double> got,
                                   std::size_t row, Tolerance t) {
  double error = 0, norm = 0;
  for (std::size_t c = 0; c < want.size(); ++c) {
    if (!close(want[c], got[c], t)) {
      return testing::AssertionFailure()
             << "(" << row << ", " << c << "): want " << want[c] << ", got " << got[c];
    }
    if (!std::isfinite(want[c])) continue;
    error += (want[c] - got[c]) * (want[c] - got[c]);
    norm += want[c] * want[c];
  }
  if (error > t.row * t.row * norm + t.absolute * t.absolute) {
    return testing::AssertionFailure()
           << "row " << row << ": relative error " << std::sqrt(error / norm);
  }
  return testing::AssertionSuccess();
}

}  // namespace

Tolerance tolerance_for(double unit_roundoff, std::int64_t k) {
  const double growth = unit_roundoff * std::sqrt(static_cast<double>(k));
  return {8 * growth, 8 * growth, 4 * growth};
}

testing::AssertionResult all_close(std::span<const double> want, std::span<const double> got,
                                   std::int64_t columns, Tolerance tolerance) {
  if (want.size() != got.size()) {
    return testing::AssertionFailure() << "want " << want.size() << " elements, got " << got.size();
  }
  const auto n = static_cast<std::size_t>(columns);
  if (n == 0 || want.size() % n != 0) {
    return testing::AssertionFailure() << want.size() << " elements in rows of " << columns;
  }
  for (std::size_t row = 0; row * n < want.size(); ++row) {
    const auto result =
        row_close(want.subspan(row * n, n), got.subspan(row * n, n), row, tolerance);
    if (!result) return result;
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult all_close(std::span<const double> want, TensorView got,
                                   Tolerance tolerance) {
  return all_close(want, to_doubles(got), got.columns, tolerance);
}

testing::AssertionResult same_bits(TensorView want, TensorView got) {
  if (want.dtype != got.dtype || want.rows != got.rows || want.columns != got.columns) {
    return testing::AssertionFailure()
           << name_of(want.dtype) << " [" << want.rows << ", " << want.columns << "] versus "
           << name_of(got.dtype) << " [" << got.rows << ", " << got.columns << "]";
  }
  const std::size_t bytes = size_of(want.dtype);
  for (std::int64_t r = 0; r < want.rows; ++r) {
    for (std::int64_t c = 0; c < want.columns; ++c) {
      const TensorView a = want.rows_from(r, 1).columns_from(c, 1);
      const TensorView b = got.rows_from(r, 1).columns_from(c, 1);
      if (std::memcmp(a.data, b.data, bytes) == 0) continue;
      return testing::AssertionFailure()
             << "(" << r << ", " << c << "): want " << testing::PrintToString(element(want, r, c))
             << ", got " << testing::PrintToString(element(got, r, c)) << " in other bits";
    }
  }
  return testing::AssertionSuccess();
}

std::vector<double> to_doubles(TensorView view) {
  std::vector<double> values;
  for (std::int64_t r = 0; r < view.rows; ++r) {
    for (std::int64_t c = 0; c < view.columns; ++c) values.push_back(element(view, r, c));
  }
  return values;
}

}  // namespace sluice::test
