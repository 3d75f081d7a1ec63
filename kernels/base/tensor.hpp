// Tensor: shared ownership of one contiguous block of elements. TensorView: where they lie, for
// kernels.
//
// A Tensor is passed between actors by reference; copying one copies a pointer. It is written by
// the task that made it and is read-only once sent. A Tensor may have a shape but no storage
// ("meta"): then no kernel may touch it; the simulator uses that to run plans without arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kernels/base/check.hpp"
#include "kernels/base/dtype.hpp"
#include "kernels/base/shape.hpp"

namespace sluice {

/// Where tensors get their memory. Blocks are aligned to 64 bytes. Thread-safe.
class Allocator {
 public:
  virtual ~Allocator() = default;
  /// A block of at least `bytes`, freed or pooled when the last reference goes. Never null (a bug
  /// or a machine without memory aborts with the size asked for).
  [[nodiscard]] virtual std::shared_ptr<std::byte> allocate(std::size_t bytes) = 0;
};

/// A matrix of T in row-major order, `row_stride` elements from row to row. Not owning.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t row_stride = 0;

  [[nodiscard]] T* row(std::int64_t r) const { return data + r * row_stride; }
  [[nodiscard]] MatrixView rows_from(std::int64_t first, std::int64_t n) const {
    return {row(first), n, columns, row_stride};
  }
  [[nodiscard]] MatrixView columns_from(std::int64_t first, std::int64_t n) const {
    return {data + first, rows, n, row_stride};
  }
  operator MatrixView<const T>() const { return {data, rows, columns, row_stride}; }
};

/// A matrix whose element type is known at run time. Not owning.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t row_stride = 0;  ///< in elements

  template <class T>
  [[nodiscard]] MatrixView<T> as() const {
    SLUICE_CHECK(dtype == kDTypeOf<std::remove_const_t<T>>, "tensor holds {}", name_of(dtype));
    return {static_cast<T*>(data), rows, columns, row_stride};
  }
  [[nodiscard]] TensorView rows_from(std::int64_t first, std::int64_t n) const {
    return {static_cast<std::byte*>(data) +
                first * row_stride * static_cast<std::int64_t>(size_of(dtype)),
            dtype, n, columns, row_stride};
  }
  [[nodiscard]] TensorView columns_from(std::int64_t first, std::int64_t n) const {
    return {static_cast<std::byte*>(data) + first * static_cast<std::int64_t>(size_of(dtype)),
            dtype, rows, n, row_stride};
  }
};

class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised elements from `allocator`.
  Tensor(Allocator& allocator, DType dtype, Shape shape);
  /// A shape without storage.
  [[nodiscard]] static Tensor meta(DType dtype, Shape shape);
  /// Zeroed elements from the heap; for tests, files and start-up, never inside a step.
  [[nodiscard]] static Tensor zeros(DType dtype, Shape shape);
  template <class T>
  [[nodiscard]] static Tensor from(std::span<const T> values, Shape shape) {
    Tensor t = zeros(kDTypeOf<T>, shape);
    SLUICE_CHECK_EQ(static_cast<std::int64_t>(values.size()), shape.count());
    std::copy(values.begin(), values.end(), t.values<T>().begin());
    return t;
  }

  [[nodiscard]] bool empty() const { return shape_.rank() == 0 && storage_ == nullptr; }
  [[nodiscard]] bool has_storage() const { return storage_ != nullptr; }
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] std::size_t size_bytes() const {
    return static_cast<std::size_t>(shape_.count()) * size_of(dtype_);
  }

  /// The whole tensor as a matrix: rows() x columns() of its shape.
  [[nodiscard]] TensorView view() const;
  template <class T>
  [[nodiscard]] MatrixView<T> matrix() const {
    return view().as<T>();
  }
  template <class T>
  [[nodiscard]] std::span<T> values() const {
    return {view().as<T>().data, static_cast<std::size_t>(shape_.count())};
  }
  [[nodiscard]] std::byte* bytes() const { return storage_.get(); }
  /// What keeps the elements alive; tensors that share elements share its owner.
  [[nodiscard]] const std::shared_ptr<std::byte>& storage() const { return storage_; }

  /// The same elements under another shape of equal count.
  [[nodiscard]] Tensor reshaped(Shape shape) const;
  /// `n` consecutive indices of the outermost dimension, sharing storage.
  [[nodiscard]] Tensor slice(std::int64_t first, std::int64_t n) const;

 private:
  std::shared_ptr<std::byte> storage_;  // shared: a tensor travels to several actors at once
  DType dtype_ = DType::kF32;
  Shape shape_;
};

/// Plain 64-byte aligned heap memory, no pooling.
[[nodiscard]] Allocator& heap_allocator();

}  // namespace sluice
