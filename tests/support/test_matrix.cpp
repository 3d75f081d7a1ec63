// Operands for kernel tests.
#include "tests/support/test_matrix.hpp"

#include <cstring>

#include "kernels/base/random.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::test {
namespace {

constexpr float kGuardValue = 12352.0f;  // exact in BF16

void set_element(const TensorView& view, std::int64_t r, std::int64_t c, float value) {
  switch (view.dtype) {
    case DType::kF64: view.as<double>().row(r)[c] = static_cast<double>(value); return;
    case DType::kBF16: view.as<BF16>().row(r)[c] = BF16::from_float(value); return;
    default: view.as<float>().row(r)[c] = value;
  }
}

}  // namespace

TestMatrix::TestMatrix(DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t guard)
    : columns_(columns), tensor_(Tensor::zeros(dtype, Shape{rows, columns + guard})) {
  const TensorView all = tensor_.view();
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = columns; c < columns + guard; ++c) set_element(all, r, c, kGuardValue);
  }
}

TestMatrix TestMatrix::random(DType dtype, std::int64_t rows, std::int64_t columns,
                              std::uint64_t seed, float scale, std::int64_t guard) {
  TestMatrix m(dtype, rows, columns, guard);
  const Random random(seed, RandomPurpose::kTest);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      m.set(r, c, scale * random.normal(static_cast<std::uint64_t>(r * columns + c)));
    }
  }
  return m;
}

TestMatrix TestMatrix::clone() const {
  TestMatrix m = *this;
  m.tensor_ = Tensor::zeros(tensor_.dtype(), tensor_.shape());
  std::memcpy(m.tensor_.bytes(), tensor_.bytes(), tensor_.size_bytes());
  return m;
}

TensorView TestMatrix::view() const {
  TensorView v = tensor_.view();
  v.columns = columns_;
  return v;
}

float TestMatrix::at(std::int64_t r, std::int64_t c) const {
  const TensorView one = view().rows_from(r, 1).columns_from(c, 1);
  return static_cast<float>(to_doubles(one).front());
}

void TestMatrix::set(std::int64_t r, std::int64_t c, float value) const {
  set_element(view(), r, c, value);
}

std::vector<double> TestMatrix::doubles() const { return to_doubles(view()); }

bool TestMatrix::guards_intact() const {
  const TensorView all = tensor_.view();
  const TensorView guards = all.columns_from(columns_, all.columns - columns_);
  for (const double value : to_doubles(guards)) {
    if (value != static_cast<double>(kGuardValue)) return false;
  }
  return true;
}

}  // namespace sluice::test
